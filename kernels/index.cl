// Reading and writing by index, and the deterministic inverse of reading, the sum of segments.
//
// Formula:
//   take         y[o, j, i] = x[o, index[j], i]          an index below 0 counts from the end
//   take_rows    the same
//   take_along   y[o, j, i] = x[o, index[o, j, i], i]
//   put_rows     y[index[k], i] = x[k, i]
//   segment_sum  y[o, j, i] = sum over k with index[k] == j of x[o, k, i], in order of k
//   segment_sum_along, segment_add_along  y[o, j, i] = sum over k with index[o, k, i] == j of
//                x[o, k, i], likewise
// Layout:
//   all contiguous. take: x[outer, rows, inner], index[count], y[outer, count, inner]; take_along's
//   index is [outer, count, inner]. Elements are copied as words: the dtype does not matter, only
//   its size. An index outside -rows .. rows - 1 reads nothing: the element is `missing`.
//   put_rows: x[count, inner], y[rows, inner], whose other rows stay; the indices are distinct.
//   segment_sum: x[outer, count, inner], y[outer, rows, inner]; order[count] sorts index[count],
//   stably and ascending. segment_sum_along: index[outer, count, inner], order[outer, inner,
//   count]. Elements whose index is outside 0 .. rows - 1 are dropped. Sums of floats are
//   compensated as in reduce.cl, blocks of 64 values added plainly. segment_add_along needs no
//   order: it adds each value to its sum; a group has two arrays [rows, WIDTH], sums and what
//   rounding took from them.
// Launch:
//   take, take_along  one item takes `each` neighbouring elements: global >= ceil(total / each)
//   take_rows    a work-group of one item takes `each` rows (o, j): global >=
//                ceil(outer * count / each)
//   put_rows     an item takes `each` neighbours of a row k: global (ceil(inner / each), count)
//   segment_sum  an item takes `each` rows (o, j) and 64 neighbours along i: global
//                (ceil(outer * rows / each), ceil(inner / 64))
//   segment_sum_along  an item takes a column (o, i): global >= outer * inner
//   the first dimension padded to LOCAL
//   segment_add_along  work-groups of one item share the tiles of (o, WIDTH neighbours along i):
//                any global size
// Entries:
//   take
//   take_rows
//   take_along
//   put_rows
//   segment_sum
//   segment_sum_along
//   segment_add_along
// Macros:
//   WORD   unsigned type as large as an element (take_*, put_rows); uchar, ushort, uint, ulong
//   X      dtype of x and y (segment_*); any of dtype.h
//   I      dtype of index; int32, int64
//   WIDTH  neighbours along i (segment_add_along); 1, 16
//   LOCAL  work-items of a work-group (all but take_rows, segment_add_along); 1 to the device's
//          limit
//   INDEX  type of sizes and offsets; int, long
// Oracle:
//   take and segment_sum_along are the plain versions; numpy.take, numpy.take_along_axis,
//   numpy.add.at.

#include "dtype.h"
#include "fold.h"

#ifndef I
#error "index.cl: I is not defined: dtype of the indices"
#endif
#ifndef INDEX
#error "index.cl: INDEX is not defined: int or long"
#endif

#ifdef USE_take
#ifndef WORD
#error "index.cl: WORD is not defined: the unsigned type as large as an element"
#endif
#ifndef LOCAL
#error "index.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(take)(
    __global const WORD *x, const long x0, __global const STORAGE(I) *index, const long index0,
    __global WORD *y, const long y0, const INDEX total, const INDEX rows, const INDEX inner,
    const INDEX count, const INDEX each, const WORD missing) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, total);
  for (INDEX e = first; e < last; e++) {
    const INDEX row = e / inner;  // o * count + j
    const INDEX o = row / count;
    long at = index[index0 + row - o * count];
    at += at < 0 ? rows : 0;
    const bool inside = at >= 0 && at < rows;
    y[y0 + e] = inside ? x[x0 + (o * rows + at) * inner + (e - row * inner)] : missing;
  }
}
#endif

