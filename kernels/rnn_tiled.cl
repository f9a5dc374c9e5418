// Recurrent layers on GPUs: a step, or all, for a tile of the batch and of the units a work-group.
//
// Formula:
//   As rnn.cl. A launch of rnn_tiled_forward takes steps first .. last of 1 .. T; one of
//   rnn_tiled_backward steps first down to last of T .. 0, where step 0 gives the cotangents of the
//   first states.
// Layout:
//   pre, W, states, d, grads and lengths as in rnn.cl; W as it is, not in panels. `carried`, in the
//   type of arithmetic, holds between the steps of rnn_tiled_backward the cotangents of the states,
//   but for what flows through u, [STATES][B, H]. Of 16-bit floats it also holds what they would
//   round: forward h, of even and of odd steps, and c, all [B, H]; backward du, of even and of odd
//   steps, [B, GATES * H].
// Launch:
//   COLUMNS x (256 / COLUMNS) items, SLICES times, a work-group: global (COLUMNS * tiles of H,
//   256 / COLUMNS * ceil(B / (256 / COLUMNS * EACH)), SLICES). A step needs what all work-groups of
//   a tile of the batch made of the one before: either a launch takes one step, or it takes all
//   and one work-group goes through all tiles of H, `tiles` of them.
// Entries:
//   rnn_tiled_forward
//   rnn_tiled_backward
// Macros:
//   X       dtype; any float of dtype.h
//   CELL_TYPE  the cell; rnn_tanh, rnn_relu, lstm, gru
//   INDEX   type of sizes and offsets; int, long
//   COLUMNS  items of a work-group along the units; 16, 32, 64
//   EACH    rows of the batch that an item takes; 1, 2, 4
//   TILE_K  steps of the product that local memory holds; 16, 32, 64
//   SLICES  parts of the product, by as many times 256 items; 1, 2, 4
//   EDGES   1 if tiles reach past B, H or the end of the product; 0, 1
//   LENGTHS  1 if there are lengths; 0, 1
//   OWN_MATH  exp and tanh of include/math.h instead of the platform's; 0, 1
// Oracle:
//   The composition of ordinary ops, step by step; NumPy in float64.

#define LANES 1

#include "cells.h"
#include "dtype.h"
#include "math.h"
#include "rnn_tiles.h"

#ifndef X
#error "rnn_tiled.cl: X is not defined: dtype of all operands"
#endif
#if !defined(CELL_TYPE) || !defined(LENGTHS) || !defined(INDEX) || !defined(OWN_MATH)
#error "rnn_tiled.cl: CELL_TYPE, LENGTHS, INDEX and OWN_MATH must be defined"
#endif
#if !defined(COLUMNS) || !defined(EACH) || !defined(TILE_K)
#error "rnn_tiled.cl: COLUMNS, EACH and TILE_K must be defined"
#endif
#if !defined(SLICES) || !defined(EDGES)
#error "rnn_tiled.cl: SLICES and EDGES must be defined"
#endif

#define ACC ARITH(X)
#define FOUR KERNEL_NAME(four)
typedef ARITH4(X) FOUR;
#define GATES CELL(_GATES)
#define KEPT CELL(_KEPT)
#define STATES CELL(_STATES)
#define ROWS (256 / COLUMNS)
// Of the right side: the gates of a unit, or the unit itself; and whether it lies along k.
#ifdef USE_rnn_tiled_forward
#define BLOCKS GATES
#define ALONG_K 1
#else
#define BLOCKS 1
#define ALONG_K 0
#endif

