// Products of a few rows and a transposed matrix, as inner products: nothing is packed.
//
// Formula:
//   C[z, m, n] = f(sum over k of A[z, m, k] * B[z, k, n]), where f is a chain of elementwise ops
//   (bias, activation, residual) or nothing
// Layout:
//   As in matmul.cl, but neighbours along k are neighbours in memory: ak and bk are 1. LANES
//   steps of k are added side by side, and joined at the end. X is float32 or float64.
// Launch:
//   work-groups of one item share the batches and blocks of 4 columns evenly: any global size
// Entries:
//   matmul_dots
// Macros:
//   X       dtype; float32, float64
//   BATCH   number of batch dims; 1, 2, 3, 4, 8
//   INDEX   type of sizes and offsets; int, long
//   LANES   elements of a vector register; 4, 8, 16
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

#if !defined(X) || !defined(BATCH) || !defined(INDEX) || !defined(LANES)
#error "matmul_dots.cl: X, BATCH, INDEX and LANES must be defined"
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
typedef ACC VECTOR __attribute__((ext_vector_type(LANES)));
typedef ACC LOOSE __attribute__((ext_vector_type(LANES), aligned(sizeof(STORAGE(X)))));

// Sixteen accumulators fill half of 32 registers; of 16 registers, twelve leave room for operands.
#define DOTS_COLUMNS 4
#define EACH_COLUMN(M) M(0) M(1) M(2) M(3)
#define ROW_OF_DOTS(M, r) M(r, 0) M(r, 1) M(r, 2) M(r, 3)
#if LANES == 16
#define DOTS_ROWS 4
#define EACH_ROW(M) M(0) M(1) M(2) M(3)
#define EACH_DOT(M) ROW_OF_DOTS(M, 0) ROW_OF_DOTS(M, 1) ROW_OF_DOTS(M, 2) ROW_OF_DOTS(M, 3)
#else
#define DOTS_ROWS 3
#define EACH_ROW(M) M(0) M(1) M(2)
#define EACH_DOT(M) ROW_OF_DOTS(M, 0) ROW_OF_DOTS(M, 1) ROW_OF_DOTS(M, 2)
#endif
#define DOT_START(r, c) VECTOR s##r##c = 0;
#define DOT_ADD(r, c) s##r##c += u##r * v##c;
#define ROW_LOAD(r) const VECTOR u##r = *(__global const LOOSE *)(a##r + k);
#define COLUMN_LOAD(c) const VECTOR v##c = *(__global const LOOSE *)(b##c + k);
// Rows and columns beyond the edge are those at the edge once more, and not stored.
#define ROW_POINTER(r) __global const STORAGE(X) *a##r = A + min(i + (r), M - 1) * am;
#define COLUMN_POINTER(c) __global const STORAGE(X) *b##c = B + min(j + (c), N - 1) * bn;
// Neighbours added: half as many sums of x, then those of y.
#define PAIRS(x, y) ((VECTOR)((x).even, (y).even) + (VECTOR)((x).odd, (y).odd))
#define ROW_JOIN(r) const VECTOR s##r = PAIRS(PAIRS(s##r##0, s##r##1), PAIRS(s##r##2, s##r##3));

static inline void KERNEL_NAME(tile)(__global const STORAGE(X) *A, __global const STORAGE(X) *B,
                                     __global STORAGE(X) *C, const INDEX M, const INDEX N,
                                     const INDEX K, const INDEX am, const INDEX bn, const INDEX i,
                                     const INDEX j, const INDEX first_row STORED_PARAMS) {
#pragma OPENCL FP_CONTRACT ON
  EACH_ROW(ROW_POINTER)
  EACH_COLUMN(COLUMN_POINTER)
  EACH_DOT(DOT_START)
  INDEX k = 0;
  for (; k + LANES <= K; k += LANES) {
    EACH_ROW(ROW_LOAD)
    EACH_COLUMN(COLUMN_LOAD)
    EACH_DOT(DOT_ADD)
  }
  EACH_ROW(ROW_JOIN)
  ACC tile[16];
#if LANES == 16
  *(LOOSE *)tile = PAIRS(PAIRS(s0, s1), PAIRS(s2, s3));
#elif LANES == 8
  *(LOOSE *)tile = PAIRS(s0, s1);
  *(LOOSE *)(tile + 8) = PAIRS(s2, s2);
#else
  *(LOOSE *)tile = s0;
  *(LOOSE *)(tile + 4) = s1;
  *(LOOSE *)(tile + 8) = s2;
#endif
  const int height = (int)min(M - i, (INDEX)DOTS_ROWS);
  const int width = (int)min(N - j, (INDEX)DOTS_COLUMNS);
  for (int r = 0; r < height; r++)
    for (int c = 0; c < width; c++) {
      ACC sum = tile[r * DOTS_COLUMNS + c];
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
  const INDEX blocks_n = (N - 1) / DOTS_COLUMNS + 1, blocks = batches * blocks_n;
  const INDEX last = (INDEX)((long)blocks * (group + 1) / groups);
  for (INDEX block = (INDEX)((long)blocks * group / groups); block < last; block++) {
    const INDEX z = block / blocks_n;
    INDEX a_batch = 0, b_batch = 0;
    OFFSET(BATCH, z, z, a, a_batch)
    OFFSET(BATCH, z, z, b, b_batch)
    for (INDEX i = 0; i < M; i += DOTS_ROWS)
      KERNEL_NAME(tile)(A + a0 + a_batch, B + b0 + b_batch, C + c0 + z * M * N, M, N, K, am, bn,
                        i, (block - z * blocks_n) * DOTS_COLUMNS, z * M STORED_PASSED);
  }
}
#undef ACC
#undef VECTOR
#undef LOOSE
#undef DOTS_COLUMNS
#undef DOTS_ROWS
#undef EACH_ROW
#undef EACH_COLUMN
#undef ROW_OF_DOTS
#undef EACH_DOT
#undef DOT_START
#undef DOT_ADD
#undef ROW_LOAD
#undef COLUMN_LOAD
#undef ROW_POINTER
#undef COLUMN_POINTER
#undef PAIRS
#undef ROW_JOIN
#endif
