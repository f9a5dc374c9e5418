// Batched matrix product on GPUs, through local memory.
//
// Formula:
//   C[z, m, n] = f(sum over k of A[z, m, k] * B[z, k, n]), as in matmul.cl
// Layout:
//   As in matmul.cl. matmul_split leaves sums over its parts of k, in ARITH(X), as
//   [batches][slices][M][N]; matmul_join adds them in order, so that results do not depend on how
//   work-groups are scheduled.
// Launch:
//   matmul_tiled  16 x 16 items share a tile of TILE_M x TILE_N of C through local memory: global
//                 (16 * ceil(N / TILE_N), 16 * ceil(M / TILE_M), batches); K > 0
//   matmul_split  the same of `slices` parts of k, each of `span` steps (none empty): the third
//                 dimension is batches * slices
//   matmul_join   adds up what matmul_split left: global >= batches * M * N, padded to LOCAL
// Entries:
//   matmul_tiled
//   matmul_split
//   matmul_join
// Macros:
//   X       dtype; any of dtype.h
//   BATCH   number of batch dims; 1, 2, 3, 4, 8
//   INDEX   type of sizes and offsets; int, long
//   LOCAL   work-items of a work-group (matmul_join); 1 to the device's limit
//   TILE_M  rows of C that a work-group shares; 64, 128
//   TILE_N  columns likewise; 64, 128
//   TILE_K  steps of k in each half of local memory; 8, 16, 32
//   EDGES   1 if tiles, or steps of TILE_K, reach past M, N or K; 0, 1
//   OWN_MATH  functions of include/math.h instead of the platform's; 0, 1
//   STORED  1 if there is a chain f; 0, 1
//   STORED_PARAMS  its operands, as in matmul.cl; generated
//   STORED_PASSED  the names of STORED_PARAMS; generated
//   STORED_BODY    its steps; generated
// Oracle:
//   matmul_plain of matmul.cl; numpy.matmul in float64.

#include "dims.h"
#include "dtype.h"
#include "finish.h"
#include "math.h"

#ifndef X
#error "matmul_tiled.cl: X is not defined: dtype of the operands"
#endif
#ifndef BATCH
#error "matmul_tiled.cl: BATCH is not defined: number of batch dims"
#endif
#ifndef INDEX
#error "matmul_tiled.cl: INDEX is not defined: int or long"
#endif

#if !defined(STORED) || !defined(STORED_PARAMS) || !defined(OWN_MATH)
#error "matmul_tiled.cl: STORED, STORED_PARAMS and OWN_MATH must be defined"
#endif
#if !defined(STORED_PASSED) || !defined(STORED_BODY)
#error "matmul_tiled.cl: STORED_PASSED and STORED_BODY must be defined"
#endif

#define ACC ARITH(X)

#if defined(USE_matmul_tiled) || defined(USE_matmul_split)
#if !defined(TILE_M) || !defined(TILE_N) || !defined(TILE_K) || !defined(EDGES)
#error "matmul_tiled.cl: TILE_M, TILE_N, TILE_K and EDGES must be defined"
#endif
// An item computes FOURS_M x FOURS_N pieces of 4 x 4, which lie 64 rows and columns apart, so that
// neighbours read neighbouring vectors of local memory.
#define FOURS_M (TILE_M / 64)
#define FOURS_N (TILE_N / 64)
#define FOUR KERNEL_NAME(four)
typedef ARITH4(X) FOUR;
// What an item brings to local memory for each step of TILE_K: every STEP-th element of a walk over
// the tile, along the dimension that is contiguous.
#define BROUGHT_M (TILE_M * TILE_K / 256)
#define BROUGHT_N (TILE_N * TILE_K / 256)
// One vector of padding keeps items which write along k off the same bank.
#define LINE_M (TILE_M + 4)
#define LINE_N (TILE_N + 4)
#define FETCH(next, brought, from, step, lead, k_first, lead_step, k_step, most)                \
  _Pragma("unroll") for (int l = 0; l < brought; l++) {                                         \
    const bool inside =                                                                         \
        !EDGES || ((lead) + l * (lead_step) < (most) && k0 + (k_first) + l * (k_step) < stop);  \
    next[l] = inside ? LOAD(X, from, l * (step)) : (ACC)0;                                      \
  }
#define KEEP(next, brought, to, step) \
  _Pragma("unroll") for (int l = 0; l < brought; l++)(to)[l * (step)] = next[l];