#ifdef USE_take_along
#ifndef WORD
#error "index.cl: WORD is not defined: the unsigned type as large as an element"
#endif
#ifndef LOCAL
#error "index.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(take_along)(
    __global const WORD *x, const long x0, __global const STORAGE(I) *index, const long index0,
    __global WORD *y, const long y0, const INDEX total, const INDEX rows, const INDEX inner,
    const INDEX count, const INDEX each, const WORD missing) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, total);
  for (INDEX e = first; e < last; e++) {
    const INDEX row = e / inner;  // o * count + j
    long at = index[index0 + e];
    at += at < 0 ? rows : 0;
    const bool inside = at >= 0 && at < rows;
    y[y0 + e] = inside ? x[x0 + (row / count * rows + at) * inner + (e - row * inner)] : missing;
  }
}
#endif

#ifdef USE_put_rows
#ifndef WORD
#error "index.cl: WORD is not defined: the unsigned type as large as an element"
#endif
#ifndef LOCAL
#error "index.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(put_rows)(
    __global const STORAGE(I) *index, const long index0, __global const WORD *x, const long x0,
    __global WORD *y, const long y0, const INDEX rows, const INDEX inner, const INDEX each) {
  const INDEX k = (INDEX)get_global_id(1);
  const long at = index[index0 + k];
  if (at < 0 || at >= rows) return;
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, inner);
  for (INDEX i = first; i < last; i++) y[y0 + at * inner + i] = x[x0 + k * inner + i];
}
#endif

#ifdef USE_take_rows
#ifndef WORD
#error "index.cl: WORD is not defined: the unsigned type as large as an element"
#endif
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(take_rows)(
    __global const WORD *restrict x, const long x0, __global const STORAGE(I) *restrict index,
    const long index0, __global WORD *restrict y, const long y0, const INDEX total,
    const INDEX rows, const INDEX inner, const INDEX count, const INDEX each, const WORD missing) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, total / inner);
  for (INDEX row = first; row < last; row++) {
    const INDEX o = row / count;
    long at = index[index0 + row - o * count];
    at += at < 0 ? rows : 0;
    __global WORD *to = y + y0 + row * inner;
    if (at >= 0 && at < rows) {
      __global const WORD *from = x + x0 + (o * rows + at) * inner;
      for (INDEX i = 0; i < inner; i++) to[i] = from[i];
    } else {
      for (INDEX i = 0; i < inner; i++) to[i] = missing;
    }
  }
}
#endif

#if defined(USE_segment_sum) || defined(USE_segment_sum_along)
#ifndef LOCAL
#error "index.cl: LOCAL is not defined: work-items of a work-group"
#endif
#endif
#if defined(USE_segment_sum) || defined(USE_segment_sum_along) || defined(USE_segment_add_along)
#define SEGMENTS
#ifndef X
#error "index.cl: X is not defined: dtype of the summed values"
#endif
#define Y X
#define REDUCE sum
#define ACC ARITH(X)
#define SEGMENT_WIDTH 64
#define SEGMENT_BLOCK 64
#endif

#ifdef USE_segment_sum
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(segment_sum)(
    __global const STORAGE(X) *restrict x, const long x0,
    __global const STORAGE(I) *restrict index, const long index0,
    __global const long *restrict order, const long order0, __global STORAGE(X) *restrict y,
    const long y0, const INDEX outer, const INDEX rows, const INDEX inner, const INDEX count,
    const INDEX each) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outer * rows);
  const INDEX left = (INDEX)get_global_id(1) * SEGMENT_WIDTH;
  const int width = (int)min(inner - left, (INDEX)SEGMENT_WIDTH);
  __global const STORAGE(I) *s = index + index0;
  __global const long *rank = order + order0;
  INDEX k = -1;
  for (INDEX row = first; row < last; row++) {
    const INDEX o = row / rows;
    const INDEX j = row - o * rows;
    if (k < 0 || j == 0) {  // where the run of j begins; the next j's run follows it
      INDEX low = 0, high = count;
      while (low < high) {
        const INDEX middle = low + (high - low) / 2;
        if (s[rank[middle]] < j) low = middle + 1;
        else high = middle;
      }
      k = low;
    }
    ACC sum[SEGMENT_WIDTH], lost[SEGMENT_WIDTH], block[SEGMENT_WIDTH];
    for (int l = 0; l < SEGMENT_WIDTH; l++) sum[l] = lost[l] = 0;
    while (k < count && s[rank[k]] == j) {
      for (int l = 0; l < SEGMENT_WIDTH; l++) block[l] = 0;
      for (int b = 0; b < SEGMENT_BLOCK && k < count && s[rank[k]] == j; b++, k++) {
        __global const STORAGE(X) *p = x + x0 + (o * count + (INDEX)rank[k]) * inner + left;
        for (int l = 0; l < width; l++) block[l] += LOAD(X, p, l);
      }
      for (int l = 0; l < width; l++) ADD_BLOCK(sum[l], lost[l], block[l])
    }
    __global STORAGE(X) *to = y + y0 + row * inner + left;
    for (int l = 0; l < width; l++) STORE(X, to, l, FOLD_RESULT(sum[l], lost[l]));
  }
}
#endif

