// The folds of reductions and scans: start value, one element's term, and how two values combine.
//
//   fold_START         the fold of no elements, as ARITH(Y)
//   fold_TERM(v)       what the element v, an ARITH(X), contributes, as ARITH(Y)
//   FOLD(_JOIN)(a, b)  the fold of two parts; evaluates a and b more than once
//   FOLD(_BETTER)(a, b)  amax and amin: a beats b
//   ADD_BLOCK(total, lost, v)  statement: join v to total; `lost` collects what rounding takes
//                      from a float sum (Neumaier 1974); start it at 0
//   FOLD_RESULT(total, lost)   the value of such a total
//
// With the fold and the dtypes as arguments (f: sum, ...), where a kernel has several folds:
//   fold_f_FROM(y), fold_f_OF(y, x, v), fold_f_JOIN(a, b)   as START, TERM and JOIN
//   FOLD_ADD(f, y, total, lost, v), FOLD_TOTAL(f, y, total, lost)   as ADD_BLOCK and FOLD_RESULT
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

#define fold_sum_FROM(y) ((ARITH(y))0)
#define fold_sum_OF(y, x, v) CONVERT(y, x, v)
#define fold_sum_JOIN(a, b) ((a) + (b))
#define fold_sum_LOSSY(y) IS_FLOAT(y)
#define fold_prod_FROM(y) ((ARITH(y))1)
#define fold_prod_OF(y, x, v) CONVERT(y, x, v)
#define fold_prod_JOIN(a, b) ((a) * (b))
#define fold_prod_LOSSY(y) 0
// a != a holds for NaN alone.
#define fold_amax_FROM(y) LOWEST(y)
#define fold_amax_OF(y, x, v) (v)
#define fold_amax_JOIN(a, b) (((a) >= (b) || (a) != (a)) ? (a) : (b))
#define fold_amax_LOSSY(y) 0
#define fold_amax_BETTER(a, b) ((a) > (b))
#define fold_amin_FROM(y) HIGHEST(y)
#define fold_amin_OF(y, x, v) (v)
#define fold_amin_JOIN(a, b) (((a) <= (b) || (a) != (a)) ? (a) : (b))
#define fold_amin_LOSSY(y) 0
#define fold_amin_BETTER(a, b) ((a) < (b))
#define fold_some_FROM(y) ((ARITH(y))0)
#define fold_some_OF(y, x, v) ((ARITH(y))((v) != 0))
#define fold_some_JOIN(a, b) ((a) | (b))
#define fold_some_LOSSY(y) 0
#define fold_every_FROM(y) ((ARITH(y))1)
#define fold_every_OF(y, x, v) ((ARITH(y))((v) != 0))
#define fold_every_JOIN(a, b) ((a) & (b))
#define fold_every_LOSSY(y) 0

#define fold_START FOLD(_FROM)(Y)
#define fold_TERM(v) FOLD(_OF)(Y, X, v)

#define FOLD_LOSSY(f, y) FOLD_PASTE(fold_, f, _LOSSY)(y)
#define FOLD_ADD(f, y, total, lost, v) \
  FOLD_PASTE(fold_add_, FOLD_LOSSY(f, y), )(f, y, total, lost, v)
#define fold_add_0(f, y, total, lost, v) total = (ARITH(y))FOLD_PASTE(fold_, f, _JOIN)(total, v);
#define fold_add_1(f, y, total, lost, v)                                       \
  {                                                                            \
    const ARITH(y) sum_ = total + v;                                           \
    lost += fabs(total) >= fabs(v) ? (total - sum_) + v : (v - sum_) + total;  \
    total = sum_;                                                              \
  }
#define FOLD_TOTAL(f, y, total, lost) \
  FOLD_PASTE(fold_result_, FOLD_LOSSY(f, y), )(total, lost)
#define fold_result_0(total, lost) (total)
// Infinities make `lost` a NaN; the total is then right already. (Not isfinite, which PoCL calls.)
#define fold_result_1(total, lost) ((total) - (total) == 0 ? (total) + (lost) : (total))
#define ADD_BLOCK(total, lost, v) FOLD_ADD(REDUCE, Y, total, lost, v)
#define FOLD_RESULT(total, lost) FOLD_TOTAL(REDUCE, Y, total, lost)

#endif  // CLNET_FOLD_H
