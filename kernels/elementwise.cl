// The walk of every fused chain of elementwise ops over its operands.
//
// Formula:
//   q0[i], q1[i], ... = f(p0[i], p1[i], ...)     f is composed of the `expr`s of the op records
// Layout:
//   Results are contiguous. Operands are contiguous, one element, or walked by strides (elements)
//   over the dimensions that remain after merging; the innermost is walked by the inner loop. An
//   operand that a result overwrites is read from that result's place.
// Launch:
//   a piece is `chunk` consecutive elements: 1 on GPUs, so that neighbours read neighbours; many on
//   CPUs, with LOCAL 1, so that the compiler vectorises the loop. A launch may serve many tensors,
//   each with pointers of its own: pieces = the sum over tensors of ceil(size / chunk). Work-items
//   take pieces in turn, so that any global size does: one, where all is small
// Entries:
//   elementwise
// Macros:
//   LOCAL   work-items of a work-group; 1 to the device's limit
//   INDEX   type of sizes and offsets; int, long
//   OWN_MATH  functions of include/math.h instead of the platform's; 0, 1
//   PARAMS  of one tensor: (pointer, offset, strides) of results and operands; then the sizes
//           walked n0, n1, ... and scalars; generated
//   PASSED  the names of PARAMS; generated
//   GIVEN   the kernel's parameters: size and PARAMS, the tensor's own once for each; generated
//   SELECT  sets size and the tensor's own names to those of the tensor that holds `item`, with
//           NEXT_TENSOR(statements); generated
//   FLAT    all operands are contiguous or one element; 0, 1
//   STREAM  elements that are computed before they are written past the caches, for results that
//           exceed them; a multiple of 64, or 0: each element is stored at once. Needs FLAT
//   INNER   size of the innermost dimension; an argument's name, 1 if FLAT
//   HOIST   declarations before the loop: operands of one element; generated
//   BASES   declarations before the inner loop: each strided operand's offset from `row`; generated
//   BODY    operands at element i, or at c of the innermost dimension, every step, and the stores,
//           if STREAM to element i - first of BLOCKS; generated
//   BLOCKS  declarations of STREAM elements of each result; generated, empty without STREAM
//   FLUSH   writes elements first to end of the results from BLOCKS; generated, as BLOCKS
// Oracle:
//   the NumPy references of the records, op by op.

#include "dtype.h"
#include "math.h"
#include "stream.h"

#if !defined(LOCAL) || !defined(INDEX) || !defined(FLAT) || !defined(INNER)
#error "elementwise.cl: LOCAL, INDEX, FLAT and INNER must be defined"
#endif
#if !defined(PARAMS) || !defined(PASSED) || !defined(GIVEN) || !defined(SELECT)
#error "elementwise.cl: PARAMS, PASSED, GIVEN and SELECT must be defined"
#endif
#if !defined(HOIST) || !defined(BASES) || !defined(BODY) || !defined(OWN_MATH)
#error "elementwise.cl: HOIST, BASES, BODY and OWN_MATH must be defined"
#endif
#if !defined(STREAM) || !defined(BLOCKS) || !defined(FLUSH)
#error "elementwise.cl: STREAM, BLOCKS and FLUSH must be defined"
#endif

// Compilers that may use vectors of 16 floats take half of that unless they are told.
#if LOCAL == 1 && defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"
#define WIDE _Pragma("clang loop vectorize_width(16)")
#else
#define WIDE
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

static inline void KERNEL_NAME(chain)(const INDEX start, const INDEX stop PARAMS) {
  // A result is rounded after every op, so that fused and unfused chains agree to the last bit.
#pragma OPENCL FP_CONTRACT OFF
  HOIST
#if STREAM
  BLOCKS
  for (INDEX first = start; first < stop; first += STREAM) {
    const INDEX end = min(first + STREAM, stop);
    WIDE
    for (INDEX i = first; i < end; ++i) {
      BODY
    }
    FLUSH
  }
#elif FLAT
  WIDE
  for (INDEX i = start; i < stop; ++i) {
    BODY
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
    }
    first += end - begin;
  }
#endif
}

#define NEXT_TENSOR(statements)                        \
  {                                                    \
    const INDEX items = (size + chunk - 1) / chunk;    \
    if (item >= items) {                               \
      item -= items;                                   \
      statements                                       \
    }                                                  \
  }
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(elementwise)(
    const INDEX chunk, const INDEX pieces GIVEN) {
  for (INDEX turn = (INDEX)get_global_id(0); turn < pieces; turn += (INDEX)get_global_size(0)) {
    INDEX item = turn;
    SELECT
    const INDEX start = item * chunk;
    KERNEL_NAME(chain)(start, min(start + chunk, size) PASSED);
  }
}
#undef NEXT_TENSOR
#undef IPOW
#endif
#undef WIDE
