/* sample.h: a corpus row as the model sees it, and the source that training, evaluation and `ask` take rows from.
 *
 * tr_source is an interface (a small table of functions), so that the loops of src/train and src/eval know nothing
 * of files: tr_source_open gives the one that reads corpus rows and clips; tests bring one that lives in memory.
 * sample.c and features.c (clearing, the feature cache) stand apart from source.c (rows and clips).
 *
 * Shapes: a prompt has `prompt` tokens, of which visual_tokens are placeholders; patches [visual.rows][1176] with
 * visual.rows = 4 * visual_tokens. Not thread safe. */
#ifndef TR_INPUT_SAMPLE_H
#define TR_INPUT_SAMPLE_H

#include "base/buffer.h"
#include "base/json.h"
#include "model/network.h"

/* One entry of the configuration's `data` list. Paths are already resolved. */
typedef struct tr_data_entry {
    const char *rows;   /* JSON Lines */
    const char *videos; /* folder in front of each row's "video"; "" when rows hold whole paths */
    double weight;      /* how often each row is drawn in one epoch: 1 once, 0.5 every second one, 2 twice */
    const char *reward; /* scheme: "tempr1", "temporal-r1", ... */
    const char *prompt; /* template: "think", "no-think", ... */
} tr_data_entry;

/* The configuration's `video` block. */
typedef struct tr_video_settings {
    double fps;
    int64_t min_frames, max_frames, total_pixels, min_pixels;
    const char *cache; /* folder; NULL: no cache on disk */
    uint64_t cache_bytes;
    int64_t decoders;     /* clips opened at once ahead of their use; 0: none */
    uint64_t ahead_bytes; /* memory for clips that wait to be used */
} tr_video_settings;

typedef struct tr_source_options {
    const tr_model_config *model; /* shapes, special tokens and positions */
    const char *tokenizer;        /* directory */
    tr_video_settings video;
    const tr_data_entry *entries;
    size_t entry_count;
    bool targets;              /* SFT: rows must have a target, limits.target_tokens is filled */
    const char *target_prompt; /* reserved; NULL */
} tr_source_options;

/* What a response earned. */
enum { TR_SCORE_PARTS = 12 };
typedef struct tr_score {
    int64_t tokens; /* of the response, set before it is scored (the part "length" counts them); 0: not known */
    double reward;
    int part_count;
    struct {
        char name[24]; /* "format", "iou", ... */
        double value;
        double weight; /* in the reward; 0: only said */
    } parts[TR_SCORE_PARTS];
    bool format;     /* the whole response matched its template */
    json_t *parsed;  /* what was understood: owned, NULL when nothing */
    char error[160]; /* why not; empty when parsed */
} tr_score;
void tr_score_clear(tr_score *score);

/* One row, ready for the network. tr_sample_clear frees what it owns and empties it; a zeroed one is empty. */
typedef struct tr_sample {
    int64_t row;         /* index in the source */
    const char *id;      /* the row's id, borrowed from the source */
    const char *task;    /* "tg", ..., borrowed */
    const char *scheme;  /* the entry's reward scheme, borrowed */
    const json_t *truth; /* the whole row, borrowed */
    double duration_s;   /* of the clip: as the row says it, else as its container does */
    double shown_s;      /* what the container holds of it; 0: not known */
    uint64_t clip_key;   /* equal keys mean equal patches: key of the feature cache */

    int32_t *prompt_ids; /* [prompt], owned */
    int64_t prompt;
    int32_t *positions;  /* [3][prompt], owned */
    int32_t (*grids)[3]; /* [visual.grid_count], owned; visual.grids points here */
    tr_visual visual;    /* rows, grids and grid_count are always set; patches only after the source's `patches` */
    float *patches;      /* [visual.rows][1176], owned, NULL until asked for; visual.patches points here */
    float *lent;         /* memory of somebody else's for them, which they are put into when asked for; or NULL */
    int64_t visual_tokens;

    char *target;        /* SFT: the text to learn, owned; NULL unless asked for */
    int32_t *target_ids; /* [target_count] with the end token at the end, owned */
    int64_t target_count;
} tr_sample;
void tr_sample_clear(tr_sample *sample);
/* The memory for a sample's patches, which a source then fills; NULL without memory. */
float *tr_sample_take_patches(tr_sample *sample);
/* Gives the patches back (they are the large part). */
void tr_sample_drop_patches(tr_sample *sample);

/* Upper bounds over all rows, for planning memory before a run. pair_tokens: of what follows the clip in one row,
 * question and target together. */
typedef struct tr_source_limits {
    int64_t patches, largest_grid, prompt_tokens, target_tokens, pair_tokens;
} tr_source_limits;

