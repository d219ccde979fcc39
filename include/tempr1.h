/* tempr1.h: the public C interface of tempr1: rewards, metrics, tokenizer and models for other programs.
 *
 * Link with `pkg-config --cflags --libs tempr1`. Everything here is C (and works from C++); nothing here prints,
 * exits or changes global state unless its comment says so.
 *
 * Failure. A function that can fail returns tempr1_status, 0 (TEMPR1_OK) on success, and writes its results through
 * out-parameters, which are set only on success unless said otherwise. Detail goes into a tempr1_error that the
 * caller owns; NULL stands for "no detail wanted" wherever an error is taken.
 * Units. Times are seconds from the clip's start, float64. Log-probabilities and entropies are natural (nats).
 * Texts are UTF-8. Lengths are bytes; a length that a text needs is given beside it, so texts may hold NUL bytes
 * where a length is taken.
 * Ownership. Handles (tempr1_scheme, ...) are freed by the function named beside them; memory that a function hands
 * out through `char **` or `int32_t **` is freed by tempr1_free. `const char *` results are borrowed and static
 * unless said otherwise. Every free function takes NULL.
 * Threads. Different handles may be used from different threads at once. What one handle allows stands beside it.
 *
 * The library is versioned semantically: programs built against 0.x.y run with later 0.x.z. */
#ifndef TEMPR1_H
#define TEMPR1_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---- */

#define TEMPR1_VERSION_MAJOR 0
#define TEMPR1_VERSION_MINOR 1
#define TEMPR1_VERSION_PATCH 0

/* The library's own version, "0.1.0": may be newer than the header a program was built with. */
const char *tempr1_version(void);

/* ---- errors ---- */

typedef enum tempr1_status {
    TEMPR1_OK,
    TEMPR1_INVALID,     /* the caller's value is wrong */
    TEMPR1_FORMAT,      /* a file or text does not have the form it must have */
    TEMPR1_NOT_FOUND,   /* a file, key, tensor or row is absent */
    TEMPR1_IO,          /* the operating system refused: disk full, permission, ... */
    TEMPR1_MEMORY,      /* an allocation failed or a given arena is too small */
    TEMPR1_UNSUPPORTED, /* well-formed, but this build or machine cannot do it */
    TEMPR1_MISMATCH,    /* two inputs that must fit each other do not */
    TEMPR1_NUMERIC,     /* NaN or infinity where a finite number is needed */
    TEMPR1_TIMEOUT,     /* a child process took too long */
    TEMPR1_INTERRUPTED, /* the user asked to stop */
    TEMPR1_CHILD,       /* the decoder process crashed or was killed */
    TEMPR1_LOCKED       /* in use by another process */
} tempr1_status;

/* Detail of a failure; `tempr1_error e = {0};` is an empty one. */
typedef struct tempr1_error {
    tempr1_status code;
    char message[1024]; /* one line: the object, what was expected, what was found */
    char where[512];    /* file, file:line:column, tensor, ...; empty when nothing fits */
} tempr1_error;

/* The short text of a status; never NULL. */
const char *tempr1_status_text(tempr1_status status);

/* Frees what a function of this header handed out. */
void tempr1_free(void *memory);

/* ---- tasks, intervals and truths ---- */

typedef enum tempr1_task {
    TEMPR1_TASK_TG,   /* temporal grounding: one query, one interval */
    TEMPR1_TASK_DTG,  /* dense grounding: several queries, one interval each, in their order */
    TEMPR1_TASK_VHD,  /* highlights: intervals, compared as a union */
    TEMPR1_TASK_GVQA, /* an option and the intervals that are its evidence */
    TEMPR1_TASK_TAL,  /* action localisation: any number of intervals */
    TEMPR1_TASK_QA,   /* an option */
    TEMPR1_TASKS
} tempr1_task;

/* "tg", "dtg", ...; NULL for a number that is no task. */
const char *tempr1_task_name(tempr1_task task);
/* TEMPR1_INVALID names the known tasks and the nearest one. */
tempr1_status tempr1_task_from_name(const char *name, tempr1_task *task, tempr1_error *error);

typedef struct tempr1_interval {
    double start_s, end_s;
} tempr1_interval;

