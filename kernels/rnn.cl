// Recurrent layers: all steps of a layer in one launch, for a slice of the batch a work-group.
//
// Formula:
//   forward   for step s = 1 .. T at time t = s - 1 (reverse: T - s), where t < lengths[b]:
//             u = h(s-1) W.T + bias, states(s) = cell(pre[t], u, states(s-1)), see cells.h;
//             elsewhere states(s) = states(s-1)
//   backward  for s = T .. 1: dpre[t], du[t] and the cotangents of states(s-1), the part that flows
//             through u being du[t] W
// Layout:
//   pre [T, B, G * H], gate by gate; W [G * H, H]; states [B, H]; all contiguous, of dtype X.
//   `states` holds h(0), .., h(T) and, where cells have one, c(T), .., c(0), all [B, H]; in reverse
//   in the opposite order, so that h lies in the order of time. Then, where `keep`, what the
//   backward pass needs: [T, B, KEPT * H]. The cotangent `d` is laid out as h(1), .., h(T), c(T) in
//   `states`. `grads` holds dpre [T, B, G * H], then, if it differs, du likewise, then dh(0) and
//   dc(0).
//   W comes as the panels that rnn_pack.cl writes. A group has group_scratch elements, where it
//   keeps its rows of the states, or of du and the cotangents, in the type of arithmetic, each
//   padded to a stride.
// Launch:
//   work-groups of one item, one for each `rows` rows of the batch. Groups never meet, so there is
//   no barrier.
// Entries:
//   rnn_forward
//   rnn_backward
// Macros:
//   X       dtype; any float of dtype.h
//   CELL_TYPE  the cell; rnn_tanh, rnn_relu, lstm, gru
//   INDEX   type of sizes and offsets; int, long
//   LANES   columns of a panel; 16, 32
//   TILE_M  rows of the product held in registers; 4, 8
//   LENGTHS  1 if there are lengths; 0, 1
//   OWN_MATH  exp and tanh of include/math.h instead of the platform's; 0, 1
// Oracle:
//   The composition of ordinary ops, step by step; NumPy in float64.

#include "cells.h"
#include "dtype.h"
#include "math.h"

#ifndef X
#error "rnn.cl: X is not defined: dtype of all operands"
#endif
#if !defined(INDEX) || !defined(LANES) || !defined(OWN_MATH)
#error "rnn.cl: INDEX, LANES and OWN_MATH must be defined"
#endif

#define ACC ARITH(X)
#define VECTOR KERNEL_NAME(vector)
#define LOOSE KERNEL_NAME(loose)
typedef ACC VECTOR __attribute__((ext_vector_type(16)));
typedef ACC LOOSE __attribute__((ext_vector_type(16), aligned(sizeof(ACC))));

#if defined(USE_rnn_forward) || defined(USE_rnn_backward)
#if !defined(CELL_TYPE) || !defined(TILE_M) || !defined(LENGTHS)
#error "rnn.cl: CELL_TYPE, TILE_M and LENGTHS must be defined"
#endif
#define GATES CELL(_GATES)
#define KEPT CELL(_KEPT)
#define STATES CELL(_STATES)

// The accumulators have names, not indices, so that a compiler keeps them in registers.
#if TILE_M == 4
#define ROWS(M) M(0) M(1) M(2) M(3)
#else
#define ROWS(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#endif
#define ROW_AT(r) __global const ACC *a##r = a + (r) * stride;
#if LANES == 32
#define ROW_START(r) VECTOR left##r = 0, right##r = 0;
#define ROW_STEP(r)          \
  left##r += a##r[k] * left; \
  right##r += a##r[k] * right;
#define ROW_TILE(r)                           \
  *(LOOSE *)(tile + (r) * pitch) = left##r;   \
  *(LOOSE *)(tile + (r) * pitch + 16) = right##r;
#else
#define ROW_START(r) VECTOR left##r = 0;
#define ROW_STEP(r) left##r += a##r[k] * left;
#define ROW_TILE(r) *(LOOSE *)(tile + (r) * pitch) = left##r;
#endif

