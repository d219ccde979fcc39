/* math.h: elementary functions as fixed sequences of IEEE operations.
 *
 * libm's versions differ between machines in the last bit; these do not. Double precision, errors below 2 units
 * in the last place over the documented range; NaN in gives NaN out. Vectorised f32 versions live in
 * tensor/cpu. Thread safe. */
#ifndef TR_BASE_MATH_H
#define TR_BASE_MATH_H

double tr_math_exp(double x);           /* all x; overflow gives infinity, below -745 gives 0 */
double tr_math_log(double x);           /* x > 0; 0 gives -infinity, negative gives NaN */
double tr_math_sin(double x);           /* |x| <= 2^30 */
double tr_math_cos(double x);           /* |x| <= 2^30 */
double tr_math_pow(double x, double y); /* x > 0: exp(y * log(x)) in extended arithmetic */
double tr_math_erf(double x);           /* all x */

#endif
