// Stable order of the elements along a dimension.
//
// Formula:
//   y[r] is the permutation of 0 .. n - 1 by which x[r, y[r, 0]], x[r, y[r, 1]], ... are in order;
//   equal elements keep their order. Ascending: NaN last. Descending: NaN first.
// Layout:
//   x contiguous [rows / inner, n, inner], so that its row r is walked by stride `inner`; from, y:
//   contiguous long [rows, n] of positions along n.
//   sort_runs sorts runs of SORT_RUN neighbours; each sort_merge joins pairs of runs of `run`
//   elements, so ceil(log2(n / SORT_RUN)) passes follow, between two buffers in turn.
//   sort_radix maps elements to unsigned keys of their order and sorts those by their bytes, the
//   lowest first, but for bytes that all keys share. A group has, in turn for its rows, two arrays
//   of n keys and two of n positions.
// Launch:
//   sort_runs   one item a run: global >= rows * ceil(n / SORT_RUN), padded to LOCAL
//   sort_merge  one item makes `each` neighbouring elements of a joined pair, whose part of either
//               run it finds by bisection (merge path: Odeh, Green, Mwassi, Shmueli, Birk 2012):
//               `each` divides 2 * run; global >= rows * ceil(n / each), padded to LOCAL
//   sort_radix  work-groups of one item share the rows: any global size
// Entries:
//   sort_runs
//   sort_merge
//   sort_radix
// Macros:
//   X           dtype of x; any of dtype.h
//   DESCENDING  the order; 0 ascending, 1 descending
//   SORT_RUN    elements sorted by one item (sort_runs); 2 to 64
//   KEY         type of keys (sort_radix); ulong if an X has 8 bytes, else uint
//   LOCAL       work-items of a work-group (all but sort_radix); 1 to the device's limit
//   INDEX       type of sizes and offsets; int, long
// Oracle:
//   sort_runs and sort_merge are the plain version; numpy.argsort(kind="stable").

#include "dtype.h"

#ifndef X
#error "sort.cl: X is not defined: dtype of the input"
#endif
#ifndef DESCENDING
#error "sort.cl: DESCENDING is not defined: 0 or 1"
#endif
#ifndef INDEX
#error "sort.cl: INDEX is not defined: int or long"
#endif

// a must come before b; a != a holds for NaN alone.
#if DESCENDING
#define BEFORE(a, b) ((a) > (b) || ((a) != (a) && (b) == (b)))
#else
#define BEFORE(a, b) ((a) < (b) || ((a) == (a) && (b) != (b)))
#endif

#ifdef USE_sort_runs
#if !defined(SORT_RUN) || !defined(LOCAL)
#error "sort.cl: SORT_RUN and LOCAL must be defined"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(sort_runs)(
    __global const STORAGE(X) *x, const long x0, __global long *y, const long y0,
    const INDEX rows, const INDEX n, const INDEX inner) {
  const INDEX runs = (n - 1) / SORT_RUN + 1;
  const INDEX item = (INDEX)get_global_id(0);
  if (item >= rows * runs) return;
  const INDEX row = item / runs;
  const INDEX begin = (item - row * runs) * SORT_RUN;
  const int count = (int)min(n - begin, (INDEX)SORT_RUN);
  __global const STORAGE(X) *p = x + x0 + row / inner * inner * (n - 1) + row + begin * inner;
  ARITH(X) key[SORT_RUN];
  int at[SORT_RUN];
  for (int i = 0; i < count; i++) {  // insertion keeps equal elements in order
    const ARITH(X) v = LOAD(X, p, i * inner);
    int j = i;
    for (; j > 0 && BEFORE(v, key[j - 1]); j--) {
      key[j] = key[j - 1];
      at[j] = at[j - 1];
    }
    key[j] = v;
    at[j] = i;
  }
  for (int i = 0; i < count; i++) y[y0 + row * n + begin + i] = begin + at[i];
}
#endif

