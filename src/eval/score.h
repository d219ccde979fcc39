/* score.h: the log-probabilities of given responses under a model (teacher forcing), row by row.
 *
 * A row is a JSON object: a prompt, and what was answered.
 *
 *   prompt     "prompt": TEXT (one user message), or "messages": [{"role", "content"}, ...] (a conversation without
 *              the answer), or the fields of a corpus row ("task", "query", ...), asked with a prompt set
 *   video      "video": FILE, "clip": [start, end] (seconds, optional). It stands before the text; in messages
 *              where a part {"type": "video"} stands (such a part may name a "video" of its own), else before the
 *              text of the first user message. A row without a video is text only
 *   response   "response": TEXT, "responses": [TEXT, ...] or "response_ids": [ids] (or a list of such lists)
 *
 * All responses of a row are one packed group, computed by the forward that training uses: what `ask` recorded
 * while it sampled comes out again, bit for bit. Never samples and never trains. Not thread safe. */
#ifndef TR_EVAL_SCORE_H
#define TR_EVAL_SCORE_H

#include "input/sample.h"

typedef struct tr_scorer_options {
    tr_model *model;       /* borrowed */
    const char *tokenizer; /* directory */
    const char *videos;    /* folder in front of each row's "video"; NULL or "": as the rows say */
    const char *prompt;    /* prompt set for corpus rows; NULL: no-think */
    tr_video_settings video;
    double temperature; /* log-softmax(logits / temperature); 0: 1 */
    bool special;       /* special tokens in a response's text become special */
    bool end_token;     /* the model's end token follows every response given as text */
    bool entropy;       /* give the entropies too */
} tr_scorer_options;

typedef struct tr_scorer tr_scorer;

/* Loads the tokenizer and holds it against the model. */
tr_status tr_scorer_open(const tr_scorer_options *options, tr_scorer **scorer, tr_error *err);
void tr_scorer_free(tr_scorer *scorer);

/* Changes what tr_scorer_options said about responses; temperature 0: 1. */
void tr_scorer_set(tr_scorer *scorer, double temperature, bool special, bool end_token, bool entropy);

/* Scores one row. *results (owned by the caller) is a list with one object per response, in order:
 *   {"id" (when the row has one), "response" (its index, when the row has a list), "ids": [..], "logprobs": [..],
 *    "entropies": [..] (when asked for), "sum": the log-probability of the whole response in nats}
 * where stands in errors, e.g. "rows.jsonl:3". Memory grows with the largest row seen so far. */
tr_status tr_scorer_row(tr_scorer *scorer, const json_t *row, const char *where, json_t **results, tr_error *err);

#endif