// NVIDIA's compiler makes one of a product and a sum only where it is told to.
#if IS_FLOAT(X)
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif
#define PRODUCT_ROW(r)                                \
  _Pragma("unroll") for (int j = 0; j < FOURS_N; j++) \
      sum[4 * i + r][j] = MULTIPLY_ADD((FOUR)(at.s##r), bt[j], sum[4 * i + r][j]);
#define FINISH_COLUMN(e)                                  \
  {                                                       \
    const INDEX n = left + 64 * j + 4 * column + e;       \
    if (!EDGES || n < N) FINISH_TILED(m, n, sum[4 * i + r][j].s##e) \
  }
#ifdef USE_matmul_split
#define RESULT ACC
#define FINISH_TILED(m, n, v) c[(m) * N + (n)] = v;
#else
#define RESULT STORAGE(X)
#define FINISH_TILED(m, n, v) FINISH(c, m * N + n, z * M + m, n, v)
#endif

// Always inlined: in a function with barriers of its own, PoCL 3.0 and 3.1 let work-groups that run
// at once share their items' variables.
__attribute__((always_inline)) static inline void KERNEL_NAME(tiled)(
    __global const STORAGE(X) *a, __global const STORAGE(X) *b, __global RESULT *c, const INDEX z,
    const INDEX M, const INDEX N, const INDEX begin, const INDEX stop, const INDEX am,
    const INDEX ak, const INDEX bk, const INDEX bn, __local FOUR *tile_a,
    __local FOUR *tile_b STORED_PARAMS) {
  const int item = (int)(get_local_id(1) * 16 + get_local_id(0));
  // Thirty-two neighbours take 4 x 8 pieces: fewer different vectors than 2 x 16.
  const int row = item / 64 * 4 + item % 32 / 8;
  const int column = item % 64 / 32 * 8 + item % 8;
  const INDEX left = (INDEX)get_group_id(0) * TILE_N;
  const INDEX top = (INDEX)get_group_id(1) * TILE_M;
  const bool a_rows = ak == 1, b_columns = bk == 1;
  const int a_m = a_rows ? item / TILE_K : item % TILE_M;
  const int a_k = a_rows ? item % TILE_K : item / TILE_M;
  const int a_m_step = a_rows ? 256 / TILE_K : 0, a_k_step = a_rows ? 0 : 256 / TILE_M;
  const int b_n = b_columns ? item / TILE_K : item % TILE_N;
  const int b_k = b_columns ? item % TILE_K : item / TILE_N;
  const int b_n_step = b_columns ? 256 / TILE_K : 0, b_k_step = b_columns ? 0 : 256 / TILE_N;
  const INDEX a_step = a_m_step * am + a_k_step * ak, b_step = b_n_step * bn + b_k_step * bk;
  a += (top + a_m) * am + (begin + a_k) * ak;
  b += (left + b_n) * bn + (begin + b_k) * bk;
  const int to_a = a_k * LINE_M + a_m, to_b = b_k * LINE_N + b_n;
  const int to_a_step = a_k_step * LINE_M + a_m_step, to_b_step = b_k_step * LINE_N + b_n_step;
  FOUR sum[4 * FOURS_M][FOURS_N];
  for (int i = 0; i < 4 * FOURS_M; i++)
    for (int j = 0; j < FOURS_N; j++) sum[i][j] = (FOUR)((ACC)0);
  ACC next_a[BROUGHT_M], next_b[BROUGHT_N];
  INDEX k0 = begin;
  FETCH(next_a, BROUGHT_M, a, a_step, top + a_m, a_k, a_m_step, a_k_step, M)
  FETCH(next_b, BROUGHT_N, b, b_step, left + b_n, b_k, b_n_step, b_k_step, N)
  int half_a = 0, half_b = 0;  // which half of local memory is filled, then read
  while (k0 < stop) {
    KEEP(next_a, BROUGHT_M, (__local ACC *)(tile_a + half_a) + to_a, to_a_step)
    KEEP(next_b, BROUGHT_N, (__local ACC *)(tile_b + half_b) + to_b, to_b_step)
    // One is enough: the half that is filled next was read before the barrier after this one.
    barrier(CLK_LOCAL_MEM_FENCE);
    k0 += TILE_K;
    // On their way while those that are here are multiplied.
    a += TILE_K * ak;
    b += TILE_K * bk;
    if (EDGES || k0 < stop) {
      FETCH(next_a, BROUGHT_M, a, a_step, top + a_m, a_k, a_m_step, a_k_step, M)
      FETCH(next_b, BROUGHT_N, b, b_step, left + b_n, b_k, b_n_step, b_k_step, N)
    }
    __local const FOUR *line_a = tile_a + half_a + row, *line_b = tile_b + half_b + column;
    _Pragma("unroll") for (int k = 0; k < TILE_K; k++) {
      FOUR bt[FOURS_N];
      _Pragma("unroll") for (int j = 0; j < FOURS_N; j++)
          bt[j] = line_b[k * (LINE_N / 4) + 16 * j];
      _Pragma("unroll") for (int i = 0; i < FOURS_M; i++) {
        const FOUR at = line_a[k * (LINE_M / 4) + 16 * i];
        PRODUCT_ROW(0)
        PRODUCT_ROW(1)
        PRODUCT_ROW(2)
        PRODUCT_ROW(3)
      }
    }
    half_a = TILE_K * (LINE_M / 4) - half_a;
    half_b = TILE_K * (LINE_N / 4) - half_b;
  }
  _Pragma("unroll") for (int i = 0; i < FOURS_M; i++)
  _Pragma("unroll") for (int r = 0; r < 4; r++) {
    const INDEX m = top + 64 * i + 4 * row + r;
    if (!EDGES || m < M) {
      _Pragma("unroll") for (int j = 0; j < FOURS_N; j++) {
        FINISH_COLUMN(0)
        FINISH_COLUMN(1)
        FINISH_COLUMN(2)
        FINISH_COLUMN(3)
      }
    }
  }
}

#ifdef USE_matmul_tiled
__kernel __attribute__((reqd_work_group_size(16, 16, 1))) void KERNEL_NAME(matmul_tiled)(
    __global const STORAGE(X) *A, const long a0, __global const STORAGE(X) *B, const long b0,
    __global STORAGE(X) *C, const long c0, const INDEX M, const INDEX N, const INDEX K,
    const INDEX am, const INDEX ak, const INDEX bk, const INDEX bn, SIZES(BATCH, z),
    STRIDES(BATCH, a), STRIDES(BATCH, b) STORED_PARAMS) {
  __local FOUR tile_a[2 * TILE_K * LINE_M / 4], tile_b[2 * TILE_K * LINE_N / 4];
  const INDEX z = (INDEX)get_global_id(2);
  INDEX a_batch = 0, b_batch = 0;
  OFFSET(BATCH, z, z, a, a_batch)
  OFFSET(BATCH, z, z, b, b_batch)
  KERNEL_NAME(tiled)(A + a0 + a_batch, B + b0 + b_batch, C + c0 + z * M * N, z, M, N, 0, K, am, ak,
                     bk, bn, tile_a, tile_b STORED_PASSED);
}
#endif

#ifdef USE_matmul_split
__kernel __attribute__((reqd_work_group_size(16, 16, 1))) void KERNEL_NAME(matmul_split)(
    __global const STORAGE(X) *A, const long a0, __global const STORAGE(X) *B, const long b0,
    __global ACC *partial, const long partial0, const INDEX M, const INDEX N, const INDEX K,
    const INDEX am, const INDEX ak, const INDEX bk, const INDEX bn, const INDEX slices,
    const INDEX span, SIZES(BATCH, z), STRIDES(BATCH, a), STRIDES(BATCH, b)) {
  __local FOUR tile_a[2 * TILE_K * LINE_M / 4], tile_b[2 * TILE_K * LINE_N / 4];
  const INDEX part = (INDEX)get_global_id(2);
  const INDEX z = part / slices;
  const INDEX begin = (part - z * slices) * span;
  INDEX a_batch = 0, b_batch = 0;
  OFFSET(BATCH, z, z, a, a_batch)
  OFFSET(BATCH, z, z, b, b_batch)
  KERNEL_NAME(tiled)(A + a0 + a_batch, B + b0 + b_batch, partial + partial0 + part * M * N, z, M, N,
                     begin, min(K, begin + span), am, ak, bk, bn, tile_a, tile_b);
}
#endif
#undef FOURS_M
#undef FOURS_N
#undef FOUR
#undef BROUGHT_M
#undef BROUGHT_N
#undef LINE_M
#undef LINE_N
#undef FETCH
#undef KEEP
#undef MULTIPLY_ADD
#undef PRODUCT_ROW
#undef FINISH_COLUMN
#undef FINISH_TILED
#undef RESULT
#endif

#ifdef USE_matmul_join
#ifndef LOCAL
#error "matmul_tiled.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(matmul_join)(
    __global const ACC *partial, const long partial0, __global STORAGE(X) *C, const long c0,
    const INDEX batches, const INDEX M, const INDEX N, const INDEX slices STORED_PARAMS) {
  const INDEX e = (INDEX)get_global_id(0);
  if (e >= batches * M * N) return;
  const INDEX z = e / (M * N);
  const INDEX m = (e - z * M * N) / N;
  const INDEX n = e - (z * M + m) * N;
  __global const ACC *from = partial + partial0 + (z * slices * M + m) * N + n;
  ACC sum = 0;
  for (INDEX s = 0; s < slices; s++) sum += from[s * M * N];
  FINISH(C, c0 + e, z * M + m, n, sum)
}
#endif

#undef ACC