/* Intersection over union of two intervals, in [0, 1]; 0 when one is empty or not finite. */
double tempr1_interval_iou(tempr1_interval a, tempr1_interval b);

/* What is right. All pointers are borrowed for the call. */
typedef struct tempr1_truth {
    const tempr1_interval *segments; /* dtg: one per query, in their order; NULL for qa */
    size_t count;
    const char *answer; /* gvqa, qa: a letter, or the text of an option; NULL elsewhere */
    const char *const *options;
    size_t option_count;
    double duration_s; /* of the clip; 0: unknown, then nothing is clamped */
    double fps;        /* for schemes that accept frame indices; else 0 */
} tempr1_truth;

/* ---- arenas: the only memory that rewards and sample metrics take ---- */

/* A block of memory that calls take from and the caller resets. Not thread safe: one per thread. */
typedef struct tempr1_arena tempr1_arena;

tempr1_status tempr1_arena_create(size_t bytes, tempr1_arena **arena, tempr1_error *error);
/* Gives back everything that was taken; what earlier results point to is gone. */
void tempr1_arena_reset(tempr1_arena *arena);
void tempr1_arena_free(tempr1_arena *arena);

/* Bytes that tempr1_reward_score and tempr1_metric_sample take at most for a truth of `count` segments. */
size_t tempr1_reward_arena_bytes(size_t count);

/* ---- rewards ---- */

/* A reward scheme: templates, parsers, named parts and weights for every task. Read-only in use: one handle may
 * score in many threads at once (each with its own arena); tempr1_scheme_set_think must not run beside them. */
typedef struct tempr1_scheme tempr1_scheme;

/* The built-in names ("tempr1", "temporal-r1", "time-r1", ...), NULL at the end. */
const char *const *tempr1_scheme_names(void);
/* A built-in scheme; TEMPR1_INVALID names the known ones. */
tempr1_status tempr1_scheme_open(const char *name, tempr1_scheme **scheme, tempr1_error *error);
/* One's own scheme from a JSON object, as `tempr1 reward --config` reads it: {"parts": {"format": 0.5, "iou":
 * 0.5}}. name stands in messages. */
tempr1_status tempr1_scheme_parse(const char *json, size_t length, const char *name, tempr1_scheme **scheme,
                                  tempr1_error *error);
void tempr1_scheme_free(tempr1_scheme *scheme);

typedef enum tempr1_think { TEMPR1_THINK_OPTIONAL, TEMPR1_THINK_REQUIRED, TEMPR1_THINK_FORBIDDEN } tempr1_think;
/* Whether <think>...</think> must, may or must not stand before the answer for the format part. */
tempr1_status tempr1_scheme_set_think(tempr1_scheme *scheme, tempr1_think think, tempr1_error *error);

/* The parts of a reward, by number. Every part lies in [0, 1], but "parse" is 0 or -1 and "length" in [-1, 0]. */
enum { TEMPR1_PARTS_MAX = 32 };
/* "format", "iou", "cls", "num", "match", ...; NULL from the number of parts on. */
const char *tempr1_part_name(int part);

typedef struct tempr1_reward {
    double total;                     /* the weighted sum of the parts */
    uint32_t present;                 /* bit i: the scheme has part i for this task */
    double parts[TEMPR1_PARTS_MAX];   /* 0 where not present */
    const tempr1_interval *intervals; /* what was understood; lies in the arena */
    size_t interval_count;
    char option;       /* 'A'..'Z'; 0 when the response names none */
    int parsed;        /* 1: everything that the task asks for was found */
    const char *error; /* why not: static text; NULL when parsed */
    size_t error_at;   /* byte of the response that the error is about */
} tempr1_reward;

/* Scores one response. tokens is its length in tokens (0: unknown; only the part "length" needs it). A bad response
 * is no failure: its reward says so. TEMPR1_INVALID when the scheme has no reward for the task or the truth lacks
 * what the task needs; TEMPR1_MEMORY when the arena is too small. Allocates nothing beyond the arena, which is not
 * reset: reset it between calls, when earlier results are no longer needed. */
