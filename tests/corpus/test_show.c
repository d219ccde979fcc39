/* test_show.c: strips: bars where the times say, text that stays text, pictures that decode to the frames they
 * hold. */
#include "support/shared.h"

#include "base/file.h"
#include "corpus/show.h"
#include "video/image.h"

#include <libavcodec/avcodec.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tr_buffer svg;

/* The strip of a row without a video. */
static const char *draw(const char *text, const json_t *answers, char reason[320])
{
    json_t *json = NULL;
    tr_row row;
    tr_error err = {0};
    tr_show_options o;
    tr_show_defaults(&o);
    o.videos = scratch_path("");
    o.answers = answers;
    if (tr_json_parse(text, strlen(text), "row", 0, &json, &err) || tr_row_from_json(json, "row", 1, &row, &err)) {
        fail_msg("%s: %s: %s", text, err.where, err.message);
    }
    tr_buffer_clear(&svg);
    assert_int_equal(tr_show_strip(&row, &o, &svg, reason, &err), TR_OK);
    tr_row_free(&row);
    return tr_buffer_text(&svg);
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) {
        count++;
    }
    return count;
}

/* x, y and width of the index-th rectangle of a class. */
static void rectangle(const char *text, const char *class, size_t index, double out[3])
{
    char head[64];
    snprintf(head, sizeof head, "<rect class=\"%s\"", class);
    for (size_t i = 0; text && i <= index; i++) {
        text = strstr(text + (i > 0), head);
    }
    assert_non_null(text);
    assert_int_equal(sscanf(text + strlen(head), " x=\"%lf\" y=\"%lf\" width=\"%lf\"", &out[0], &out[1], &out[2]),
                     3);
}

static void test_bars(void **state)
{
    (void)state;
    char reason[320];
    double a[3], b[3], c[3];
    const char *text =
        draw("{\"id\":\"x\",\"task\":\"tal\",\"video\":\"none.mp4\",\"duration\":50,\"action\":\"jump\","
             "\"segments\":[[25,50],[0,5],[30,40]]}",
             NULL, reason);
    assert_non_null(strstr(reason, "cannot open the video"));
    assert_non_null(strstr(text, "no frames: cannot open the video"));
    assert_int_equal(count_of(text, "class=\"truth\""), 3);
    /* 1168 units for 50 s from x = 16; sorted by time */
    rectangle(text, "truth", 0, a);
    rectangle(text, "truth", 1, b);
    rectangle(text, "truth", 2, c);
    assert_true(fabs(a[0] - 16) < 0.06 && fabs(a[2] - 116.8) < 0.06);
    assert_true(fabs(b[0] - (16 + 584)) < 0.06 && fabs(b[2] - 584) < 0.06);
    assert_true(fabs(c[0] - (16 + 700.8)) < 0.06 && fabs(c[2] - 233.6) < 0.06);
    assert_true(a[1] == b[1] && c[1] > b[1]); /* overlapping ones stand below each other */
    assert_non_null(strstr(text, ">30.00 to 40.00 s<"));
}

static void test_queries_and_answers(void **state)
{
    (void)state;
    double a[3], b[3];
    json_t *answers =
        json_pack("{s:[[f,f]], s:{s:s, s:[]}, s:s}", "d", 2.0, 4.0, "g", "option", "C", "segments", "q", "A");
    const char *text =
        draw("{\"id\":\"d\",\"task\":\"dtg\",\"video\":\"v\",\"duration\":8,\"queries\":[\"late one\",\"early "
             "one\"],\"segments\":[[4,8],[0,4]]}",
             answers, NULL);
    rectangle(text, "truth", 0, a); /* in the order of the queries, never by time */
    rectangle(text, "truth", 1, b);
    assert_true(a[0] > b[0] && a[1] < b[1]);
    assert_non_null(strstr(text, "1. late one"));
    rectangle(text, "answer", 0, a);
    assert_true(fabs(a[0] - (16 + 292)) < 0.06 && fabs(a[2] - 292) < 0.06 && a[1] > b[1]);
    text = draw("{\"id\":\"g\",\"task\":\"gvqa\",\"video\":\"v\",\"question\":\"w?\",\"options\":[\"no\",\"yes\"],"
                "\"answer\":"
                "\"yes\",\"segments\":[[1,2]]}",
                answers, NULL);
    assert_non_null(strstr(text, "class=\"right\">\xE2\x9C\x93 B. yes<"));
    assert_non_null(strstr(text, "answered: C"));
    assert_int_equal(count_of(text, "class=\"right\""), 1);
    text = draw("{\"id\":\"q\",\"task\":\"qa\",\"video\":\"v\",\"question\":\"w?\",\"options\":[\"no\",\"yes\"],"
                "\"answer\":\"A\"}",
                answers, NULL);
    assert_non_null(strstr(text, "answered: A"));
    assert_int_equal(count_of(text, "class=\"truth\""), 0);
    json_decref(answers);
}

