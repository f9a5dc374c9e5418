// Cumulative folds along one dimension.
//
// Formula:
//   scan_chunks, scan_rows, scan_group  y[o, t, i] = fold of REDUCE over x[o, 0 .. t, i]
//   scan_totals, scan_group_totals  total[o, c, i] = fold over the c-th chunk of `length` elements
//                along t
// Layout:
//   x and y contiguous [outer, n, inner]; total contiguous [outer, chunks, inner]. With chunks > 1
//   the totals go first, and each chunk starts from the totals before it, in order: the result does
//   not depend on the schedule. Float sums are compensated from chunk to chunk and, in scan_chunks,
//   from element to element, so that y's error does not grow with t. With chunks == 1 `total` is
//   not read.
// Launch:
//   scan_chunks, scan_totals  a work-item takes WIDTH neighbours along i and one chunk: global
//                (ceil(inner / WIDTH) padded to LOCAL, outer, chunks)
//   scan_rows    inner is 1; a work-group of one item takes a chunk: global (1, outer, chunks)
//   scan_group, scan_group_totals  inner is 1; a work-group of LOCAL items takes a chunk: global
//                (LOCAL, outer, chunks)
// Entries:
//   scan_chunks
//   scan_totals
//   scan_rows
//   scan_group
//   scan_group_totals
// Macros:
//   X       dtype of x; any of dtype.h
//   Y       dtype of y; any of dtype.h. Totals are stored, and folds computed, in its arithmetic
//           type
//   REDUCE  the fold; sum, prod, amax, amin
//   WIDTH   neighbours that an item takes (scan_chunks, scan_totals); 1, 64
//   LOCAL   work-items of a work-group (all but scan_rows); 1 to the device's limit, a power of two
//           in scan_group and scan_group_totals
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
#ifndef LOCAL
#error "scan.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef INDEX
#error "scan.cl: INDEX is not defined: int or long"
#endif

#define ACC ARITH(Y)
#define SCAN_EACH 8    // neighbours that an item of scan_group takes at once
#define SCAN_BLOCK 64  // values that an item of scan_group_totals folds plainly

