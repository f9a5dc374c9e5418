// Batched matrix product: the plain version, and that of CPUs. That of GPUs is matmul_tiled.cl.
//
// Formula:
//   C[z, m, n] = f(sum over k of A[z, m, k] * B[z, k, n]), where f is a chain of elementwise ops
//   (bias, activation, residual) or nothing
//
//                 n              A is walked by strides am, ak and one a batch dim, B by bk, bn
//             +-------+          and one a batch dim: transposed, broadcast (stride 0) and sliced
//           k |   B   |          operands need no copy. C is contiguous: [batches, M, N], where
//        k    +-------+          the batches are the product of the batch dims (zn0, ...).
//      +----+ +-------+
//    m | A  | |   C   |
//      +----+ +-------+
// Layout:
//   A, B and C are of dtype X; 16-bit floats are summed in float32, integers in their own type.
//   matmul_blocked packs 16 columns of B by `depth` steps of k as a panel [depth][16], padded with
//   zeros, so that its inner loop knows no edges; and copies block_m rows of A as they lie, in
//   lines along k, or along m where that is how A lies, 16 elements more than their length apart:
//   lines a large power of two apart would share a few sets of the cache. `in_place` (1: B, 2: A)
//   leaves alone what a tile can read where it lies: columns of B that are neighbours, and any rows
//   of A (X must be float32 or float64); 4: B comes as the panels [K][16] of all its columns, of
//   type ARITH(X), one after another, zeros to a multiple of TILE_N, as matmul_pack writes: worth
//   it for a matrix that is used again. Each group has group_scratch elements: its rows of A,
//   (block_m + 16) * (depth + 16), then its panels of B, block_n * depth. block_m is a multiple of
//   TILE_M, block_n of TILE_N.
//   16-bit floats need depth >= K, since C cannot hold a partial sum.
// Launch:
//   matmul_plain    one item takes `each` neighbouring elements of C: global >= ceil(M * N / each),
//                   padded to LOCAL; second dimension: batches
//   matmul_blocked  work-groups of one item share the blocks of block_m x block_n of C evenly: any
//                   global size up to their number; meant for a few groups a core, each of which
//                   packs B once for all its blocks of the same columns
//   matmul_pack     work-groups of one item share the panels of one matrix B evenly: any global
//                   size up to their number, `panels`, a multiple of TILE_N / 16
// Entries:
//   matmul_plain
//   matmul_blocked
//   matmul_pack
// Macros:
//   X       dtype; any of dtype.h, in matmul_blocked a float
//   BATCH   number of batch dims; 1, 2, 3, 4, 8
//   INDEX   type of sizes and offsets; int, long
//   LOCAL   work-items of a work-group (matmul_plain); 1 to the device's limit
//   TILE_M  rows of C held in registers (matmul_blocked); 2, 3, 4, 6, 8, 16
//   TILE_N  columns likewise (matmul_blocked); 16, 32
//   OWN_MATH  functions of include/math.h instead of the platform's; 0, 1
//   STORED  1 if there is such a chain; 0, 1
//   STORED_PARAMS  its operands: pointer, offset, strides by row (z * M + m) and column; scalars;
//           generated
//   STORED_PASSED  the names of STORED_PARAMS; generated
//   STORED_BODY  its steps, from `product` at `row` and `column` to `stored`; generated
// Oracle:
//   matmul_plain is the plain version; numpy.matmul in float64.

#include "dims.h"
#include "dtype.h"
#include "finish.h"
#include "math.h"
#include "transpose.h"

#ifndef X
#error "matmul.cl: X is not defined: dtype of the operands"
#endif
#ifndef BATCH
#error "matmul.cl: BATCH is not defined: number of batch dims"
#endif
#ifndef INDEX
#error "matmul.cl: INDEX is not defined: int or long"
#endif

#if !defined(STORED) || !defined(STORED_PARAMS) || !defined(OWN_MATH)
#error "matmul.cl: STORED, STORED_PARAMS and OWN_MATH must be defined"
#endif
#if !defined(STORED_PASSED) || !defined(STORED_BODY)
#error "matmul.cl: STORED_PASSED and STORED_BODY must be defined"
#endif

