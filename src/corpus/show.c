/* show.c: the strip of one row as SVG.
 *
 *   id, task, video                    one line
 *   the question, its options          wrapped
 *   | f | f | f | f | f | f | f |      frames, evenly over the clip
 *    \   \   |   |   |   /   /         from each frame to its time
 *   0    5    10   15   20   25  s     the axis
 *      [=====]    [==]                 truths: one lane for each query, overlapping ones below each other
 *      [ answer ]                      answers, if there are any
 */
#include "corpus/show.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "video/clip.h"
#include "video/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1200, MARGIN = 16, LINE = 18, LEADER = 24, AXIS = 22, LANE = 24, WRAP = 150, CURVE = 44 };
static const double inner = WIDTH - 2 * MARGIN;

void tr_show_defaults(tr_show_options *options)
{
    *options = (tr_show_options){.frames = 12, .quality = 5, .time_limit_s = 300};
}

typedef struct strip {
    const tr_row *row;
    const tr_show_options *options;
    double duration_s;
    double y; /* where the next part begins */
    tr_buffer body;
    tr_error *err;
} strip;

/* ---- text ---- */

static tr_status add_text(strip *s, double x, double y, const char *class, const char *text, size_t count)
{
    tr_status status = tr_buffer_printf(&s->body, s->err, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    char *part = tr_strndup(text, count);
    status = status || part ? status : tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : tr_buffer_add_escaped(&s->body, part, s->err);
    free(part);
    return status ? status : tr_buffer_add_text(&s->body, "</text>\n", s->err);
}

/* Bytes of text that fit into `most` characters, cut at a space where there is one. */
static size_t line_length(const char *text, size_t most)
{
    size_t bytes = 0, characters = 0, space = 0;
    for (; text[bytes] && characters <= most; characters++) {
        space = text[bytes] == ' ' ? bytes : space;
        bytes++;
        while ((text[bytes] & 0xC0) == 0x80) { /* the rest of a UTF-8 character */
            bytes++;
        }
    }
    return !text[bytes] && characters <= most ? bytes : space ? space : bytes;
}

/* Takes away a last character that was cut. */
static void whole_characters(char *text)
{
    size_t n = strlen(text), from = n;
    while (from && n - from < 4 && (text[from - 1] & 0xC0) == 0x80) {
        from--;
    }
    if (from && (text[from - 1] & 0xC0) == 0xC0) {
        unsigned char lead = (unsigned char)text[from - 1];
        size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (n - (from - 1) < need) {
            text[from - 1] = 0;
        }
    }
}

/* A paragraph; moves s->y down. */
static tr_status add_paragraph(strip *s, const char *class, const char *text)
{
    tr_status status = TR_OK;
    do {
        size_t n = line_length(text, WRAP);
        s->y += LINE;
        status = add_text(s, MARGIN, s->y - 4, class, text, n);
        text += n;
        text += *text == ' ';
    } while (!status && *text);
    return status;
}

static tr_status add_head(strip *s)
{
    const tr_row *row = s->row;
    const char *source = json_string_value(json_object_get(row->json, "source"));
    const char *split = json_string_value(json_object_get(row->json, "split"));
    tr_buffer line = {0};
    tr_status status;
    s->y = 6;
    TR_TRY(add_paragraph(s, "id", row->id));
    TR_TRY(tr_buffer_printf(&line, s->err, "%s \xC2\xB7 %s", row->task, row->video));
    if (row->clip_s[1] >= 0) {
        TR_TRY(tr_buffer_printf(&line, s->err, ", %g to %g s", row->clip_s[0], row->clip_s[1]));
    }
    if (s->duration_s > 0) {
        TR_TRY(tr_buffer_printf(&line, s->err, " \xC2\xB7 %.2f s", s->duration_s));
    }
    if (source || split) {
        TR_TRY(tr_buffer_printf(&line, s->err, " \xC2\xB7 %s%s%s", source ? source : "",
                                source && split ? ", " : "", split ? split : ""));
    }
    TR_TRY(add_paragraph(s, "small", tr_buffer_text(&line)));
done:
    tr_buffer_free(&line);
    return status;
}

static tr_status add_question(strip *s)
{
    static const char *const keys[] = {"query", "action", "question"};
    const json_t *options = json_object_get(s->row->json, "options");
    const char *answer = json_string_value(json_object_get(s->row->json, "answer"));
    tr_status status = TR_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = json_string_value(json_object_get(s->row->json, keys[i]));
        if (text) {
            TR_TRY(add_paragraph(s, "question", text));
        }
    }
    for (size_t i = 0; i < json_array_size(options); i++) {
        const char *option = json_string_value(json_array_get(options, i));
        bool right = answer && option && (!strcmp(answer, option) || (answer[0] == (char)('A' + i) && !answer[1]));
        char *line =
            tr_format("%s %c. %s", right ? "\xE2\x9C\x93" : "\xE2\x80\x83", (char)('A' + i), option ? option : "");
        status = line ? add_paragraph(s, right ? "right" : "option", line)
                      : tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
        free(line);
        TR_TRY(status);
    }
done:
    return status;
}

