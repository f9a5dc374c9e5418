// What a device can do at most: multiplications and additions, and copied bytes, per second.
//
// Formula:
//   fma_peak   a = a * x + b, again and again, in twelve independent vectors
//   copy       y[i] = x[i]
//   triad      y[i] = x[i] + a * z[i], with a = 3 (McCalpin's STREAM)
// Layout:
//   x, y and z are contiguous VECTORs; fma_peak writes one float an item, so that nothing
//   is left out.
// Launch:
//   fma_peak   any number of items, in groups of LOCAL: each does turns * 12 * 2 * (lanes of
//              VECTOR) operations
//   copy, triad   each item takes `chunk` neighbours, and writes past the caches if LOCAL is 1:
//              global >= ceil(n / chunk)
// Entries:
//   fma_peak
//   copy
//   triad
// Macros:
//   LOCAL   work-items of a work-group; 1 to the device's limit
//   VECTOR  type of an accumulator and of what is copied; float16, float8, float4: an accumulator
//           is as wide as a register of a CPU
// Oracle:
//   none: figures, not results. copy and triad are checked against NumPy.

#include "stream.h"

#ifndef LOCAL
#error "limits.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef VECTOR
#error "limits.cl: VECTOR is not defined: float16, float8 or float4"
#endif

#ifdef USE_fma_peak
// As many as hide the latency of two operations at once on CPUs of today, and fit 16 registers.
#define ACCUMULATORS(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define START(r) VECTOR a##r = m + r;
#define STEP(r) a##r = a##r * m + s;
#define ADD(r) sum += a##r;
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(fma_peak)(
    __global float *out, const float x, const float b, const int turns) {
#pragma OPENCL FP_CONTRACT ON
  const VECTOR m = (VECTOR)(x), s = (VECTOR)(b);
  ACCUMULATORS(START)
  for (int i = 0; i < turns; i++) {
    ACCUMULATORS(STEP)
  }
  VECTOR sum = 0;
  ACCUMULATORS(ADD)
  out[get_global_id(0)] = sum.s0 + sum.s1 + sum.s2 + sum.s3;
}
#undef ACCUMULATORS
#undef START
#undef STEP
#undef ADD
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