#ifdef USE_sort_merge
#ifndef LOCAL
#error "sort.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(sort_merge)(
    __global const STORAGE(X) *x, const long x0, __global const long *from, const long from0,
    __global long *y, const long y0, const INDEX rows, const INDEX n, const INDEX run,
    const INDEX each, const INDEX inner) {
  const INDEX pieces = (n - 1) / each + 1;
  const INDEX item = (INDEX)get_global_id(0);
  if (item >= rows * pieces) return;
  const INDEX row = item / pieces;
  const INDEX first = (item - row * pieces) * each;
  const INDEX begin = first / (2 * run) * (2 * run);
  __global const STORAGE(X) *p = x + x0 + row / inner * inner * (n - 1) + row;
  __global const long *left = from + from0 + row * n + begin;
  const INDEX left_count = min(run, n - begin);
  __global const long *right = left + left_count;
  const INDEX right_count = min(run, n - begin - left_count);
  // How many of the `skip` elements before this piece come from the left run.
  const INDEX skip = first - begin;
  INDEX low = max((INDEX)0, skip - right_count), high = min(skip, left_count);
  while (low < high) {
    const INDEX middle = low + (high - low) / 2;
    const ARITH(X) l = LOAD(X, p, left[middle] * inner);
    const ARITH(X) r = LOAD(X, p, right[skip - 1 - middle] * inner);
    if (BEFORE(r, l)) high = middle;
    else low = middle + 1;
  }
  INDEX i = low, j = skip - low;
  const INDEX stop = min(first + each, n);
  for (INDEX e = first; e < stop; e++) {
    bool take_left = j >= right_count;
    if (!take_left && i < left_count) {
      const ARITH(X) l = LOAD(X, p, left[i] * inner);
      const ARITH(X) r = LOAD(X, p, right[j] * inner);
      take_left = !BEFORE(r, l);
    }
    y[y0 + row * n + e] = take_left ? left[i++] : right[j++];
  }
}
#endif

#ifdef USE_sort_radix
#ifndef KEY
#error "sort.cl: KEY is not defined: uint or ulong"
#endif
#define KEY_TOP ((KEY)1 << (8 * sizeof(KEY) - 1))
#define KEY_OF_BITS(bits) ((KEY)(bits) & KEY_TOP ? ~(KEY)(bits) : (KEY)(bits) | KEY_TOP)
// All NaNs are one key, the greatest, and both zeros one.
#define KEY_OF_FLOAT(v, bits) ((v) != (v) ? ~(KEY)0 : (v) == 0 ? KEY_TOP : KEY_OF_BITS(bits))
#define key_float32(v) KEY_OF_FLOAT(v, as_uint(v))
#define key_float16(v) KEY_OF_FLOAT(v, as_uint(v))
#define key_bfloat16(v) KEY_OF_FLOAT(v, as_uint(v))
#define key_float64(v) KEY_OF_FLOAT(v, as_ulong(v))
#define key_int32(v) ((KEY)(v) ^ KEY_TOP)
#define key_int64(v) ((KEY)(v) ^ KEY_TOP)
#define key_uint8(v) ((KEY)(v))
#define key_bool(v) ((KEY)(v))
#define RADIX 256
#define DIGIT(key, d) (((key) >> (8 * (d))) & (RADIX - 1))

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(sort_radix)(
    __global const STORAGE(X) *x, const long x0, __global KEY *keys, const long keys0,
    __global INDEX *at, const long at0, __global long *y, const long y0, const INDEX rows,
    const INDEX n, const INDEX inner) {
  const INDEX group = (INDEX)get_group_id(0), groups = (INDEX)get_num_groups(0);
  for (INDEX row = group; row < rows; row += groups) {
    __global const STORAGE(X) *p = x + x0 + row / inner * inner * (n - 1) + row;
    __global KEY *key = keys + keys0 + group * 2 * n, *key_to = key + n;
    __global INDEX *from = at + at0 + group * 2 * n, *to = from + n;
    INDEX counts[sizeof(KEY)][RADIX];
    for (int d = 0; d < (int)sizeof(KEY); d++)
      for (int c = 0; c < RADIX; c++) counts[d][c] = 0;
    for (INDEX i = 0; i < n; i++) {
      const ARITH(X) v = LOAD(X, p, i * inner);
      const KEY ascending = DTYPE_PASTE(key_, X)(v);
      const KEY k = DESCENDING ? ~ascending : ascending;
      key[i] = k;
      from[i] = i;
      for (int d = 0; d < (int)sizeof(KEY); d++) counts[d][DIGIT(k, d)]++;
    }
    for (int d = 0; d < (int)sizeof(KEY); d++) {
      INDEX *place = counts[d];
      if (place[DIGIT(key[0], d)] == n) continue;
      INDEX before = 0;
      for (int c = 0; c < RADIX; c++) {
        const INDEX count = place[c];
        place[c] = before;
        before += count;
      }
      for (INDEX i = 0; i < n; i++) {
        const KEY k = key[i];
        const INDEX t = place[DIGIT(k, d)]++;
        key_to[t] = k;
        to[t] = from[i];
      }
      __global KEY *other_key = key;
      key = key_to;
      key_to = other_key;
      __global INDEX *other = from;
      from = to;
      to = other;
    }
    for (INDEX i = 0; i < n; i++) y[y0 + row * n + i] = from[i];
  }
}
#undef KEY_TOP
#undef KEY_OF_BITS
#undef KEY_OF_FLOAT
#undef key_float32
#undef key_float16
#undef key_bfloat16
#undef key_float64
#undef key_int32
#undef key_int64
#undef key_uint8
#undef key_bool
#undef RADIX
#undef DIGIT
#endif

#undef BEFORE
