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
// Launch:
//   sort_runs   one item a run: global >= rows * ceil(n / SORT_RUN), padded to LOCAL
//   sort_merge  one item makes `each` neighbouring elements of a joined pair, whose part of either
//               run it finds by bisection (merge path: Odeh, Green, Mwassi, Shmueli, Birk 2012):
//               `each` divides 2 * run; global >= rows * ceil(n / each), padded to LOCAL
// Entries:
//   sort_runs
//   sort_merge
// Macros:
//   X           dtype of x; any of dtype.h
//   DESCENDING  the order; 0 ascending, 1 descending
//   SORT_RUN    elements sorted by one item; 2 to 64
//   LOCAL       work-items of a work-group; 1 to the device's limit
//   INDEX       type of sizes and offsets; int, long
// Oracle:
//   numpy.argsort(kind="stable").

#include "dtype.h"

#ifndef X
#error "sort.cl: X is not defined: dtype of the input"
#endif
#ifndef DESCENDING
#error "sort.cl: DESCENDING is not defined: 0 or 1"
#endif
#ifndef SORT_RUN
#error "sort.cl: SORT_RUN is not defined: elements sorted by one item"
#endif
#ifndef LOCAL
#error "sort.cl: LOCAL is not defined: work-items of a work-group"
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

#undef BEFORE