#define ACC ARITH(X)

#ifdef USE_matmul_plain
#ifndef LOCAL
#error "matmul.cl: LOCAL is not defined: work-items of a work-group"
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(matmul_plain)(
    __global const STORAGE(X) *A, const long a0, __global const STORAGE(X) *B, const long b0,
    __global STORAGE(X) *C, const long c0, const INDEX M, const INDEX N, const INDEX K,
    const INDEX am, const INDEX ak, const INDEX bk, const INDEX bn, const INDEX each,
    SIZES(BATCH, z), STRIDES(BATCH, a), STRIDES(BATCH, b) STORED_PARAMS) {
#pragma OPENCL FP_CONTRACT ON
  const INDEX z = (INDEX)get_global_id(1);
  INDEX a_batch = 0, b_batch = 0;
  OFFSET(BATCH, z, z, a, a_batch)
  OFFSET(BATCH, z, z, b, b_batch)
  const INDEX first = (INDEX)get_global_id(0) * each;
  const INDEX last = min(first + each, M * N);
  for (INDEX e = first; e < last; e++) {
    const INDEX m = e / N;
    const INDEX n = e - m * N;
    __global const STORAGE(X) *a = A + a0 + a_batch + m * am;
    __global const STORAGE(X) *b = B + b0 + b_batch + n * bn;
    ACC sum = 0;
    for (INDEX k = 0; k < K; k++) sum += LOAD(X, a, k * ak) * LOAD(X, b, k * bk);
    FINISH(C, c0 + z * M * N + e, z * M + m, n, sum)
  }
}
#endif

#if defined(USE_matmul_blocked) || defined(USE_matmul_pack)
// Sixteen neighbours as a vector; `loose` ones may lie at any element.
#define VECTOR KERNEL_NAME(vector)
#define LOOSE KERNEL_NAME(loose)
typedef ACC VECTOR __attribute__((ext_vector_type(16)));
typedef ACC LOOSE __attribute__((ext_vector_type(16), aligned(sizeof(STORAGE(X)))));

#define HALF KERNEL_NAME(half8)
#define LOOSE_HALF KERNEL_NAME(loose_half8)
typedef ACC HALF __attribute__((ext_vector_type(8)));
typedef ACC LOOSE_HALF __attribute__((ext_vector_type(8), aligned(sizeof(STORAGE(X)))));

#define LOAD_ROW(l) p[l] = *(__global const LOOSE_HALF *)(from + k + (lane + l) * lane_stride);
#define KEEP_ROW(l) *(__global LOOSE_HALF *)(to + (k + l) * 16 + lane) = q[l];

// Packs `lanes` columns of B by `depth` steps of k as a panel [depth][16].
static inline void KERNEL_NAME(pack)(__global const STORAGE(X) *from, const INDEX lane_stride,
                                     const INDEX k_stride, const INDEX lanes, const INDEX depth,
                                     __global ACC *to) {
  INDEX k = 0;
#if PLAIN(X)
  if (lanes >= 16 && lane_stride == 1) {
    for (; k < depth; k++)
      *(__global LOOSE *)(to + k * 16) = *(__global const LOOSE *)(from + k * k_stride);
  } else if (lanes >= 16 && k_stride == 1 && depth >= 16) {
    // Eight rows at a time from end to end: sixteen whose lines fall into one set of the cache push
    // each other out. Not for short ones: Oclgrind, which those run under, loses track in shuffles.
    for (int lane = 0; lane < 16; lane += 8)
      for (k = 0; k + 8 <= depth; k += 8) {
        HALF p[8], q[8];
        EIGHT(LOAD_ROW)
        TRANSPOSE_EIGHT(p, q)
        EIGHT(KEEP_ROW)
      }
  }
#endif
  const int count = (int)min(lanes, (INDEX)16);
  for (; k < depth; k++) {
    for (int l = 0; l < count; l++) to[k * 16 + l] = LOAD(X, from, k * k_stride + l * lane_stride);
    for (int l = max(count, 0); l < 16; l++) to[k * 16 + l] = 0;
  }
}

