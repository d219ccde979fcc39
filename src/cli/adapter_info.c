/* adapter_info.c: `tempr1 model info` of an adapter folder: base, rank, targets, tensors. Where the base is at hand
 * all names and shapes are held against it; without it the adapter's own files are told. */
#include "cli/adapter_info.h"

#include "cli/cli.h"
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 8 }; /* names of targets */

typedef struct summary {
    tr_adapter adapter;
    char *base;       /* its folder; NULL: not found */
    tr_error no_base; /* why */
    int64_t matrices, whole, parameters;
    uint64_t bytes;
} summary;

static tr_status match(summary *s, tr_error *err)
{
    tr_model_config config;
    tr_params params = {0};
    tr_status status;
    TR_TRY(tr_model_config_read(s->base, &config, err));
    TR_TRY(tr_params_build(&config, &params, err));
    TR_TRY(tr_adapter_match(&s->adapter, &params, err));
done:
    tr_params_free(&params);
    return status;
}

static void count(summary *s)
{
    for (size_t i = 0; i < s->adapter.tensors.count; i++) {
        const tr_safetensor *t = &s->adapter.tensors.items[i];
        s->parameters += t->elements;
        s->bytes += t->bytes;
        s->matrices += strstr(t->name, ".lora_A.weight") != NULL;
        s->whole += !strstr(t->name, ".lora_A.weight") && !strstr(t->name, ".lora_B.weight");
    }
}

static json_t *to_json(const char *dir, const summary *s, bool checked)
{
    const tr_lora *l = &s->adapter.lora;
    return json_pack("{s:s, s:s, s:s, s:s?, s:I, s:f, s:O, s:I, s:I, s:I, s:I, s:b, s:b}", "dir", dir, "kind",
                     "lora", "base_model_name_or_path", l->base, "base", s->base, "rank", (json_int_t)l->rank,
                     "alpha", l->alpha, "targets", l->targets, "adapted", (json_int_t)s->matrices, "whole_tensors",
                     (json_int_t)s->whole, "parameters", (json_int_t)s->parameters, "bytes", (json_int_t)s->bytes,
                     "matches_base", s->base != NULL, "checked", (int)checked);
}

static void print_text(const char *dir, const summary *s, bool checked)
{
    const tr_lora *l = &s->adapter.lora;
    char *targets = json_dumps(l->targets, JSON_ENCODE_ANY);
    printf("%s: an adapter\n", dir);
    printf("  base          %s%s\n", l->base, s->base ? "" : " (not found here)");
    if (s->base && strcmp(s->base, l->base) != 0) {
        printf("                found at %s\n", s->base);
    }
    printf("  rank          %lld, alpha %g: B A times %g\n", (long long)l->rank, l->alpha,
           l->alpha / (double)l->rank);
    if (json_array_size(l->targets) > SHOWN) {
        printf("  targets       %zu names, the first %s\n", json_array_size(l->targets),
               json_string_value(json_array_get(l->targets, 0)));
    } else {
        printf("  targets       %s\n", targets ? targets : "n/a");
    }
    printf("  adapted       %lld linear layers\n", (long long)s->matrices);
    if (s->whole) {
        printf("  whole tensors %lld (trained in full beside the adapter)\n", (long long)s->whole);
    }
    printf("  parameters    %lld in %zu tensors, %llu bytes\n", (long long)s->parameters, s->adapter.tensors.count,
           (unsigned long long)s->bytes);
    if (!s->base) {
        printf("  not checked against the base: %s\n", s->no_base.message);
    }
    if (checked) {
        printf("  checked       %severy value is finite\n", s->base ? "every tensor fits the base, " : "");
    }
    free(targets);
}

tr_status tr_cli_adapter_info(const char *dir, bool check, bool json, tr_error *err)
{
    summary s = {0};
    tr_status status;
    TR_TRY(tr_adapter_open(&s.adapter, dir, err));
    if (!tr_lora_base(dir, &s.base, &s.no_base)) {
        TR_TRY(match(&s, err));
    }
    if (check) {
        TR_TRY(tr_checkpoint_finite(&s.adapter.tensors, err));
    }
    count(&s);
    if (json) {
        json_t *object = to_json(dir, &s, check);
        status = tr_cli_print_json(object, err);
        json_decref(object);
    } else {
        print_text(dir, &s, check);
    }
done:
    tr_adapter_close(&s.adapter);
    free(s.base);
    return status;
}
