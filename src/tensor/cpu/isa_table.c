/* isa_table.c: the table of operations of one instruction set. */
#include "tensor/cpu/sample.h"
#include "tensor/cpu/variant.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

extern const tr_ops TR_VARIANT(table);

TR_CPU_SAMPLE(sample, TR_VARIANT(logsoftmax_forward))

const tr_ops TR_VARIANT(table) = {
    .name = TEXT(TR_ISA),
    .memory = &tr_memory_host,
    .linear_forward = TR_VARIANT(linear_forward),
    .linear_backward_input = TR_VARIANT(linear_backward_input),
    .linear_backward_weight = TR_VARIANT(linear_backward_weight),
    .embedding_forward = TR_VARIANT(embedding_forward),
    .embedding_backward = TR_VARIANT(embedding_backward),
    .rmsnorm_forward = TR_VARIANT(rmsnorm_forward),
    .rmsnorm_backward = TR_VARIANT(rmsnorm_backward),
    .swiglu_forward = TR_VARIANT(swiglu_forward),
    .swiglu_backward_set = TR_VARIANT(swiglu_backward_set),
    .gelu_forward = TR_VARIANT(gelu_forward),
    .gelu_backward_set = TR_VARIANT(gelu_backward_set),
    .add = TR_VARIANT(add),
    .scale = TR_VARIANT(scale),
    .rope_forward = TR_VARIANT(rope_forward),
    .rope_backward = TR_VARIANT(rope_backward),
    .rope_mrope_table = TR_VARIANT(rope_mrope_table),
    .rope_vision_table = TR_VARIANT(rope_vision_table),
    .rows_gather = TR_VARIANT(rows_gather),
    .rows_scatter = TR_VARIANT(rows_scatter),
    .rows_add = TR_VARIANT(rows_add),
    .segment_attention_work = TR_VARIANT(segment_attention_work),
    .segment_attention_forward = TR_VARIANT(segment_attention_forward),
    .segment_attention_backward = TR_VARIANT(segment_attention_backward),
    .group_attention_work = TR_VARIANT(group_attention_work),
    .group_attention_forward = TR_VARIANT(group_attention_forward),
    .group_attention_backward = TR_VARIANT(group_attention_backward),
    .kv_write = TR_VARIANT(kv_write),
    .kv_append = TR_VARIANT(kv_append),
    .decode_attention_work = TR_VARIANT(decode_attention_work),
    .decode_attention_forward = TR_VARIANT(decode_attention_forward),
    .logsoftmax_forward = TR_VARIANT(logsoftmax_forward),
    .logsoftmax_backward_set = TR_VARIANT(logsoftmax_backward_set),
    .logsoftmax_row = TR_VARIANT(logsoftmax_row),
    .sample_work = tr_cpu_sample_work,
    .sample = sample,
    .head_forward = TR_VARIANT(head_forward),
    .head_backward = TR_VARIANT(head_backward),
    .adamw_step = TR_VARIANT(adamw_step),
    .adamw8_step = TR_VARIANT(adamw8_step),
    .sum_of_squares = TR_VARIANT(sum_of_squares),
    .all_finite = TR_VARIANT(all_finite),
};
