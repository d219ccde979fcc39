/* test_import.c: every source on small files of our own in its published form, the rules one by one, damaged files.
 */
#include "import_support.h"

typedef struct text_file {
    const char *name, *text;
} text_file;

/* Writes the files into the scratch folder and imports them. */
static tr_status import_texts(imported *r, const char *source, const char *task, const text_file *files,
                              size_t count)
{
    char *paths[4] = {0};
    for (size_t i = 0; i < count; i++) {
        paths[i] = tr_strdup(scratch_path(files[i].name));
        assert_int_equal(tr_file_write_atomic(paths[i], files[i].text, strlen(files[i].text), NULL), TR_OK);
    }
    tr_status status = import_files(r, source, task, (const char *const *)paths, count);
    while (count) {
        free(paths[--count]);
    }
    return status;
}

/* ---- one small file for every source, and the rows it must give ---- */

typedef struct small_case {
    const char *source, *task;
    text_file files[3];
    const char *rows[4];    /* exactly these, as JSON */
    const char *refused[4]; /* rules that refuse one record each */
} small_case;

#define DETECTION_JSON                                                                                             \
    "{\"version\": \"1\", \"database\": {\"abc\": {\"duration\": 20.5, \"subset\": \"training\", \"url\": \"u\", " \
    "\"annotations\": [{\"segment\": [1, 3], \"label\": \"Run\"}, {\"segment\": [4.5, 6], \"label\": \"Jump\"}, "  \
    "{\"segment\": [9, 12], \"label\": \"Run\"}]}, \"test1\": {\"duration\": 9, \"subset\": \"testing\", "         \
    "\"annotations\": []}}, \"taxonomy\": []}"

