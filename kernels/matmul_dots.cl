// Products of a few rows and a transposed matrix, as inner products: nothing is packed.
//
// Formula:
//   C[z, m, n] = f(sum over k of A[z, m, k] * B[z, k, n]), where f is a chain of elementwise ops
//   (bias, activation, residual) or nothing
// Layout:
//   As in matmul.cl, but neighbours along k are neighbours in memory: ak and bk are 1. Sixteen
//   steps of k are added side by side, and joined at the end. X is float32 or float64.
// Launch:
//   work-groups of one item share the batches and blocks of 4 columns evenly: any global size
// Entries:
//   matmul_dots
// Macros:
//   X       dtype; float32, float64
//   BATCH   number of batch dims; 1, 2, 3, 4, 8
//   INDEX   type of sizes and offsets; int, long
//   STORED  1 if there is such a chain; 0, 1
//   STORED_PARAMS  its operands, as in matmul.cl; generated
//   STORED_PASSED  the names of STORED_PARAMS; generated
//   STORED_BODY  its steps, from `product` at `row` and `column` to `stored`; generated
// Oracle:
//   matmul_plain of matmul.cl; numpy.matmul in float64.

#include "dims.h"
#include "dtype.h"
#include "finish.h"
#include "math.h"

#if !defined(X) || !defined(BATCH) || !defined(INDEX)
#error "matmul_dots.cl: X, BATCH and INDEX must be defined"
#endif
#if !defined(STORED) || !defined(STORED_PARAMS)
#error "matmul_dots.cl: STORED and STORED_PARAMS must be defined"
#endif
#if !defined(STORED_PASSED) || !defined(STORED_BODY)
#error "matmul_dots.cl: STORED_PASSED and STORED_BODY must be defined"
#endif

#ifdef USE_matmul_dots
#define ACC ARITH(X)
#define VECTOR KERNEL_NAME(vector)
#define LOOSE KERNEL_NAME(loose)
typedef ACC VECTOR __attribute__((ext_vector_type(16)));
typedef ACC LOOSE __attribute__((ext_vector_type(16), aligned(sizeof(STORAGE(X)))));

#define DOTS_TILE 4
#define EACH_ROW(M) M(0) M(1) M(2) M(3)
#define EACH_DOT(M)                              \
  M(0, 0) M(0, 1) M(0, 2) M(0, 3) M(1, 0) M(1, 1) M(1, 2) M(1, 3) \
  M(2, 0) M(2, 1) M(2, 2) M(2, 3) M(3, 0) M(3, 1) M(3, 2) M(3, 3)
#define DOT_START(r, c) VECTOR s##r##c = 0;
#define DOT_ADD(r, c) s##r##c += u##r * v##c;
#define ROW_LOAD(r) const VECTOR u##r = *(__global const LOOSE *)(a##r + k);
#define COLUMN_LOAD(c) const VECTOR v##c = *(__global const LOOSE *)(b##c + k);
// Rows and columns beyond the edge are those at the edge once more, and not stored.
#define ROW_POINTER(r) __global const STORAGE(X) *a##r = A + min(i + (r), M - 1) * am;
#define COLUMN_POINTER(c) __global const STORAGE(X) *b##c = B + min(j + (c), N - 1) * bn;
// Halves of two vectors added: the sums of x, then those of y, each in half as many lanes.
#define HALVES_16(x, y)                                                                     \
  (__builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) + \
   __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define HALVES_8(x, y)                                                                      \
  (__builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) + \
   __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#define HALVES_4(x, y)                                                                      \
  (__builtin_shufflevector(x, y, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) + \
   __builtin_shufflevector(x, y, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31))
#define HALVES_2(x, y)                                                                      \
  (__builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) + \
   __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31))
#define ROW_JOIN(r) \
  const VECTOR s##r = HALVES_8(HALVES_16(s##r##0, s##r##1), HALVES_16(s##r##2, s##r##3));

static inline void KERNEL_NAME(tile)(__global const STORAGE(X) *A, __global const STORAGE(X) *B,
                                     __global STORAGE(X) *C, const INDEX M, const INDEX N,
                                     const INDEX K, const INDEX am, const INDEX bn, const INDEX i,
                                     const INDEX j, const INDEX first_row STORED_PARAMS) {
#pragma OPENCL FP_CONTRACT ON
  EACH_ROW(ROW_POINTER)
  EACH_ROW(COLUMN_POINTER)
  EACH_DOT(DOT_START)
  INDEX k = 0;
  for (; k + 16 <= K; k += 16) {
    EACH_ROW(ROW_LOAD)
    EACH_ROW(COLUMN_LOAD)
    EACH_DOT(DOT_ADD)
  }
  EACH_ROW(ROW_JOIN)
  const VECTOR upper = HALVES_4(s0, s1), lower = HALVES_4(s2, s3);
  ACC tile[16];
  *(LOOSE *)tile = HALVES_2(upper, lower);
  const int height = (int)min(M - i, (INDEX)DOTS_TILE), width = (int)min(N - j, (INDEX)DOTS_TILE);
  for (int r = 0; r < height; r++)
    for (int c = 0; c < width; c++) {
      ACC sum = tile[r * DOTS_TILE + c];
      for (INDEX rest = k; rest < K; rest++)
        sum += LOAD(X, A, (i + r) * am + rest) * LOAD(X, B, (j + c) * bn + rest);
      FINISH(C, (i + r) * N + j + c, first_row + i + r, j + c, sum)
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(matmul_dots)(
    __global const STORAGE(X) *A, const long a0, __global const STORAGE(X) *B, const long b0,
    __global STORAGE(X) *C, const long c0, const INDEX batches, const INDEX M, const INDEX N,
    const INDEX K, const INDEX am, const INDEX bn, SIZES(BATCH, z), STRIDES(BATCH, a),
    STRIDES(BATCH, b) STORED_PARAMS) {
  const INDEX group = (INDEX)get_group_id(0), groups = (INDEX)get_num_groups(0);
  const INDEX blocks_n = (N - 1) / DOTS_TILE + 1, blocks = batches * blocks_n;
  const INDEX last = (INDEX)((long)blocks * (group + 1) / groups);
  for (INDEX block = (INDEX)((long)blocks * group / groups); block < last; block++) {
    const INDEX z = block / blocks_n;
    INDEX a_batch = 0, b_batch = 0;
    OFFSET(BATCH, z, z, a, a_batch)
    OFFSET(BATCH, z, z, b, b_batch)
    for (INDEX i = 0; i < M; i += DOTS_TILE)
      KERNEL_NAME(tile)(A + a0 + a_batch, B + b0 + b_batch, C + c0 + z * M * N, M, N, K, am, bn,
                        i, (block - z * blocks_n) * DOTS_TILE, z * M STORED_PASSED);
  }
}
#undef ACC
#undef VECTOR
#undef LOOSE
#undef DOTS_TILE
#undef EACH_ROW
#undef EACH_DOT
#undef DOT_START
#undef DOT_ADD
#undef ROW_LOAD
#undef COLUMN_LOAD
#undef ROW_POINTER
#undef COLUMN_POINTER
#undef HALVES_16
#undef HALVES_8
#undef HALVES_4
#undef HALVES_2
#undef ROW_JOIN
#endif
