/* network_parts.h: what the files of the network share: its working memory and the parts' entry points. Internal to
 * src/model (network.c, vision.c, decoder.c, decode.c).
 *
 * All buffers lie in one arena that is planned once; what is never needed at the same time shares memory
 * (network.c). P patches, M = P/4 merged tokens, N rows of a group, T targets, D vision width, H text width, I the
 * intermediate widths, V vocabulary. */
#ifndef TR_MODEL_NETWORK_PARTS_H
#define TR_MODEL_NETWORK_PARTS_H

#include "model/edge.h"
#include "model/network.h"
#include "model/windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one vision block keeps for its backward. Normalised rows and what is inside the MLP behind gate and up are
 * made again there: that costs an element's work each, no product. */
typedef struct tr_block_memory {
    float *in;              /* (P, D) */
    float *rstd1;           /* (P) */
    float *qkv;             /* (P, 3D), rotated */
    float *attention, *lse; /* (P, D), (heads, P) */
    float *middle;          /* (P, D) after attention */
    float *rstd2;           /* (P) */
    float *gate, *up;       /* (P, I); of one tile of rows where they are not kept */
} tr_block_memory;

/* What one decoder layer keeps for its backward. */
typedef struct tr_layer_memory {
    float *in;              /* (N, H) */
    float *rstd1;           /* (N) */
    float *q, *k, *v;       /* (N, heads*hd), (N, kv*hd) rotated, (N, kv*hd) */
    float *attention, *lse; /* (N, heads*hd), (heads, N) */
    float *middle;          /* (N, H) */
    float *rstd2;           /* (N) */
    float *gate, *up;       /* (N, I); of one tile of rows where they are not kept */
} tr_layer_memory;

/* The MLP goes over its rows a tile at a time (sums over rows run in their order, so tiles do not show), so that
 * what is as wide as its inside is not there for all rows. */
typedef struct tr_mlp_memory {
    int64_t rows;       /* of a tile; a multiple of 256, at which the CPU's products cut the rows themselves */
    bool kept;          /* gate and up of all rows are: a backward need not make them again */
    float *act;         /* (rows, I); forward, where gate is not kept: gate itself */
    float *back, *dact; /* (rows, I): act again in the backward, and its gradient */
} tr_mlp_memory;

typedef struct tr_vision_memory {
    tr_windows windows;
    float *cos, *sin;        /* (P, hd/2) in window order */
    float *norm;             /* (P, D) normalised rows; before the blocks the patch embedding */
    tr_block_memory *blocks; /* [depth]; they share all but `in` when recomputing or not keeping */
    tr_mlp_memory mlp;
    float *out;                        /* (P, D) of the last block */
    float *merger_rstd;                /* (P) */
    float *merger_hidden, *merger_act; /* (M, 4D) */
    float *merger_out;                 /* (M, O) in window order */
    float *dx, *dnorm;                 /* (P, D) */
    float *dqkv;                       /* (P, 3D) */
    float *dmerger;                    /* (M, 4D) */
    float *work;
    int64_t work_floats;
} tr_vision_memory;

typedef struct tr_text_memory {
    int32_t *ids, *positions;          /* [N], [3][N] */
    int32_t *visual;                   /* [visual tokens] rows of placeholders */
    int64_t *starts;                   /* [responses + 1] */
    int32_t *target_rows, *target_ids; /* [T] */
    float *cos, *sin;                  /* (N, hd/2) */
    float *norm;                       /* (N, H) normalised rows */
    tr_layer_memory *layers;           /* [layers]; they share all but `in` when recomputing or not keeping */
    tr_mlp_memory mlp;
    float *out;                           /* (N, H) of the last layer */
    float *target, *target_rstd, *hidden; /* (T, H), (T), (T, H): gathered, its norm's 1/std, normalised */
    float *lse, *entropy;                 /* (T) */
    float *dx, *dnorm, *dattention;       /* (N, H), (N, H), (N, heads*hd) */
    float *dq, *dk, *dv;                  /* like q, k, v */
    float *dhidden, *dtarget;             /* (T, H) */
    float *work, *head_work;
    int64_t work_floats, head_tile;
} tr_text_memory;

typedef struct tr_decode_memory {
    tr_kv *slots;                                        /* [decode_groups][layers] */
    tr_kv *streams;                                      /* [decode_rows][layers] */
    int64_t *slot_tokens;                                /* [decode_groups] tokens prefilled */
    int32_t *slot_next;                                  /* [decode_groups] position of the first response token */
    tr_decode_row *rows;                                 /* [decode_rows] */
    int32_t *ids, *positions;                            /* [decode_rows], [3][decode_rows] */
    float *x, *norm, *q, *k, *v, *attention, *gate, *up; /* (rows, ...) */
    float *cos, *sin, *work;
    int64_t work_floats;
} tr_decode_memory;

/* Working memory of adapters: a tile of rows at a time, so that it does not grow with the group. */
enum { TR_ADAPTER_ROWS = 240 };
typedef struct tr_adapter_memory {
    float *down, *ddown; /* (rows, rank): scale * A x, and its gradient */
    float *up;           /* (rows, widest output) */
} tr_adapter_memory;