#ifdef USE_matmul_pack
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(matmul_pack)(
    __global const STORAGE(X) *B, const long b0, __global ACC *packed, const long packed0,
    const INDEX N, const INDEX K, const INDEX bk, const INDEX bn, const INDEX panels) {
  const INDEX group = (INDEX)get_group_id(0), groups = (INDEX)get_num_groups(0);
  const INDEX last = (INDEX)((long)panels * (group + 1) / groups);
  for (INDEX panel = (INDEX)((long)panels * group / groups); panel < last; panel++)
    KERNEL_NAME(pack)(B + b0 + panel * 16 * bn, bn, bk, N - panel * 16, K,
                      packed + packed0 + panel * 16 * K);
}
#endif

#ifdef USE_matmul_blocked
#if !defined(TILE_M) || !defined(TILE_N)
#error "matmul.cl: TILE_M and TILE_N must be defined"
#endif
// Packs `columns` of B, rounded up to a multiple of TILE_N, as panels, `pitch` steps of k each.
static inline void KERNEL_NAME(pack_all)(__global const STORAGE(X) *from, const INDEX bn,
                                         const INDEX bk, const INDEX columns, const INDEX depth,
                                         __global ACC *to, const INDEX pitch) {
  INDEX j = 0;
#if PLAIN(X)
  // By whole rows, which lie in memory one after another.
  if (bn == 1) {
    j = columns / 16 * 16;
    for (INDEX k = 0; k < depth; k++)
      for (INDEX h = 0; h < j; h += 16)
        *(__global LOOSE *)(to + h * pitch + k * 16) =
            *(__global const LOOSE *)(from + k * bk + h);
  }
#endif
  for (; j < (columns + TILE_N - 1) / TILE_N * TILE_N; j += 16)
    KERNEL_NAME(pack)(from + j * bn, bn, bk, columns - j, depth, to + j * pitch);
}

// The accumulators have names, not indices, so that a compiler keeps them in registers.
#if TILE_M == 2
#define ROWS(M) M(0) M(1)
#elif TILE_M == 3
#define ROWS(M) M(0) M(1) M(2)
#elif TILE_M == 4
#define ROWS(M) M(0) M(1) M(2) M(3)
#elif TILE_M == 6
#define ROWS(M) M(0) M(1) M(2) M(3) M(4) M(5)
#elif TILE_M == 8
#define ROWS(M) EIGHT(M)
#else
#define ROWS(M) EIGHT(M) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#endif
#if TILE_N == 32
#define ROW_START(r) VECTOR left##r = 0, right##r = 0;
#define ROW_STEP(r)                \
  left##r += a[(r) * a_row] * left; \
  right##r += a[(r) * a_row] * right;
#define ROW_ADD(r)                                       \
  left##r += *(__global const LOOSE *)(c + (r) * N);     \
  right##r += *(__global const LOOSE *)(c + (r) * N + 16);
#define ROW_STORE(r)                                     \
  *(__global LOOSE *)(c + (r) * N) = left##r;            \
  *(__global LOOSE *)(c + (r) * N + 16) = right##r;
#define ROW_TILE(r)                                      \
  *(LOOSE *)(tile + (r) * TILE_N) = left##r;             \
  *(LOOSE *)(tile + (r) * TILE_N + 16) = right##r;