tempr1_status tempr1_reward_score(const tempr1_scheme *scheme, tempr1_task task, const char *response,
                                  size_t length, size_t tokens, const tempr1_truth *truth, tempr1_arena *arena,
                                  tempr1_reward *reward, tempr1_error *error);

/* The largest reward of a scheme for a task (without length penalty); 0 when the scheme lacks the task. */
double tempr1_reward_largest(const tempr1_scheme *scheme, tempr1_task task);

/* A response that earns the largest reward, filled from the truth (a target for fine-tuning). thought (may be NULL)
 * goes into the reasoning block where the scheme has one. *text is freed by tempr1_free. */
tempr1_status tempr1_reward_target(const tempr1_scheme *scheme, tempr1_task task, const tempr1_truth *truth,
                                   const char *thought, char **text, tempr1_error *error);

/* The same as one row of `tempr1 reward`: JSON in, JSON out, for callers without structs. row is {"response": TEXT,
 * truth fields, "task"?, "duration"?, "tokens"?}; *json (freed by tempr1_free) is {"reward", "parts", "parsed",
 * "error", "error_at"}. task_name NULL: the row's "task". */
tempr1_status tempr1_reward_row(const tempr1_scheme *scheme, const char *task_name, const char *row, size_t length,
                                char **json, tempr1_error *error);

/* ---- metrics ---- */

/* The metrics of one answer, by number. */
enum { TEMPR1_METRICS_MAX = 32 };
/* "mIoU", "R1@0.3", ...; NULL from the number of metrics on. */
const char *tempr1_metric_name(int metric, tempr1_task task);

typedef struct tempr1_metric_values {
    uint32_t present; /* bit i: the task has metric i */
    double value[TEMPR1_METRICS_MAX];
} tempr1_metric_values;

/* The values of one answer: `count` predicted intervals (0: none understood) and the option (0: none). For dtg one
 * call per query, with one interval each. The arena is left as it was. */
tempr1_status tempr1_metric_sample(tempr1_task task, const tempr1_interval *intervals, size_t count, char option,
                                   const tempr1_truth *truth, tempr1_arena *arena, tempr1_metric_values *values,
                                   tempr1_error *error);

typedef struct tempr1_bootstrap {
    double mean, low, high;
} tempr1_bootstrap;

/* The mean of n values (n >= 1) with its percentile bootstrap interval that holds `share` (0.95) of the resampled
 * means. The same seed gives the same numbers on every machine. Takes `resamples` float64 of memory while it runs.
 */
tempr1_status tempr1_bootstrap_mean(const double *values, size_t n, size_t resamples, double share, uint64_t seed,
                                    tempr1_bootstrap *result, tempr1_error *error);
/* The same of a[i] - b[i]: two systems on the same rows. */
tempr1_status tempr1_bootstrap_paired(const double *a, const double *b, size_t n, size_t resamples, double share,
                                      uint64_t seed, tempr1_bootstrap *result, tempr1_error *error);

typedef struct tempr1_evaluate_options {
    const char *task;   /* NULL: each row's "task", else tg */
    const char *format; /* NULL: what the keys say; else "rows", "qvhighlights", "activitynet", ... */
    int compat;         /* 1: free text is read as Temporal-R1's evaluation reads it */
    uint64_t seed;      /* of the bootstrap */
    size_t resamples;   /* 0: no intervals; 2000 is usual */
} tempr1_evaluate_options;

/* Official metrics of predictions, as `tempr1 metrics` computes them. predictions and truth (NULL where the
 * predictions carry it) are JSON texts: a value, or JSON Lines. options NULL: all zero. *json is freed by
 * tempr1_free. */
tempr1_status tempr1_evaluate(const char *predictions, size_t predictions_length, const char *truth,
                              size_t truth_length, const tempr1_evaluate_options *options, char **json,
                              tempr1_error *error);

/* ---- tokenizer ---- */

/* Read-only after loading: one handle may be used from many threads at once. */
typedef struct tempr1_tokenizer tempr1_tokenizer;

/* From a Hugging Face checkpoint directory (tokenizer.json, or vocab.json and merges.txt). */
tempr1_status tempr1_tokenizer_load(const char *directory, tempr1_tokenizer **tokenizer, tempr1_error *error);
void tempr1_tokenizer_free(tempr1_tokenizer *tokenizer);

