// The folds of reductions and scans: start value, one element's term, and how two values combine.
//
//   FOLD(_START)       the fold of no elements, as ARITH(Y)
//   FOLD(_TERM)(v)     what the element v, an ARITH(X), contributes, as ARITH(Y)
//   FOLD(_JOIN)(a, b)  the fold of two parts; evaluates a and b more than once
//   FOLD(_BETTER)(a, b)  amax and amin: a beats b
//   ADD_BLOCK(total, lost, v)  statement: join v to total; `lost` collects what rounding takes
//                      from a float sum (Neumaier 1974); start it at 0
//   FOLD_RESULT(total, lost)   the value of such a total
//
// Named apart from OpenCL's max, min, any and all, which implementations may define as macros.
// The file that includes this defines REDUCE (sum, prod, amax, amin, some, every), X and Y
// (dtypes).

#ifndef CLNET_FOLD_H
#define CLNET_FOLD_H

#include "dtype.h"

#define FOLD_PASTE_(a, b, c) a##b##c
#define FOLD_PASTE(a, b, c) FOLD_PASTE_(a, b, c)
#define FOLD(part) FOLD_PASTE(fold_, REDUCE, part)

#define fold_sum_START ((ARITH(Y))0)
#define fold_sum_TERM(v) CONVERT(Y, X, v)
#define fold_sum_JOIN(a, b) ((a) + (b))
#define fold_sum_LOSSY IS_FLOAT(Y)
#define fold_prod_START ((ARITH(Y))1)
#define fold_prod_TERM(v) CONVERT(Y, X, v)
#define fold_prod_JOIN(a, b) ((a) * (b))
#define fold_prod_LOSSY 0
// a != a holds for NaN alone.
#define fold_amax_START LOWEST(Y)
#define fold_amax_TERM(v) (v)
#define fold_amax_JOIN(a, b) (((a) >= (b) || (a) != (a)) ? (a) : (b))
#define fold_amax_LOSSY 0
#define fold_amax_BETTER(a, b) ((a) > (b))
#define fold_amin_START HIGHEST(Y)
#define fold_amin_TERM(v) (v)
#define fold_amin_JOIN(a, b) (((a) <= (b) || (a) != (a)) ? (a) : (b))
#define fold_amin_LOSSY 0
#define fold_amin_BETTER(a, b) ((a) < (b))
#define fold_some_START ((ARITH(Y))0)
#define fold_some_TERM(v) ((ARITH(Y))((v) != 0))
#define fold_some_JOIN(a, b) ((a) | (b))
#define fold_some_LOSSY 0
#define fold_every_START ((ARITH(Y))1)
#define fold_every_TERM(v) ((ARITH(Y))((v) != 0))
#define fold_every_JOIN(a, b) ((a) & (b))
#define fold_every_LOSSY 0

#define ADD_BLOCK(total, lost, v) FOLD_PASTE(fold_add_, FOLD(_LOSSY), )(total, lost, v)
#define fold_add_0(total, lost, v) total = (ARITH(Y))FOLD(_JOIN)(total, v);
#define fold_add_1(total, lost, v)                                             \
  {                                                                            \
    const ARITH(Y) sum_ = total + v;                                           \
    lost += fabs(total) >= fabs(v) ? (total - sum_) + v : (v - sum_) + total;  \
    total = sum_;                                                              \
  }
#define FOLD_RESULT(total, lost) FOLD_PASTE(fold_result_, FOLD(_LOSSY), )(total, lost)
#define fold_result_0(total, lost) (total)
// Infinities make `lost` a NaN; the total is then right already.
#define fold_result_1(total, lost) (isfinite(total) ? (total) + (lost) : (total))

#endif  // CLNET_FOLD_H
