/* linear.c: the reference products and embedding over panels: plain loops, sums in double in the natural order.
 *
 * Weights of any storage are widened one by one. Shapes as in ops.h. */
#include "tensor/reference/reference.h"

#include <string.h>

static double weight(const tr_matrix *w, int64_t row, int64_t column)
{
    int64_t at = tr_matrix_index(w->in, row, column);
    if (w->dtype == TR_F32) {
        return (double)((const float *)w->panels)[at];
    }
    if (w->dtype == TR_BF16) {
        uint32_t bits = (uint32_t)((const uint16_t *)w->panels)[at] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        return (double)x;
    }
    return (double)tr_f16_to_f32(((const uint16_t *)w->panels)[at]);
}

void tr_reference_linear_forward(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t o = 0; o < w->out; o++) {
            double sum = bias ? (double)bias[o] : 0.0;
            for (int64_t k = 0; k < w->in; k++) {
                sum += (double)x[i * w->in + k] * weight(w, o, k);
            }
            y[i * w->out + o] = (float)sum;
        }
    }
}

void tr_reference_linear_backward_input(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < w->in; k++) {
            double sum = 0.0;
            for (int64_t o = 0; o < w->out; o++) {
                sum += (double)dy[i * w->out + o] * weight(w, o, k);
            }
            float *to = dx + i * w->in + k;
            *to = (add ? *to : 0.0f) + (float)sum;
        }
    }
}

void tr_reference_linear_backward_weight(float *dw_panels, float *dbias, const float *dy, const float *x,
                                         int64_t rows, int64_t out, int64_t in)
{
    for (int64_t o = 0; o < out; o++) {
        for (int64_t k = 0; dw_panels && k < in; k++) {
            double sum = 0.0;
            for (int64_t i = 0; i < rows; i++) {
                sum += (double)dy[i * out + o] * (double)x[i * in + k];
            }
            dw_panels[tr_matrix_index(in, o, k)] += (float)sum;
        }
        double sum = 0.0;
        for (int64_t i = 0; dbias && i < rows; i++) {
            sum += (double)dy[i * out + o];
        }
        if (dbias) {
            dbias[o] += (float)sum;
        }
    }
}

void tr_reference_embedding_forward(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < w->in; k++) {
            x[i * w->in + k] = ids[i] < 0 ? 0.0f : (float)weight(w, ids[i], k);
        }
    }
}

void tr_reference_embedding_backward(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows,
                                     int64_t out, int64_t in)
{
    (void)out;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; ids[i] >= 0 && k < in; k++) {
            dw_panels[tr_matrix_index(in, ids[i], k)] += dx[i * in + k];
        }
    }
}
