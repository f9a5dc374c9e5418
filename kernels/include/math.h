// Functions of floats, written so that loops over them become vector code.
//
//   MATH(f, dtype)   the function f of an ARITH(dtype): exp exp2 expm1 log log2 log10 log1p sinh
//                    cosh tanh erf sin cos tan asin acos atan, and pow of two
//
// The file that includes this defines OWN_MATH: 1 for the functions below, where a platform's own
// are slow (PoCL calls them one element at a time), 0 for the platform's. float64 has those always,
// and so has pow where there is no double to compute it in.
//
// Errors against float64, largest over the range of float32; tests/kernels/test_math.py measures:
//   exp    1.0 ulp; 0 below -103.98, infinite above 88.73, NaN of NaN
//   exp2   1.0 ulp; likewise
//   expm1  1.5 ulp; -1 at -infinity, -0 of -0
//   log    1.0 ulp; -infinity of 0, NaN below
//   log2   2.0 ulp; likewise
//   log10  2.0 ulp; likewise
//   log1p  1.5 ulp; -infinity of -1, NaN below, -0 of -0
//   sinh   2.5 ulp; infinite above 89.42
//   cosh   2.5 ulp; infinite above 89.42
//   tanh   2.3 ulp; 1 and -1 at infinity, -0 of -0, NaN of NaN
//   erf    1.5 ulp; 1 and -1 at infinity, -0 of -0
//   sin    2.6 ulp; NaN of infinity, at any size of the argument; -0 of -0
//   cos    2.6 ulp; likewise
//   tan    4.0 ulp; likewise
//   asin   2.5 ulp; NaN outside [-1, 1]
//   acos   2.5 ulp; likewise
//   atan   2.0 ulp; -0 of -0
//   pow    0.6 ulp; the special values of C99
//
// exp(x) = 2^k e^r with k = rint(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts, the first of nine
// bits, so that k times it is exact. e^r - 1 is a polynomial fitted to least error (1.4e-9).
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. Multiplication and addition
// may be contracted here, whatever the file around it says: an expression always is, the same way.
// tools/fit_math.py fits the polynomials of the others.

#ifndef CLNET_MATH_H
#define CLNET_MATH_H

#include "dtype.h"

#define MATH(f, dtype) DTYPE_PASTE(f##_, dtype)

#define exp_float64 exp
#define exp_float16 exp_float32
#define exp_bfloat16 exp_float32
#define exp2_float64 exp2
#define exp2_float16 exp2_float32
#define exp2_bfloat16 exp2_float32
#define expm1_float64 expm1
#define expm1_float16 expm1_float32
#define expm1_bfloat16 expm1_float32
#define log_float64 log
#define log_float16 log_float32
#define log_bfloat16 log_float32
#define log2_float64 log2
#define log2_float16 log2_float32
#define log2_bfloat16 log2_float32
#define log10_float64 log10
#define log10_float16 log10_float32
#define log10_bfloat16 log10_float32
#define log1p_float64 log1p
#define log1p_float16 log1p_float32
#define log1p_bfloat16 log1p_float32
#define sinh_float64 sinh
#define sinh_float16 sinh_float32
#define sinh_bfloat16 sinh_float32
#define cosh_float64 cosh
#define cosh_float16 cosh_float32
#define cosh_bfloat16 cosh_float32
#define erf_float64 erf
#define erf_float16 erf_float32
#define erf_bfloat16 erf_float32
#define sin_float64 sin
#define sin_float16 sin_float32
#define sin_bfloat16 sin_float32
#define cos_float64 cos
#define cos_float16 cos_float32
#define cos_bfloat16 cos_float32
#define tan_float64 tan
#define tan_float16 tan_float32
#define tan_bfloat16 tan_float32
#define asin_float64 asin
#define asin_float16 asin_float32
#define asin_bfloat16 asin_float32
#define acos_float64 acos
#define acos_float16 acos_float32
#define acos_bfloat16 acos_float32
#define atan_float64 atan
#define atan_float16 atan_float32
#define atan_bfloat16 atan_float32
#define pow_float64 pow
#define pow_float16 pow_float32
#define pow_bfloat16 pow_float32
#define tanh_float64 tanh_limited
#define tanh_float16 tanh_float32
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

