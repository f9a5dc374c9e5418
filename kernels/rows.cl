// Rows: elementwise work, reductions along the row, and elementwise work with their results.
//
// Formula:
//   for every row: loop after loop over its elements, each of which computes values from operands
//   and from what earlier loops found, folds some of them, and writes others
// Layout:
//   Results are contiguous, [rows][n] or [rows]. Operands have strides over the dims that rows
//   are made of (n0, n1, ...) and one stride along the row. The last row may be shorter: there are
//   `total` elements. Values kept for a later loop lie in a scratch row of the work-group.
// Launch:
//   a work-group of LOCAL items takes `each` neighbouring rows: global (LOCAL * ceil(rows / each))
// Entries:
//   rows
// Macros:
//   LOCAL   work-items of a work-group; 1 (CPUs: a loop that the compiler vectorises) or a power of
//           two (GPUs: item by item, joined in local memory)
//   INDEX   type of sizes and offsets; int, long
//   OWN_MATH  functions of include/math.h instead of the platform's; 0, 1
//   GIVEN   results, operands, sizes, scalars and scratch; generated
//   PARTS   local memory for the joins of GPUs; generated
//   BASES   each operand's offset for this row, and operands that are one value a row; generated
//   LOOPS   the loops: FOLDING_LOOP(k) or PLAIN_LOOP(k), which use the macros declare_k, start_k,
//           body_k, join_k, halve_k, carry_k, part_k, tree_k and result_k; generated
// Oracle:
//   op by op: kernels/elementwise.cl and kernels/reduce.cl.

#include "dtype.h"
#include "fold.h"
#include "math.h"

#if !defined(LOCAL) || !defined(INDEX) || !defined(GIVEN) || !defined(OWN_MATH)
#error "rows.cl: LOCAL, INDEX, GIVEN and OWN_MATH must be defined"
#endif
#if !defined(PARTS) || !defined(BASES) || !defined(LOOPS)
#error "rows.cl: PARTS, BASES and LOOPS must be defined"
#endif

#ifdef USE_rows
#define ROWS_BLOCK 64  // values added plainly, as in reduce.cl
#define ROWS_PASTE_(a, b) a##b
#define ROWS_PASTE(a, b) ROWS_PASTE_(a, b)
#define PLAIN_LOOP(k) \
  for (INDEX c = item; c < n; c += LOCAL) { \
    ROWS_PASTE(body_, k) \
  }
#if LOCAL == 1
#define ROWS_LANES 64
#define FOLDING_LOOP(k) \
  ROWS_PASTE(declare_, k) \
  { \
    INDEX i = 0; \
    while (n - i >= ROWS_LANES) { \
      for (int l = 0; l < ROWS_LANES; l++) { \
        ROWS_PASTE(start_, k) \
      } \
      const INDEX stop = \
          i + min((n - i) / ROWS_LANES, (INDEX)ROWS_BLOCK) * ROWS_LANES; \
      for (; i < stop; i += ROWS_LANES) \
        for (int l = 0; l < ROWS_LANES; l++) { \
          const INDEX c = i + l; \
          ROWS_PASTE(body_, k) \
          ROWS_PASTE(join_, k) \
        } \
      for (int half_ = ROWS_LANES / 2; half_ > 0; half_ /= 2) \
        for (int l = 0; l < half_; l++) { \
          ROWS_PASTE(halve_, k) \
        } \
      ROWS_PASTE(carry_, k) \
    } \
    while (i < n) { \
      const int l = 0; \
      ROWS_PASTE(start_, k) \
      const INDEX stop = min(n, i + ROWS_BLOCK); \
      for (; i < stop; i++) { \
        const INDEX c = i; \
        ROWS_PASTE(body_, k) \
        ROWS_PASTE(join_, k) \
      } \
      ROWS_PASTE(carry_, k) \
    } \
  } \
  ROWS_PASTE(result_, k)
#else
// Four elements on their way at once, added in the order of reduce_group.
#define ROWS_LANES 4
#define FOLDING_LOOP(k) \
  ROWS_PASTE(declare_, k) \
  { \
    INDEX i = item; \
    while (i + (ROWS_LANES - 1) * LOCAL < n) { \
      _Pragma("unroll") for (int l = 0; l < ROWS_LANES; l++) { \
        ROWS_PASTE(start_, k) \
      } \
      for (int b_ = 0; b_ < ROWS_BLOCK && i + (ROWS_LANES - 1) * LOCAL < n; b_ += ROWS_LANES) { \
        _Pragma("unroll") for (int l = 0; l < ROWS_LANES; l++) { \
          const INDEX c = i + l * LOCAL; \
          ROWS_PASTE(body_, k) \
          ROWS_PASTE(join_, k) \
        } \
        i += ROWS_LANES * LOCAL; \
      } \
      _Pragma("unroll") for (int half_ = ROWS_LANES / 2; half_ > 0; half_ /= 2) \
        _Pragma("unroll") for (int l = 0; l < half_; l++) { \
          ROWS_PASTE(halve_, k) \
        } \
      ROWS_PASTE(carry_, k) \
    } \
    for (; i < n; i += LOCAL) { \
      const int l = 0; \
      const INDEX c = i; \
      ROWS_PASTE(start_, k) \
      ROWS_PASTE(body_, k) \
      ROWS_PASTE(join_, k) \
      ROWS_PASTE(carry_, k) \
    } \
  } \
  barrier(CLK_LOCAL_MEM_FENCE); \
  ROWS_PASTE(part_, k) \
  for (int half_ = LOCAL / 2; half_ > 0; half_ /= 2) { \
    barrier(CLK_LOCAL_MEM_FENCE); \
    if (item < half_) { \
      ROWS_PASTE(tree_, k) \
    } \
  } \
  barrier(CLK_LOCAL_MEM_FENCE); \
  ROWS_PASTE(result_, k)
#endif

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(rows)(
    const INDEX rows, const INDEX length, const long total, const INDEX each GIVEN) {
  // As in elementwise.cl: what is fused agrees with what is not.
#pragma OPENCL FP_CONTRACT OFF
  PARTS
  const int item = (int)get_local_id(0);
  const INDEX group = (INDEX)get_group_id(0);
  const INDEX last = min((group + 1) * each, rows);
  for (INDEX row = group * each; row < last; row++) {
    const INDEX n = (INDEX)min((long)length, total - (long)row * length);
    const long at = (long)row * length;
    BASES
    LOOPS
  }
}
#undef ROWS_BLOCK
#undef ROWS_PASTE_
#undef ROWS_PASTE
#undef ROWS_LANES
#undef PLAIN_LOOP
#undef FOLDING_LOOP
#endif