static const small_case small[] = {
    {"charades-sta",
     NULL,
     {{"charades_sta_test.txt", "AAAAA 1.5 4.0##person opens a door.\nBBBBB 0 2.5##a##b\n"},
      {"Charades_v1_test.csv", "id,subject,length,script\nAAAAA,S1,30.5,\"he said \"\"hi, you\"\"\"\n"}},
     {"{'id':'charades-sta/charades_sta_test/1','task':'tg','video':'AAAAA.mp4','duration':30.5,"
      "'source':'charades-sta','split':'test','query':'person opens a door.','segments':[[1.5,4]]}",
      "{'id':'charades-sta/charades_sta_test/2','task':'tg','video':'BBBBB.mp4','source':'charades-sta',"
      "'split':'test','query':'a##b','segments':[[0,2.5]]}"},
     {0}},
    {"activitynet-captions",
     NULL,
     {{"train.json",
       "{\"v_a\": {\"duration\": 10.5, \"timestamps\": [[4, 9], [0, 5]], \"sentences\": [\"b\", \"a\"]}}"}},
     {"{'id':'activitynet-captions/train/v_a','task':'dtg','video':'v_a.mp4','duration':10.5,"
      "'source':'activitynet-captions','split':'train','queries':['b','a'],'segments':[[4,9],[0,5]]}"},
     {0}},
    {"activitynet-1.3",
     NULL,
     {{"activity_net.v1-3.min.json", DETECTION_JSON}},
     {"{'id':'activitynet-1.3/v_abc/Run','task':'tal','video':'v_abc.mp4','duration':20.5,"
      "'source':'activitynet-1.3','split':'train','action':'Run','segments':[[1,3],[9,12]]}",
      "{'id':'activitynet-1.3/v_abc/Jump','task':'tal','video':'v_abc.mp4','duration':20.5,"
      "'source':'activitynet-1.3','split':'train','action':'Jump','segments':[[4.5,6]]}"},
     {"no-truth"}},
    {"hacs",
     NULL,
     {{"HACS_segments_v1.1.1.json", DETECTION_JSON}},
     {"{'id':'hacs/abc/Run','task':'tal','video':'abc.mp4','duration':20.5,'source':'hacs','split':'train',"
      "'action':'Run','segments':[[1,3],[9,12]]}",
      "{'id':'hacs/abc/Jump','task':'tal','video':'abc.mp4','duration':20.5,'source':'hacs','split':'train',"
      "'action':'Jump','segments':[[4.5,6]]}"},
     {"no-truth"}},
    {"qvhighlights",
     NULL,
     {{"highlight_val_release.jsonl",
       "{\"qid\": 7, \"query\": \"q\", \"duration\": 7, \"vid\": \"x_0.0_7.0\", \"relevant_clip_ids\": [0, 3], "
       "\"saliency_scores\": [[1, 2], [3, 4]], \"relevant_windows\": [[0, 2], [6, 7]]}\n"
       "{\"qid\": 8, \"query\": \"q\", \"duration\": 7, \"vid\": \"x_0.0_7.0\"}\n"}},
     {"{'id':'qvhighlights/7','task':'vhd','video':'x_0.0_7.0.mp4','duration':7.0,'source':'qvhighlights',"
      "'split':'val','query':'q','segments':[[0,2],[6,7]],'saliency':[[1,2],[0,0],[0,0],[3,4]]}"},
     {"no-truth"}},
    {"next-gqa",
     NULL,
     {{"val.csv", "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\r\n"
                  "11,5,6,7,\"why, then\",two,3,CW,one,two,three,four,five\r\n"
                  "11,5,6,7,how,one,4,CH,one,two,three,four,five\r\n"},
      {"gsub_val.json", "{\"11\": {\"duration\": 20, \"location\": {\"3\": [[1.5, 2], [5, 9]]}, \"fps\": 30}}"},
      {"map_vid_vidorID.json", "{\"11\": \"0001/11\"}"}},
     {"{'id':'next-gqa/11/3','task':'gvqa','video':'0001/11.mp4','duration':20.0,'source':'next-gqa','split':'val',"
      "'question':'why, then','options':['one','two','three','four','five'],'answer':'B',"
      "'segments':[[1.5,2],[5,9]],'category':'CW'}"},
     {"no-truth"}},
    {"rextime",
     NULL,
     {{"rextime_val.json",
       "[{\"qid\": \"q1\", \"vid\": \"v_a\", \"duration\": 50, \"question\": \"what\", \"options\": [\"x\", "
       "\"y\"], "
       "\"span\": [3, 8], \"ans\": \"B\", \"category\": \"sequential\"}, {\"qid\": \"q2\", \"vid\": \"v_b\", "
       "\"duration\": 5, \"question\": \"w\", \"options\": [\"x\", \"y\"], \"span\": [0, 0], \"ans\": \"\"}]"}},
     {"{'id':'rextime/q1','task':'gvqa','video':'v_a.mp4','duration':50.0,'source':'rextime','split':'val',"
      "'question':'what','options':['x','y'],'answer':'B','segments':[[3,8]],'category':'sequential'}"},
     {"no-truth"}},
    {"tacos",
     NULL,
     {{"val.json", "{\"s1-d1.avi\": {\"timestamps\": [[25, 50]], \"sentences\": [\"cut\"], \"fps\": 25, "
                   "\"num_frames\": 100}}"}},
     {"{'id':'tacos/val/s1-d1.avi/0','task':'tg','video':'s1-d1.avi','duration':4.0,'source':'tacos','split':'val',"
      "'query':'cut','segments':[[1,2]]}"},
     {0}},
    {"thumos14",
     NULL,
     {{"test_Annotation.csv",
       "video,type,type_idx,start,end,startFrame,endFrame\nvideo_test_1,Diving,26,1.5,2,45,60\n"
       "video_test_1,Ambiguous,0,3,4,90,120\nvideo_test_1,Diving,26,5,6,1,2\n"},
      {"thumos14_test_groundtruth.csv", "video-name,t-init,t-end,f-init,f-end,video-duration,frame-rate,"
                                        "video-frames,label-idx\nvideo_test_1,1.5,2,45,60,5.5,30,165,7\n"}},
     {"{'id':'thumos14/video_test_1/Diving','task':'tal','video':'video_test_1.mp4','duration':5.5,"
      "'source':'thumos14','split':'test','action':'Diving','segments':[[1.5,2],[5,5.5]]}"},
     {"ambiguous-action"}},
    {"youcook2",
     NULL,
     {{"youcookii_annotations_trainval.json", "{\"database\": {\"yt1\": {\"duration\": 60, \"subset\": "
                                              "\"validation\", \"recipe_type\": \"1\", \"annotations\": "
                                              "[{\"segment\": [3, 9], \"id\": 0, \"sentence\": \"stir\"}]}}}"}},
     {"{'id':'youcook2/youcookii_annotations_trainval/yt1','task':'dtg','video':'yt1.mp4','duration':60.0,"
      "'source':'youcook2','split':'val','queries':['stir'],'segments':[[3,9]]}"},
     {0}},
    {"didemo", /* segments 2 and 2..3 agree best with the others: 1 + .5 + .5 + 0 against .5 + 1 + 1 + 0 */
     NULL,
     {{"val_data.json",
       "[{\"annotation_id\": 5, \"description\": \"a cat\", \"video\": \"12@N_3.mov\", \"num_segments\": 6, "
       "\"times\": [[2, 2], [2, 3], [2, 3], [5, 5]], \"dl_link\": \"u\", \"reference\": \"r\", \"context\": "
       "\"c\"}]"}},
     {"{'id':'didemo/5','task':'tg','video':'12@N_3.mov','duration':30.0,'source':'didemo','split':'val',"
      "'query':'a cat','segments':[[10,20]],'times':[[2,2],[2,3],[2,3],[5,5]]}"},
     {0}},
    {"tvsum", /* medians 1, 1, 1 (the lower one): windows 1 and 2 have two votes of three, window 3 one */
     NULL,
     {{"tvsum_train_release.jsonl", "{\"qid\": \"t\", \"query\": \"q\", \"duration\": 4, \"vid\": \"t\", "
                                    "\"relevant_windows\": null, \"domain\": "
                                    "\"VU\", \"label\": [[1, 1, 1], [3, 1, 2], [1, 2, 5], [1, 5, 1]]}\n"}},
     {"{'id':'tvsum/t','task':'vhd','video':'t.mp4','duration':8.0,'source':'tvsum','split':'train','query':'q',"
      "'segments':[[2,6]],'saliency':[[1,1,1],[3,1,2],[1,2,5],[1,5,1]],'domain':'VU'}"},
     {0}},
    {"youtube-highlights",
     NULL,
     {{"youtube_highlight_val_release.jsonl",
       "{\"qid\": \"y\", \"query\": \"dog\", \"duration\": 20, \"vid\": \"y\", \"label\": [[0], [1], [1], [-1]], "
       "\"domain\": \"dog\", \"fps\": 10, \"clip\": [[0, 50], [25, 75], [50, 100], [75, 125]]}\n"
       "{\"qid\": \"z\", \"query\": \"dog\", \"duration\": 20, \"vid\": \"z\", \"label\": [[0]], \"fps\": 10, "
       "\"clip\": [[0, 50]]}\n"}},
     {"{'id':'youtube-highlights/y','task':'vhd','video':'y.mp4','duration':20.0,'source':'youtube-highlights',"
      "'split':'val','query':'dog','segments':[[2.5,10]],'domain':'dog'}"},
     {"no-truth"}},
    {"tvgbench",
     NULL,
     {{"tvgbench.json",
       "[{\"path\": \"./v/a.mp4\", \"question\": \"he sits\", \"answer\": \"1.5-4.0\", \"start\": 10, "
       "\"end\": 30, \"duration\": 20, \"dataset_name\": \"anet\"}]"}},
     {"{'id':'tvgbench/tvgbench/1','task':'tg','video':'./v/a.mp4','duration':20.0,'clip':[10,30],"
      "'source':'tvgbench','split':'test','query':'he sits','segments':[[1.5,4]],'dataset_name':'anet'}"},
     {0}},
    {"museg",
     NULL,
     {{"stage_1.jsonl",
       "{\"idx\": 0, \"problem\": \"Find the action 'dive in' please.\", \"solution\": [[1, 2], [3, 4]], "
       "\"video\": "
       "\"videos/a.mp4\", \"duration\": 9, \"task\": \"tal\"}\n{\"idx\": 1, \"problem\": \"When does 'a man's dog "
       "barks' occur?\", \"solution\": [[1, 2]], \"video\": \"b.mp4\", \"task\": \"tvg\"}\n"}},
     {"{'id':'museg/stage_1/1','task':'tal','video':'videos/a.mp4','duration':9.0,'source':'museg','split':'train',"
      "'action':'dive in','segments':[[1,2],[3,4]],'problem':'Find the action ^dive in^ please.'}",
      "{'id':'museg/stage_1/2','task':'tg','video':'b.mp4','source':'museg','split':'train',"
      "'query':'a man^s dog barks','segments':[[1,2]],'problem':'When does ^a man^s dog barks^ occur?'}"},
     {0}},
    {"time-r1",
     NULL,
     {{"train_2k5.json",
       "[{\"video\": \"./v/a.mp4\", \"duration\": 40, \"timestamp\": [1, 4], \"sentence\": \"s\", "
       "\"qid\": \"my|a\", \"video_start\": null, \"video_end\": null, \"difficulty\": 5, \"pred\": "
       "[0, 3]}]"}},
     {"{'id':'time-r1/train_2k5/1','task':'tg','video':'./v/a.mp4','duration':40.0,'source':'time-r1',"
      "'split':'train','query':'s','segments':[[1,4]],'qid':'my|a','difficulty':5,'pred':[0,3]}"},
     {0}},
    {"temporal-r1",
     NULL,
     {{"activitynet_train.json",
       "[{\"dataset\": \"anet\", \"video\": \"a.mp4\", \"problem\": \"Give the query: \\\"he runs\\\", when?\", "
       "\"solution\": [0.25, 0.5], \"video_length\": 40}, {\"dataset\": \"charades_train\", \"video\": \"b.mp4\", "
       "\"problem\": \"p\", \"solution\": [0.1, 0.2]}]"}},
     {"{'id':'temporal-r1/activitynet_train/1','task':'tg','video':'a.mp4','duration':40.0,'source':'temporal-r1',"
      "'split':'train','query':'he runs','segments':[[10,20]],'problem':'Give the query: ~he runs~, when?',"
      "'dataset':'anet'}"},
     {"no-length"}},
    {"videochat-r1",
     NULL,
     {{"nextgqa_val.json",
       "[{\"video\": \"1/2.mp4\", \"question\": \"w\", \"options\": \"A. x\\nB. y\", \"answer\": "
       "\"B. y\", \"glue\": [[1, 2], [4, 5]], \"duration\": 9}, {\"video\": \"3.mp4\", "
       "\"question\": \"w\", \"options\": [\"x\", \"y\"], \"answer\": \"A\"}]"},
      {"charades_test.json", "{\"AAAAA\": {\"duration\": 9, \"timestamps\": [[1, 2]], \"sentences\": [\"s\"]}}"}},
     {"{'id':'videochat-r1/nextgqa_val/1','task':'gvqa','video':'1/2.mp4','duration':9.0,'source':'videochat-r1',"
      "'split':'val','question':'w','options':['x','y'],'answer':'B','segments':[[1,2],[4,5]]}",
      "{'id':'videochat-r1/nextgqa_val/2','task':'qa','video':'3.mp4','source':'videochat-r1','split':'val',"
      "'question':'w','options':['x','y'],'answer':'A'}",
      "{'id':'videochat-r1/charades_test/AAAAA/0','task':'tg','video':'AAAAA.mp4','duration':9.0,"
      "'source':'videochat-r1','split':'test','query':'s','segments':[[1,2]]}"},
     {0}},
    {"mvbench",
     NULL,
     {{"action_sequence.json", "[{\"video\": \"a.mp4\", \"question\": \"w\", \"candidates\": [\"x\", \"y\"], "
                               "\"answer\": \"y\", \"start\": 1.5, \"end\": 9}]"}},
     {"{'id':'mvbench/action_sequence/1','task':'qa','video':'star/Charades_v1_480/"
      "a.mp4','duration':7.5,'clip':[1.5,9],"
      "'source':'mvbench','split':'test','question':'w','options':['x','y'],'answer':'B',"
      "'category':'action_sequence'}"},
     {0}},
    {"video-mme",
     NULL,
     {{"videomme.jsonl",
       "{\"video_id\": \"001\", \"duration\": \"short\", \"videoID\": \"yt-1\", \"question_id\": \"001-1\", "
       "\"task_type\": \"Counting\", \"question\": \"w\", \"options\": [\"A. x.\", \"B. y.\"], \"answer\": "
       "\"B\"}\n"},
      {"nested.json", "[{\"video_id\": \"002\", \"duration_category\": \"long\", \"video_category\": \"Sports\", "
                      "\"url\": \"https://h/watch?v=yt-2\", "
                      "\"questions\": [{\"question_id\": \"002-1\", \"question\": \"w\", \"choices\": [\"A. x\", "
                      "\"B. y\"], \"answer\": \"A\"}]}]"}},
     {"{'id':'video-mme/001-1','task':'qa','video':'yt-1.mp4','source':'video-mme','split':'test','question':'w',"
      "'options':['x.','y.'],'answer':'B','category':'Counting','length':'short'}",
      "{'id':'video-mme/002-1','task':'qa','video':'yt-2.mp4','source':'video-mme','split':'test','question':'w',"
      "'options':['x','y'],'answer':'A','length':'long','domain':'Sports'}"},
     {0}},
    {"tempcompass",
     NULL,
     {{"multi-choice.json",
       "{\"77\": {\"speed\": [{\"question\": \"How?\\nA. fast\\nB. slow\", \"answer\": \"B. slow\"}], \"order\": "
       "[{\"question\": \"Which?\\nCaption A: he runs\\nCaption B: he sits\", \"answer\": \"Caption A: he runs\"}, "
       "{\"question\": \"Is it?\", \"answer\": \"no\"}, {\"question\": \"Describe it.\"}]}}"}},
     {"{'id':'tempcompass/multi-choice/77/speed/0','task':'qa','video':'77.mp4','source':'tempcompass',"
      "'split':'test','question':'How?','options':['fast','slow'],'answer':'B','category':'speed','question_type':'"
      "multi-choice'}",
      "{'id':'tempcompass/multi-choice/77/order/0','task':'qa','video':'77.mp4','source':'tempcompass',"
      "'split':'test','question':'Which?','options':['he runs','he "
      "sits'],'answer':'A','category':'order','question_type':'multi-choice','published':'Which?\\nCaption A: he "
      "runs\\nCaption B: he sits'}",
      "{'id':'tempcompass/multi-choice/77/order/1','task':'qa','video':'77.mp4','source':'tempcompass',"
      "'split':'test','question':'Is "
      "it?','options':['yes','no'],'answer':'B','category':'order','question_type':'multi-choice','published':'Is "
      "it?'}"},
     {"open-ended"}},
    {"mmvu",
     NULL,
     {{"validation.json",
       "[{\"id\": \"validation_0\", \"video\": \"https://h/resolve/main/videos/Art/0.mp4\", \"question_type\": "
       "\"multiple-choice\", \"question\": \"w\", \"choices\": {\"A\": \"x\", \"B\": \"y\"}, \"answer\": \"B\", "
       "\"metadata\": {\"subject\": \"Art\"}}, {\"id\": \"validation_1\", \"video\": \"u\", \"question_type\": "
       "\"open-ended\", \"question\": \"w\", \"choices\": {}, \"answer\": \"t\"}]"}},
     {"{'id':'mmvu/validation_0','task':'qa','video':'Art/0.mp4','source':'mmvu','split':'val','question':'w',"
      "'options':['x','y'],'answer':'B','category':'Art'}"},
     {"open-ended"}},
};