#else
#define ROW_START(r) VECTOR left##r = 0;
#define ROW_STEP(r) left##r += a[(r) * a_row] * left;
#define ROW_ADD(r) left##r += *(__global const LOOSE *)(c + (r) * N);
#define ROW_STORE(r) *(__global LOOSE *)(c + (r) * N) = left##r;
#define ROW_TILE(r) *(LOOSE *)(tile + (r) * TILE_N) = left##r;
#endif
// Copies rows x steps of A, whose strides are am and ak, into lines along m or along k; the lines
// of rows up to a multiple of TILE_M, which a tile reads, become 0.
static inline void KERNEL_NAME(copy)(__global const STORAGE(X) *from, const INDEX am,
                                     const INDEX ak, const INDEX rows, const INDEX steps,
                                     __global ACC *to, const INDEX a_row, const INDEX a_step) {
  const INDEX padded = (rows + TILE_M - 1) / TILE_M * TILE_M;
  if (a_row == 1) {
    for (INDEX k = 0; k < steps; k++) {
      for (INDEX i = 0; i < rows; i++) to[k * a_step + i] = LOAD(X, from, k * ak + i);
      for (INDEX i = rows; i < padded; i++) to[k * a_step + i] = 0;
    }
  } else if (ak == 1) {
    for (INDEX i = 0; i < rows; i++)
      for (INDEX k = 0; k < steps; k++) to[i * a_row + k] = LOAD(X, from, i * am + k);
  } else {
    for (INDEX i = 0; i < rows; i++)
      for (INDEX k = 0; k < steps; k++) to[i * a_row + k] = LOAD(X, from, i * am + k * ak);
  }
  if (a_row != 1)
    for (INDEX i = rows; i < padded; i++)
      for (INDEX k = 0; k < steps; k++) to[i * a_row + k] = 0;
}

