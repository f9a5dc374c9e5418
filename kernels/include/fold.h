// The folds of reductions and scans: start value, one element's term, and how two values combine.
//
//   FOLD(_START)       the fold of no elements, as ARITH(Y)
//   FOLD(_TERM)(v)     what the element v, an ARITH(X), contributes, as ARITH(Y)
//   FOLD(_JOIN)(a, b)  the fold of two parts; evaluates a and b more than once
//   FOLD(_BETTER)(a, b)  amax and amin: a beats b
//   FOLD(_EXACT)       1 where parts join without rounding that compensation could give back, for #if
//
// Named apart from OpenCL's max, min, any and all, which implementations may define as macros.
// The file that includes this defines REDUCE (sum, prod, amax, amin, some, every), X and Y (dtypes).

#ifndef CLNET_FOLD_H
#define CLNET_FOLD_H

#include "dtype.h"

#define FOLD_PASTE_(a, b, c) a##b##c
#define FOLD_PASTE(a, b, c) FOLD_PASTE_(a, b, c)
#define FOLD(part) FOLD_PASTE(fold_, REDUCE, part)

#define fold_sum_START ((ARITH(Y))0)
#define fold_sum_TERM(v) CONVERT(Y, X, v)
#define fold_sum_JOIN(a, b) ((a) + (b))
#define fold_sum_EXACT (!IS_FLOAT(Y))
#define fold_prod_START ((ARITH(Y))1)
#define fold_prod_TERM(v) CONVERT(Y, X, v)
#define fold_prod_JOIN(a, b) ((a) * (b))
#define fold_prod_EXACT 1
// a != a holds for NaN alone.
#define fold_amax_START LOWEST(Y)
#define fold_amax_TERM(v) (v)
#define fold_amax_JOIN(a, b) (((a) >= (b) || (a) != (a)) ? (a) : (b))
#define fold_amax_EXACT 1
#define fold_amax_BETTER(a, b) ((a) > (b))
#define fold_amin_START HIGHEST(Y)
#define fold_amin_TERM(v) (v)
#define fold_amin_JOIN(a, b) (((a) <= (b) || (a) != (a)) ? (a) : (b))
#define fold_amin_EXACT 1
#define fold_amin_BETTER(a, b) ((a) < (b))
#define fold_some_START ((ARITH(Y))0)
#define fold_some_TERM(v) ((ARITH(Y))((v) != 0))
#define fold_some_JOIN(a, b) ((a) | (b))
#define fold_some_EXACT 1
#define fold_every_START ((ARITH(Y))1)
#define fold_every_TERM(v) ((ARITH(Y))((v) != 0))
#define fold_every_JOIN(a, b) ((a) & (b))
#define fold_every_EXACT 1

#endif  // CLNET_FOLD_H