/* The rows above are written with ' for ", ^ for ' and ~ for an escaped ". */
static json_t *written(const char *text)
{
    tr_buffer buffer = {0};
    json_t *json = NULL;
    for (; *text; text++) {
        const char *piece = *text == '\'' ? "\"" : *text == '^' ? "'" : "\\\"";
        bool special = *text == '\'' || *text == '^' || *text == '~';
        assert_int_equal(tr_buffer_add(&buffer, special ? piece : text, special ? strlen(piece) : 1, NULL), TR_OK);
    }
    assert_int_equal(tr_json_parse(buffer.data, buffer.length, "expected", 0, &json, NULL), TR_OK);
    tr_buffer_free(&buffer);
    return json;
}

/* Equal as JSON, where 4 and 4.0 are one number. */
static bool same(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    if (json_is_number(a) && json_is_number(b)) {
        return json_number_value(a) == json_number_value(b);
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            if (!same(json_array_get(a, i), json_array_get(b, i))) {
                return false;
            }
        }
        return true;
    }
    if (!json_is_object(a) || !json_is_object(b) || json_object_size(a) != json_object_size(b)) {
        return json_equal(a, b);
    }
    json_object_foreach((json_t *)a, key, value)
    {
        if (!json_object_get(b, key) || !same(value, json_object_get(b, key))) {
            return false;
        }
    }
    return true;
}

