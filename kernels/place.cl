// Filling, and copying a strided region to a strided region.
//
// Formula:
//   fill         y[i] = value                                                    for i < n
//   copy_region  y[y0 + dot(i, ys)] = x[x0 + dot(i, xs)]   for every index i of the dims (xn0, ...)
//   copy_rows    the same
// Layout:
//   x and y are walked by strides in elements, which may be zero or negative in x and must not make
//   two elements of y meet. Elements are copied as words: the dtype does not matter, only its size.
//   concatenation, padding, writes to slices and making a view contiguous are all this copy.
// Launch:
//   fill         global >= ceil(n / each) items, each writing `each` neighbouring elements
//   copy_region  one item an element: global >= total items (padded to LOCAL)
//   copy_rows    a work-group of one item copies `each` segments: the last dimension is cut into
//                `segments` pieces of `length` elements; global >= ceil(rows * segments / each)
// Entries:
//   fill
//   copy_region
//   copy_rows
// Macros:
//   WORD   unsigned type as large as an element; uchar, ushort, uint, ulong
//   LOCAL  work-items of a work-group (fill, copy_region); 1 to the device's limit
//   RANK   dimensions walked (copy_region, copy_rows); 1, 2, 3, 4, 8
//   INDEX  type of sizes and offsets; int, long (where a buffer has 2^31 elements or more)
// Oracle:
//   copy_region is the plain version; numpy.copyto on strided views.

#include "dims.h"

#ifndef WORD
#error "place.cl: WORD is not defined: the unsigned type as large as an element"
#endif
#ifndef INDEX
#error "place.cl: INDEX is not defined: int or long"
#endif

#ifdef USE_fill
#ifndef LOCAL
#error "place.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(fill)(
    __global WORD *y, const long y0, const INDEX n, const INDEX each, const WORD value) {
  const INDEX begin = (INDEX)get_global_id(0) * each;
  const INDEX end = min(begin + each, n);
  __global WORD *to = y + y0;
  for (INDEX i = begin; i < end; i++) to[i] = value;
}
#endif

#ifdef USE_copy_region
#ifndef LOCAL
#error "place.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef RANK
#error "place.cl: RANK is not defined: dimensions walked"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(copy_region)(
    __global const WORD *x, const long x0, __global WORD *y, const long y0, const INDEX total,
    DIMS(RANK, x), STRIDES(RANK, y)) {
  const INDEX i = (INDEX)get_global_id(0);
  if (i >= total) return;
  INDEX from = 0, to = 0;
  OFFSET(RANK, i, x, x, from)
  OFFSET(RANK, i, x, y, to)
  y[y0 + to] = x[x0 + from];
}
#endif

#ifdef USE_copy_rows
#ifndef RANK
#error "place.cl: RANK is not defined: dimensions walked"
#endif
// The last dimension is walked by the inner loop, so its size and strides come as n, xs and ys, and
// the dims of group x are those before it.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(copy_rows)(
    __global const WORD *restrict x, const long x0, __global WORD *restrict y, const long y0,
    const INDEX n, const INDEX xs, const INDEX ys, const INDEX rows, const INDEX segments,
    const INDEX length, const INDEX each, DIMS(RANK, x), STRIDES(RANK, y)) {
  const INDEX begin = (INDEX)get_global_id(0) * each;
  const INDEX end = min(begin + each, rows * segments);
  for (INDEX unit = begin; unit < end; unit++) {
    const INDEX row = unit / segments;
    const INDEX first = (unit - row * segments) * length;
    const INDEX count = min(length, n - first);
    INDEX from = first * xs, to = first * ys;
    OFFSET(RANK, row, x, x, from)
    OFFSET(RANK, row, x, y, to)
    __global const WORD *p = x + x0 + from;
    __global WORD *q = y + y0 + to;
    // Three loops, because a compiler vectorises only strides that it knows.
    if (xs == 1 && ys == 1) {
      for (INDEX i = 0; i < count; i++) q[i] = p[i];
    } else if (xs == 0 && ys == 1) {
      const WORD value = p[0];
      for (INDEX i = 0; i < count; i++) q[i] = value;
    } else {
      for (INDEX i = 0; i < count; i++) q[i * ys] = p[i * xs];
    }
  }
}
#endif