#ifdef USE_segment_sum_along
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(segment_sum_along)(
    __global const STORAGE(X) *x, const long x0, __global const STORAGE(I) *index,
    const long index0, __global const long *order, const long order0, __global STORAGE(X) *y,
    const long y0, const INDEX outer, const INDEX rows, const INDEX inner, const INDEX count) {
  const INDEX column = (INDEX)get_global_id(0);
  if (column >= outer * inner) return;
  const INDEX o = column / inner;
  const INDEX i = column - o * inner;
  __global const STORAGE(X) *p = x + x0 + o * count * inner + i;
  __global const STORAGE(I) *s = index + index0 + o * count * inner + i;
  __global const long *rank = order + order0 + column * count;
  INDEX k = 0;
  while (k < count && s[rank[k] * inner] < 0) k++;
  for (INDEX j = 0; j < rows; j++) {
    ACC sum = 0, lost = 0;
    while (k < count && s[rank[k] * inner] == j) {
      ACC block = 0;
      for (int b = 0; b < SEGMENT_BLOCK && k < count && s[rank[k] * inner] == j; b++, k++)
        block += LOAD(X, p, rank[k] * inner);
      ADD_BLOCK(sum, lost, block)
    }
    (void)lost;
    STORE(X, y, y0 + (o * rows + j) * inner + i, FOLD_RESULT(sum, lost));
  }
}
#endif

#ifdef USE_segment_add_along
#ifndef WIDTH
#error "index.cl: WIDTH is not defined: neighbours that are added side by side"
#endif
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(segment_add_along)(
    __global const STORAGE(X) *restrict x, const long x0,
    __global const STORAGE(I) *restrict index, const long index0, __global ACC *restrict sums,
    const long sums0, __global STORAGE(X) *restrict y, const long y0, const INDEX outer,
    const INDEX rows, const INDEX inner, const INDEX count) {
  const INDEX group = (INDEX)get_group_id(0), groups = (INDEX)get_num_groups(0);
  const INDEX tiles = (inner - 1) / WIDTH + 1;
  __global ACC *sum = sums + sums0 + group * 2 * rows * WIDTH, *lost = sum + rows * WIDTH;
  for (INDEX tile = group; tile < outer * tiles; tile += groups) {
    const INDEX o = tile / tiles;
    const INDEX left = (tile - o * tiles) * WIDTH;
    const int width = (int)min(inner - left, (INDEX)WIDTH);
    __global const STORAGE(X) *p = x + x0 + o * count * inner + left;
    __global const STORAGE(I) *s = index + index0 + o * count * inner + left;
    for (INDEX j = 0; j < rows * WIDTH; j++) sum[j] = lost[j] = 0;
    for (INDEX k = 0; k < count; k++)
      for (int l = 0; l < width; l++) {
        const INDEX j = (INDEX)s[k * inner + l];
        if (j < 0 || j >= rows) continue;
        const ACC v = LOAD(X, p, k * inner + l);
        const INDEX to = j * WIDTH + l;
        ADD_BLOCK(sum[to], lost[to], v)
      }
    __global STORAGE(X) *to = y + y0 + o * rows * inner + left;
    for (INDEX j = 0; j < rows; j++)
      for (int l = 0; l < width; l++)
        STORE(X, to, j * inner + l, FOLD_RESULT(sum[j * WIDTH + l], lost[j * WIDTH + l]));
  }
}
#endif

#ifdef SEGMENTS
#undef SEGMENTS
#undef Y
#undef REDUCE
#undef ACC
#undef SEGMENT_WIDTH
#undef SEGMENT_BLOCK
#endif