static void test_saliency(void **state)
{
    (void)state;
    double a[3];
    const char *text =
        draw("{\"id\":\"s\",\"task\":\"vhd\",\"video\":\"v\",\"duration\":7,\"query\":\"q\",\"segments\":[[2,4]],"
             "\"saliency\":[0,[4,2,3],1,0]}",
             NULL, NULL);
    assert_int_equal(count_of(text, "class=\"saliency\""), 4);
    rectangle(text, "saliency", 1, a); /* windows of two seconds */
    assert_true(fabs(a[0] - (16 + 1168 * 2 / 7.0)) < 0.06);
    assert_non_null(strstr(text, "<title>saliency 3</title>"));
}

static void test_text_stays_text(void **state)
{
    (void)state;
    const char *text = draw(
        "{\"id\":\"<b>&\\\"\",\"task\":\"tg\",\"video\":\"a/../<v>.mp4\",\"query\":\"x\\u0001 </text><script>\\n"
        "\\u4f60\\u4f60\\u4f60\",\"segments\":[[1,2]]}",
        NULL, NULL);
    assert_null(strstr(text, "<b>"));
    assert_null(strstr(text, "<script>"));
    assert_null(strchr(text, 1));
    assert_non_null(strstr(text, "&lt;b&gt;&amp;&quot;"));
    assert_non_null(strstr(text, "\xE4\xBD\xA0\xE4\xBD\xA0"));
    char long_text[4000] = "{\"id\":\"x\",\"task\":\"tg\",\"video\":\"v\",\"segments\":[[1,2]],\"query\":\"";
    for (int i = 0; i < 500; i++) {
        strcat(long_text, "\xC3\xA9");
    }
    strcat(long_text, " end\"}");
    text = draw(long_text, NULL, NULL); /* lines of 151 characters at most, never cut within one */
    assert_int_equal(count_of(text, "class=\"question\""), 4);
    for (const char *p = text; (p = strstr(p, "class=\"question\">\xC3")); p++) {
        assert_int_equal((unsigned char)p[17], 0xC3);
    }
    assert_int_equal(count_of(text, "\xC3\xA9"), 500);
}

/* Decodes a JPEG picture with the library's decoder. */
static AVFrame *decode(const tr_buffer *bytes)
{
    AVCodecContext *codec = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_MJPEG));
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    assert_int_equal(avcodec_open2(codec, NULL, NULL), 0);
    assert_int_equal(av_new_packet(packet, (int)bytes->length), 0);
    memcpy(packet->data, bytes->data, bytes->length);
    assert_int_equal(avcodec_send_packet(codec, packet), 0);
    assert_int_equal(avcodec_send_packet(codec, NULL), 0);
    assert_int_equal(avcodec_receive_frame(codec, frame), 0);
    av_packet_free(&packet);
    avcodec_free_context(&codec);
    return frame;
}

