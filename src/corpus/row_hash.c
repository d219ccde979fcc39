/* row_hash.c: a name for what a row asks and holds true, so that results can be held against their rows. */
#include "corpus/rows.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

/* Fields that tools add to rows and that change nothing of the question: a selection's. */
static const char *const added[] = {"difficulty", "score", "selection"};

void tr_row_hash(const json_t *row, char hash[17])
{
    json_t *copy = json_copy((json_t *)(uintptr_t)row);
    for (size_t i = 0; copy && i < sizeof added / sizeof *added; i++) {
        json_object_del(copy, added[i]);
    }
    char *text = copy ? json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)) : NULL;
    snprintf(hash, 17, "%016llx", text ? (unsigned long long)tr_hash(text, strlen(text)) : 0ull);
    free(text);
    json_decref(copy);
}
