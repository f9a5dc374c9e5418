// Cumulative folds along one dimension.
//
// Formula:
//   scan_chunks  y[o, t, i] = fold of REDUCE over x[o, 0 .. t, i]
//   scan_totals  total[o, c, i] = fold over the c-th chunk of `length` elements along t
// Layout:
//   x and y contiguous [outer, n, inner]; total contiguous [outer, chunks, inner]. With chunks > 1
//   scan_totals goes first, and scan_chunks starts each chunk from the totals before it, in order:
//   the result does not depend on the schedule. Float sums are compensated, so that y's error does
//   not grow with t. With chunks == 1 `total` is not read.
// Launch:
//   a work-item takes 64 neighbours along i and one chunk: global (ceil(inner / 64), outer, chunks)
// Entries:
//   scan_chunks
//   scan_totals
// Macros:
//   X       dtype of x; any of dtype.h
//   Y       dtype of y; any of dtype.h. Totals are stored, and folds computed, in its arithmetic
//           type
//   REDUCE  the fold; sum, prod, amax, amin
//   INDEX   type of sizes and offsets; int, long
// Oracle:
//   scan_chunks with one chunk is the plain version; numpy.cumsum, numpy.cumprod in float64.

#include "dtype.h"
#include "fold.h"

#ifndef X
#error "scan.cl: X is not defined: dtype of the input"
#endif
#ifndef Y
#error "scan.cl: Y is not defined: dtype of the output"
#endif
#ifndef REDUCE
#error "scan.cl: REDUCE is not defined: sum, prod, amax or amin"
#endif
#ifndef INDEX
#error "scan.cl: INDEX is not defined: int or long"
#endif

#define ACC ARITH(Y)
#define SCAN_WIDTH 64

#ifdef USE_scan_chunks
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(scan_chunks)(
    __global const STORAGE(X) *restrict x, const long x0, __global const ACC *restrict total,
    const long total0, __global STORAGE(Y) *restrict y, const long y0, const INDEX n,
    const INDEX inner, const INDEX length) {
  const INDEX left = (INDEX)get_global_id(0) * SCAN_WIDTH;
  const int width = (int)min(inner - left, (INDEX)SCAN_WIDTH);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC sum[SCAN_WIDTH], lost[SCAN_WIDTH];
  for (int l = 0; l < SCAN_WIDTH; l++) {
    sum[l] = fold_START;
    lost[l] = 0;
  }
  for (INDEX c = 0; c < chunk; c++)
    for (int l = 0; l < width; l++) {
      const ACC before = total[total0 + (o * chunks + c) * inner + left + l];
      ADD_BLOCK(sum[l], lost[l], before)
    }
  const INDEX end = min(n, (chunk + 1) * length);
  for (INDEX t = chunk * length; t < end; t++) {
    __global const STORAGE(X) *p = x + x0 + (o * n + t) * inner + left;
    __global STORAGE(Y) *q = y + y0 + (o * n + t) * inner + left;
    for (int l = 0; l < width; l++) {
      const ACC term = fold_TERM(LOAD(X, p, l));
      ADD_BLOCK(sum[l], lost[l], term)
      STORE(Y, q, l, FOLD_RESULT(sum[l], lost[l]));
    }
  }
}
#endif

#ifdef USE_scan_totals
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(scan_totals)(
    __global const STORAGE(X) *restrict x, const long x0, __global ACC *restrict total,
    const long total0, const INDEX n, const INDEX inner, const INDEX length) {
  const INDEX left = (INDEX)get_global_id(0) * SCAN_WIDTH;
  const int width = (int)min(inner - left, (INDEX)SCAN_WIDTH);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC sum[SCAN_WIDTH], lost[SCAN_WIDTH];
  for (int l = 0; l < SCAN_WIDTH; l++) {
    sum[l] = fold_START;
    lost[l] = 0;
  }
  const INDEX end = min(n, (chunk + 1) * length);
  for (INDEX t = chunk * length; t < end; t++) {
    __global const STORAGE(X) *p = x + x0 + (o * n + t) * inner + left;
    for (int l = 0; l < width; l++) {
      const ACC term = fold_TERM(LOAD(X, p, l));
      ADD_BLOCK(sum[l], lost[l], term)
    }
  }
  __global ACC *to = total + total0 + (o * chunks + chunk) * inner + left;
  for (int l = 0; l < width; l++) to[l] = FOLD_RESULT(sum[l], lost[l]);
}
#endif

#undef ACC
#undef SCAN_WIDTH