/* Smooth ramps: the picture's brightness is JPEG's own formula of the frame's colours, within its quantisation. */
static void test_pictures(void **state)
{
    (void)state;
    const int sizes[][2] = {{56, 28}, {57, 31}, {1, 1}, {640, 360}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int w = sizes[k][0], h = sizes[k][1];
        size_t n = (size_t)w * (size_t)h;
        uint8_t *rgb = malloc(3 * n);
        tr_buffer one = {0}, two = {0};
        for (size_t i = 0; i < n; i++) {
            int x = (int)i % w, y = (int)i / w;
            rgb[i] = (uint8_t)(20 + 200 * x / w);
            rgb[n + i] = (uint8_t)(230 - 200 * y / h);
            rgb[2 * n + i] = 90;
        }
        assert_int_equal(tr_image_jpeg(rgb, w, h, 1, &one, NULL), TR_OK);
        assert_int_equal(tr_image_jpeg(rgb, w, h, 1, &two, NULL), TR_OK);
        assert_int_equal(one.length, two.length);
        assert_memory_equal(one.data, two.data, one.length);
        AVFrame *frame = decode(&one);
        assert_int_equal(frame->width, w);
        assert_int_equal(frame->height, h);
        double sum = 0;
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                size_t i = (size_t)(y * w + x);
                double luma = 0.299 * rgb[i] + 0.587 * rgb[n + i] + 0.114 * rgb[2 * n + i];
                double d = frame->data[0][y * frame->linesize[0] + x] - luma;
                sum += d * d;
            }
        }
        assert_true(sqrt(sum / (double)n) < 2.5); /* limited range instead of full would miss by about 10 */
        /* centre colour differences: 4:2:0, so of the middle of the picture */
        int cx = w / 2, cy = h / 2;
        size_t i = (size_t)(cy * w + cx);
        double cb = 128 - 0.168736 * rgb[i] - 0.331264 * rgb[n + i] + 0.5 * rgb[2 * n + i];
        double cr = 128 + 0.5 * rgb[i] - 0.418688 * rgb[n + i] - 0.081312 * rgb[2 * n + i];
        assert_true(fabs(frame->data[1][cy / 2 * frame->linesize[1] + cx / 2] - cb) < 8);
        assert_true(fabs(frame->data[2][cy / 2 * frame->linesize[2] + cx / 2] - cr) < 8);
        av_frame_free(&frame);
        tr_buffer_free(&one);
        tr_buffer_free(&two);
        free(rgb);
    }
    tr_buffer none = {0};
    tr_error err = {0};
    assert_int_equal(tr_image_jpeg(NULL, 0, 5, 5, &none, &err), TR_INVALID);
    assert_int_equal(tr_image_jpeg(NULL, 5, 5, 32, &none, &err), TR_INVALID);
}

static void test_page(void **state)
{
    (void)state;
    const char *lines =
        "{\"id\":\"a/b c\",\"task\":\"tg\",\"video\":\"v\",\"query\":\"<q>\",\"segments\":[[1,2]]}\n"
        "{\"id\":\"../../etc\",\"task\":\"tal\",\"video\":\"v\",\"action\":\"x\",\"segments\":[]}\n";
    assert_int_equal(tr_file_write_atomic(scratch_path("rows.jsonl"), lines, strlen(lines), NULL), TR_OK);
    tr_row_list list;
    tr_show_options o;
    tr_error err = {0};
    json_t *report;
    tr_show_defaults(&o);
    assert_int_equal(tr_row_list_read(scratch_path("rows.jsonl"), &list, &err), TR_OK);
    assert_int_equal(tr_show_write(list.items, list.count, "<title>", &o, scratch_path("page"), &report, &err),
                     TR_OK);
    assert_int_equal(json_array_size(json_object_get(report, "strips")), 2);
    assert_int_equal(json_array_size(json_object_get(report, "unread")), 2);
    assert_true(tr_file_exists(scratch_path("page/strips/0001-a_b_c.svg")));
    assert_true(tr_file_exists(scratch_path("page/strips/0002-.._.._etc.svg")));
    tr_buffer page = {0};
    assert_int_equal(tr_file_read(scratch_path("page/index.html"), 0, &page, NULL), TR_OK);
    assert_int_equal(count_of(page.data, "data-task=\"tg\""), 1);
    assert_non_null(strstr(page.data, "&lt;q&gt;"));
    tr_buffer_free(&page);
    json_decref(report);
    /* a folder that cannot be made */
    assert_int_equal(tr_show_write(list.items, list.count, "t", &o, scratch_path("rows.jsonl"), &report, &err),
                     TR_NOT_FOUND);
    assert_null(report);
    tr_row_list_free(&list);
}

static int free_buffers(void **state)
{
    (void)state;
    tr_buffer_free(&svg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bars),     cmocka_unit_test(test_queries_and_answers),
        cmocka_unit_test(test_saliency), cmocka_unit_test(test_text_stays_text),
        cmocka_unit_test(test_pictures), cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, free_buffers);
}
