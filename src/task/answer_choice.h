/* answer_choice.h: which option a text names, by the rules of published multiple-choice benchmarks.
 *
 * For comparison with their published numbers only: each rule reads the text as that benchmark's evaluation does,
 * oddities included. Our own reader is tr_answer_option. All are linear and allocate nothing. Thread safe. */
#ifndef TR_TASK_ANSWER_CHOICE_H
#define TR_TASK_ANSWER_CHOICE_H

#include "task/scan.h"

#include <stddef.h>

/* MVBench: the letter of "A." at the start; else the first of the letters A to E that stands alone when punctuation
 * is taken away, in either case (so the article "a" names option A). 0 when there is none. */
char tr_choice_mvbench(tr_span text);

/* Video-MME: the first capital A, B, C or D of the text, wherever it stands. */
char tr_choice_video_mme(tr_span text);

/* TempCompass, without the language model that it asks about the rest: the bare letter, or a text that starts with
 * "A." or "A)"; in caption matching also "Caption A", "Sentence A", "Option 1"; for the options yes and no the
 * first word; or the whole text of an option. */
char tr_choice_tempcompass(tr_span text, const char *const *options, size_t count);

/* Temporal-R1's wrapper around MVBench: "(B)" or "B" inside the first <answer>, else MVBench's rule on all of it.
 */
char tr_choice_temporal_r1(tr_span response);

#endif
