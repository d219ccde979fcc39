/* advantage.c: group advantages. */
#include "rl/advantage.h"

#include <math.h>

bool tr_advantages(double *advantages, double *std, const double *rewards, int64_t count, tr_std_kind kind,
                   double eps)
{
    bool equal = true;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        equal = equal && rewards[i] == rewards[0];
        sum += rewards[i];
    }
    if (std) {
        *std = 0;
    }
    if (equal) {
        for (int64_t i = 0; i < count; i++) {
            advantages[i] = 0;
        }
        return true;
    }
    double mean = sum / (double)count, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += (rewards[i] - mean) * (rewards[i] - mean);
    }
    double deviation = sqrt(squares / (double)(kind == TR_STD_POPULATION ? count : count - 1));
    for (int64_t i = 0; i < count; i++) {
        advantages[i] = kind == TR_STD_NONE ? rewards[i] - mean : (rewards[i] - mean) / (deviation + eps);
    }
    if (std) {
        *std = deviation;
    }
    return false;
}
