/* status.h: how every function of the library says that it failed.
 *
 * A function that can fail returns tr_status (0 is success) and writes its results through out-parameters.
 * Detail goes into a tr_error that the caller owns: what object, what was expected, what was found, what to do.
 * Library code never exits, never aborts on data and never prints to stdout. */
#ifndef TR_BASE_STATUS_H
#define TR_BASE_STATUS_H

#include <stddef.h>

#define TR_STATUS_LIST(X)                                                                                          \
    X(OK, "ok")                                                                                                    \
    X(INVALID, "invalid argument or value") /* the caller's value is wrong                                */       \
    X(FORMAT, "malformed input")            /* a file or text does not have the form it must have         */       \
    X(NOT_FOUND, "not found")               /* a file, key, tensor or row is absent                       */       \
    X(IO, "input/output error")             /* the operating system refused: disk full, permission, ...   */       \
    X(MEMORY, "out of memory")              /* an allocation failed or a planned budget is too small      */       \
    X(UNSUPPORTED, "unsupported")           /* well-formed, but this build or machine cannot do it        */       \
    X(MISMATCH, "mismatch")                 /* two inputs that must fit each other do not                 */       \
    X(NUMERIC, "non-finite number")         /* NaN or infinity where a finite number is needed            */       \
    X(TIMEOUT, "time limit exceeded")       /* a child process or a wait took too long                    */       \
    X(INTERRUPTED, "interrupted")           /* the user asked to stop                                     */       \
    X(CHILD, "child process failed")        /* the decoder process crashed or was killed                  */       \
    X(LOCKED, "in use by another process")

typedef enum tr_status {
#define X(name, text) TR_##name,
    TR_STATUS_LIST(X)
#undef X
} tr_status;

/* Detail of a failure. Owned by the caller; `tr_error e = {0};` is an empty one. Every function takes NULL
 * for "no detail wanted". */
typedef struct tr_error {
    tr_status code;
    char message[1024]; /* one line, no trailing newline or full stop */
    char where[512];    /* file, file:line:column, tensor, "12.5 s", ...; empty when nothing fits */
} tr_error;

/* The short text of a code; never NULL. */
const char *tr_status_text(tr_status code);

/* Fills err (if not NULL) and returns code, so that a failing function ends with `return tr_fail(...)`.
 * where may be NULL. */
tr_status tr_fail(tr_error *err, tr_status code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the message of an error that is passed on; returns err's code (or fallback when err
 * is NULL). Keeps where. */
tr_status tr_fail_context(tr_error *err, tr_status fallback, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets err->where to a formatted place if it is still empty; returns err's code (or fallback when err is NULL). */
tr_status tr_fail_where(tr_error *err, tr_status fallback, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Evaluates a call; on failure stores its code in the local `status` and goes to `done`. */
#define TR_TRY(call)                                                                                               \
    do {                                                                                                           \
        if ((status = (call)) != TR_OK) {                                                                          \
            goto done;                                                                                             \
        }                                                                                                          \
    } while (0)

/* The analyser sees one file at a time and would take a failure for TR_OK. */
#ifdef __clang_analyzer__
#define tr_fail(err, code, ...) ((void)tr_fail(err, code, __VA_ARGS__), (code))
#endif

#endif
