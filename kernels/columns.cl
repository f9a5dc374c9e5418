// Columns: elementwise work and reductions over dims before the last, in one walk.
//
// Formula:
//   y[o, c] = fold over r of v[o, r, c], where v is computed from operands elementwise
// Layout:
//   Operands have strides over the dims that o and r are made of (n0, ..., m0, ...) and one stride
//   along the columns c. Results are contiguous: values v [rows][total][columns], folds
//   [rows][columns]. The `total` values of r are cut into chunks of `length`; with more chunks than
//   one, folds are [chunks][rows][columns], which a second launch joins. Blocks and order are those
//   of reduce_columns in reduce.cl, so that fused and unfused sums agree.
// Launch:
//   a work-item takes `across` neighbouring columns, one on GPUs:
//   global (ceil(columns / across), padded to LOCAL, rows, chunks)
// Entries:
//   columns
// Macros:
//   LOCAL   work-items of a work-group; 1 (CPUs: loops that the compiler vectorises) or a power of
//           two (GPUs: a column an item)
//   INDEX   type of sizes and offsets; int, long
//   OWN_MATH  functions of include/math.h instead of the platform's; 0, 1
//   GIVEN   results, operands, sizes and scalars; generated
//   BASES   each operand's offset for this o and the first column; generated
//   DECLARE, START, CLEAR  the folds' accumulators; their values, and those of a block, at the
//           start; generated
//   TERMS   the terms of up to eight values of r; generated
//   BODY    of (j): computes and stores the values at r and column l, and term j; generated
//   JOIN_ONE, JOIN_EIGHT  join terms to the block of column l; generated
//   CARRY   joins the block of column l to the total; generated
//   RESULT  stores the totals of column l; generated
// Oracle:
//   op by op: kernels/elementwise.cl and kernels/reduce.cl.

#include "dtype.h"
#include "fold.h"
#include "math.h"

#if !defined(LOCAL) || !defined(INDEX) || !defined(GIVEN) || !defined(OWN_MATH)
#error "columns.cl: LOCAL, INDEX, GIVEN and OWN_MATH must be defined"
#endif
#if !defined(BASES) || !defined(DECLARE) || !defined(START) || !defined(CLEAR)
#error "columns.cl: BASES, DECLARE, START and CLEAR must be defined"
#endif
#if !defined(TERMS) || !defined(BODY) || !defined(JOIN_ONE) || !defined(JOIN_EIGHT)
#error "columns.cl: TERMS, BODY, JOIN_ONE and JOIN_EIGHT must be defined"
#endif
#if !defined(CARRY) || !defined(RESULT)
#error "columns.cl: CARRY and RESULT must be defined"
#endif

#ifdef USE_columns
#define COLUMNS_BLOCK 64  // values added plainly, as in reduce.cl
#define COLUMNS_WIDE 1024  // columns from which several rows are read at once, as in reduce.cl
#if LOCAL == 1
#define COLUMNS_MAX 2048  // of a work-item at most, as in reduce.cl
#else
#define COLUMNS_MAX 1
#endif
#define COLUMNS_ROW(j)        \
  {                           \
    const INDEX r = e + (j);  \
    BODY(j)                   \
  }
#define COLUMNS_PAIR(f, y, t, i, j) t[i] = (ARITH(y))FOLD_PASTE(fold_, f, _JOIN)(t[i], t[j]);
#define COLUMNS_EIGHT(f, y, t)                                                               \
  COLUMNS_PAIR(f, y, t, 0, 1) COLUMNS_PAIR(f, y, t, 2, 3) COLUMNS_PAIR(f, y, t, 4, 5)        \
  COLUMNS_PAIR(f, y, t, 6, 7) COLUMNS_PAIR(f, y, t, 0, 2) COLUMNS_PAIR(f, y, t, 4, 6)        \
  COLUMNS_PAIR(f, y, t, 0, 4)

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(columns)(
    const INDEX columns, const INDEX across, const INDEX length, const INDEX total GIVEN) {
  // As in elementwise.cl: what is fused agrees with what is not.
#pragma OPENCL FP_CONTRACT OFF
  const INDEX left = (INDEX)get_global_id(0) * across;
  const int width = (int)min(columns - left, across);
  const INDEX row = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  BASES
  DECLARE
  for (int l = 0; l < width; l++) {
    START
  }
  const INDEX end = min((chunk + 1) * length, total);
  for (INDEX e = chunk * length; e < end;) {
    for (int l = 0; l < width; l++) {
      CLEAR
    }
    const INDEX stop = min(end, e + COLUMNS_BLOCK);
    for (; width >= COLUMNS_WIDE && e + 8 <= stop; e += 8)
      for (int l = 0; l < width; l++) {
        TERMS
        COLUMNS_ROW(0) COLUMNS_ROW(1) COLUMNS_ROW(2) COLUMNS_ROW(3)
        COLUMNS_ROW(4) COLUMNS_ROW(5) COLUMNS_ROW(6) COLUMNS_ROW(7)
        JOIN_EIGHT
      }
    for (; e < stop; e++)
      for (int l = 0; l < width; l++) {
        TERMS
        COLUMNS_ROW(0)
        JOIN_ONE
      }
    for (int l = 0; l < width; l++) {
      CARRY
    }
  }
  const long to = ((long)chunk * get_global_size(1) + row) * columns + left;
  for (int l = 0; l < width; l++) {
    RESULT
  }
}
#undef COLUMNS_BLOCK
#undef COLUMNS_WIDE
#undef COLUMNS_MAX
#undef COLUMNS_ROW
#undef COLUMNS_PAIR
#undef COLUMNS_EIGHT
#endif