/* patches and largest_grid alone: the most that one clip can become under the settings. */
void tr_source_video_limits(const tr_video_settings *video, tr_source_limits *limits);

typedef struct tr_source tr_source;
typedef struct tr_source_functions {
    /* Everything but the patches (the clip is opened or found in the cache). target: fill target_ids too. A row
     * that cannot be used (broken clip, absent file, a prompt longer than the context) fails with a message that
     * names it; the caller may go on with another row. sample must be empty. */
    tr_status (*load)(tr_source *source, int64_t row, bool target, tr_sample *sample, tr_error *err);
    /* Fills sample->patches and visual.patches. */
    tr_status (*patches)(tr_source *source, tr_sample *sample, tr_error *err);
    /* Appends the text of response ids, special tokens left out. */
    tr_status (*text)(tr_source *source, const int32_t *ids, int64_t count, tr_buffer *text, tr_error *err);
    /* The reward of a response text (NUL-terminated). stopped: it ended with an end token. score must be empty
     * but for its tokens. */
    tr_status (*score)(tr_source *source, const tr_sample *sample, const char *text, size_t length, bool stopped,
                       tr_score *score, tr_error *err);
    void (*free)(tr_source *source);
    /* The rows that will be loaded next, in this order (it replaces the list given before): their clips are opened
     * meanwhile by other threads. What goes wrong there is said when the row is loaded. NULL: nothing is done. */
    void (*ahead)(tr_source *source, const int64_t *rows, int64_t count);
} tr_source_functions;

struct tr_source {
    const tr_source_functions *call;
    void *self;
    int64_t rows;
    const int32_t *entry;  /* [rows] which entry each row came from; rows of an entry are neighbours */
    const double *weights; /* [entries] */
    const double *scores;  /* [rows] the rows' own "score" (how well a model answered it before), NaN where there is
                              none; NULL: no row has one */
    int64_t entries;
    /* A row as the corpus has it, without opening its clip: borrowed. NULL where rows are no JSON (tests). */
    const json_t *(*json)(const tr_source *source, int64_t row);
    const uint64_t *shared; /* [rows] rows with equal numbers have the same clip behind the same prompt tokens, so
                             * that one forward can serve them all; NULL where no targets were asked for */
    const uint8_t *banned;  /* [model vocab] 1 for ids that must never be sampled: vision specials, ids without a
                               token; NULL bans nothing */
    tr_source_limits limits;
    double decode_s; /* seconds that opening the clips of loaded rows took so far, also ahead and beside the
                      * computing; grows, the loops read differences */
};

/* Opens the rows of all entries: every row is read and checked (file:line in errors), videos must exist, the
 * tokenizer must fit the model. *source is freed by tr_source_free. */
tr_status tr_source_open(const tr_source_options *options, tr_source **source, tr_error *err);
/* One question without a file of rows (`ask`, `serve`): row as in the corpus, without truth. The JSON is copied.
 * A score then holds what was understood; its reward is 0 and it has no parts. */
tr_status tr_source_open_row(const tr_source_options *options, const json_t *row, tr_source **source,
                             tr_error *err);
void tr_source_free(tr_source *source);
/* `ahead` where the source has one. */
void tr_source_ahead(tr_source *source, const int64_t *rows, int64_t count);

/* ---- features: the vision tower's output, kept per clip and weight version (input/features.c) ---- */

typedef struct tr_features tr_features;
/* Keeps up to `bytes` of features (the least recently used leave first; at least one entry always stays). */
tr_status tr_features_create(uint64_t bytes, tr_features **features, tr_error *err);
void tr_features_free(tr_features *features);
/* The features [sample->visual_tokens][hidden] of a sample under the weights called `version`: from memory, or by
 * reading the patches and one vision forward with `network`. Valid until later ones push it out: clips that are
 * needed together must fit `bytes` together. Text-only samples give NULL. *vision_s and *stall_s (may be NULL) grow
 * by the seconds spent. */
tr_status tr_features_get(tr_features *features, tr_network *network, const tr_model_config *model,
                          tr_source *source, tr_sample *sample, uint64_t version, const float **out,
                          double *vision_s, double *stall_s, tr_error *err);

/* The same in two steps, for features that are made beside other work: either *out is what is there (or NULL for a
 * text-only sample) and *to NULL, or *to is the memory for them and the sample has its patches. tr_features_end
 * says that they are made, and then *to is what later calls find, or that they will not be. One at a time. */
tr_status tr_features_begin(tr_features *features, const tr_model_config *model, tr_source *source,
                            tr_sample *sample, uint64_t version, const float **out, float **to, double *stall_s,
                            tr_error *err);
void tr_features_end(tr_features *features, tr_sample *sample, bool made);

#endif
