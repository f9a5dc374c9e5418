// The walk of every fused chain of elementwise ops over its operands.
//
// Formula:
//   out[i] = f(x0[i], x1[i], ...)     f is composed of the `expr`s of the op records
// Layout:
//   out is contiguous. Operands are contiguous, one element, or walked by strides (in elements)
//   over the dimensions that remain after merging; the innermost is walked by the inner loop.
// Launch:
//   each item takes `chunk` consecutive elements: 1 on GPUs, so that neighbours read neighbours;
//   many on CPUs, with LOCAL 1, so that the compiler vectorises the loop. global >= ceil(n / chunk)
// Entries:
//   elementwise
// Macros:
//   LOCAL   work-items of a work-group; 1 to the device's limit
//   INDEX   type of sizes and offsets; int, long
//   PARAMS  operands: (pointer, offset, strides) each, scalars, sizes n0, n1, ...; generated
//   OUT     dtype of the result; any of dtype.h
//   FLAT    all operands are contiguous or one element; 0, 1
//   INNER   size of the innermost dimension; an argument's name, 1 if FLAT
//   HOIST   declarations before the loop: operands of one element; generated
//   BASES   declarations before the inner loop: each strided operand's offset from `row`; generated
//   BODY    declarations of every step, operands at element i, or at c of the innermost
//           dimension; generated
//   RESULT  the name that BODY gave to the result; generated
// Oracle:
//   the NumPy references of the records, op by op.

#include "dtype.h"

#if !defined(LOCAL) || !defined(INDEX) || !defined(FLAT) || !defined(INNER)
#error "elementwise.cl: LOCAL, INDEX, FLAT and INNER must be defined"
#endif
#if !defined(PARAMS) || !defined(OUT) || !defined(HOIST) || !defined(BASES)
#error "elementwise.cl: PARAMS, OUT, HOIST and BASES must be defined"
#endif
#if !defined(BODY) || !defined(RESULT)
#error "elementwise.cl: BODY and RESULT must be defined"
#endif

#ifdef USE_elementwise
// x^y of integers by squaring; a negative power is 0 unless x is 1 or -1.
static inline long KERNEL_NAME(ipow)(long x, long y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? ((y & 1) ? -1 : 1) : 0;
  long result = 1;
  for (; y; y >>= 1, x *= x)
    if (y & 1) result *= x;
  return result;
}
#define IPOW KERNEL_NAME(ipow)

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(elementwise)(
    const INDEX n, const INDEX chunk, __global STORAGE(OUT) *restrict out, const long out0 PARAMS) {
  // A result is rounded after every op, so that fused and unfused chains agree to the last bit.
#pragma OPENCL FP_CONTRACT OFF
  const INDEX start = (INDEX)get_global_id(0) * chunk;
  const INDEX stop = min(start + chunk, n);
  if (start >= stop) return;
  HOIST
#if FLAT
  for (INDEX i = start; i < stop; ++i) {
    BODY
    STORE(OUT, out, out0 + i, RESULT);
  }
#else
  for (INDEX first = start; first < stop;) {
    const INDEX row = first / INNER;
    const INDEX begin = first - row * INNER;
    const INDEX end = min((INDEX)INNER, begin + stop - first);
    BASES
    for (INDEX c = begin; c < end; ++c) {
      const INDEX i = first + c - begin;
      BODY
      STORE(OUT, out, out0 + i, RESULT);
    }
    first += end - begin;
  }
#endif
}
#undef IPOW
#endif