#ifdef USE_scan_chunks
#ifndef WIDTH
#error "scan.cl: WIDTH is not defined: neighbours that an item takes"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(scan_chunks)(
    __global const STORAGE(X) *restrict x, const long x0, __global const ACC *restrict total,
    const long total0, __global STORAGE(Y) *restrict y, const long y0, const INDEX n,
    const INDEX inner, const INDEX length) {
  const INDEX left = (INDEX)get_global_id(0) * WIDTH;
  const int width = (int)min(inner - left, (INDEX)WIDTH);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC sum[WIDTH], lost[WIDTH];
  for (int l = 0; l < WIDTH; l++) {
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

#ifdef USE_scan_rows
#define SCAN_VECTOR 16  // elements that are joined by doubling, then all with those before
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(scan_rows)(
    __global const STORAGE(X) *restrict x, const long x0, __global const ACC *restrict total,
    const long total0, __global STORAGE(Y) *restrict y, const long y0, const INDEX n,
    const INDEX inner, const INDEX length) {
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC before = fold_START, lost = 0;
  for (INDEX c = 0; c < chunk; c++) {
    const ACC earlier = total[total0 + o * chunks + c];
    ADD_BLOCK(before, lost, earlier)
  }
  __global const STORAGE(X) *p = x + x0 + o * n;
  __global STORAGE(Y) *q = y + y0 + o * n;
  const INDEX end = min(n, (chunk + 1) * length);
  INDEX t = chunk * length;
  for (; t + SCAN_VECTOR <= end; t += SCAN_VECTOR) {
    ACC upto[SCAN_VECTOR];
    for (int l = 0; l < SCAN_VECTOR; l++) upto[l] = fold_TERM(LOAD(X, p, t + l));
    for (int reach = 1; reach < SCAN_VECTOR; reach *= 2)
      for (int l = SCAN_VECTOR - 1; l >= reach; l--)
        upto[l] = (ACC)FOLD(_JOIN)(upto[l - reach], upto[l]);
    for (int l = 0; l < SCAN_VECTOR; l++) {
      ACC all = before, rest = lost;
      ADD_BLOCK(all, rest, upto[l])
      STORE(Y, q, t + l, FOLD_RESULT(all, rest));
    }
    ADD_BLOCK(before, lost, upto[SCAN_VECTOR - 1])
  }
  for (; t < end; t++) {
    const ACC term = fold_TERM(LOAD(X, p, t));
    ADD_BLOCK(before, lost, term)
    STORE(Y, q, t, FOLD_RESULT(before, lost));
  }
}
#undef SCAN_VECTOR
#endif

#ifdef USE_scan_totals
#ifndef WIDTH
#error "scan.cl: WIDTH is not defined: neighbours that an item takes"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(scan_totals)(
    __global const STORAGE(X) *restrict x, const long x0, __global ACC *restrict total,
    const long total0, const INDEX n, const INDEX inner, const INDEX length) {
  const INDEX left = (INDEX)get_global_id(0) * WIDTH;
  const int width = (int)min(inner - left, (INDEX)WIDTH);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC sum[WIDTH], lost[WIDTH];
  for (int l = 0; l < WIDTH; l++) {
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

#ifdef USE_scan_group
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(scan_group)(
    __global const STORAGE(X) *restrict x, const long x0, __global const ACC *restrict total,
    const long total0, __global STORAGE(Y) *restrict y, const long y0, const INDEX n,
    const INDEX inner, const INDEX length) {
  __local ACC upto[2][LOCAL];
  const int item = (int)get_local_id(0);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  ACC before = fold_START, lost = 0;  // the fold of all elements to the left of the block
  for (INDEX c = 0; c < chunk; c++) {
    const ACC earlier = total[total0 + o * chunks + c];
    ADD_BLOCK(before, lost, earlier)
  }
  const INDEX end = min(n, (chunk + 1) * length);
  __global const STORAGE(X) *p = x + x0 + o * n;
  __global STORAGE(Y) *q = y + y0 + o * n;
  for (INDEX t = chunk * length; t < end; t += SCAN_EACH * LOCAL) {
    const INDEX first = t + item * SCAN_EACH;
    ACC sums[SCAN_EACH];
    ACC sum = fold_START;
    for (int l = 0; l < SCAN_EACH; l++) {
      const ACC term = first + l < end ? fold_TERM(LOAD(X, p, first + l)) : fold_START;
      sum = (ACC)FOLD(_JOIN)(sum, term);
      sums[l] = sum;
    }
    int half_ = 0;
    upto[0][item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int reach = 1; reach < LOCAL; reach *= 2) {  // doubling (Hillis and Steele 1986)
      ACC joined = upto[half_][item];
      if (item >= reach) joined = (ACC)FOLD(_JOIN)(upto[half_][item - reach], joined);
      half_ = 1 - half_;
      upto[half_][item] = joined;
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    const ACC left = item ? upto[half_][item - 1] : fold_START;
    for (int l = 0; l < SCAN_EACH; l++) {
      if (first + l >= end) break;
      ACC all = before, rest = lost;
      const ACC within = (ACC)FOLD(_JOIN)(left, sums[l]);
      ADD_BLOCK(all, rest, within)
      STORE(Y, q, first + l, FOLD_RESULT(all, rest));
    }
    const ACC block = upto[half_][LOCAL - 1];
    ADD_BLOCK(before, lost, block)
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  (void)lost;
}
#endif

#ifdef USE_scan_group_totals
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(scan_group_totals)(
    __global const STORAGE(X) *restrict x, const long x0, __global ACC *restrict total,
    const long total0, const INDEX n, const INDEX inner, const INDEX length) {
  __local ACC part[LOCAL];
  const int item = (int)get_local_id(0);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  const INDEX chunks = (INDEX)get_global_size(2);
  const INDEX end = min(n, (chunk + 1) * length);
  __global const STORAGE(X) *p = x + x0 + o * n;
  ACC sum = fold_START, lost = 0;
  for (INDEX t = chunk * length + item; t < end;) {
    ACC block = fold_START;
    for (int l = 0; l < SCAN_BLOCK && t < end; l++, t += LOCAL) {
      const ACC term = fold_TERM(LOAD(X, p, t));
      block = (ACC)FOLD(_JOIN)(block, term);
    }
    ADD_BLOCK(sum, lost, block)
  }
  (void)lost;
  part[item] = FOLD_RESULT(sum, lost);
  for (int half_ = LOCAL / 2; half_ > 0; half_ /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < half_) part[item] = (ACC)FOLD(_JOIN)(part[item], part[item + half_]);
  }
  if (item == 0) total[total0 + o * chunks + chunk] = part[0];
}
#endif

#undef ACC
#undef SCAN_EACH
#undef SCAN_BLOCK