// Sums, for rows y, y + ROWS, .. and the column x of the item, over k < depth, of a[row][k] (of
// `first` where that is given) times W[block * H + column][k] or W[k][column]; those of slice 0 are
// whole. Inlined as the product of matmul_tiled.cl is.
__attribute__((always_inline)) static inline void KERNEL_NAME(product)(
    __global const ACC *a, __global const STORAGE(X) *first, const INDEX rows,
    __global const STORAGE(X) *w, const INDEX columns, const INDEX H, const INDEX depth,
    __local FOUR *tiles_a, __local FOUR *tiles_w, __local ACC *joined, ACC *sum) {
  const int x = (int)get_local_id(0), y = (int)get_local_id(1), slice = (int)get_local_id(2);
  const int item = y * COLUMNS + x;
  const int line = item / TILE_K, k = item % TILE_K;
  __local FOUR *tile_a = tiles_a + slice * (ROWS * EACH * RNN_LINE / 4);
  __local FOUR *tile_w = tiles_w + slice * (COLUMNS * BLOCKS * RNN_LINE / 4);
  const INDEX span = (depth + SLICES * TILE_K - 1) / (SLICES * TILE_K) * TILE_K;
  const INDEX begin = slice * span, stop = min(begin + span, depth);
  // W lies along k, or along the units.
  const int w_line = ALONG_K ? line : x, w_k = ALONG_K ? k : y;
  a += line * depth + begin + k;
  if (!PLAIN(X) && first) first += line * depth + begin + k;
  w += ALONG_K ? w_line * H + begin + w_k : w_line + (begin + w_k) * H;
  ACC next_a[RNN_LEFT], next_w[RNN_RIGHT];
  INDEX k0 = begin;
  for (int i = 0; i < EACH * BLOCKS; i++) sum[i] = 0;
  RNN_FETCH
  for (INDEX done = 0; done < span; done += TILE_K) {
    barrier(CLK_LOCAL_MEM_FENCE);
    RNN_KEEP
    barrier(CLK_LOCAL_MEM_FENCE);
    k0 += TILE_K;
    a += TILE_K;
    if (!PLAIN(X) && first) first += TILE_K;
    w += ALONG_K ? TILE_K : TILE_K * H;
    if (EDGES || done + TILE_K < span) {  // on their way while those that are here are multiplied
      RNN_FETCH
    }
    _Pragma("unroll") for (int q = 0; q < TILE_K / 4; q++) {
      FOUR at[EACH];
      _Pragma("unroll") for (int r = 0; r < EACH; r++)
          at[r] = tile_a[(y + r * ROWS) * (RNN_LINE / 4) + q];
      _Pragma("unroll") for (int g = 0; g < BLOCKS; g++) {
        const FOUR wt = tile_w[(g * COLUMNS + x) * (RNN_LINE / 4) + q];
        _Pragma("unroll") for (int r = 0; r < EACH; r++) {
          ACC s = fma(at[r].s0, wt.s0, sum[r * BLOCKS + g]);
          s = fma(at[r].s1, wt.s1, s);
          s = fma(at[r].s2, wt.s2, s);
          sum[r * BLOCKS + g] = fma(at[r].s3, wt.s3, s);
        }
      }
    }
  }
#if SLICES > 1
  if (slice > 0) {
    _Pragma("unroll") for (int i = 0; i < EACH * BLOCKS; i++)
        joined[((slice - 1) * EACH * BLOCKS + i) * 256 + item] = sum[i];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (slice == 0) {
    _Pragma("unroll") for (int other = 0; other < SLICES - 1; other++)
      _Pragma("unroll") for (int i = 0; i < EACH * BLOCKS; i++)
          sum[i] += joined[(other * EACH * BLOCKS + i) * 256 + item];
  }
#endif
}
#define TILES                                                      \
  __local FOUR tiles_a[SLICES * ROWS * EACH * RNN_LINE / 4];       \
  __local FOUR tiles_w[SLICES * COLUMNS * BLOCKS * RNN_LINE / 4];  \
  __local ACC joined[SLICES > 1 ? (SLICES - 1) * EACH * BLOCKS * 256 : 1];

#ifdef USE_rnn_tiled_forward
__kernel __attribute__((reqd_work_group_size(COLUMNS, ROWS, SLICES)))
void KERNEL_NAME(rnn_tiled_forward)(
    __global const STORAGE(X) *pre, const long pre0, __global const STORAGE(X) *h_first,
    const long h_first0,
#if STATES == 2
    __global const STORAGE(X) *c_first, const long c_first0,
#endif
    __global const STORAGE(X) *W, const long w0, __global const STORAGE(X) *bias, const long bias0,
#if LENGTHS
    __global const int *lengths, const long lengths0,
#endif
    __global STORAGE(X) *states, const long states0,
#if !PLAIN(X)
    __global ACC *carried, const long carried0,
#endif
    const INDEX T, const INDEX B, const INDEX H, const INDEX first, const INDEX last,
    const INDEX tiles, const int reverse, const int keep) {
  TILES
  const int x = (int)get_local_id(0), y = (int)get_local_id(1);
  const INDEX top = (INDEX)get_group_id(1) * (ROWS * EACH);
  const INDEX size = B * H, end = STATES * (T + 1) - 1;
  __global STORAGE(X) *out = states + states0;
  __global STORAGE(X) *kept_out = out + (end + 1) * size;
  for (INDEX s = first; s <= last; s++) {
    const INDEX t = reverse ? T - s : s - 1;
    __global STORAGE(X) *h_out = out + (reverse ? end - s : s) * size;
    const INDEX back = reverse ? size : -size;
#if STATES == 2
    __global STORAGE(X) *c_out = out + (reverse ? s : end - s) * size;
#endif
    // The first states lie among the operands; they are copied for those that read them later.
#if PLAIN(X)
    __global const ACC *h_from = s == 1 ? h_first + h_first0 : h_out + back;
#if STATES == 2
    __global const ACC *c_from = s == 1 ? c_first + c_first0 : c_out - back;
#endif
#define BEFORE(from, first, first0, at) from[at]
#define GIVEN 0
#else
    __global ACC *h_from = carried + carried0 + (s + 1) % 2 * size;
    __global ACC *h_to = carried + carried0 + s % 2 * size;
#if STATES == 2
    __global ACC *c_from = carried + carried0 + 2 * size;
#endif
#define BEFORE(from, first, first0, at) (s == 1 ? LOAD(X, first, first0 + at) : from[at])
#define GIVEN (s == 1 ? h_first + h_first0 + top * H : 0)
#endif
    for (INDEX tile = 0; tile < tiles; tile++) {
      const INDEX left = ((INDEX)get_group_id(0) * tiles + tile) * COLUMNS;
      const INDEX j = left + x;
      ACC sum[EACH * BLOCKS], input[EACH * BLOCKS], own[GATES];
      const bool mine = j < H && get_local_id(2) == 0;
      // Read before the product, which takes as long as these come from afar.
      for (int g = 0; g < GATES; g++) own[g] = mine ? LOAD(X, bias, bias0 + g * H + j) : (ACC)0;
      for (int r = 0; r < EACH; r++)
        for (int g = 0; g < GATES; g++) {
          const INDEX b = top + y + r * ROWS;
          input[r * GATES + g] =
              mine && b < B ? LOAD(X, pre, pre0 + ((t * B + b) * GATES + g) * H + j) : (ACC)0;
        }
      KERNEL_NAME(product)(h_from + top * H, GIVEN, B - top, W + w0 + left * H, H - left, H, H,
                           tiles_a, tiles_w, joined, sum);
      for (int r = 0; r < EACH; r++) {
        const INDEX b = top + y + r * ROWS, at = b * H + j;
        if (!mine || b >= B) continue;
        const ACC *p = input + r * GATES;
        ACC *u = sum + r * GATES;
        ACC h0[1], h[1];
        for (int g = 0; g < GATES; g++) u[g] += own[g];
        h0[0] = BEFORE(h_from, h_first, h_first0, at);
#if STATES == 2
        ACC c0[1], c[1];
        c0[0] = BEFORE(c_from, c_first, c_first0, at);
#endif
#if KEPT
        ACC kept[KEPT];
#endif
        CELL(_STEP)(0)
#if LENGTHS
        if (t >= lengths[lengths0 + b]) {
          h[0] = h0[0];
#if STATES == 2
          c[0] = c0[0];
#endif
        }
#endif
        STORE(X, h_out, at, h[0]);
#if STATES == 2
        STORE(X, c_out, at, c[0]);
#endif
#if !PLAIN(X)
        h_to[at] = h[0];
#if STATES == 2
        c_from[at] = c[0];
#endif
#endif
        if (s == 1) {
          STORE(X, out, (reverse ? end : 0) * size + at, h0[0]);
#if STATES == 2
          STORE(X, out, (reverse ? 0 : end) * size + at, c0[0]);
#endif
        }
#if KEPT
        if (keep)
          for (int g = 0; g < KEPT; g++)
            STORE(X, kept_out, ((t * B + b) * KEPT + g) * H + j, kept[g]);
#endif
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  }
}
#endif

#ifdef USE_rnn_tiled_backward
__kernel __attribute__((reqd_work_group_size(COLUMNS, ROWS, SLICES)))
void KERNEL_NAME(rnn_tiled_backward)(
    __global const STORAGE(X) *d, const long d0, __global const STORAGE(X) *states,
    const long states0, __global const STORAGE(X) *W, const long w0,
#if LENGTHS
    __global const int *lengths, const long lengths0,
#endif
    __global STORAGE(X) *grads, const long grads0, __global ACC *carried, const long carried0,
    const INDEX T, const INDEX B, const INDEX H, const INDEX first, const INDEX last,
    const INDEX tiles, const int reverse) {
  TILES
  const int x = (int)get_local_id(0), y = (int)get_local_id(1);
  const INDEX top = (INDEX)get_group_id(1) * (ROWS * EACH);
  const INDEX size = B * H, end = STATES * (T + 1) - 1, d_end = T + STATES - 2;
  __global const STORAGE(X) *from = states + states0;
#if KEPT
  __global const STORAGE(X) *kept_from = from + (end + 1) * size;
#endif
  __global const STORAGE(X) *d_from = d + d0;
  __global STORAGE(X) *dp_out = grads + grads0;
  __global STORAGE(X) *du_out = dp_out + CELL(_APART) * T * GATES * size;
  __global STORAGE(X) *first_out = dp_out + (1 + CELL(_APART)) * T * GATES * size;
  __global ACC *dh_carried = carried + carried0;
#if STATES == 2
  __global ACC *dc_carried = dh_carried + size;
#endif
#if !PLAIN(X)
  __global ACC *du_carried = dh_carried + STATES * size;
#endif
  for (INDEX s = first; s >= last; s--) {
    const INDEX t = reverse ? T - s : s - 1;
#if PLAIN(X)
    __global const ACC *du_after = du_out + (reverse ? t - 1 : t + 1) * GATES * size;
#else
    __global const ACC *du_after = du_carried + (s + 1) % 2 * GATES * size;
    __global ACC *du_now = du_carried + s % 2 * GATES * size;
#endif
    for (INDEX tile = 0; tile < tiles; tile++) {
      const INDEX left = ((INDEX)get_group_id(0) * tiles + tile) * COLUMNS;
      const INDEX j = left + x;
      const bool mine = j < H && get_local_id(2) == 0;
      ACC sum[EACH];
      for (int r = 0; r < EACH; r++) sum[r] = 0;
      if (s < T)
        KERNEL_NAME(product)(du_after + top * GATES * H, 0, B - top, W + w0 + left, H - left, H,
                             GATES * H, tiles_a, tiles_w, joined, sum);
      for (int r = 0; r < EACH; r++) {
        const INDEX b = top + y + r * ROWS, at = b * H + j;
        if (!mine || b >= B) continue;
        ACC dh[1];
        dh[0] = sum[r] + (s < T ? dh_carried[at] : (ACC)0);
#if STATES == 2
        ACC dc[1];
        dc[0] = s < T ? dc_carried[at] : LOAD(X, d_from, (reverse ? 0 : d_end) * size + at);
#endif
        if (s == 0) {
          STORE(X, first_out, at, dh[0]);
#if STATES == 2
          STORE(X, first_out, size + at, dc[0]);
#endif
          continue;
        }
        dh[0] += LOAD(X, d_from, (reverse ? d_end - s + 1 : s - 1) * size + at);
        ACC dp[GATES], du[GATES];
#if LENGTHS
        if (t >= lengths[lengths0 + b]) {
          for (int g = 0; g < GATES; g++) dp[g] = du[g] = 0;
        } else
#endif
        {
          ACC h0[1], h1[1];
          h0[0] = LOAD(X, from, (reverse ? end - s + 1 : s - 1) * size + at);
          h1[0] = LOAD(X, from, (reverse ? end - s : s) * size + at);
#if STATES == 2
          ACC c0[1], c1[1];
          c0[0] = LOAD(X, from, (reverse ? s - 1 : end - s + 1) * size + at);
          c1[0] = LOAD(X, from, (reverse ? s : end - s) * size + at);
#endif
#if KEPT
          ACC kept[KEPT];
          for (int g = 0; g < KEPT; g++)
            kept[g] = LOAD(X, kept_from, ((t * B + b) * KEPT + g) * H + j);
#endif
          CELL(_BACK)(0)
        }
        dh_carried[at] = dh[0];
#if STATES == 2
        dc_carried[at] = dc[0];
#endif
        for (int g = 0; g < GATES; g++) {
          STORE(X, dp_out, ((t * B + b) * GATES + g) * H + j, dp[g]);
#if CELL(_APART)
          STORE(X, du_out, ((t * B + b) * GATES + g) * H + j, du[g]);
#endif
#if !PLAIN(X)
          du_now[(b * GATES + g) * H + j] = du[g];
#endif
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  }
}
#endif

#undef LANES
#undef ACC
#undef FOUR
#undef GATES
#undef KEPT
#undef STATES
#undef ROWS
#undef BLOCKS
#undef ALONG_K
#undef BEFORE
#undef GIVEN
#undef TILES