static void every_source_in_its_published_form(void **state)
{
    (void)state;
    size_t sources;
    const tr_import_source *table = tr_import_sources(&sources);
    for (size_t s = 0; s < sources; s++) { /* none without a file here */
        bool tested = false;
        for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
            tested |= !strcmp(small[i].source, table[s].name);
        }
        if (!tested) {
            fail_msg("the source %s has no test", table[s].name);
        }
    }
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        const small_case *c = &small[i];
        size_t files = 0, rows = 0, refused = 0;
        imported r;
        while (files < 3 && c->files[files].name) {
            files++;
        }
        if (import_texts(&r, c->source, c->task, c->files, files)) {
            fail_msg("%s: %s: %s", c->source, r.err.where, r.err.message);
        }
        for (; rows < 4 && c->rows[rows]; rows++) {
            json_t *expected = written(c->rows[rows]);
            if (rows >= r.rows.count || !same(expected, r.rows.items[rows].json)) {
                tr_buffer found = {0};
                if (rows < r.rows.count) {
                    tr_json_print(r.rows.items[rows].json, &found, NULL);
                }
                fail_msg("%s: row %zu is %s, expected %s", c->source, rows, tr_buffer_text(&found), c->rows[rows]);
            }
            json_decref(expected);
        }
        assert_int_equal(r.rows.count, rows);
        for (; refused < 4 && c->refused[refused]; refused++) {
            if (rule_number(&r, c->refused[refused], "refused") != 1) {
                fail_msg("%s: the rule %s refused %lld records, expected 1", c->source, c->refused[refused],
                         rule_number(&r, c->refused[refused], "refused"));
            }
        }
        assert_int_equal(json_integer_value(json_object_get(r.report, "refused")), refused);
        import_free(&r);
    }
}

