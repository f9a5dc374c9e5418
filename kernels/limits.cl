// What a device can do at most: multiplications and additions, and copied bytes, per second.
//
// Formula:
//   fma_peak   a = a * x + b, again and again, in eight independent vectors
//   copy       y[i] = x[i]
//   triad      y[i] = x[i] + a * z[i], with a = 3 (McCalpin's STREAM)
// Layout:
//   x, y and z are contiguous VECTORs; fma_peak writes one float an item, so that nothing
//   is left out.
// Launch:
//   fma_peak   any number of items, in groups of LOCAL: each does turns * 8 * 2 * (lanes of VECTOR)
//              operations
//   copy, triad   each item takes `chunk` neighbours, and writes past the caches if LOCAL is 1:
//              global >= ceil(n / chunk)
// Entries:
//   fma_peak
//   copy
//   triad
// Macros:
//   LOCAL   work-items of a work-group; 1 to the device's limit
//   VECTOR  type of an accumulator and of what is copied; float16 (CPUs), float4
// Oracle:
//   none: figures, not results. copy and triad are checked against NumPy.

#include "stream.h"

#ifndef LOCAL
#error "limits.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef VECTOR
#error "limits.cl: VECTOR is not defined: float16 or float4"
#endif

#ifdef USE_fma_peak
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(fma_peak)(
    __global float *out, const float x, const float b, const int turns) {
#pragma OPENCL FP_CONTRACT ON
  const VECTOR m = (VECTOR)(x), s = (VECTOR)(b);
  VECTOR a0 = m, a1 = m + 1, a2 = m + 2, a3 = m + 3, a4 = m + 4, a5 = m + 5, a6 = m + 6, a7 = m + 7;
  for (int i = 0; i < turns; i++) {
    a0 = a0 * m + s;
    a1 = a1 * m + s;
    a2 = a2 * m + s;
    a3 = a3 * m + s;
    a4 = a4 * m + s;
    a5 = a5 * m + s;
    a6 = a6 * m + s;
    a7 = a7 * m + s;
  }
  const VECTOR sum = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7));
  out[get_global_id(0)] = sum.s0 + sum.s1 + sum.s2 + sum.s3;
}
#endif

#if LOCAL == 1
#define WRITE(to, value) STREAM_LINE(to, value)
#else
#define WRITE(to, value) (*(to) = (value))
#endif

#ifdef USE_copy
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(copy)(
    __global const VECTOR *restrict x, __global VECTOR *restrict y, const int n, const int chunk) {
  const int start = (int)get_global_id(0) * chunk;
  const int stop = min(start + chunk, n);
  for (int i = start; i < stop; i++) WRITE(y + i, x[i]);
}
#endif

#ifdef USE_triad
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(triad)(
    __global const VECTOR *restrict x, __global const VECTOR *restrict z,
    __global VECTOR *restrict y, const int n, const int chunk) {
  const int start = (int)get_global_id(0) * chunk;
  const int stop = min(start + chunk, n);
  for (int i = start; i < stop; i++) WRITE(y + i, x[i] + 3 * z[i]);
}
#endif

#undef WRITE
