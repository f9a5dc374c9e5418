// Where the greatest or least element lies.
//
// Formula:
//   arg_plain  y[k, c] = the least r in chunk c at which x[k, r] is the extreme; the first NaN wins
//   arg_merge  y[k] = the best of the candidates of arg_plain, in order of c
// Layout:
//   x is walked by strides (zero and negative too): dims k are kept, dims r are reduced, both
//   row-major in their own order; the last of the latter has size n and stride xs, and group r
//   holds those before it. The `total` reduced elements of an output are cut into `chunks`
//   non-empty pieces of `length` elements; y of arg_plain is contiguous: [outputs, chunks]. With
//   chunks > 1 arg_merge then picks among the candidates.
// Launch:
//   one item takes `each` neighbouring outputs: global >= ceil(outputs * chunks / each), padded to
//   LOCAL (arg_merge: outputs)
// Entries:
//   arg_plain
//   arg_merge
// Macros:
//   X        dtype of x; any of dtype.h
//   Y        the same dtype as X; any of dtype.h
//   REDUCE   which extreme; amax, amin
//   KEPT     number of kept dims; 1, 2, 3, 4, 8
//   REDUCED  number of reduced dims; 1, 2, 3, 4, 8
//   LOCAL    work-items of a work-group; 1 to the device's limit
//   INDEX    type of sizes and offsets; int, long
// Oracle:
//   arg_plain with one chunk; numpy.argmax and numpy.argmin.

#include "dims.h"
#include "dtype.h"
#include "fold.h"

#ifndef X
#error "argreduce.cl: X is not defined: dtype of the input"
#endif
#ifndef Y
#error "argreduce.cl: Y is not defined: the dtype of the input again"
#endif
#ifndef REDUCE
#error "argreduce.cl: REDUCE is not defined: amax or amin"
#endif
#ifndef KEPT
#error "argreduce.cl: KEPT is not defined: number of kept dims"
#endif
#ifndef REDUCED
#error "argreduce.cl: REDUCED is not defined: number of reduced dims"
#endif
#ifndef LOCAL
#error "argreduce.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef INDEX
#error "argreduce.cl: INDEX is not defined: int or long"
#endif

// The first element of a walk stands until a strictly better one, or the first NaN, comes.
#define CONSIDER(value, at, best, where)                                       \
  if (FOLD(_BETTER)(value, best) || (value != value && best == best)) {        \
    best = value;                                                              \
    where = at;                                                                \
  }

#ifdef USE_arg_plain
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(arg_plain)(
    __global const STORAGE(X) *x, const long x0, __global long *y, const long y0,
    const INDEX outputs, const INDEX chunks, const INDEX length, const INDEX total,
    const INDEX each, const INDEX n, const INDEX xs, DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outputs * chunks);
  for (INDEX o = first; o < last; o++) {
    const INDEX output = o / chunks;
    const INDEX begin = (o - output * chunks) * length;
    const INDEX end = min(begin + length, total);
    ARITH(X) best = fold_START;
    INDEX where = begin;
    for (INDEX e = begin; e < end;) {  // one run of the last dim
      const INDEX row = e / n;
      const INDEX column = e - row * n;
      const INDEX count = min(n - column, end - e);
      INDEX from = column * xs;
      OFFSET(KEPT, output, k, k, from)
      OFFSET(REDUCED, row, r, r, from)
      __global const STORAGE(X) *p = x + x0 + from;
      for (INDEX i = 0; i < count; i++) {
        const ARITH(X) value = LOAD(X, p, i * xs);
        CONSIDER(value, e + i, best, where)
      }
      e += count;
    }
    y[y0 + o] = where;
  }
}
#endif

#ifdef USE_arg_merge
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(arg_merge)(
    __global const STORAGE(X) *x, const long x0, __global const long *candidates, const long c0,
    __global long *y, const long y0, const INDEX outputs, const INDEX chunks, const INDEX each,
    const INDEX n, const INDEX xs, DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outputs);
  for (INDEX o = first; o < last; o++) {
    __global const long *candidate = candidates + c0 + o * chunks;
    INDEX from = 0;
    OFFSET(KEPT, o, k, k, from)
    __global const STORAGE(X) *p = x + x0 + from;
    ARITH(X) best = fold_START;
    INDEX where = (INDEX)candidate[0];
    for (INDEX c = 0; c < chunks; c++) {
      const INDEX e = (INDEX)candidate[c];
      const INDEX row = e / n;
      INDEX at = (e - row * n) * xs;
      OFFSET(REDUCED, row, r, r, at)
      const ARITH(X) value = LOAD(X, p, at);
      CONSIDER(value, e, best, where)
    }
    y[y0 + o] = where;
  }
}
#endif

#undef CONSIDER
