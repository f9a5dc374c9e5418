// Where the greatest or least element lies.
//
// Formula:
//   arg_plain, arg_rows  y[k, c] = the least r in chunk c at which x[k, r] is the extreme; the
//                        first NaN wins
//   arg_merge  y[k] = the best of the candidates of arg_plain, in order of c
// Layout:
//   x is walked by strides (zero and negative too): dims k are kept, dims r are reduced, both
//   row-major in their own order; the last of the latter has size n and stride xs, and group r
//   holds those before it. The `total` reduced elements of an output are cut into `chunks`
//   non-empty pieces of `length` elements; y of arg_plain is contiguous: [outputs, chunks]. With
//   chunks > 1 arg_merge then picks among the candidates. arg_rows wants xs == 1: it folds
//   ARG_BLOCK neighbours, and looks through them only if their extreme beats what came before.
// Launch:
//   one item takes `each` neighbouring outputs: global >= ceil(outputs * chunks / each), padded to
//   LOCAL (arg_merge: outputs); arg_rows: LOCAL is 1
// Entries:
//   arg_plain
//   arg_rows
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
#define BEATS(value, best) (FOLD(_BETTER)(value, best) || (value != value && best == best))
#define SAME(value, best) (value == best || (value != value && best != best))
#define CONSIDER(value, at, best, where)  \
  if (BEATS(value, best)) {               \
    best = value;                         \
    where = at;                           \
  }

#if defined(USE_arg_plain) || defined(USE_arg_rows)
#define ARG_BLOCK 256
#define ARG_LANES 64
#define ARG_PARAMETERS                                                                    \
  __global const STORAGE(X) *x, const long x0, __global long *y, const long y0,          \
      const INDEX outputs, const INDEX chunks, const INDEX length, const INDEX total,    \
      const INDEX each, const INDEX n, const INDEX xs, DIMS(KEPT, k), DIMS(REDUCED, r)
// RUN considers elements e + i, i from 0 to count, of one run of the last dim, which lie at p.
#define ARG_WALK(RUN)                                                  \
  const INDEX first = (INDEX)get_global_id(0) * each;                  \
  const INDEX last = min(first + each, outputs * chunks);              \
  for (INDEX o = first; o < last; o++) {                               \
    const INDEX output = o / chunks;                                   \
    const INDEX begin = (o - output * chunks) * length;                \
    const INDEX end = min(begin + length, total);                      \
    ARITH(X) best = fold_START;                                        \
    INDEX where = begin;                                               \
    for (INDEX e = begin; e < end;) {                                  \
      const INDEX row = e / n;                                         \
      const INDEX column = e - row * n;                                \
      const INDEX count = min(n - column, end - e);                    \
      INDEX from = column * xs;                                        \
      OFFSET(KEPT, output, k, k, from)                                 \
      OFFSET(REDUCED, row, r, r, from)                                 \
      __global const STORAGE(X) *p = x + x0 + from;                    \
      RUN                                                              \
      e += count;                                                      \
    }                                                                  \
    y[y0 + o] = where;                                                 \
  }
#define ARG_EACH(i, stop)                          \
  for (; i < (stop); i++) {                        \
    const ARITH(X) value = LOAD(X, p, i * xs);     \
    CONSIDER(value, e + i, best, where)            \
  }
#endif

#ifdef USE_arg_plain
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(arg_plain)(
    ARG_PARAMETERS) {
  ARG_WALK(INDEX i = 0; ARG_EACH(i, count))
}
#endif

#ifdef USE_arg_rows
static inline ARITH(X) KERNEL_NAME(block_extreme)(__global const STORAGE(X) *p) {
  ARITH(X) lane[ARG_LANES];
  for (int l = 0; l < ARG_LANES; l++) lane[l] = LOAD(X, p, l);
  for (int i = ARG_LANES; i < ARG_BLOCK; i += ARG_LANES)
    for (int l = 0; l < ARG_LANES; l++) {
      const ARITH(X) value = LOAD(X, p, i + l);
      lane[l] = FOLD(_JOIN)(lane[l], value);
    }
  for (int half_ = ARG_LANES / 2; half_ > 0; half_ /= 2)
    for (int l = 0; l < half_; l++) lane[l] = FOLD(_JOIN)(lane[l], lane[l + half_]);
  return lane[0];
}

// Where in a block the extreme is first; a NaN equals a NaN here.
static inline int KERNEL_NAME(first_equal)(__global const STORAGE(X) *p, const ARITH(X) extreme) {
  int lane[ARG_LANES];
  for (int l = 0; l < ARG_LANES; l++) lane[l] = ARG_BLOCK;
  for (int i = 0; i < ARG_BLOCK; i += ARG_LANES)
    for (int l = 0; l < ARG_LANES; l++) {
      const ARITH(X) value = LOAD(X, p, i + l);
      lane[l] = SAME(value, extreme) && lane[l] > i + l ? i + l : lane[l];
    }
  for (int l = 1; l < ARG_LANES; l++) lane[0] = lane[l] < lane[0] ? lane[l] : lane[0];
  return lane[0];
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(arg_rows)(
    ARG_PARAMETERS) {
  ARG_WALK(
    INDEX i = 0;
    for (; i + ARG_BLOCK <= count; i += ARG_BLOCK) {
      const ARITH(X) extreme = KERNEL_NAME(block_extreme)(p + i);
      if (!BEATS(extreme, best)) continue;
      best = extreme;
      where = e + i + KERNEL_NAME(first_equal)(p + i, extreme);
    }
    ARG_EACH(i, count)
  )
}
#endif

#if defined(USE_arg_plain) || defined(USE_arg_rows)
#undef ARG_BLOCK
#undef ARG_LANES
#undef ARG_PARAMETERS
#undef ARG_WALK
#undef ARG_EACH
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

#undef BEATS
#undef SAME
#undef CONSIDER
