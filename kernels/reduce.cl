// Reductions over any dims.
//
// Formula:
//   reduce_*   y[k, c] = fold of REDUCE over x[k, r], r in chunk c of the reduced elements
// Layout:
//   x is walked by strides (zero and negative too): dims k are kept, dims r are reduced, both
//   row-major in their own order. The `total` reduced elements of an output are cut into `chunks`
//   pieces of `length` elements; y is contiguous: [outputs, chunks], or [chunks, outputs] in
//   reduce_plain, whose neighbours read neighbouring outputs. With chunks > 1 a second launch
//   reduces the chunks, in order: results do not depend on how work-groups are scheduled.
//   Float sums: REDUCE_BLOCK values are added plainly per accumulator, and block sums with a
//   compensation (Neumaier 1974), so the error is below (REDUCE_BLOCK + 16) * 2^-24 * sum(|x|) for
//   a float32 accumulator, however long the reduction. 16-bit floats accumulate in float32.
// Launch:
//   reduce_plain    one item takes `each` neighbouring outputs: global >=
//                   ceil(outputs * chunks / each), padded to LOCAL
//   reduce_rows     the same with a work-group of one item; wants the last reduced dim contiguous
//   reduce_columns  a work-group of one item takes COLUMNS neighbours along the last kept dim,
//                   whose stride in x is 1: global (ceil(columns / COLUMNS), rows, chunks)
//   reduce_group    a work-group of LOCAL items an output: global (LOCAL, outputs * chunks);
//                   `one_dim`: there is one reduced dim, of stride xs
// Entries:
//   reduce_plain
//   reduce_rows
//   reduce_columns
//   reduce_group
// Macros:
//   X        dtype of x; any of dtype.h
//   Y        dtype of y, in whose arithmetic type is accumulated; any of dtype.h
//   REDUCE   the fold; sum, prod, amax, amin (NaN wins), some, every (nonzero)
//   KEPT     number of kept dims; 1, 2, 3, 4, 8
//   REDUCED  number of reduced dims; 1, 2, 3, 4, 8
//   LOCAL    work-items of a work-group (reduce_plain, reduce_group); a power of two
//   COLUMNS  outputs of a work-group of reduce_columns; 512, 4096
//   INDEX    type of sizes and offsets; int, long
// Oracle:
//   reduce_plain is the plain version; NumPy's reductions in float64.

#include "dims.h"
#include "dtype.h"
#include "fold.h"

#ifndef X
#error "reduce.cl: X is not defined: dtype of the input"
#endif
#ifndef Y
#error "reduce.cl: Y is not defined: dtype of the output"
#endif
#ifndef REDUCE
#error "reduce.cl: REDUCE is not defined: sum, prod, amax, amin, some or every"
#endif
#ifndef KEPT
#error "reduce.cl: KEPT is not defined: number of kept dims"
#endif
#ifndef REDUCED
#error "reduce.cl: REDUCED is not defined: number of reduced dims"
#endif
#ifndef INDEX
#error "reduce.cl: INDEX is not defined: int or long"
#endif

#define REDUCE_BLOCK 64     // values added plainly; the error bound grows with it
#define REDUCE_LANES 64     // independent accumulators of a contiguous walk: four vectors of 16

#define ACC ARITH(Y)
#define TERM(p, i) fold_TERM(LOAD(X, p, i))
#define JOIN_TERM(acc, p, i)                \
  {                                         \
    const ACC term_ = TERM(p, i);           \
    acc = (ACC)FOLD(_JOIN)(acc, term_);     \
  }

