// Reductions over any dims.
//
// Formula:
//   reduce_*   y[k, c] = fold of REDUCE over x[k, r], r in chunk c of the reduced elements
// Layout:
//   x is walked by strides (zero and negative too): dims k are kept, dims r are reduced, both
//   row-major in their own order. The `total` reduced elements of an output are cut into `chunks`
//   pieces of `length` elements; y is contiguous: [outputs, chunks], or [chunks, outputs] in
//   reduce_plain and reduce_columns, whose neighbours are neighbouring outputs. With chunks > 1 a
//   second launch reduces the chunks, in order: results do not depend on how work-groups are
//   scheduled.
//   Float sums: REDUCE_BLOCK values are added plainly per accumulator, and block sums with a
//   compensation (Neumaier 1974), so the error is below (REDUCE_BLOCK + 16) * 2^-24 * sum(|x|) for
//   a float32 accumulator, however long the reduction. 16-bit floats accumulate in float32.
// Launch:
//   reduce_plain    one item takes `each` neighbouring outputs: global >=
//                   ceil(outputs * chunks / each), padded to LOCAL
//   reduce_rows     the same with a work-group of one item; wants the last reduced dim contiguous
//   reduce_columns  a work-group of one item takes `across` neighbours, up to REDUCE_COLUMNS,
//                   along the last kept dim, whose stride in x is 1: global
//                   (ceil(columns / across), rows, chunks)
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
#define REDUCE_COLUMNS 2048  // outputs of a work-group at most
#define REDUCE_WIDE 1024     // outputs from which several rows are read at once

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
// Vectors with names: compilers leave an array of accumulators in memory, at a third of the speed.
#define VECTOR KERNEL_NAME(vector16)
typedef ACC VECTOR __attribute__((ext_vector_type(16)));
typedef ACC KERNEL_NAME(vector8) __attribute__((ext_vector_type(8)));
typedef ACC KERNEL_NAME(vector4) __attribute__((ext_vector_type(4)));
typedef ACC KERNEL_NAME(vector2) __attribute__((ext_vector_type(2)));
#define TERM4(i) TERM(p, i), TERM(p, (i) + 1), TERM(p, (i) + 2), TERM(p, (i) + 3)
#define JOIN_VECTOR(acc, i)                                                                   \
  {                                                                                           \
    const VECTOR term_ = (VECTOR)(TERM4(i), TERM4((i) + 4), TERM4((i) + 8), TERM4((i) + 12)); \
    acc = FOLD(_JOIN)(acc, term_);                                                            \
  }