// The product of TILE_M rows, `stride` elements apart, and a panel, in rows `pitch` apart.
static inline void KERNEL_NAME(product)(__global const ACC *a, const INDEX stride,
                                        __global const ACC *b, const INDEX depth, ACC *tile,
                                        const int pitch) {
#pragma OPENCL FP_CONTRACT ON
  ROWS(ROW_AT)
  ROWS(ROW_START)
  for (INDEX k = 0; k < depth; k++, b += LANES) {
    const VECTOR left = *(__global const LOOSE *)b;
#if LANES == 32
    const VECTOR right = *(__global const LOOSE *)(b + 16);
#endif
    ROWS(ROW_STEP)
  }
  ROWS(ROW_TILE)
}

// Moves the first `width` of LANES elements; the others become 0.
static inline void KERNEL_NAME(read)(__global const STORAGE(X) *from, const int width, ACC *to) {
  if (width == LANES) {
    for (int l = 0; l < LANES; l++) to[l] = LOAD(X, from, l);
  } else {
    for (int l = 0; l < LANES; l++) to[l] = 0;
    for (int l = 0; l < width; l++) to[l] = LOAD(X, from, l);
  }
}
static inline void KERNEL_NAME(write)(const ACC *from, const int width,
                                      __global STORAGE(X) *to) {
  if (width == LANES)
    for (int l = 0; l < LANES; l++) STORE(X, to, l, from[l]);
  else
    for (int l = 0; l < width; l++) STORE(X, to, l, from[l]);
}
#endif

#ifdef USE_rnn_forward
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(rnn_forward)(
    __global const STORAGE(X) *pre, const long pre0, __global const STORAGE(X) *h_first,
    const long h_first0,
#if STATES == 2
    __global const STORAGE(X) *c_first, const long c_first0,
#endif
    __global const STORAGE(X) *bias, const long bias0,
#if LENGTHS
    __global const int *lengths, const long lengths0,
#endif
    __global const ACC *panels, const long panels0, __global STORAGE(X) *states,
    const long states0, __global ACC *scratch, const long scratch0, const INDEX T, const INDEX B,
    const INDEX H, const INDEX rows, const INDEX stride, const INDEX group_scratch,
    const int reverse, const int keep) {
  const INDEX group = (INDEX)get_group_id(0);
  const INDEX top = group * rows;
  const INDEX count = min(rows, B - top);
  const INDEX area = rows * stride;
  __global ACC *h_before = scratch + scratch0 + group * group_scratch;
  __global ACC *h_after = h_before + area;
#if STATES == 2
  __global ACC *c_now = h_after + area;
#endif
  const INDEX size = B * H, last = STATES * (T + 1) - 1;
  __global STORAGE(X) *out = states + states0;
  __global STORAGE(X) *kept_out = out + (last + 1) * size;
  for (INDEX i = 0; i < STATES * area + area; i++) h_before[i] = 0;
  for (INDEX r = 0; r < count; r++)
    for (INDEX k = 0; k < H; k++) {
      const INDEX at = (top + r) * H + k;
      h_before[r * stride + k] = LOAD(X, h_first, h_first0 + at);
      STORE(X, out, (reverse ? last : 0) * size + at, h_before[r * stride + k]);
#if STATES == 2
      c_now[r * stride + k] = LOAD(X, c_first, c_first0 + at);
      STORE(X, out, (reverse ? 0 : last) * size + at, c_now[r * stride + k]);
#endif
    }
  for (INDEX s = 1; s <= T; s++) {
    const INDEX t = reverse ? T - s : s - 1;
    __global STORAGE(X) *h_out = out + (reverse ? last - s : s) * size + top * H;
#if STATES == 2
    __global STORAGE(X) *c_out = out + (reverse ? s : last - s) * size + top * H;
#endif
    for (INDEX j = 0; j < H; j += LANES) {
      const int width = (int)min(H - j, (INDEX)LANES);
      ACC own[GATES * LANES];
      for (int g = 0; g < GATES; g++)
        KERNEL_NAME(read)(bias + bias0 + g * H + j, width, own + g * LANES);
      __global const ACC *panel = panels + panels0 + j * GATES * H;
      for (INDEX i = 0; i < count; i += TILE_M) {
        // Read before the product, which takes as long as these come from afar.
        ACC tile[TILE_M * GATES * LANES], input[TILE_M * GATES * LANES];
        for (int r = 0; r < (int)min(count - i, (INDEX)TILE_M); r++)
          for (int g = 0; g < GATES; g++)
            KERNEL_NAME(read)(pre + pre0 + ((t * B + top + i + r) * GATES + g) * H + j, width,
                              input + (r * GATES + g) * LANES);
        for (int g = 0; g < GATES; g++)
          KERNEL_NAME(product)(h_before + i * stride, stride, panel + g * H * LANES, H,
                               tile + g * LANES, GATES * LANES);
        for (INDEX r = i; r < min(i + TILE_M, count); r++) {
          const ACC *p = input + (r - i) * GATES * LANES;
          ACC *u = tile + (r - i) * GATES * LANES;
          ACC h[LANES];
          for (int l = 0; l < GATES * LANES; l++) u[l] += own[l];
          __global const ACC *h0 = h_before + r * stride + j;
#if STATES == 2
          __global ACC *c0 = c_now + r * stride + j;
          ACC c[LANES];
#endif
#if KEPT
          ACC kept[KEPT * LANES];
#endif
          for (int l = 0; l < LANES; l++) {
            CELL(_STEP)(l)
          }
#if LENGTHS
          if (t >= lengths[lengths0 + top + r])
            for (int l = 0; l < LANES; l++) {
              h[l] = h0[l];
#if STATES == 2
              c[l] = c0[l];
#endif
            }
#endif
          for (int l = 0; l < LANES; l++) h_after[r * stride + j + l] = h[l];
          KERNEL_NAME(write)(h, width, h_out + r * H + j);
#if STATES == 2
          for (int l = 0; l < LANES; l++) c0[l] = c[l];
          KERNEL_NAME(write)(c, width, c_out + r * H + j);
#endif
#if KEPT
          if (keep)
            for (int g = 0; g < KEPT; g++)
              KERNEL_NAME(write)(kept + g * LANES, width,
                                 kept_out + ((t * B + top + r) * KEPT + g) * H + j);
#endif
        }
      }
    }
    __global ACC *swapped = h_before;
    h_before = h_after;
    h_after = swapped;
  }
}
#endif