// Folds elements [begin, end) of the reduced dims one after another, in steps of `step`.
#define FOLD_WALK(result, base, begin, end, step)                              \
  ACC result;                                                                  \
  {                                                                            \
    ACC total_ = fold_START, lost_ = 0;                                      \
    for (INDEX e_ = (begin); e_ < (end);) {                                    \
      ACC block_ = fold_START;                                               \
      for (int b_ = 0; b_ < REDUCE_BLOCK && e_ < (end); b_++, e_ += (step)) {  \
        INDEX at_ = 0;                                                         \
        OFFSET(REDUCED, e_, r, r, at_)                                         \
        JOIN_TERM(block_, base, at_)                                           \
      }                                                                        \
      ADD_BLOCK(total_, lost_, block_)                                         \
    }                                                                          \
    (void)lost_;                                                               \
    result = FOLD_RESULT(total_, lost_);                                            \
  }

#ifdef USE_reduce_plain
#ifndef LOCAL
#error "reduce.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(reduce_plain)(
    __global const STORAGE(X) *x, const long x0, __global STORAGE(Y) *y, const long y0,
    const INDEX outputs, const INDEX chunks, const INDEX length, const INDEX total,
    const INDEX each, DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outputs * chunks);
  for (INDEX o = first; o < last; o++) {
    const INDEX chunk = o / outputs;
    const INDEX output = o - chunk * outputs;
    const INDEX begin = chunk * length;
    INDEX from = 0;
    OFFSET(KEPT, output, k, k, from)
    __global const STORAGE(X) *p = x + x0 + from;
    FOLD_WALK(result, p, begin, min(begin + length, total), 1)
    STORE(Y, y, y0 + o, result);
  }
}
#endif

#ifdef USE_reduce_rows
// The last reduced dim comes as n and xs; the dims of group r are those before it.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(reduce_rows)(
    __global const STORAGE(X) *x, const long x0, __global STORAGE(Y) *y, const long y0,
    const INDEX outputs, const INDEX chunks, const INDEX length, const INDEX total,
    const INDEX each, const INDEX n, const INDEX xs, DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outputs * chunks);
  for (INDEX o = first; o < last; o++) {
    const INDEX output = o / chunks;
    INDEX e = (o - output * chunks) * length;
    const INDEX end = min(e + length, total);
    ACC sum = fold_START, lost = 0;
    while (e < end) {  // one run of the last dim
      const INDEX row = e / n;
      const INDEX column = e - row * n;
      const INDEX count = min(n - column, end - e);
      INDEX from = column * xs;
      OFFSET(KEPT, output, k, k, from)
      OFFSET(REDUCED, row, r, r, from)
      __global const STORAGE(X) *p = x + x0 + from;
      INDEX i = 0;
      if (xs == 1) {
        while (count - i >= REDUCE_LANES) {
          ACC lane[REDUCE_LANES];
          for (int l = 0; l < REDUCE_LANES; l++) lane[l] = fold_START;
          const INDEX stop =
              i + min((count - i) / REDUCE_LANES, (INDEX)REDUCE_BLOCK) * REDUCE_LANES;
          for (; i < stop; i += REDUCE_LANES)
            for (int l = 0; l < REDUCE_LANES; l++)
              JOIN_TERM(lane[l], p, i + l)
          for (int half_ = REDUCE_LANES / 2; half_ > 0; half_ /= 2)
            for (int l = 0; l < half_; l++) lane[l] = (ACC)FOLD(_JOIN)(lane[l], lane[l + half_]);
          ADD_BLOCK(sum, lost, lane[0])
        }
      }
      while (i < count) {
        ACC block = fold_START;
        const INDEX stop = min(count, i + REDUCE_BLOCK);
        for (; i < stop; i++) JOIN_TERM(block, p, i * xs)
        ADD_BLOCK(sum, lost, block)
      }
      e += count;
    }
    (void)lost;
    STORE(Y, y, y0 + o, FOLD_RESULT(sum, lost));
  }
}
#endif