/* Text to ids. special 0: special tokens in the text (<|im_end|>, ...) stay plain text, as texts of users must.
 * *ids (*count of them) is freed by tempr1_free. */
tempr1_status tempr1_tokenizer_encode(const tempr1_tokenizer *tokenizer, const char *text, size_t length,
                                      int special, int32_t **ids, size_t *count, tempr1_error *error);
/* Ids to text; what is not UTF-8 becomes U+FFFD. keep_special 0 leaves special tokens out. *text is NUL-terminated
 * and freed by tempr1_free; *length (may be NULL) is its bytes. */
tempr1_status tempr1_tokenizer_decode(const tempr1_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                      int keep_special, char **text, size_t *length, tempr1_error *error);
/* One more than the largest id that has a token. */
size_t tempr1_tokenizer_size(const tempr1_tokenizer *tokenizer);
/* The id of a token by its text ("<|im_end|>"), -1 when there is none. */
int32_t tempr1_tokenizer_id(const tempr1_tokenizer *tokenizer, const char *text);

/* ---- models ---- */

/* A checkpoint in memory with its tokenizer, for inference. Not thread safe: one call at a time per handle (each
 * call uses many threads inside). */
typedef struct tempr1_model tempr1_model;

typedef struct tempr1_model_options {
    const char *tokenizer; /* directory; NULL: the checkpoint's */
    const char *dtype;     /* "f32" or "bf16" for weights stored in f32; NULL: f32 */
    const char *isa;       /* "scalar", "avx2", ...; NULL: the widest there is. No result depends on it */
    const char *cache;     /* folder for decoded clips; NULL: none */
    double fps;            /* frames taken a second; 0: 2 */
    int64_t min_frames, max_frames, total_pixels, min_pixels; /* 0: 4, 448, 2809856, 12544 */
} tempr1_model_options;

/* Loads a Hugging Face Qwen2.5-VL checkpoint directory, or an adapter folder (peft's files), which names its base.
 * options NULL: all zero. */
tempr1_status tempr1_model_open(const char *directory, const tempr1_model_options *options, tempr1_model **model,
                                tempr1_error *error);
void tempr1_model_free(tempr1_model *model);

typedef struct tempr1_score_options {
    double temperature; /* log-softmax(logits / temperature); 0: 1 */
    int special;        /* special tokens in a response's text become special */
    int end_token;      /* the model's end token follows every response given as text */
    int entropy;        /* give "entropies" too */
} tempr1_score_options;

/* Log-probabilities of given responses: a row of `tempr1 score` as JSON text ({"video", "prompt" or "messages",
 * "response"}); *json (freed by tempr1_free) is a list with {"ids", "logprobs", "sum"} for each response. */
tempr1_status tempr1_model_score(tempr1_model *model, const char *row, size_t length,
                                 const tempr1_score_options *options, char **json, tempr1_error *error);

typedef struct tempr1_ask_options {
    const char *prompt, *scheme;      /* prompt set and whose answer form is read; NULL: "no-think", "tempr1" */
    int64_t answers;                  /* 0: 1 */
    int64_t max_tokens;               /* 0: 1024 */
    double temperature, top_p, min_p; /* temperature 0: greedy; top_p 0: 1 */
    int64_t top_k;                    /* 0: off */
    uint64_t seed;
} tempr1_ask_options;

/* Answers one question about one clip: row is a corpus row without its truth ({"task", "video", "query" ...}).
 * *json (freed by tempr1_free) is a list of {"text", "parsed", "finish", "ids", "logprobs"}. options NULL: all
 * zero. */
tempr1_status tempr1_model_ask(tempr1_model *model, const char *row, size_t length,
                               const tempr1_ask_options *options, char **json, tempr1_error *error);

/* Clips are decoded in child processes, the program tempr1: $TEMPR1_WORKER, else tempr1 beside this program or in
 * PATH. They are kept for later clips and end with this process. This sets the program's path (copied; NULL: back
 * to the rule) and ends those that wait; for the whole process, not thread safe. */
void tempr1_set_decoder(const char *path);

#ifdef __cplusplus
}
#endif

#endif
