// The weight of a recurrent layer, laid out as its products by all steps walk it.
//
// Formula:
//   column l of panel (j, g) is row g * H + j * LANES + l of W (the kernel's own order for states,
//   gates = the cell's), or column j * LANES + l (for cotangents, gates = 1)
// Layout:
//   W is [rows, H] of dtype X; panels [j][g][depth][LANES] of type ARITH(X), one after another,
//   padded by zeros. lane_stride and k_stride are those of W along a panel's columns and rows.
// Launch:
//   a work-group of one item for each panel
// Entries:
//   rnn_pack
// Macros:
//   X      dtype; any float of dtype.h
//   INDEX  type of sizes and offsets; int, long
//   LANES  columns of a panel; 16, 32
// Oracle:
//   The composition of ordinary ops, step by step; NumPy in float64.

#include "dtype.h"
#include "transpose.h"

#if !defined(X) || !defined(INDEX) || !defined(LANES)
#error "rnn_pack.cl: X, INDEX and LANES must be defined"
#endif

#ifdef USE_rnn_pack
#define ACC ARITH(X)
#define VECTOR KERNEL_NAME(vector)
#define LOOSE KERNEL_NAME(loose)
typedef ACC VECTOR __attribute__((ext_vector_type(8)));
typedef ACC LOOSE __attribute__((ext_vector_type(8), aligned(sizeof(ACC))));
#define PACK_LOAD(l) p[l] = *(__global const LOOSE *)(rows + (l) * lane_stride);
#define PACK_KEEP(l) *(__global LOOSE *)(to + (k0 + (l)) * LANES + lane) = q[l];
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(rnn_pack)(
    __global const STORAGE(X) *W, const long w0, __global ACC *panels, const long panels0,
    const INDEX H, const INDEX depth, const INDEX gates, const INDEX lane_stride,
    const INDEX k_stride) {
  const INDEX panel = (INDEX)get_group_id(0);
  const INDEX first = panel / gates * LANES, gate = panel % gates;
  const int width = (int)min(H - first, (INDEX)LANES);
  __global const STORAGE(X) *from = W + w0 + (gate * H + first) * lane_stride;
  __global ACC *to = panels + panels0 + panel * depth * LANES;
  INDEX k0 = 0;
#if PLAIN(X)
  // Not for small ones: passes under Oclgrind, which loses track of values in shuffles, are these.
  if (width == LANES && k_stride == 1 && depth >= 64)
    for (; k0 + 8 <= depth; k0 += 8)
      for (int lane = 0; lane < LANES; lane += 8) {
        __global const STORAGE(X) *rows = from + lane * lane_stride + k0;
        VECTOR p[8], q[8];
        EIGHT(PACK_LOAD)
        TRANSPOSE_EIGHT(p, q)
        EIGHT(PACK_KEEP)
      }
#endif
  for (; k0 < depth; k0 += 64) {
    const int steps = (int)min(depth - k0, (INDEX)64);
    ACC block[64 * LANES];
    if (width < LANES)
      for (int i = 0; i < 64 * LANES; i++) block[i] = 0;
    if (k_stride == 1)
      for (int l = 0; l < width; l++)
        for (int k = 0; k < steps; k++)
          block[k * LANES + l] = LOAD(X, from, l * lane_stride + k0 + k);
    else
      for (int k = 0; k < steps; k++)
        for (int l = 0; l < width; l++)
          block[k * LANES + l] = LOAD(X, from, (k0 + k) * k_stride + l);
    for (int i = 0; i < steps * LANES; i++) to[k0 * LANES + i] = block[i];
  }
}
#undef ACC
#undef VECTOR
#undef LOOSE
#undef PACK_LOAD
#undef PACK_KEEP
#endif
