/* status.c: status texts and error details. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef tr_fail /* the analyser's */

const char *tr_status_text(tr_status code)
{
    switch (code) {
#define X(name, text)                                                                                              \
    case TR_##name:                                                                                                \
        return text;
        TR_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

tr_status tr_fail(tr_error *err, tr_status code, const char *where, const char *format, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, format);
        err->code = code;
        vsnprintf(err->message, sizeof err->message, format, ap);
        va_end(ap);
        snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    }
    return code;
}

tr_status tr_fail_context(tr_error *err, tr_status fallback, const char *format, ...)
{
    if (!err) {
        return fallback;
    }
    char text[sizeof err->message];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    snprintf(text + used, sizeof text - used, ": %s", err->message);
    memcpy(err->message, text, sizeof text);
    return err->code ? err->code : fallback;
}

tr_status tr_fail_where(tr_error *err, tr_status fallback, const char *format, ...)
{
    if (!err) {
        return fallback;
    }
    if (!err->where[0]) {
        va_list ap;
        va_start(ap, format);
        vsnprintf(err->where, sizeof err->where, format, ap);
        va_end(ap);
    }
    return err->code ? err->code : fallback;
}