struct tr_network {
    tr_model *model;
    const tr_ops *ops;
    tr_network_limits limits;
    tr_arena arena; /* of ops->memory; integers of a GPU's network lie in `integers` */
    tr_arena integers;
    uint64_t lends_at;  /* bytes into the arena: where another network's memory may begin */
    tr_network *lender; /* in whose arena this one's lies; NULL: its own */
    tr_edge edge;
    tr_vision_memory vision;
    tr_text_memory text;
    tr_decode_memory decode;
    tr_adapter_memory adapter;
    tr_adapter_use adapter_use;
    tr_network_next next;  /* the prompt on its way; slot -1: none */
    struct tr_side *side;  /* next.c: the second lane; NULL: none */
    float *pinned_patches; /* of a second lane's network: memory of the host that patches travel from */
    void *patches_sent;    /* marked when they have */
    bool features_here;    /* edge.features holds those of the group that comes */
    tr_network_tap tap;
    void *tap_context;
    const void *kept_visual, *kept_group; /* whose activations are kept, to refuse a backward of another */
    float kept_temperature;
    int64_t kept_rows, kept_targets;
};

static inline void tr_tap(const tr_network *network, const char *name, int index, const float *values, int64_t rows,
                          int64_t columns)
{
    if (network->tap) {
        char full[48];
        const tr_memory *memory = network->ops->memory;
        const size_t bytes = (size_t)(rows * columns) * sizeof(float);
        float *copy = memory->host ? NULL : malloc(bytes + 1);
        if (copy) {
            memory->read(copy, values, bytes);
        }
        if (index >= 0) {
            snprintf(full, sizeof full, "%s_%d", name, index);
        } else {
            snprintf(full, sizeof full, "%s", name);
        }
        if (copy || memory->host) {
            network->tap(network->tap_context, full, copy ? copy : values, rows, columns);
        }
        free(copy);
    }
}

/* Keys and values in the slots are lost: their memory serves a backward, or a network that borrows. */
void tr_network_forget_slots(tr_network *network);
/* The memory of a lender is about to be written over. */
static inline void tr_network_borrow(tr_network *network)
{
    if (network->lender) {
        network->lender->kept_group = NULL;
        tr_network_forget_slots(network->lender);
    }
}

/* Rows of the MLP's next tile, from row `at` of `rows`; tiles are about equally large. */
static inline int64_t tr_mlp_next(const tr_mlp_memory *mlp, int64_t at, int64_t rows)
{
    enum { CUT = 256 };
    const int64_t tiles = (rows + mlp->rows - 1) / mlp->rows,
                  each = ((rows + tiles - 1) / tiles + CUT - 1) / CUT * CUT;
    return rows - at < each ? rows - at : each;
}

/* network.c: what the second lane's own network is planned for. */
tr_network_limits tr_side_limits(const tr_network_limits *limits);
/* next.c: makes the second lane of a network that runs ahead, and gives it back. */
tr_status tr_side_create(tr_network *network, tr_error *err);
void tr_side_free(tr_network *network);
/* vision.c: a vision pass whose features come to lie in `out`, memory of the backend. Waits for nothing. */
tr_status tr_vision_run(tr_network *network, const tr_visual *visual, bool keep, float *out, tr_error *err);
/* decode.c: a prefill by `network` with its own working memory into a slot of `owner`; logits [vocab] are memory of
 * the backend. Waits for nothing. */
tr_status tr_prefill_run(tr_network *network, tr_network *owner, int64_t slot, const tr_group *prompt,
                         float *logits, tr_error *err);

/* decoder.c: fills ids, positions, starts, targets of a group and checks it against the limits. */
tr_status tr_decoder_prepare(tr_network *network, const tr_group *group, tr_layout *layout, tr_error *err);
/* All layers over the prepared rows. kv [layers], or NULL, receives the prompt's keys and values; then only the
 * last row of the output need be there. */
void tr_decoder_forward(tr_network *network, const tr_group *group, const tr_layout *layout, tr_kv *kv);
/* What a layer's backward reads and was not kept, again from the layer's input. */
void tr_decoder_layer_again(tr_network *network, int64_t index, const tr_layout *layout);

/* linear.c: y[rows, out] = x W^T + bias and what the layer's adapter adds; bias -1: none. The one way that a linear
 * layer of the decoder is computed, packed or decoding. */
void tr_linear_forward(tr_network *network, float *y, const float *x, int weight, int bias, int64_t rows);
/* dx = (with add: +=) dy W and the adapter's share; gradients of W, bias, A and B as far as they train. */
void tr_linear_backward(tr_network *network, float *dx, bool add, const float *dy, const float *x, int weight,
                        int bias, int64_t rows);

/* Shorthand of all parts. */
static inline const tr_matrix *matrix(const tr_network *network, int index)
{
    return tr_model_matrix(network->model, index);
}
static inline const float *vector(const tr_network *network, int index)
{
    return tr_model_vector(network->model, index);
}
static inline float *gradient(const tr_network *network, int index)
{
    return tr_model_gradient(network->model, index);
}
static inline void clear(const tr_network *network, float *x, int64_t rows, int64_t columns)
{
    network->ops->memory->zero(x, (size_t)(rows * columns) * sizeof *x);
}

#endif
