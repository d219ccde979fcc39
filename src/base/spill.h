/* spill.h: memory that lives in a file without a name.
 *
 * Pieces are used like any other memory. tr_spill_release takes a piece's pages out of the resident set while their
 * content stays in the file (the kernel keeps what it can in its page cache and writes the rest out); the next use
 * brings them back. For large state that is used rarely: optimiser moments, a reference model. The space is
 * reserved when the file is made, so a full disk is an error there and never a signal later.
 *
 * Not thread safe, tr_spill_release and tr_spill_holds aside. A folder on tmpfs works but saves nothing. */
#ifndef TR_BASE_SPILL_H
#define TR_BASE_SPILL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct tr_spill {
    char *block;       /* NULL: none */
    size_t size, used; /* bytes */
} tr_spill;

/* Makes a file of `bytes` in folder and removes its name at once: it is gone when the program ends, however it
 * ends. */
tr_status tr_spill_open(tr_spill *spill, const char *folder, size_t bytes, tr_error *err);
void tr_spill_close(tr_spill *spill);

/* A zeroed piece, aligned to a page; NULL when the rest is too small. Bytes it uses: tr_spill_need. */
void *tr_spill_take(tr_spill *spill, size_t bytes);
size_t tr_spill_need(size_t bytes);

bool tr_spill_holds(const tr_spill *spill, const void *piece);

/* Whole pages inside [piece, piece + bytes) leave the resident set. Nothing happens for memory outside the spill.
 */
void tr_spill_release(const tr_spill *spill, const void *piece, size_t bytes);

#endif
