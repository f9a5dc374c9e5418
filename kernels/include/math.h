// Functions of floats, written so that loops over them become vector code.
//
//   MATH(f, dtype)   the function f (exp, tanh) of an ARITH(dtype)
//
// The file that includes this defines OWN_MATH: 1 for the functions below, where a platform's own
// are slow (PoCL calls them one element at a time), 0 for the platform's. float64 has those always.
//
// Errors against float64, largest over the range of float32; tests/kernels/test_math.py measures:
//   exp    1.0 ulp; 0 below -103.98, infinite above 88.73, NaN of NaN
//   tanh   2.3 ulp; 1 and -1 at infinity, -0 of -0, NaN of NaN
//
// exp(x) = 2^k e^r with k = rint(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts, the first of nine
// bits, so that k times it is exact. e^r - 1 is a polynomial fitted to least error (1.4e-9).
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. Multiplication and addition
// may be contracted here, whatever the file around it says: an expression always is, the same way.

#ifndef CLNET_MATH_H
#define CLNET_MATH_H

#include "dtype.h"

#define MATH(f, dtype) DTYPE_PASTE(f##_, dtype)

#define exp_float64 exp
#define tanh_float64 tanh_limited
#define exp_float16 exp_float32
#define tanh_float16 tanh_float32
#define exp_bfloat16 exp_float32
#define tanh_bfloat16 tanh_float32
// PoCL's tanh(inf) is 0.99999994: the limit is stated here.
#define tanh_limited(x) (fabs(x) > 20 ? copysign(1, x) : tanh(x))

#if OWN_MATH
#define ROUND_TO_INT 12582912.0f
#define ROUND_TO_INT_BITS 0x4b400000

static inline float expm1_reduced(float r) {
#pragma OPENCL FP_CONTRACT ON
  float p = 0.000199076212f * r + 0.0013933676f;
  p = p * r + 0.00833328595f;
  p = p * r + 0.0416664647f;
  p = p * r + 0.166666668f;
  p = p * r + 0.5f;
  return (r * r) * p + r;
}

static inline float exp_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  // Comparisons leave a NaN as it is.
  float v = x > 89.0f ? 89.0f : x;
  v = v < -104.0f ? -104.0f : v;
  const float t = v * 1.44269504f + ROUND_TO_INT;
  const float n = t - ROUND_TO_INT;
  float r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  // Two factors: 2^k alone may be out of range.
  const int k = as_int(t) - ROUND_TO_INT_BITS;
  const int half_k = k >> 1;
  const float low = as_float((half_k + 127) << 23), high = as_float((k - half_k + 127) << 23);
  return ((1.0f + expm1_reduced(r)) * low) * high;
}

// tanh |x| = e / (e + 2) with e = e^(2 |x|) - 1 = 2^k (e^r - 1) + (2^k - 1), exact near 0.
static inline float tanh_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  float a = as_float(as_int(x) & 0x7fffffff);
  a = a > 10.0f ? 10.0f : a;
  const float t = a * 2.88539008f + ROUND_TO_INT;
  const float n = t - ROUND_TO_INT;
  float r = a - n * 0.34667969f;
  r = r - n * -1.06097220e-4f;
  const float scale = as_float((as_int(t) + (127 - ROUND_TO_INT_BITS)) << 23);
  const float e = scale * expm1_reduced(r + r) + (scale - 1.0f);
  const float v = e / (e + 2.0f);
  return as_float(as_int(v) | (as_int(x) & (int)0x80000000));
}
#undef ROUND_TO_INT
#undef ROUND_TO_INT_BITS
#else
#define exp_float32 exp
#define tanh_float32 tanh_limited
#endif

#endif  // CLNET_MATH_H
