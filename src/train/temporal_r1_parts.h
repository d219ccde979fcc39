/* temporal_r1_parts.h: what the translation of Temporal-R1's settings shares (temporal_r1.c: files and command
 * line, temporal_r1_rules.c: what becomes of each setting). Not for users of temporal_r1.h. */
#ifndef TR_TRAIN_TEMPORAL_R1_PARTS_H
#define TR_TRAIN_TEMPORAL_R1_PARTS_H

#include "train/temporal_r1.h"

typedef struct tr_r1_translation {
    const char *path;       /* of the settings */
    json_t *theirs;         /* the settings, command line included */
    json_t *ours;           /* what comes of them: {"grpo": {...}} */
    const char *const *own; /* words that are keys of ours */
    size_t own_count;
    tr_temporal_r1 *run;
    char *out; /* absolute */
    int64_t rows;
    tr_error *err;
} tr_r1_translation;

/* The value under "a.b.c" (borrowed), NULL when there is none; and setting it, making the objects above it (takes
 * value). */
json_t *tr_r1_at(const json_t *root, const char *path);
void tr_r1_put(json_t *root, const char *path, json_t *value);

/* Settings of theirs. */
const char *tr_r1_text(const tr_r1_translation *t, const char *path, const char *fallback);
double tr_r1_number(const tr_r1_translation *t, const char *path, double fallback);
/* The value that a word on the command line gives to this key of ours; NULL: none does. */
const char *tr_r1_own(const tr_r1_translation *t, const char *key);

/* A value as it is printed: texts without quotes, at most 60 bytes. */
void tr_r1_print(const json_t *value, char *out, size_t size);

/* Lists what became of a setting (value NULL: it has none); and the same with setting a key of ours (takes mine).
 */
void tr_r1_list(tr_r1_translation *t, const char *key, const json_t *value, const char *became, const char *as,
                const char *why);
void tr_r1_take(tr_r1_translation *t, const char *key, const json_t *value, const char *our_key, json_t *mine,
                const char *why);

/* Every setting below object, by the table. prefix "": the root. */
tr_status tr_r1_all(tr_r1_translation *t, const json_t *object, const char *prefix);

#endif
