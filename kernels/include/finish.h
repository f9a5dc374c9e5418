// What a matrix product does with a finished element: round it, apply a chain of elementwise ops
// if there is one, store it.
//
//   FINISH(c, i, row, column, v)  statement: write the sum v, an ARITH(X), as element i of c; row
//                                 and column say where it stands in C, seen as [batches * M, N]
//
// The file that includes this defines X, INDEX, STORED and STORED_BODY: see matmul.cl.

#ifndef CLNET_FINISH_H
#define CLNET_FINISH_H

#include "dtype.h"

#define FINISH(c, i, of_row, of_column, v) \
  DTYPE_PASTE(FINISH_, STORED)(c, i, of_row, of_column, v)
#define FINISH_0(c, i, of_row, of_column, v) STORE(X, c, i, v);
#define FINISH_1(c, i, of_row, of_column, v)           \
  {                                                    \
    _Pragma("OPENCL FP_CONTRACT OFF")                  \
    const INDEX row = (of_row), column = (of_column);  \
    const ARITH(X) product = ROUND(X, v);              \
    STORED_BODY                                        \
    STORE(X, c, i, stored);                            \
  }

#endif  // CLNET_FINISH_H