/* ---- rules ---- */

static const json_t *example(const imported *r, const char *rule)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(r->report, "rules"), i, one)
    {
        if (!strcmp(json_string_value(json_object_get(one, "rule")), rule)) {
            return json_array_get(json_object_get(one, "examples"), 0);
        }
    }
    return NULL;
}

static void rules_of_times(void **state)
{
    (void)state;
    const text_file files[] = {{"charades.json", "{\"AAAAA\": {\"duration\": 10}}"},
                               {"charades_sta_train.txt", "AAAAA 1 2##fine\n"
                                                          "AAAAA 8 12.5##cut\n"
                                                          "AAAAA 3 3##empty interval\n"
                                                          "AAAAA 5 4##inverted\n"
                                                          "\n"
                                                          "AAAAA 10 12##behind\n"
                                                          "AAAAA -1 4##before\n"
                                                          "AAAAA 1 2##  \n"
                                                          "AAAAA 1 nan##not a number\n"
                                                          "AAAAA 1 2#one mark\n"
                                                          "AAAAA 1##one time\n"
                                                          "AAAAA 1e400 2##too large\n"
                                                          "AAAAA 1 2##bad \xff text\n"
                                                          "AAAAA 0x1 2##hexadecimal\n"}};
    imported r;
    assert_int_equal(import_texts(&r, "charades-sta", NULL, files, 2), TR_OK);
    assert_int_equal(r.rows.count, 3); /* fine, cut, before */
    assert_int_equal(rule_number(&r, "end-past-duration", "count"), 1);
    assert_int_equal(rule_number(&r, "start-not-before-end", "refused"), 2);
    assert_int_equal(rule_number(&r, "outside-clip", "refused"), 1);
    assert_int_equal(rule_number(&r, "negative-start", "count"), 1);
    assert_int_equal(rule_number(&r, "empty-text", "refused"), 1);
    assert_int_equal(rule_number(&r, "bad-record", "refused"), 6);
    assert_string_equal(json_string_value(example(&r, "start-not-before-end")), "charades_sta_train.txt:3: [3, 3]");
    assert_string_equal(json_string_value(example(&r, "end-past-duration")),
                        "charades_sta_train.txt:2: [8, 12.5] in 10 s");
    assert_string_equal(json_string_value(example(&r, "bad-record")),
                        "charades_sta_train.txt:9: column 9: expected \"VIDEO START END##sentence\"");
    const json_t *pair = json_array_get(json_object_get(r.rows.items[1].json, "segments"), 0);
    assert_true(json_number_value(json_array_get(pair, 1)) == 10);
    import_free(&r);
    /* dtg goes on without what is dropped, and its sentences stay with their intervals */
    const text_file dense[] = {
        {"val_1.json",
         "{\"a\": {\"duration\": 10, \"timestamps\": [[1, 2], [3, 3], [4, 5], [11, 12], [6, 17]], "
         "\"sentences\": [\"one\", \"two\", \" \", \"four\", \"five\"]}, \"b\": {\"duration\": 10, "
         "\"timestamps\": [[2, 2], [1, 1]], \"sentences\": [\"x\", \"y\"]}, \"c\": {\"duration\": 10, "
         "\"timestamps\": [[2, 3]], \"sentences\": [\"x\", \"y\"]}, \"d\": 3}"}};
    assert_int_equal(import_texts(&r, "activitynet-captions", NULL, dense, 1), TR_OK);
    assert_int_equal(r.rows.count, 1);
    json_t *expected = written("{'queries':['one','five'],'segments':[[1,2],[6,10]]}");
    assert_true(same(json_object_get(expected, "queries"), json_object_get(r.rows.items[0].json, "queries")));
    assert_true(same(json_object_get(expected, "segments"), json_object_get(r.rows.items[0].json, "segments")));
    json_decref(expected);
    assert_int_equal(rule_number(&r, "start-not-before-end", "count"), 3);
    assert_int_equal(rule_number(&r, "start-not-before-end", "refused"), 1);
    assert_int_equal(rule_number(&r, "bad-record", "refused"), 2);
    import_free(&r);
}