// 2 (2^(k-1) (e^r - 1) + 2^(k-1) - 1/2): the factor 2^128 would be out of range.
static inline float expm1_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  float v = x > 89.0f ? 89.0f : x;
  v = v < -30.0f ? -30.0f : v;
  const float t = v * 1.44269504f + ROUND_TO_INT;
  const float n = t - ROUND_TO_INT;
  float r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  const float scale = as_float((as_int(t) + (126 - ROUND_TO_INT_BITS)) << 23);
  const float e = 2.0f * (scale * expm1_reduced(r) + (scale - 0.5f));
  return x == 0.0f ? x : e;
}

static inline float exp2_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  float v = x > 129.0f ? 129.0f : x;
  v = v < -150.0f ? -150.0f : v;
  const float t = v + ROUND_TO_INT;
  const float r = (v - (t - ROUND_TO_INT)) * 0.693147181f;
  const int k = as_int(t) - ROUND_TO_INT_BITS;
  const int half_k = k >> 1;
  const float low = as_float((half_k + 127) << 23), high = as_float((k - half_k + 127) << 23);
  return ((1.0f + expm1_reduced(r)) * low) * high;
}

// Beyond 88, where e^|x| / 2 may be finite though e^|x| is not, by its root.
static inline float half_exp_large(float a) {
  const float root = exp_float32(0.5f * a);
  return (0.5f * root) * root;
}

static inline float sinh_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  const float a = as_float(as_int(x) & 0x7fffffff);
  const float e = expm1_float32(a);
  const float v = a > 88.0f ? half_exp_large(a) : 0.5f * (e + e / (e + 1.0f));
  return x == x ? as_float(as_int(v) | (as_int(x) & (int)0x80000000)) : x;
}

static inline float cosh_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  const float a = as_float(as_int(x) & 0x7fffffff);
  const float e = exp_float32(a);
  return a > 88.0f ? half_exp_large(a) : 0.5f * (e + 1.0f / e);
}
#undef ROUND_TO_INT
#undef ROUND_TO_INT_BITS

// log(1 + f) - f for 1 + f from sqrt(1/2) to sqrt(2).
static inline float log1p_rest(float f) {
#pragma OPENCL FP_CONTRACT ON
  float p = 0.06751645f * f - 0.116725735f;
  p = p * f + 0.11883886f;
  p = p * f - 0.12405909f;
  p = p * f + 0.1422028f;
  p = p * f - 0.16668f;
  p = p * f + 0.20002075f;
  p = p * f - 0.2500001f;
  p = p * f + 0.33333313f;
  return (f * f) * (p * f - 0.5f);
}

// x = 2^k m with m from sqrt(1/2) to sqrt(2), also of numbers below 2^-126.
#define SPLIT_LOG(x, k, m)                                        \
  int bits_ = as_int(x);                                          \
  const int tiny_ = bits_ > 0 && bits_ < 0x00800000;              \
  bits_ = tiny_ ? as_int((float)bits_) : bits_;                   \
  const int exponent_ = (bits_ - 0x3f3504f3) >> 23;               \
  const float m = as_float(bits_ - (exponent_ << 23));            \
  const float k = (float)(tiny_ ? exponent_ - 149 : exponent_);

// What a logarithm of x is where x is no positive, finite number, and v elsewhere.
static inline float log_special(float x, float v) {
  const int bits = as_int(x);
  const float other = (bits & 0x7fffffff) == 0 ? -INFINITY : bits == 0x7f800000 ? x : NAN;
  return bits > 0 && bits < 0x7f800000 ? v : other;
}

static inline float log_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  SPLIT_LOG(x, k, m)
  const float f = m - 1.0f;
  return log_special(x, k * 0.693359375f + (f + (log1p_rest(f) + k * -2.12194440e-4f)));
}

static inline float log2_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  SPLIT_LOG(x, k, m)
  const float f = m - 1.0f, rest = log1p_rest(f);
  // log2(e) = 1 + 0.4426950408889634
  return log_special(x, k + (f + (rest + (f + rest) * 0.44269504f)));
}

static inline float log10_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  SPLIT_LOG(x, k, m)
  const float f = m - 1.0f;
  const float natural = f + log1p_rest(f);
  // log10(2) in two parts, the first of eight bits.
  return log_special(x, k * 0.30078125f + (natural * 0.434294482f + k * 2.48745664e-4f));
}

