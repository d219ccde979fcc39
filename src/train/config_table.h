/* config_table.h: the table of configuration keys, shared by the reader (config.c) and the writers
 * (config_write.c). */
#ifndef TR_TRAIN_CONFIG_TABLE_H
#define TR_TRAIN_CONFIG_TABLE_H

#include "train/config.h"

typedef enum tr_key_kind {
    TR_KEY_TEXT,    /* char * */
    TR_KEY_PATH,    /* char *, resolved */
    TR_KEY_NAME,    /* char *, a name; resolved when it is a path (has a '/' or ends with .yaml) */
    TR_KEY_INT,     /* int64_t */
    TR_KEY_NUMBER,  /* double */
    TR_KEY_BYTES,   /* uint64_t: 20G, 512M, or a number */
    TR_KEY_CHOICE,  /* int: place in `choices` */
    TR_KEY_PAIR,    /* double[2] */
    TR_KEY_BOOL,    /* bool */
    TR_KEY_PARTS,   /* unsigned: one bit for each of `choices` */
    TR_KEY_LORA,    /* tr_config_lora: null or a mapping of tr_lora_keys */
    TR_KEY_MODULES, /* json_t *: a text or a list of texts */
    TR_KEY_DATA     /* tr_data_entry * and size_t behind it by table */
} tr_key_kind;

typedef struct tr_key {
    const char *name; /* "rollout.group" */
    tr_key_kind kind;
    size_t offset;        /* in tr_config, or tr_data_entry */
    const char *fallback; /* YAML text of the default; NULL: the key is required */
    double min, max;      /* inclusive, both 0: any */
    const char *choices;  /* "a|b|c" */
    const char *help;
} tr_key;

extern const tr_key tr_config_keys[];
extern const size_t tr_config_keys_count;
extern const tr_key tr_data_keys[]; /* of one entry of data: and eval: */
extern const size_t tr_data_keys_count;

extern const tr_key tr_lora_keys[]; /* of train.lora */
extern const size_t tr_lora_keys_count;

/* preset.c: the names of grpo.preset, and what a preset (or, without one that says it, the way of making
 * advantages) puts in the place of a key's default; NULL: nothing. */
#define TR_PRESETS                                                                                                 \
    "tempr1|grpo|temporal-r1|dr-grpo|dapo|gspo|cispo|gdpo|rloo|reinforce++|reinforce++-baseline|ema-grpo|"         \
    "tempsamp-r1|time-r1|timelens"
const char *tr_config_preset_value(const tr_config *config, const char *key);
/* Refuses settings of grpo that contradict each other: *first and *second are the two keys, the message in `why`
 * names both. */
bool tr_config_contradiction(const tr_config *config, const char **first, char *why, size_t size);

/* Number of data entries of a TR_KEY_DATA key. */
size_t *tr_config_data_count(tr_config *config, const tr_key *key);

/* "an integer", "one of a, b, c", ...; static ring of buffers. */
const char *tr_key_type(const tr_key *key);

/* The i-th name of choices "a|b|c" into out; false behind the last. */
bool tr_key_choice(const tr_key *key, int i, char *out, size_t size);

/* config_override.c: lays "a.b=value" texts over root; in_stages: only `stages` and what is below it, else only the
 * others. Notes the keys in `overridden`. */
tr_status tr_config_override(json_t *root, const char *const *texts, size_t count, bool in_stages,
                             json_t *overridden, tr_error *err);
/* Values of `over` replace those of `base`; mappings are joined. */
void tr_config_lay_over(json_t *base, json_t *over);

#endif
