/* session.h: what `ask`, `score` and `eval` share: a model for inference with its options, and its memory.
 *
 * A session loads the model first (its configuration shapes everything), then a source is opened against it, then
 * the network is made for the shapes that the source needs. */
#ifndef TR_CLI_SESSION_H
#define TR_CLI_SESSION_H

#include "cli/cli.h"
#include "eval/eval.h"

/* The options that all three take; fill defaults with tr_session_defaults, list them with TR_SESSION_OPTIONS
 * (TR_SESSION_MODEL_OPTIONS where nothing is sampled). */
typedef struct tr_session_settings {
    const char *model, *adapter, *tokenizer, *dtype, *device, *isa, *cache;
    int64_t threads, min_frames, max_frames, total_pixels, min_pixels, max_tokens, top_k, seed;
    double fps, temperature, top_p, min_p;
    bool generation_config, quiet, json;
} tr_session_settings;

void tr_session_defaults(tr_session_settings *settings);

#define TR_ADAPTER_HELP "An adapter for the checkpoint (peft's files), when --model is its base."
/* clang-format off */
#define TR_SESSION_MODEL_OPTIONS(s) \
    {"model", TR_OPTION_TEXT, &(s).model, "DIR", \
     "The checkpoint, a Hugging Face directory, or an adapter folder, which names its base.", 0, 0, true}, \
    {"adapter", TR_OPTION_TEXT, &(s).adapter, "DIR", TR_ADAPTER_HELP, 0, 0, false}, \
    {"tokenizer", TR_OPTION_TEXT, &(s).tokenizer, "DIR", \
     "Where the tokenizer's files are. Default: the model's.", 0, 0, false}, \
    {"dtype", TR_OPTION_TEXT, &(s).dtype, "f32|bf16", \
     "Of f32-stored weights in memory. Default f32; weights stored in 16 bits stay as they are.", 0, 0, false}, \
    {"isa", TR_OPTION_TEXT, &(s).isa, "NAME", \
     "Kernels: scalar, avx2, avx512 or reference. Default: the widest that this CPU has; results do not depend " \
     "on it.", 0, 0, false}, \
    {"threads", TR_OPTION_INT, &(s).threads, "N", "Threads. Default: the machine's cores.", 1, 1024, false}, \
    {"fps", TR_OPTION_DOUBLE, &(s).fps, "X", "Frames taken a second. Default 2.", 0.01, 120, false}, \
    {"min-frames", TR_OPTION_INT, &(s).min_frames, "N", "Fewest frames of a clip. Default 4.", 2, 1e5, false}, \
    {"max-frames", TR_OPTION_INT, &(s).max_frames, "N", "Most frames of a clip. Default 448.", 2, 1e5, false}, \
    {"total-pixels", TR_OPTION_INT, &(s).total_pixels, "N", "Pixel budget of a clip. Default 2809856.", 784, 1e12, \
     false}, \
    {"min-pixels", TR_OPTION_INT, &(s).min_pixels, "N", "Fewest pixels of a frame. Default 12544.", 784, 1e9, \
     false}, \
    {"cache", TR_OPTION_TEXT, &(s).cache, "DIR", "Keep decoded clips here. Default: nowhere.", 0, 0, false}, \
    {"quiet", TR_OPTION_FLAG, &(s).quiet, NULL, "No progress bars.", 0, 0, false}

/* All of them, sampling included. */
#define TR_SESSION_OPTIONS(s) \
    TR_SESSION_MODEL_OPTIONS(s), \
    {"device", TR_OPTION_TEXT, &(s).device, "auto|cpu|cuda:N", \
     TR_DEVICE_HELP, 0, 0, false}, \
    {"max-tokens", TR_OPTION_INT, &(s).max_tokens, "N", "Longest answer in tokens. Default 1024.", 1, 1e6, false}, \
    {"temperature", TR_OPTION_DOUBLE, &(s).temperature, "T", "0 is greedy, the default.", 0, 100, false}, \
    {"top-k", TR_OPTION_INT, &(s).top_k, "K", "Sample among the K likeliest tokens. Default 0: off.", 0, 1e9, \
     false}, \
    {"top-p", TR_OPTION_DOUBLE, &(s).top_p, "P", "Nucleus sampling. Default 1: off.", 0.000001, 1, false}, \
    {"min-p", TR_OPTION_DOUBLE, &(s).min_p, "P", "Leave out tokens below P times the likeliest. Default 0.", 0, 1, \
     false}, \
    {"seed", TR_OPTION_INT, &(s).seed, "N", "Seed of sampling. Default 1.", 0, 0, false}, \
    {"generation-config", TR_OPTION_FLAG, &(s).generation_config, NULL, \
     "Use the checkpoint's own sampling settings (generation_config.json) where no option says otherwise.", 0, 0, \
     false}, \
    {"json", TR_OPTION_FLAG, &(s).json, NULL, "Print JSON on stdout.", 0, 0, false}
/* clang-format on */

typedef struct tr_session {
    tr_model *model;
    char *tokenizer;        /* folder */
    tr_evaluator evaluator; /* network and features after tr_session_network */
    tr_sampling sampling;   /* banned is set from the source */
} tr_session;

/* Loads the model for inference and settles the sampling. */
tr_status tr_session_open(const tr_session_settings *settings, tr_session *session, tr_error *err);
/* Options for tr_source_open with one entry. */
tr_source_options tr_session_source(const tr_session_settings *settings, const tr_session *session,
                                    const tr_data_entry *entry);
/* What a command answers: rows, by which samples of each and which reader of answers. */
typedef struct tr_session_work {
    tr_data_entry entry; /* borrowed by the source */
    const char *parser;
    int64_t samples, first; /* first: only so many rows; 0: all */
} tr_session_work;
/* tr_session_open, the source of the rows and the protocol card of what is answered. Whatever was opened is the
 * caller's to close, also after an error. */
tr_status tr_session_open_rows(const tr_session_settings *settings, const tr_session_work *work,
                               tr_session *session, tr_source **source, json_t **card, tr_error *err);
/* Makes the network and the feature cache. */
tr_status tr_session_network(tr_session *session, const tr_network_limits *limits, tr_error *err);
void tr_session_close(tr_session *session);

#endif