// The rounding error of 1 + x, which is a part of f.
static inline float log1p_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  const float u = 1.0f + x;
  const float c = x > 1.0f ? 1.0f - (u - x) : x - (u - 1.0f);
  SPLIT_LOG(u, k, m)
  const float scale = as_float((127 - (int)k) << 23);
  const float f = (m - 1.0f) + (u < 1e30f ? c * scale : 0.0f);
  const float v = k * 0.693359375f + (f + (log1p_rest(f) + k * -2.12194440e-4f));
  return x == 0.0f ? x : log_special(u, v);
}
#undef SPLIT_LOG

// x + x P(x^2) near 0; 1 - e^P(|x|) beyond, where P is the logarithm of 1 - erf.
static inline float erf_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  const float a = fabs(x) > 4.0f ? 4.0f : fabs(x);
  const float z = a * a;
  float p = 7.9602905e-05f * z - 0.00080422923f;
  p = p * z + 0.0051918672f;
  p = p * z - 0.026855575f;
  p = p * z + 0.11283624f;
  p = p * z - 0.3761263f;
  p = p * z + 0.12837917f;
  float g = -4.578275e-07f * a - 1.5199046e-05f;
  g = g * a + 0.00040195876f;
  g = g * a - 0.0040708254f;
  g = g * a + 0.024930185f;
  g = g * a - 0.108055964f;
  g = g * a - 0.63350964f;
  g = g * a - 1.1294487f;
  g = g * a + 0.00016308125f;
  const float v = a < 0.92f ? a * p + a : 1.0f - exp_float32(g);
  return x == x ? as_float(as_int(v) | (as_int(x) & (int)0x80000000)) : x;
}

#include "trigonometry.h"

// x^y = 2^(y log2 x) in double, with the signs and special values of C99.
#ifdef cl_khr_fp64
static inline float pow_float32(float x, float y) {
#pragma OPENCL FP_CONTRACT ON
  const float a = fabs(x);
  const long bits = as_long((double)a);
  const int exponent = (int)((bits - 0x3fe6a09e667f3bcdL) >> 52);
  const double m = as_double(bits - ((long)exponent << 52));
  // log(m) = 2 atanh(s) = 2 s (1 + z / 3 + z^2 / 5 + ..), |s| < 0.172, to 1e-13
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = z * (1.0 / 15.0) + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  const double log2_a = (double)exponent + (s + s * z * p) * 2.8853900817779268;
  double e = (double)y * log2_a;
  e = a == 0.0f ? (y < 0.0f ? 200.0 : -200.0) : a == INFINITY ? (y < 0.0f ? -200.0 : 200.0) : e;
  e = fabs(y) == INFINITY ? ((a > 1.0f) == (y > 0.0f) ? 200.0 : -200.0) : e;
  e = e > 200.0 ? 200.0 : e;
  e = e < -200.0 ? -200.0 : e;
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
  const double t = e + 6755399441055744.0;
  const double r = (e - (t - 6755399441055744.0)) * 0.69314718055994531;
  const long k = as_long(t) - 0x4338000000000000L;
  double q = r * (1.0 / 40320.0) + 1.0 / 5040.0;
  q = q * r + 1.0 / 720.0;
  q = q * r + 1.0 / 120.0;
  q = q * r + 1.0 / 24.0;
  q = q * r + 1.0 / 6.0;
  q = q * r + 0.5;
  q = q * r + 1.0;
  q = q * r + 1.0;
  float v = (float)(q * as_double((k + 1023) << 52));
  v = k < -160 ? 0.0f : v;
  const float whole = floor(y);
  const float half_y = 0.5f * y;
  const int integer = whole == y, odd = integer && floor(half_y) != half_y;
  v = as_int(x) < 0 ? (odd ? -v : integer || a == 0.0f || a == INFINITY ? v : NAN) : v;
  v = x != x || y != y ? NAN : v;
  v = a == 1.0f && fabs(y) == INFINITY ? 1.0f : v;
  return x == 1.0f || y == 0.0f ? 1.0f : v;
}
#else
#define pow_float32 pow
#endif
#else
#define exp_float32 exp
#define exp2_float32 exp2
#define expm1_float32 expm1
#define log_float32 log
#define log2_float32 log2
#define log10_float32 log10
#define log1p_float32 log1p
#define sinh_float32 sinh
#define cosh_float32 cosh
#define erf_float32 erf
#define sin_float32 sin
#define cos_float32 cos
#define tan_float32 tan
#define asin_float32 asin
#define acos_float32 acos
#define atan_float32 atan
#define pow_float32 pow
#define tanh_float32 tanh_limited
#endif

#endif  // CLNET_MATH_H
