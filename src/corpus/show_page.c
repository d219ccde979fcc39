/* show_page.c: the files of `data show`: one strip for each row, and the page that lists them. */
#include "corpus/show.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* "0007-video_3.svg": letters, digits, dot, dash and underscore of the id. */
static void strip_name(size_t index, const char *id, char name[96])
{
    int n = snprintf(name, 96, "%04zu-", index + 1);
    for (; *id && n < 80; id++) {
        unsigned char c = (unsigned char)*id;
        name[n++] = (char)(c < 0x80 && (isalnum(c) || strchr("._-", c)) ? c : '_');
    }
    snprintf(name + n, (size_t)(96 - n), ".svg");
}

static tr_status begin_page(const char *title, size_t count, tr_buffer *page, tr_error *err)
{
    tr_status status;
    TR_TRY(
        tr_buffer_add_text(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", err));
    TR_TRY(tr_buffer_add_escaped(page, title, err));
    TR_TRY(tr_buffer_printf(
        page, err,
        "</title>\n<style>body{font-family:sans-serif;margin:1em auto;max-width:1230px;color:#222}"
        "img{max-width:100%%;border:1px solid #ddd;margin:0 0 "
        "1em;display:block}input,select{font:inherit;padding:.2em}"
        "header{position:sticky;top:0;background:#fff;padding:.5em 0}</style></head>\n<body><header><b>"));
    TR_TRY(tr_buffer_add_escaped(page, title, err));
    TR_TRY(tr_buffer_printf(page, err,
                            "</b>: %zu rows, truths green, answers orange, saliency violet \n"
                            "<select id=\"task\"><option value=\"\">all "
                            "tasks</option><option>tg</option><option>dtg</option><option>vhd</"
                            "option><option>gvqa</option><option>tal</option><option>qa</option></select> "
                            "<input id=\"text\" placeholder=\"id or words\"> <span id=\"left\"></span></header>\n",
                            count));
done:
    return status;
}

/* What the search box looks through: the id and every text of the question. */
static tr_status add_words(const tr_row *row, tr_buffer *page, tr_error *err)
{
    static const char *const keys[] = {"id", "video", "query", "action", "question", "queries"};
    tr_status status = TR_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) {
        const json_t *value = json_object_get(row->json, keys[i]);
        if (json_is_string(value)) {
            status = tr_buffer_add_escaped(page, json_string_value(value), err);
            status = status ? status : tr_buffer_add(page, " ", 1, err);
        }
        for (size_t k = 0; k < json_array_size(value) && !status; k++) {
            const char *text = json_string_value(json_array_get(value, k));
            status = tr_buffer_add_escaped(page, text ? text : "", err);
            status = status ? status : tr_buffer_add(page, " ", 1, err);
        }
    }
    return status;
}

static tr_status add_entry(const tr_row *row, const char *file, tr_buffer *page, tr_error *err)
{
    tr_status status;
    TR_TRY(tr_buffer_printf(page, err, "<a href=\"strips/%s\" data-task=\"%s\" data-words=\"", file, row->task));
    TR_TRY(add_words(row, page, err));
    TR_TRY(tr_buffer_printf(page, err, "\"><img loading=\"lazy\" src=\"strips/%s\" alt=\"", file));
    TR_TRY(tr_buffer_add_escaped(page, row->id, err));
    TR_TRY(tr_buffer_add_text(page, "\"></a>\n", err));
done:
    return status;
}

static tr_status end_page(const char *path, tr_buffer *page, tr_error *err)
{
    tr_status status = tr_buffer_add_text(
        page,
        "<script>\nconst task = document.getElementById('task'), text = document.getElementById('text');\n"
        "function choose() {\n  let left = 0;\n  for (const a of document.querySelectorAll('a[data-task]')) {\n"
        "    const shown = (!task.value || a.dataset.task === task.value) &&\n"
        "      a.dataset.words.toLowerCase().includes(text.value.toLowerCase());\n"
        "    a.hidden = !shown;\n    a.style.display = shown ? '' : 'none';\n    left += shown;\n  }\n"
        "  document.getElementById('left').textContent = left + ' shown';\n}\n"
        "task.oninput = text.oninput = choose;\nchoose();\n</script></body></html>\n",
        err);
    return status ? status : tr_file_write_atomic(path, tr_buffer_text(page), page->length, err);
}

static tr_status write_strip(const tr_row *row, size_t index, const tr_show_options *options, const char *folder,
                             tr_buffer *page, json_t *report, tr_error *err)
{
    char name[96], reason[320];
    tr_buffer svg = {0};
    char *path = NULL;
    tr_status status;
    strip_name(index, row->id, name);
    TR_TRY(tr_show_strip(row, options, &svg, reason, err));
    if (!(path = tr_path_join(folder, name))) {
        status = tr_fail(err, TR_MEMORY, folder, "out of memory");
        goto done;
    }
    TR_TRY(tr_file_write_atomic(path, svg.data, svg.length, err));
    TR_TRY(add_entry(row, name, page, err));
    int failed = json_array_append_new(json_object_get(report, "strips"),
                                       json_pack("{s:s, s:s}", "id", row->id, "file", name));
    if (reason[0]) {
        json_t *text = json_string(reason);
        failed |= json_array_append_new(json_object_get(report, "unread"),
                                        json_pack("{s:s, s:o}", "id", row->id, "reason",
                                                  text ? text : json_string("its video cannot be read")));
    }
    status = failed ? tr_fail(err, TR_MEMORY, folder, "out of memory") : TR_OK;
done:
    tr_buffer_free(&svg);
    free(path);
    return status;
}

tr_status tr_show_write(const tr_row *rows, size_t count, const char *title, const tr_show_options *options,
                        const char *out, json_t **report, tr_error *err)
{
    tr_buffer page = {0};
    tr_progress progress;
    tr_status status;
    char *folder = tr_path_join(out, "strips"), *index = tr_path_join(out, "index.html");
    *report = json_pack("{s:s, s:I, s:[], s:[]}", "out", out, "rows", (json_int_t)count, "strips", "unread");
    if (!folder || !index || !*report) {
        status = tr_fail(err, TR_MEMORY, out, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_make(folder, err));
    TR_TRY(begin_page(title, count, &page, err));
    tr_progress_begin(&progress, "strips", (int64_t)count);
    for (size_t i = 0; i < count; i++) {
        TR_TRY(write_strip(&rows[i], i, options, folder, &page, *report, err));
        tr_progress_update(&progress, (int64_t)i + 1, NULL);
    }
    tr_progress_end(&progress, NULL);
    TR_TRY(end_page(index, &page, err));
done:
    if (status) {
        json_decref(*report);
        *report = NULL;
    }
    tr_buffer_free(&page);
    free(folder);
    free(index);
    return status;
}
