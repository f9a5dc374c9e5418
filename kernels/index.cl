// Reading rows by index, and its deterministic inverse, the sum of segments.
//
// Formula:
//   take         y[o, j, i] = x[o, index[j], i]          an index below 0 counts from the end
//   take_rows    the same
//   segment_sum  y[o, j, i] = sum over k with segment[k] == j of x[o, order[k], i], in order of k
// Layout:
//   all contiguous. take: x[outer, rows, inner], index[count], y[outer, count, inner].
//   segment_sum: x[outer, count, inner], y[outer, rows, inner]; segment[count] is sorted ascending and
//   order[count] says which row of x each of its entries stands for. Segments outside 0 .. rows - 1
//   are dropped. Elements are copied as words: in take the dtype does not matter, only its size.
//   An index outside -rows .. rows - 1 reads nothing: the element is `missing`.
//   Sums of floats are compensated as in reduce.cl, blocks of 64 values added plainly.
// Launch:
//   take         one item takes `each` neighbouring elements: global >= ceil(total / each), padded to LOCAL
//   take_rows    a work-group of one item takes `each` rows (o, j): global >= ceil(outer * count / each)
//   segment_sum  an item takes `each` rows (o, j) and 64 neighbours along i: global
//                (ceil(outer * rows / each), ceil(inner / 64)), the first padded to LOCAL
// Entries:
//   take
//   take_rows
//   segment_sum
// Macros:
//   WORD   unsigned type as large as an element (take, take_rows); uchar, ushort, uint, ulong
//   X      dtype of x and y (segment_sum); any of dtype.h
//   I      dtype of index, segment and order; int32, int64
//   LOCAL  work-items of a work-group (take, segment_sum); 1 to the device's limit
//   INDEX  type of sizes and offsets; int, long
// Oracle:
//   take is the plain version; numpy.take, numpy.add.at.

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

#ifdef USE_segment_sum
#ifndef X
#error "index.cl: X is not defined: dtype of the summed values"
#endif
#ifndef LOCAL
#error "index.cl: LOCAL is not defined: work-items of a work-group"
#endif
#define Y X
#define REDUCE sum
#define ACC ARITH(X)
#define SEGMENT_WIDTH 64
#define SEGMENT_BLOCK 64
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(segment_sum)(
    __global const STORAGE(X) *restrict x, const long x0,
    __global const STORAGE(I) *restrict segment, const long segment0,
    __global const STORAGE(I) *restrict order, const long order0, __global STORAGE(X) *restrict y,
    const long y0, const INDEX outer, const INDEX rows, const INDEX inner, const INDEX count,
    const INDEX each) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outer * rows);
  const INDEX left = (INDEX)get_global_id(1) * SEGMENT_WIDTH;
  const int width = (int)min(inner - left, (INDEX)SEGMENT_WIDTH);
  __global const STORAGE(I) *s = segment + segment0;
  INDEX k = -1;
  for (INDEX row = first; row < last; row++) {
    const INDEX o = row / rows;
    const INDEX j = row - o * rows;
    if (k < 0 || j == 0) {  // where the run of j begins; the next j's run follows it
      INDEX low = 0, high = count;
      while (low < high) {
        const INDEX middle = low + (high - low) / 2;
        if (s[middle] < j) low = middle + 1;
        else high = middle;
      }
      k = low;
    }
    ACC sum[SEGMENT_WIDTH], lost[SEGMENT_WIDTH], block[SEGMENT_WIDTH];
    for (int l = 0; l < SEGMENT_WIDTH; l++) sum[l] = lost[l] = 0;
    while (k < count && s[k] == j) {
      for (int l = 0; l < SEGMENT_WIDTH; l++) block[l] = 0;
      for (int b = 0; b < SEGMENT_BLOCK && k < count && s[k] == j; b++, k++) {
        __global const STORAGE(X) *p =
            x + x0 + (o * count + (INDEX)order[order0 + k]) * inner + left;
        for (int l = 0; l < width; l++) block[l] += LOAD(X, p, l);
      }
      for (int l = 0; l < width; l++) ADD_BLOCK(sum[l], lost[l], block[l])
    }
    __global STORAGE(X) *to = y + y0 + row * inner + left;
    for (int l = 0; l < width; l++) STORE(X, to, l, FOLD_RESULT(sum[l], lost[l]));
  }
}
#undef Y
#undef REDUCE
#undef ACC
#undef SEGMENT_WIDTH
#undef SEGMENT_BLOCK
#endif
