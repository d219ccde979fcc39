/* selftest.h: the checks that `tempr1 selftest` runs, by file (private to the command).
 *
 * A check returns TR_OK when the machine and this build do what they must; detail then says in a few words what was
 * looked at. Otherwise err says what was expected and found. TR_UNSUPPORTED is a check that cannot run here: it is
 * shown as skipped, with its reason. */
#ifndef TR_CLI_SELFTEST_H
#define TR_CLI_SELFTEST_H

#include "base/status.h"

typedef struct tr_selftest {
    const char *scratch; /* a folder of the test's own, removed at the end */
    const char *cache;   /* --cache, or a folder below scratch */
    const char *model;   /* --model, or NULL */
    char detail[1536];
} tr_selftest;

/* selftest_network.c */
tr_status tr_selftest_kernels(tr_selftest *s, tr_error *err);  /* variants and threads agree; committed checksum */
tr_status tr_selftest_rollout(tr_selftest *s, tr_error *err);  /* sampled log-probs equal the recomputed ones */
tr_status tr_selftest_training(tr_selftest *s, tr_error *err); /* a few SFT steps on one answer lower its loss */
tr_status tr_selftest_checkpoint(tr_selftest *s, tr_error *err); /* written and read again: the same log-probs */

/* selftest_media.c */
tr_status tr_selftest_decoder(tr_selftest *s, tr_error *err); /* a clip of known times, encoded and decoded */
tr_status tr_selftest_guard(tr_selftest *s, tr_error *err);   /* a hanging, a dying decoder and a broken file */
tr_status tr_selftest_cache(tr_selftest *s, tr_error *err);   /* the cache folder takes, gives and notices damage */

#endif
