/* import_rules.c: counting rules with their first places, and reading single values. */
#include "corpus/import_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- rules ---- */

/* A text for the report; bytes that are not UTF-8 (or cut by a buffer's end) become '?'. */
static json_t *safe_string(char *text)
{
    json_t *value = json_string(text);
    if (!value) {
        for (char *c = text; *c; c++) {
            *c = (unsigned char)*c < 0x80 ? *c : '?';
        }
        value = json_string(text);
    }
    return value;
}

static void add_example(tr_import *im, tr_import_rule rule, const char *format, va_list arguments)
{
    char text[1200];
    int n = snprintf(text, sizeof text, "%.500s: ", im->place);
    im->count[rule]++;
    if (!im->examples[rule]) {
        im->examples[rule] = json_array();
    }
    /* one is always kept: the words of a failed import come from it */
    size_t most = im->options->examples > 0 ? (size_t)im->options->examples : 1;
    if (json_array_size(im->examples[rule]) < most) {
        vsnprintf(text + n, sizeof text - (size_t)n, format, arguments);
        json_array_append_new(im->examples[rule], safe_string(text));
    }
}

void tr_import_note(tr_import *im, tr_import_rule rule, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_example(im, rule, format, arguments);
    va_end(arguments);
}

void tr_import_refuse(tr_import *im, tr_import_rule rule, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_example(im, rule, format, arguments);
    va_end(arguments);
    im->records++;
    im->refused[rule]++;
}

/* ---- values ---- */

bool tr_import_number(const char *text, double *out)
{
    char *end;
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t n = strspn(text, "+-.0123456789eE");
    if (!n || n > 60 || strspn(text + n, " \t\r\n") != strlen(text + n)) {
        return false;
    }
    double value = strtod(text, &end);
    if (end != text + n || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool tr_import_value(const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return isfinite(*out);
    }
    return json_is_string(value) && tr_import_number(json_string_value(value), out);
}

const char *tr_import_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

double tr_import_double(const json_t *object, const char *key)
{
    double value = 0;
    return tr_import_value(json_object_get(object, key), &value) ? value : 0;
}

json_t *tr_import_pair(double start_s, double end_s)
{
    return json_pack("[[f,f]]", start_s, end_s);
}

const char *tr_import_mp4(const char *name, char *buffer, size_t size)
{
    static const char *const kinds[] = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".m4v", ".3gp",
                                        ".wmv", ".mpg", ".mpeg", ".ogv", ".ogg", ".ts",  ".mts", ".gif"};
    size_t length = strlen(name);
    if (length + sizeof ".mp4" > size) {
        return name; /* never cut: another video's name could come out */
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i]);
        if (length > n && !strcasecmp(name + length - n, kinds[i])) {
            snprintf(buffer, size, "%s", name);
            return buffer;
        }
    }
    snprintf(buffer, size, "%s.mp4", name);
    return buffer;
}