static void rules_of_answers_and_ids(void **state)
{
    (void)state;
    const text_file files[] = {{"rextime_val.jsonl", "{\"qid\": \"1\", \"vid\": \"a\", \"duration\": 9, "
                                                     "\"question\": \"w\", \"options\": [\"x\", \"x\"], \"span\": "
                                                     "[\"1\", \"2.5\"], \"ans\": \"x\"}\n"
                                                     "{\"qid\": \"1\", \"vid\": \"a\", \"duration\": 9, "
                                                     "\"question\": \"w\", \"options\": [\"x\", \"y\"], \"span\": "
                                                     "[1, 2], \"ans\": \"A\"}\n"
                                                     "{\"qid\": \"3\", \"vid\": \"a\", \"duration\": 9, "
                                                     "\"question\": \"w\", \"options\": [\"x\", \"y\"], \"span\": "
                                                     "[1, 2], \"ans\": \"C\"}\n"
                                                     "{\"qid\": \"4\", \"vid\": \"a\", \"duration\": 9, "
                                                     "\"question\": \"w\", \"options\": [\"x\", 4], \"span\": "
                                                     "[1, 2], \"ans\": \"A\"}\n"
                                                     "{\"qid\": \"5\", \"vid\": \"a\", \"duration\": 9, "
                                                     "\"question\": \"w\", \"options\": [\"x\", \"y\"], \"span\": "
                                                     "[1, \"two\"], \"ans\": \"A\"}\n"
                                                     "[1, 2]\n"}};
    imported r;
    assert_int_equal(import_texts(&r, "rextime", NULL, files, 1), TR_OK);
    assert_int_equal(r.rows.count, 1);
    assert_int_equal(rule_number(&r, "answer-twice", "count"), 1);
    assert_int_equal(rule_number(&r, "times-as-text", "count"), 1);
    assert_int_equal(rule_number(&r, "duplicate-id", "refused"), 1);
    assert_int_equal(rule_number(&r, "answer-not-an-option", "refused"), 1);
    assert_int_equal(rule_number(&r, "bad-record", "refused"), 3);
    import_free(&r);
    /* one name in two folders: ids stay unique */
    assert_int_equal(tr_directory_make(scratch_path("second"), NULL), TR_OK);
    const text_file twice[] = {{"charades_sta_test.txt", "AAAAA 1 2##a\n"},
                               {"second/charades_sta_test.txt", "AAAAA 1 2##b\n"}};
    assert_int_equal(import_texts(&r, "charades-sta", NULL, twice, 2), TR_OK);
    assert_string_equal(r.rows.items[1].id, "charades-sta/charades_sta_test-2/1");
    import_free(&r);
}