#ifdef USE_reduce_columns
#ifndef COLUMNS
#error "reduce.cl: COLUMNS is not defined: outputs of a work-group"
#endif
// The last kept dim comes as `columns`, and its stride in x is 1; the dims of group k are those
// before.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(reduce_columns)(
    __global const STORAGE(X) *restrict x, const long x0, __global STORAGE(Y) *restrict y,
    const long y0, const INDEX columns, const INDEX chunks, const INDEX length, const INDEX total,
    DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX left = (INDEX)get_global_id(0) * COLUMNS;
  const int width = (int)min(columns - left, (INDEX)COLUMNS);
  const INDEX row = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  INDEX from = left;
  OFFSET(KEPT, row, k, k, from)
  ACC sum[COLUMNS], lost[COLUMNS], block[COLUMNS];
  for (int l = 0; l < COLUMNS; l++) {
    sum[l] = fold_START;
    lost[l] = 0;
  }
  const INDEX end = min((chunk + 1) * length, total);
  for (INDEX e = chunk * length; e < end;) {
    for (int l = 0; l < COLUMNS; l++) block[l] = fold_START;
    for (const INDEX stop = min(end, e + REDUCE_BLOCK); e < stop; e++) {
      INDEX at = 0;
      OFFSET(REDUCED, e, r, r, at)
      __global const STORAGE(X) *p = x + x0 + from + at;
      for (int l = 0; l < width; l++) JOIN_TERM(block[l], p, l)
    }
    for (int l = 0; l < width; l++) ADD_BLOCK(sum[l], lost[l], block[l])
  }
  __global STORAGE(Y) *to = y + y0 + (row * columns + left) * chunks + chunk;
  for (int l = 0; l < width; l++) STORE(Y, to, l * chunks, FOLD_RESULT(sum[l], lost[l]));
}
#endif

#ifdef USE_reduce_group
#ifndef LOCAL
#error "reduce.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(reduce_group)(
    __global const STORAGE(X) *x, const long x0, __global STORAGE(Y) *y, const long y0,
    const INDEX chunks, const INDEX length, const INDEX total, const int one_dim, const INDEX xs,
    DIMS(KEPT, k), DIMS(REDUCED, r)) {
  __local ACC part[LOCAL];
  const int item = (int)get_local_id(0);
  const INDEX o = (INDEX)get_global_id(1);
  const INDEX output = o / chunks;
  const INDEX begin = (o - output * chunks) * length;
  INDEX from = 0;
  OFFSET(KEPT, output, k, k, from)
  __global const STORAGE(X) *p = x + x0 + from;
  const INDEX end = min(begin + length, total);
  ACC mine;
  if (one_dim) {  // no divisions, and four loads on their way at once
    ACC sum = fold_START, lost = 0;
    INDEX e = begin + item;
    while (e + 3 * LOCAL < end) {
      ACC a = fold_START, b = fold_START, c = fold_START, d = fold_START;
      for (int k = 0; k < REDUCE_BLOCK && e + 3 * LOCAL < end; k += 4, e += 4 * LOCAL) {
        JOIN_TERM(a, p, e * xs)
        JOIN_TERM(b, p, (e + LOCAL) * xs)
        JOIN_TERM(c, p, (e + 2 * LOCAL) * xs)
        JOIN_TERM(d, p, (e + 3 * LOCAL) * xs)
      }
      a = (ACC)FOLD(_JOIN)(a, c);
      b = (ACC)FOLD(_JOIN)(b, d);
      a = (ACC)FOLD(_JOIN)(a, b);
      ADD_BLOCK(sum, lost, a)
    }
    for (; e < end; e += LOCAL) {
      const ACC term = TERM(p, e * xs);
      ADD_BLOCK(sum, lost, term)
    }
    (void)lost;
    mine = FOLD_RESULT(sum, lost);
  } else {
    FOLD_WALK(walked, p, begin + item, end, LOCAL)
    mine = walked;
  }
  part[item] = mine;
  for (int half_ = LOCAL / 2; half_ > 0; half_ /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < half_) part[item] = (ACC)FOLD(_JOIN)(part[item], part[item + half_]);
  }
  if (item == 0) STORE(Y, y, y0 + o, part[0]);
}
#endif

#undef REDUCE_BLOCK
#undef REDUCE_LANES
#undef ACC
#undef TERM
#undef JOIN_TERM
#undef FOLD_WALK