#define JOIN_HALVES(joined, n, v)                                             \
  const KERNEL_NAME(vector##n) joined##_low = (v).lo, joined##_high = (v).hi; \
  const KERNEL_NAME(vector##n) joined = FOLD(_JOIN)(joined##_low, joined##_high);
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(reduce_rows)(
    __global const STORAGE(X) *x, const long x0, __global STORAGE(Y) *y, const long y0,
    const INDEX outputs, const INDEX chunks, const INDEX length, const INDEX total,
    const INDEX each, const INDEX n, const INDEX xs, DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, outputs * chunks);
  for (INDEX o = first; o < last; o++) {
    const INDEX output = chunks == 1 ? o : o / chunks;
    INDEX e = (o - output * chunks) * length;
    const INDEX end = min(e + length, total);
    ACC sum = fold_START, lost = 0;
    while (e < end) {  // one run of the last dim
      const INDEX row = e < n ? 0 : e / n;
      const INDEX column = e - row * n;
      const INDEX count = min(n - column, end - e);
      INDEX from = column * xs;
      OFFSET(KEPT, output, k, k, from)
      if (row != 0) OFFSET(REDUCED, row, r, r, from)
      __global const STORAGE(X) *p = x + x0 + from;
      INDEX i = 0;
      while (xs == 1 && count - i >= REDUCE_LANES) {  // blocks and order are those of rows.cl
        VECTOR va = fold_START, vb = fold_START, vc = fold_START, vd = fold_START;
        const INDEX stop = i + min((count - i) / REDUCE_LANES, (INDEX)REDUCE_BLOCK) * REDUCE_LANES;
        for (; i < stop; i += REDUCE_LANES) {
          JOIN_VECTOR(va, i)
          JOIN_VECTOR(vb, i + 16)
          JOIN_VECTOR(vc, i + 32)
          JOIN_VECTOR(vd, i + 48)
        }
        va = FOLD(_JOIN)(va, vc);
        vb = FOLD(_JOIN)(vb, vd);
        va = FOLD(_JOIN)(va, vb);
        JOIN_HALVES(eight, 8, va)
        JOIN_HALVES(four, 4, eight)
        JOIN_HALVES(two, 2, four)
        const ACC even = two.s0, odd = two.s1;
        const ACC block = (ACC)FOLD(_JOIN)(even, odd);
        ADD_BLOCK(sum, lost, block)
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
#undef VECTOR
#undef TERM4
#undef JOIN_VECTOR
#undef JOIN_HALVES
#endif

#ifdef USE_reduce_columns
// The last kept dim comes as `columns`, and its stride in x is 1; the dims of group k are those
// before.
#define ROW_POINTER(j)                    \
  INDEX at##j = 0;                        \
  OFFSET(REDUCED, e + j, r, r, at##j)     \
  __global const STORAGE(X) *p##j = base + at##j;
#define ROW_PAIR(pair, i, j)                                      \
  const ACC term##i = TERM(p##i, l), term##j = TERM(p##j, l);     \
  const ACC pair = (ACC)FOLD(_JOIN)(term##i, term##j);
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(reduce_columns)(
    __global const STORAGE(X) *restrict x, const long x0, __global STORAGE(Y) *restrict y,
    const long y0, const INDEX columns, const INDEX across, const INDEX length, const INDEX total,
    DIMS(KEPT, k), DIMS(REDUCED, r)) {
  const INDEX left = (INDEX)get_global_id(0) * across;
  const int width = (int)min(columns - left, across);
  const INDEX row = (INDEX)get_global_id(1);
  const INDEX chunk = (INDEX)get_global_id(2);
  INDEX from = left;
  OFFSET(KEPT, row, k, k, from)
  __global const STORAGE(X) *base = x + x0 + from;
  ACC sum[REDUCE_COLUMNS], lost[REDUCE_COLUMNS], block[REDUCE_COLUMNS];
  for (int l = 0; l < width; l++) {
    sum[l] = fold_START;
    lost[l] = 0;
  }
  const INDEX end = min((chunk + 1) * length, total);
  for (INDEX e = chunk * length; e < end;) {
    for (int l = 0; l < width; l++) block[l] = fold_START;
    const INDEX stop = min(end, e + REDUCE_BLOCK);
    // Eight rows at once read and write `block` once; of short rows they would be read in pieces
    // that end before the processor has begun to fetch ahead.
    for (; width >= REDUCE_WIDE && e + 8 <= stop; e += 8) {
      ROW_POINTER(0) ROW_POINTER(1) ROW_POINTER(2) ROW_POINTER(3)
      ROW_POINTER(4) ROW_POINTER(5) ROW_POINTER(6) ROW_POINTER(7)
      for (int l = 0; l < width; l++) {
        ROW_PAIR(a, 0, 1) ROW_PAIR(b, 2, 3) ROW_PAIR(c, 4, 5) ROW_PAIR(d, 6, 7)
        const ACC ab = (ACC)FOLD(_JOIN)(a, b), cd = (ACC)FOLD(_JOIN)(c, d);
        const ACC all = (ACC)FOLD(_JOIN)(ab, cd);
        block[l] = (ACC)FOLD(_JOIN)(block[l], all);
      }
    }
    for (; e < stop; e++) {
      ROW_POINTER(0)
      for (int l = 0; l < width; l++) JOIN_TERM(block[l], p0, l)
    }
    for (int l = 0; l < width; l++) ADD_BLOCK(sum[l], lost[l], block[l])
  }
  __global STORAGE(Y) *to =
      y + y0 + (chunk * (INDEX)get_global_size(1) + row) * columns + left;
  for (int l = 0; l < width; l++) STORE(Y, to, l, FOLD_RESULT(sum[l], lost[l]));
}
#undef ROW_POINTER
#undef ROW_PAIR
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
#undef REDUCE_COLUMNS
#undef REDUCE_WIDE
#undef ACC
#undef TERM
#undef JOIN_TERM
#undef FOLD_WALK
