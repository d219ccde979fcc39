/* advantage.c: what each response is worth: within its group, over a step, over a task's history. */
#include "rl/advantage.h"

#include "base/math.h"

#include <math.h>
#include <stddef.h>

static bool all_equal(const double *values, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        if (!(values[i] == values[0])) { /* a NaN is not equal, and must stay visible */
            return false;
        }
    }
    return true;
}

static void set_zero(double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] = 0;
    }
}

static double mean_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum / (double)count;
}

/* Needs two values for the sample kind. */
static double deviation_of(const double *values, int64_t count, double mean, tr_std_kind kind)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    return sqrt(squares / (double)(kind == TR_STD_POPULATION ? count : count - 1));
}

bool tr_advantages(double *advantages, double *std, const double *rewards, int64_t count, tr_std_kind kind,
                   double eps)
{
    if (std) {
        *std = 0;
    }
    if (all_equal(rewards, count)) {
        set_zero(advantages, count);
        return true;
    }
    double mean = mean_of(rewards, count), deviation = deviation_of(rewards, count, mean, kind);
    for (int64_t i = 0; i < count; i++) {
        advantages[i] = kind == TR_STD_NONE ? rewards[i] - mean : (rewards[i] - mean) / (deviation + eps);
    }
    if (std) {
        *std = deviation;
    }
    return false;
}

bool tr_advantages_leave_one_out(double *advantages, const double *rewards, int64_t count, tr_std_kind kind,
                                 double eps)
{
    if (all_equal(rewards, count)) {
        set_zero(advantages, count);
        return true;
    }
    const int64_t others = count - 1; /* at least 1: a single reward is equal to itself */
    for (int64_t i = 0; i < count; i++) {
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < count; j++) {
            sum += j == i ? 0 : rewards[j];
        }
        double mean = sum / (double)others;
        for (int64_t j = 0; j < count; j++) {
            squares += j == i ? 0 : (rewards[j] - mean) * (rewards[j] - mean);
        }
        int64_t divisor = kind == TR_STD_POPULATION ? others : others - 1;
        double deviation = kind == TR_STD_NONE || divisor < 1 ? 0 : sqrt(squares / (double)divisor);
        advantages[i] = rewards[i] - mean;
        if (deviation > 0) {
            advantages[i] /= deviation + eps;
        }
    }
    return false;
}

bool tr_advantages_whiten(double *values, int64_t count, tr_std_kind kind, double eps)
{
    return tr_advantages(values, NULL, values, count, kind, eps);
}

void tr_advantages_scale(double *values, int64_t count, tr_std_kind kind, double eps)
{
    if (kind == TR_STD_NONE || all_equal(values, count)) {
        return;
    }
    double divisor = deviation_of(values, count, mean_of(values, count), kind) + eps;
    for (int64_t i = 0; i < count; i++) {
        values[i] /= divisor; /* 0 stays 0 */
    }
}

void tr_moments_add(tr_moments *moments, double decay, double sum, double squares, int64_t count)
{
    double first = sum / (double)count, second = squares / (double)count;
    double keep = moments->updates ? decay : 0;
    moments->first = keep * moments->first + (1 - keep) * first;
    moments->second = keep * moments->second + (1 - keep) * second;
    moments->updates++;
}

double tr_moments_deviation(const tr_moments *moments)
{
    double variance = moments->second - moments->first * moments->first;
    return variance > 0 ? sqrt(variance) : 0;
}

bool tr_advantages_by_part(double *advantages, const double *parts, int64_t stride, int64_t part_count,
                           const double *weights, int64_t count, tr_std_kind kind, double eps)
{
    bool flat = true;
    set_zero(advantages, count);
    for (int64_t p = 0; p < part_count; p++) {
        const double *part = parts + p;
        bool equal = true;
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < count; i++) {
            equal = equal && part[i * stride] == part[0];
            sum += part[i * stride];
        }
        if (equal || weights[p] == 0) {
            continue;
        }
        flat = false;
        double mean = sum / (double)count;
        for (int64_t i = 0; i < count; i++) {
            squares += (part[i * stride] - mean) * (part[i * stride] - mean);
        }
        double deviation = sqrt(squares / (double)(kind == TR_STD_POPULATION ? count : count - 1));
        double divisor = kind == TR_STD_NONE ? 1 : deviation + eps;
        for (int64_t i = 0; i < count; i++) {
            advantages[i] += weights[p] * (part[i * stride] - mean) / divisor;
        }
    }
    return flat;
}

double tr_advantage_shape(double reward)
{
    const double threshold = 0.8, compression = 0.01, e = 0x1.5bf0a8b145769p+1;
    if (reward >= threshold) {
        return threshold + compression * tr_math_log(reward - threshold + 1);
    }
    return threshold - (tr_math_exp(threshold - reward) - 1) / (e - 1);
}