/* ---- frames ---- */

static tr_status add_base64(tr_buffer *out, const tr_buffer *bytes, tr_error *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = (const unsigned char *)bytes->data;
    tr_status status = TR_OK;
    for (size_t i = 0; i < bytes->length && !status; i += 3) {
        size_t n = bytes->length - i < 3 ? bytes->length - i : 3;
        unsigned v = (unsigned)b[i] << 16 | (n > 1 ? (unsigned)b[i + 1] << 8 : 0) | (n > 2 ? b[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};
        status = tr_buffer_add(out, four, 4, err);
    }
    return status;
}

static double time_x(const strip *s, double time_s)
{
    double share = s->duration_s > 0 ? time_s / s->duration_s : 0;
    return MARGIN + inner * (share < 0 ? 0 : share > 1 ? 1 : share);
}

static tr_status add_frames(strip *s, const tr_clip *clip)
{
    double slot = inner / clip->frame_count, width = slot - 3, height = width * clip->height / clip->width;
    size_t bytes = 3 * (size_t)clip->height * (size_t)clip->width;
    tr_buffer picture = {0};
    tr_status status = TR_OK;
    for (int i = 0; i < clip->frame_count; i++) {
        double x = MARGIN + slot * i + 1.5, middle = x + width / 2, at = time_x(s, clip->seconds[i]);
        tr_buffer_clear(&picture);
        TR_TRY(tr_image_jpeg(clip->pixels + (size_t)i * bytes, clip->width, clip->height, (int)s->options->quality,
                             &picture, s->err));
        TR_TRY(tr_buffer_printf(&s->body, s->err,
                                "<image x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                                "href=\"data:image/jpeg;base64,",
                                x, s->y + 6, width, height));
        TR_TRY(add_base64(&s->body, &picture, s->err));
        TR_TRY(tr_buffer_printf(&s->body, s->err,
                                "\"><title>frame %lld, %.3f s</title></image>\n"
                                "<path class=\"leader\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n",
                                (long long)clip->frames[i], clip->seconds[i], middle, s->y + 7 + height, at,
                                s->y + 6 + height + LEADER));
    }
    s->y += 6 + height + LEADER;
done:
    tr_buffer_free(&picture);
    return status;
}

static tr_status open_clip(const strip *s, tr_clip **clip)
{
    const tr_row *row = s->row;
    tr_video_options o = tr_video_options_default();
    double area = inner / (double)s->options->frames * 1.6; /* sharp on fine screens too */
    area = area * area * 0.7;
    o.fps = 1000; /* the limits of the number decide */
    o.min_frames = o.max_frames = (int)s->options->frames;
    o.min_pixels = 784;
    o.total_pixels = (int64_t)fmax(784, area * (double)s->options->frames / 2);
    o.time_limit_s = s->options->time_limit_s;
    if (row->clip_s[1] >= 0) {
        o.start_s = row->clip_s[0];
        o.end_s = row->clip_s[1];
    }
    char *path = tr_row_video_path(row, s->options->videos);
    tr_status status =
        path ? tr_clip_open(path, &o, NULL, clip, s->err) : tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
    free(path);
    return status;
}

/* ---- the axis and what stands on it ---- */

static double tick_step(double duration_s)
{
    static const double steps[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600};
    size_t last = sizeof steps / sizeof *steps - 1;
    for (size_t i = 0; i < last; i++) {
        if (duration_s / steps[i] <= 16) {
            return steps[i];
        }
    }
    return steps[last] * ceil(duration_s / steps[last] / 16);
}

static tr_status add_axis(strip *s)
{
    double step = tick_step(s->duration_s);
    char text[32];
    tr_status status = tr_buffer_printf(&s->body, s->err, "<path class=\"axis\" d=\"M%d %.1fH%d\"/>\n", MARGIN,
                                        s->y, WIDTH - MARGIN);
    for (int i = 0; !status && i * step <= s->duration_s * (1 + 1e-9); i++) {
        double x = time_x(s, i * step);
        snprintf(text, sizeof text, "%g%s", i * step, i ? "" : " s");
        status = tr_buffer_printf(&s->body, s->err, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", x, s->y);
        status = status ? status : add_text(s, x, s->y + 17, i ? "tick" : "first tick", text, strlen(text));
    }
    s->y += AXIS;
    return status;
}

static tr_status add_bar(strip *s, tr_interval bar, double y, const char *class)
{
    char text[64];
    double x = time_x(s, bar.start_s), end = time_x(s, bar.end_s), width = fmax(end - x, 1.5);
    snprintf(text, sizeof text, "%.2f to %.2f", bar.start_s, bar.end_s);
    tr_status status =
        tr_buffer_printf(&s->body, s->err,
                         "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"3\">"
                         "<title>%s s</title></rect>\n",
                         class, x, y + 3, width, LANE - 6, text);
    bool inside = width > 90, left = end > WIDTH - MARGIN - 90;
    double at = inside ? x + width / 2 : left ? x - 4 : end + 4;
    status = status ? status
                    : add_text(s, at, y + LANE - 8,
                               inside ? "in label"
                               : left ? "left label"
                                      : "label",
                               text, strlen(text));
    return status;
}

static tr_interval interval_at(const json_t *list, size_t i)
{
    const json_t *pair = json_array_get(list, i);
    return (tr_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
}

/* Bars in as few lanes as their overlaps (and labels) need. */
static tr_status add_bars(strip *s, const json_t *list, const char *class)
{
    size_t n = json_array_size(list), lanes = 0;
    tr_status status = TR_OK;
    tr_interval *bars = tr_calloc(n, sizeof *bars);
    double *ends = tr_calloc(n, sizeof *ends);
    if (!bars || !ends) {
        status = tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        bars[i] = interval_at(list, i);
    }
    tr_interval_sort(bars, n);
    for (size_t i = 0; i < n; i++) {
        size_t lane = 0;
        while (lane < lanes && ends[lane] > time_x(s, bars[i].start_s) + 0.01) {
            lane++;
        }
        lanes += lane == lanes;
        double end = time_x(s, bars[i].end_s), wide = end - time_x(s, bars[i].start_s);
        ends[lane] = end + (wide > 90 ? 2 : 90);
        TR_TRY(add_bar(s, bars[i], s->y + LANE * (double)lane, class));
    }
    s->y += LANE * (double)lanes;
done:
    free(bars);
    free(ends);
    return status;
}

static tr_status add_truth(strip *s)
{
    const json_t *queries = json_object_get(s->row->json, "queries");
    const json_t *segments = json_object_get(s->row->json, "segments");
    tr_status status = TR_OK;
    if (!json_is_array(queries)) {
        return json_array_size(segments) ? add_bars(s, segments, "truth") : TR_OK;
    }
    for (size_t i = 0; i < json_array_size(segments); i++) {
        const char *query = json_string_value(json_array_get(queries, i));
        char *line = tr_format("%zu. %s", i + 1, query ? query : "");
        status = line ? add_paragraph(s, "question", line) : tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
        free(line);
        TR_TRY(status);
        TR_TRY(add_bar(s, interval_at(segments, i), s->y, "truth"));
        s->y += LANE;
    }
done:
    return status;
}

/* One number of each window: a mean where several people rated it. */
static double rating(const json_t *item)
{
    double sum = 0;
    size_t n = json_array_size(item);
    for (size_t i = 0; i < n; i++) {
        sum += json_number_value(json_array_get(item, i));
    }
    return n ? sum / (double)n : json_number_value(item);
}

/* Columns of a row's "saliency": one for each window of two seconds, or of equal parts of the clip. */
static tr_status add_saliency(strip *s)
{
    const json_t *list = json_object_get(s->row->json, "saliency");
    size_t n = json_array_size(list);
    double most = 0, window = n ? s->duration_s / (double)n : 0;
    tr_status status = TR_OK;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, rating(json_array_get(list, i)));
    }
    if (!(most > 0) || !(s->duration_s > 0)) {
        return TR_OK;
    }
    window = (double)n == ceil(s->duration_s / 2) ? 2 : window;
    for (size_t i = 0; !status && i < n; i++) {
        double value = fmax(0, rating(json_array_get(list, i))), height = value / most * (CURVE - 6);
        double x = time_x(s, (double)i * window), end = time_x(s, (double)(i + 1) * window);
        status = tr_buffer_printf(&s->body, s->err,
                                  "<rect class=\"saliency\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                                  "<title>saliency %g</title></rect>\n",
                                  x, s->y + CURVE - height, fmax(0, end - x - 0.5), height, value);
    }
    s->y += CURVE + 2;
    return status;
}

static tr_status add_answers(strip *s)
{
    const json_t *answer = json_object_get(s->options->answers, s->row->id);
    const char *option = json_string_value(json_object_get(answer, "option"));
    option = json_is_string(answer) ? json_string_value(answer) : option;
    answer = json_is_object(answer) ? json_object_get(answer, "segments") : answer;
    tr_status status = TR_OK;
    if (option) {
        char *line = tr_format("answered: %s", option);
        status = line ? add_paragraph(s, "option", line) : tr_fail(s->err, TR_MEMORY, NULL, "out of memory");
        free(line);
    }
    return !status && json_array_size(answer) ? add_bars(s, answer, "answer") : status;
}

/* ---- the whole ---- */

static double last_end(const tr_row *row)
{
    const json_t *segments = json_object_get(row->json, "segments");
    double last = 0;
    for (size_t i = 0; i < json_array_size(segments); i++) {
        last = fmax(last, interval_at(segments, i).end_s);
    }
    return last;
}

/* How long the axis is: the clip's real length, else what the row says, else to the last truth. */
static double axis_length(const tr_row *row, const tr_clip *clip)
{
    bool part = row->clip_s[1] >= 0;
    double length = row->duration_s > 0 ? row->duration_s : part ? row->clip_s[1] - row->clip_s[0] : 0;
    if (clip) {
        length = part ? fmin(row->clip_s[1], clip->duration_s) - row->clip_s[0] : clip->duration_s;
    }
    return length > 0 ? length : fmax(last_end(row), 1);
}

static tr_status add_body(strip *s, const tr_clip *clip, const char *reason)
{
    tr_status status;
    TR_TRY(add_head(s));
    TR_TRY(add_question(s));
    if (clip) {
        TR_TRY(add_frames(s, clip));
    } else {
        TR_TRY(add_paragraph(s, "wrong", reason));
        s->y += 8;
    }
    TR_TRY(add_axis(s));
    TR_TRY(add_truth(s));
    TR_TRY(add_saliency(s));
    TR_TRY(add_answers(s));
    s->y += 8;
done:
    return status;
}

tr_status tr_show_strip(const tr_row *row, const tr_show_options *options, tr_buffer *svg, char reason[320],
                        tr_error *err)
{
    static const char *const style =
        "text{font-family:sans-serif;font-size:13px;fill:#222}.id{font-weight:600}.small,.option{fill:#555}."
        "question{font-style:italic}.right{fill:#1c7a33;font-weight:600}.wrong{fill:#b8323a}.tick{font-size:11px;"
        "fill:#555;text-anchor:middle}.first{text-anchor:start}.label{font-size:11px;fill:#333}.left{text-anchor:"
        "end}.in{text-anchor:middle;fill:#fff}path{fill:none}.axis{stroke:#666}.leader{stroke:#bbb}.truth{fill:#"
        "2a8f3c}.answer{fill:#d1650f}.saliency{fill:#7a55b0}";
    tr_error why = {0};
    tr_clip *clip = NULL;
    char text[320] = "";
    strip s = {.row = row, .options = options, .err = &why};
    tr_status status = open_clip(&s, &clip);
    if (status == TR_MEMORY && !clip && !why.where[0]) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    if (status) {
        snprintf(text, sizeof text, "no frames: %s", why.message);
        whole_characters(text);
        whole_characters(why.message);
    }
    s.err = err;
    s.duration_s = axis_length(row, clip);
    TR_TRY(add_body(&s, clip, text));
    TR_TRY(tr_buffer_printf(
        svg, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
        "height=\"%.0f\">\n<style>%s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        WIDTH, s.y, WIDTH, s.y, style));
    TR_TRY(tr_buffer_add(svg, s.body.data, s.body.length, err));
    TR_TRY(tr_buffer_add_text(svg, "</svg>\n", err));
done:
    if (reason) {
        snprintf(reason, 320, "%s", text[0] ? why.message : "");
    }
    tr_clip_free(clip);
    tr_buffer_free(&s.body);
    return status;
}