// Adds a product to rows x columns (at most TILE_M x TILE_N) of C, or starts them.
static inline void KERNEL_NAME(tile)(__global const ACC *a, const INDEX a_row, const INDEX a_step,
                                     __global const ACC *b, const INDEX b_step,
                                     const INDEX b_right, const INDEX depth,
                                     __global STORAGE(X) *c, const INDEX N, const INDEX rows,
                                     const INDEX columns, const int add, const int last,
                                     const INDEX first_row, const INDEX first_column
                                         STORED_PARAMS) {
  ROWS(ROW_START)
  for (INDEX k = 0; k < depth; k++, a += a_step, b += b_step) {
    const VECTOR left = *(__global const LOOSE *)b;
#if TILE_N == 32
    const VECTOR right = *(__global const LOOSE *)(b + b_right);
#endif
    ROWS(ROW_STEP)
  }
#if PLAIN(X)
  if (rows >= TILE_M && columns >= TILE_N && last * STORED == 0) {
    if (add) {
      ROWS(ROW_ADD)
    }
    ROWS(ROW_STORE)
    return;
  }
#endif
  ACC tile[TILE_M * TILE_N];
  ROWS(ROW_TILE)
  const int height = (int)min(rows, (INDEX)TILE_M), width = (int)min(columns, (INDEX)TILE_N);
  if (add)
    for (int r = 0; r < height; r++)
      for (int l = 0; l < width; l++) tile[r * TILE_N + l] += LOAD(X, c, r * N + l);
  if (last && rows >= TILE_M && columns >= TILE_N) {
    for (int r = 0; r < TILE_M; r++)
      for (int l = 0; l < TILE_N; l++)
        FINISH(c, r * N + l, first_row + r, first_column + l, tile[r * TILE_N + l])
  } else if (last) {
    for (int r = 0; r < height; r++)
      for (int l = 0; l < width; l++)
        FINISH(c, r * N + l, first_row + r, first_column + l, tile[r * TILE_N + l])
  } else {
    for (int r = 0; r < height; r++)
      for (int l = 0; l < width; l++) STORE(X, c, r * N + l, tile[r * TILE_N + l]);
  }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(matmul_blocked)(
    __global const STORAGE(X) *A, const long a0, __global const STORAGE(X) *B, const long b0,
    __global STORAGE(X) *C, const long c0, __global ACC *scratch, const long scratch0,
    const INDEX batches, const INDEX M, const INDEX N, const INDEX K, const INDEX am,
    const INDEX ak, const INDEX bk, const INDEX bn, const INDEX block_m, const INDEX block_n,
    const INDEX depth, const INDEX group_scratch, const int in_place, SIZES(BATCH, z),
    STRIDES(BATCH, a), STRIDES(BATCH, b) STORED_PARAMS) {
  const INDEX group = (INDEX)get_group_id(0), groups = (INDEX)get_num_groups(0);
  __global ACC *pack_a = scratch + scratch0 + group * group_scratch;
  __global ACC *pack_b = pack_a + (block_m + 16) * (depth + 16);
  const INDEX blocks_m = (M - 1) / block_m + 1, blocks_n = (N - 1) / block_n + 1;
  const INDEX blocks = batches * blocks_m * blocks_n;
  const INDEX last = (INDEX)((long)blocks * (group + 1) / groups);
  const INDEX line_row = am == 1 ? 1 : depth + 16, line_step = am == 1 ? block_m + 16 : 1;
  INDEX block = (INDEX)((long)blocks * group / groups);
  while (block < last) {
    // A run of blocks of the same columns, from row `top` to `bottom`.
    const INDEX block_b = block / blocks_m;
    const INDEX z = block_b / blocks_n;
    const INDEX top = (block - block_b * blocks_m) * block_m;
    const INDEX bottom = min((last - block_b * blocks_m) * block_m, M);
    const INDEX left = (block_b - z * blocks_n) * block_n;
    const INDEX columns = min(block_n, N - left);
    INDEX a_batch = 0, b_batch = left * bn;
    OFFSET(BATCH, z, z, a, a_batch)
    OFFSET(BATCH, z, z, b, b_batch)
    for (INDEX k0 = 0; k0 < K; k0 += depth) {
      const INDEX steps = min(depth, K - k0);
      __global const STORAGE(X) *b = B + b0 + b_batch + k0 * bk;
      const INDEX whole = in_place & 1 ? columns / TILE_N * TILE_N : 0;
      // Panels that one block of rows uses are packed one by one and stay in the first-level cache.
      const INDEX span = bottom - top <= block_m && bn != 1 ? TILE_N : columns;
      for (INDEX from = 0; from < columns; from += span) {
        const INDEX to = min(from + span, columns), packed = max(from, whole);
        if (!(in_place & 4) && packed < to)
          KERNEL_NAME(pack_all)(b + packed * bn, bn, bk, to - packed, steps,
                                pack_b + (packed - from) * depth, depth);
        for (INDEX up = top; up < bottom; up += block_m) {
          const INDEX rows = min(block_m, bottom - up);
          __global const STORAGE(X) *a = A + a0 + a_batch + up * am + k0 * ak;
          // Whole tiles may be read where they lie; the rows of the last one are copied.
          const INDEX lying = in_place & 2 ? rows / TILE_M * TILE_M : 0;
          if (from == 0)
            KERNEL_NAME(copy)(a + lying * am, am, ak, rows - lying, steps,
                              pack_a + lying * line_row, line_row, line_step);
          for (INDEX j = from; j < to; j += TILE_N) {
            __global const ACC *panel_b = pack_b + (j - from) * depth;
            INDEX b_step = 16, b_right = 16 * depth;
            if (in_place & 4) {
              panel_b = (__global const ACC *)B + b0 + (left + j) * K + k0 * 16;
              b_right = 16 * K;
            }
#if PLAIN(X)
            if (j < whole) {
              panel_b = b + j;
              b_step = bk;
              b_right = 16;
            }
#endif
            for (INDEX i = 0; i < rows; i += TILE_M) {
              __global const ACC *lines = pack_a + i * line_row;
              INDEX a_row = line_row, a_step = line_step;
#if PLAIN(X)
              if (i < lying) {
                lines = a + i * am;
                a_row = am;
                a_step = ak;
              }
#endif
              KERNEL_NAME(tile)(lines, a_row, a_step, panel_b, b_step, b_right, steps,
                                C + c0 + (z * M + up + i) * N + left + j, N, rows - i, columns - j,
                                k0 > 0, k0 + depth >= K, z * M + up + i, left + j STORED_PASSED);
            }
          }
        }
      }
    }
    block = (block_b + 1) * blocks_m;
  }
}
#endif
#undef VECTOR
#undef LOOSE
#undef HALF
#undef LOOSE_HALF
#undef LOAD_ROW
#undef KEEP_ROW
#undef ROWS
#undef ROW_START
#undef ROW_STEP
#undef ROW_ADD
#undef ROW_STORE
#undef ROW_TILE
#endif

#undef ACC