#ifdef USE_rnn_backward
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(rnn_backward)(
    __global const STORAGE(X) *d, const long d0, __global const STORAGE(X) *states,
    const long states0,
#if LENGTHS
    __global const int *lengths, const long lengths0,
#endif
    __global const ACC *panels, const long panels0, __global STORAGE(X) *grads, const long grads0,
    __global ACC *scratch, const long scratch0, const INDEX T, const INDEX B, const INDEX H,
    const INDEX rows, const INDEX stride, const INDEX du_stride, const INDEX group_scratch,
    const int reverse) {
  const INDEX group = (INDEX)get_group_id(0);
  const INDEX top = group * rows;
  const INDEX count = min(rows, B - top);
  __global ACC *du_now = scratch + scratch0 + group * group_scratch;
  __global ACC *dh_now = du_now + rows * du_stride;
#if STATES == 2
  __global ACC *dc_now = dh_now + rows * stride;
#endif
  const INDEX size = B * H, last = STATES * (T + 1) - 1, d_last = T + STATES - 2;
  __global const STORAGE(X) *from = states + states0 + top * H;
#if KEPT
  __global const STORAGE(X) *kept_from = states + states0 + (last + 1) * size;
#endif
  __global const STORAGE(X) *d_from = d + d0 + top * H;
  __global STORAGE(X) *dp_out = grads + grads0;
  __global STORAGE(X) *du_out = dp_out + T * GATES * size;
  __global STORAGE(X) *dh_out = dp_out + (1 + CELL(_APART)) * T * GATES * size + top * H;
  for (INDEX i = 0; i < group_scratch; i++) du_now[i] = 0;
#if STATES == 2
  for (INDEX r = 0; r < count; r++)
    for (INDEX k = 0; k < H; k++)
      dc_now[r * stride + k] = LOAD(X, d_from, (reverse ? 0 : d_last) * size + r * H + k);
#endif
  for (INDEX s = T; s >= 1; s--) {
    const INDEX t = reverse ? T - s : s - 1;
    __global const STORAGE(X) *d_now = d_from + (reverse ? d_last - s + 1 : s - 1) * size;
    __global const STORAGE(X) *h_from = from + (reverse ? last - s : s) * size;
    const INDEX step = reverse ? -size : size;
#if STATES == 2
    __global const STORAGE(X) *c_from = from + (reverse ? s : last - s) * size;
#endif
    for (INDEX r = 0; r < count; r++) {
      const INDEX row = t * B + top + r;
#if LENGTHS
      const int running = t < lengths[lengths0 + top + r];
#else
      const int running = 1;
#endif
      for (INDEX j = 0; j < H; j += LANES) {
        const int width = (int)min(H - j, (INDEX)LANES);
        const INDEX at = r * H + j;
        ACC h0[LANES], h1[LANES], dh[LANES], dp[GATES * LANES], du[GATES * LANES];
        KERNEL_NAME(read)(d_now + at, width, dh);
        for (int l = 0; l < LANES; l++) dh[l] += dh_now[r * stride + j + l];
        if (running) {
          KERNEL_NAME(read)(h_from - step + at, width, h0);
          KERNEL_NAME(read)(h_from + at, width, h1);
#if STATES == 2
          ACC c0[LANES], c1[LANES], dc[LANES];
          KERNEL_NAME(read)(c_from + step + at, width, c0);
          KERNEL_NAME(read)(c_from + at, width, c1);
          for (int l = 0; l < LANES; l++) dc[l] = dc_now[r * stride + j + l];
#endif
#if KEPT
          ACC kept[KEPT * LANES];
          for (int g = 0; g < KEPT; g++)
            KERNEL_NAME(read)(kept_from + (row * KEPT + g) * H + j, width, kept + g * LANES);
#endif
          for (int l = 0; l < LANES; l++) {
            CELL(_BACK)(l)
          }
#if STATES == 2
          for (int l = 0; l < LANES; l++) dc_now[r * stride + j + l] = dc[l];
#endif
        } else {
          for (int i = 0; i < GATES * LANES; i++) dp[i] = du[i] = 0;
        }
        for (int l = 0; l < LANES; l++) dh_now[r * stride + j + l] = dh[l];
        for (int g = 0; g < GATES; g++) {
          KERNEL_NAME(write)(dp + g * LANES, width, dp_out + (row * GATES + g) * H + j);
#if CELL(_APART)
          KERNEL_NAME(write)(du + g * LANES, width, du_out + (row * GATES + g) * H + j);
#endif
          for (int l = 0; l < width; l++)
            du_now[r * du_stride + g * H + j + l] = du[g * LANES + l];
        }
      }
    }
    for (INDEX j = 0; j < H; j += LANES)
      for (INDEX i = 0; i < count; i += TILE_M) {
        ACC tile[TILE_M * LANES];
        KERNEL_NAME(product)(du_now + i * du_stride, du_stride, panels + panels0 + j * GATES * H,
                             GATES * H, tile, LANES);
        for (int r = 0; r < TILE_M; r++)
          for (int l = 0; l < LANES; l++)
            dh_now[(i + r) * stride + j + l] += tile[r * LANES + l];
      }
  }
  for (INDEX r = 0; r < count; r++)
    for (INDEX k = 0; k < H; k++) {
      STORE(X, dh_out, r * H + k, dh_now[r * stride + k]);
#if STATES == 2
      STORE(X, dh_out, size + r * H + k, dc_now[r * stride + k]);
#endif
    }
}
#endif

#undef ACC
#undef GATES
#undef KEPT
#undef STATES
#undef VECTOR
#undef LOOSE
#undef ROWS
#undef ROW_AT
#undef ROW_START
#undef ROW_STEP
#undef ROW_TILE