/* ---- damaged and wrong files ---- */

static void damaged_files_are_errors_with_a_place(void **state)
{
    (void)state;
    static const struct {
        const char *source, *task;
        text_file file;
        tr_status code;
        const char *where, *says;
    } damaged[] = {
        {"activitynet-captions",
         NULL,
         {"cut.json", "{\"a\": {\n \"duration\": 10, \"times"},
         TR_FORMAT,
         "cut.json:2:",
         ""},
        {"qvhighlights",
         NULL,
         {"cut.jsonl", "{\"qid\": 1, \"query\": \"q\", \"vid\": \"v\"}\n{\"qid\": 2, \"qu"},
         TR_FORMAT,
         "cut.jsonl:2:",
         ""},
        {"qvhighlights", NULL, {"nan.jsonl", "{\"qid\": 1, \"duration\": NaN}\n"}, TR_FORMAT, "nan.jsonl:1:", ""},
        {"museg", NULL, {"utf8.jsonl", "{\"problem\": \"\xff\"}\n"}, TR_FORMAT, "utf8.jsonl:1:", ""},
        {"hacs", NULL, {"twice.json", "{\"database\": {}, \"database\": {}}"}, TR_FORMAT, "twice.json:1:", ""},
        {"next-gqa",
         NULL,
         {"open.csv", "video_id,question\n1,\"never closed\n2,x\n"},
         TR_FORMAT,
         "open.csv:2:3",
         "quote"},
        {"next-gqa", NULL, {"other.csv", "a,b\n1,2\n"}, TR_FORMAT, "other.csv", "video_id"},
        {"thumos14", NULL, {"other.csv", "a,b\n1,2\n"}, TR_FORMAT, "other.csv", "t-init"},
        {"activitynet-1.3", NULL, {"other.csv", "a,b\n1,2\n"}, TR_FORMAT, "other.csv", "video_info_new.csv"},
        {"charades-sta", NULL, {"other.csv", "a,b\n1,2\n"}, TR_FORMAT, "other.csv", "length"},
        {"mmvu", NULL, {"number.json", "3"}, TR_FORMAT, "number.json", ""},
        {"mmvu", NULL, {"list.json", "[{\"a\": 1}]"}, TR_FORMAT, "list.json", "bad-record"},
        {"mmvu", NULL, {"empty.json", "[]"}, TR_FORMAT, "empty.json", "validation.json"},
        {"mmvu", NULL, {"empty.jsonl", ""}, TR_FORMAT, "empty.jsonl", "no records"},
        {"video-mme", NULL, {"test.parquet", "PAR1"}, TR_UNSUPPORTED, "test.parquet", "to_json"},
        {"tacos", "tal", {"train.json", "{}"}, TR_INVALID, "tacos", "tg,dtg"},
    };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        imported r;
        tr_status status = import_texts(&r, damaged[i].source, damaged[i].task, &damaged[i].file, 1);
        if (status != damaged[i].code || !strstr(r.err.where, damaged[i].where) ||
            !strstr(r.err.message, damaged[i].says)) {
            fail_msg("%s: status %d, %s: %s", damaged[i].file.name, status, r.err.where, r.err.message);
        }
        import_free(&r);
    }
    const char *absent[] = {"absent.json"};
    imported r;
    assert_int_equal(import_files(&r, "mmvu", NULL, absent, 1), TR_NOT_FOUND);
    assert_int_equal(import_files(&r, "nothing", NULL, absent, 1), TR_INVALID);
}

/* A cell may hold commas, quotes and line ends; the record's place is its last line. */
static void tables(void **state)
{
    (void)state;
    const text_file files[] = {{"val.csv", "\xEF\xBB\xBFvideo_id,question,answer,qid,a0,a1,a2,a3,a4\n"
                                           "1,\"first\nsecond, \"\"quoted\"\"\",b,0,a,b,c,d,e\n"
                                           "1,too,few\n"}};
    imported r;
    assert_int_equal(import_texts(&r, "next-gqa", "qa", files, 1), TR_OK);
    assert_int_equal(r.rows.count, 1);
    assert_string_equal(json_string_value(json_object_get(r.rows.items[0].json, "question")),
                        "first\nsecond, \"quoted\"");
    assert_string_equal(json_string_value(example(&r, "bad-record")),
                        "val.csv:4: 3 columns where the header has 9");
    import_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_source_in_its_published_form),
        cmocka_unit_test(rules_of_times),
        cmocka_unit_test(rules_of_answers_and_ids),
        cmocka_unit_test(damaged_files_are_errors_with_a_place),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
