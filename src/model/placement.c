/* placement.c: which backend computes a model, and parameters whose memory is not the host's: allocation, rounding
 * of the compute copies, frozen copies. Vectors and matrices lie there as the backend's pack puts them; every
 * element has one place, so what goes over all elements (AdamW, norms, conversions) need not know it. */
#include "model/away.h"
#include "model/checkpoint.h"
#include "tensor/select.h"

tr_status tr_model_place(tr_model *model, const tr_model_options *options, tr_error *err)
{
    tr_status status =
        tr_ops_select(options->device, options->isa, options->dtype, &model->ops, &model->host_ops, err);
    model->moments8 = options->moments8;
    for (int i = 0; !status && i < model->params.count; i++) {
        model->params.items[i].memory = model->ops->memory;
    }
    return status;
}

/* Under bf16 a vector is f32 rounded by way of bf16. */
size_t tr_param_value_bytes_away(const tr_param *param, tr_dtype dtype)
{
    const size_t each = param->matrix ? tr_dtype_size(dtype) : sizeof(float) + sizeof(uint16_t);
    return (size_t)param->elements * each;
}

static size_t value_bytes(const tr_param *param)
{
    return tr_param_value_bytes_away(param, param->value.dtype);
}

tr_status tr_param_allocate_away(tr_params *params, tr_param *param, const tr_model_options *options, tr_error *err)
{
    const size_t bytes = (size_t)param->elements * sizeof(float);
    float **state[] = {&param->master, &param->gradient, &param->m, &param->v};
    tr_status status = TR_OK;
    void *memory;
    const bool records = tr_param_keeps_records(param, options);           /* these stay: they are small */
    const bool host = params->away && options->moments_folder && !records; /* and an adapter's moments */
    for (int i = 0; param->trainable && i < (records || host ? 2 : 4); i++) {
        TR_TRY(param->memory->take(&memory, bytes, true, err));
        *state[i] = memory;
    }
    if (param->trainable && host) {
        TR_TRY(tr_away_take_moments(params, param, err));
    }
    if (param->trainable && records) {
        TR_TRY(param->memory->take(&param->moments8, tr_param_moments8_bytes(param), true, err));
    }
    if (param->trainable && options->dtype == TR_F32) {
        param->value.panels = param->master;
    } else {
        TR_TRY(param->memory->take(&memory, value_bytes(param), true, err));
        param->value.panels = memory;
    }
done:
    return status ? tr_fail_context(err, status, "parameter %s", param->name) : TR_OK;
}

void tr_param_refresh_away(tr_param *param)
{
    const tr_memory *memory = param->memory;
    if (param->matrix) {
        memory->convert(param->value.panels, TR_BF16, param->master, TR_F32, param->elements);
    } else {
        char *behind = (char *)param->value.panels + (size_t)param->elements * sizeof(float);
        memory->convert(behind, TR_BF16, param->master, TR_F32, param->elements);
        memory->convert(param->value.panels, TR_F32, behind, TR_BF16, param->elements);
    }
}

void tr_param_write_vector(tr_param *param, tr_dtype dtype, const float *values)
{
    const size_t bytes = (size_t)param->out * sizeof *values;
    param->memory->write(param->master ? param->master : param->value.panels, values, bytes);
    if (dtype == TR_BF16) {
        tr_param frozen = *param;
        frozen.master = param->master ? param->master : param->value.panels;
        tr_param_refresh_away(&frozen);
    }
}

tr_status tr_param_clone_away(tr_param *to, const tr_param *from, tr_error *err)
{
    tr_status status = to->memory->take(&to->value.panels, value_bytes(to), false, err);
    if (!status) {
        to->memory->copy(to->value.panels, from->value.panels,
                         (size_t)to->elements * tr_dtype_size(to->value.dtype));
    }
    return status;
}
