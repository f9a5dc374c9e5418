// Sine, cosine, tangent and their inverses of float32, a part of math.h.
//
// An argument is reduced to r in [-pi/4, pi/4] and a number of quarter turns exactly, whatever its
// size: x = m 2^s with m of 24 bits, and of the bits of 2 / pi only 96 decide m 2^s (2 / pi) modulo
// 4 well enough, those from bit s - 1 on (Payne and Hanek, 1983).

#ifndef CLNET_TRIGONOMETRY_H
#define CLNET_TRIGONOMETRY_H

// 32 zeros, then the bits of 2 / pi after the point.
__constant uint two_over_pi[8] = {0x00000000, 0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                  0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};

// Returns r, and sets *quarter to the number of quarter turns (its low two bits count).
static inline float reduced_angle(float x, int *quarter) {
  const int bits = as_int(x) & 0x7fffffff;
  // Below 1/2 nothing is to be reduced; a place in the table all the same.
  const int exponent = max(bits >> 23, 126);
  const uint m = (uint)(bits & 0x007fffff) | 0x00800000;
  const int first = exponent - 127 - 23 + 30;
  const int word = min(first >> 5, 4), shift = first & 31;
  const ulong high = ((ulong)two_over_pi[word] << 32) | two_over_pi[word + 1];
  const ulong low = ((ulong)two_over_pi[word + 2] << 32) | two_over_pi[word + 3];
  const uint a = (uint)((high << shift) >> 32);
  const ulong bc = (((high << 32) | (low >> 32)) << shift) | ((low & 0xffffffff) >> (32 - shift));
  const uint b = (uint)(bc >> 32), c = (uint)bc;
  const ulong product = ((ulong)(m * a) << 32) + (ulong)m * b + (((ulong)m * c) >> 32);
  const long fraction = (long)(product << 2);
  const int turns = (int)(product >> 62) + (fraction < 0);
  const float r = (float)fraction * 8.51530395021638647e-20f;  // pi / 2 / 2^64
  const int small = bits < 0x3f000000;
  const int negative = as_int(x) < 0;
  *quarter = small ? 0 : negative ? -turns : turns;
  return bits >= 0x7f800000 ? NAN : small ? x : negative ? -r : r;
}

static inline float sin_reduced(float r) {
#pragma OPENCL FP_CONTRACT ON
  const float z = r * r;
  float p = 2.837394e-06f * z - 0.00019853505f;
  p = p * z + 0.00833338f;
  p = p * z - 0.16666667f;
  return r + r * (z * p);
}

static inline float cos_reduced(float r) {
#pragma OPENCL FP_CONTRACT ON
  const float z = r * r;
  float p = -2.8975902e-07f * z + 2.4822977e-05f;
  p = p * z - 0.0013888982f;
  p = p * z + 0.041666668f;
  return 1.0f + (z * (z * p - 0.5f));
}

static inline float sin_float32(float x) {
  int quarter;
  const float r = reduced_angle(x, &quarter);
  const float v = quarter & 1 ? cos_reduced(r) : sin_reduced(r);
  return x == 0.0f ? x : quarter & 2 ? -v : v;
}

static inline float cos_float32(float x) {
  int quarter;
  const float r = reduced_angle(x, &quarter);
  const float v = quarter & 1 ? sin_reduced(r) : cos_reduced(r);
  return (quarter + 1) & 2 ? -v : v;
}

static inline float tan_float32(float x) {
  int quarter;
  const float r = reduced_angle(x, &quarter);
  const float s = sin_reduced(r), c = cos_reduced(r);
  return x == 0.0f ? x : quarter & 1 ? -c / s : s / c;
}

static inline float atan_float32(float x) {
#pragma OPENCL FP_CONTRACT ON
  const float a = fabs(x);
  const float t = a > 1.0f ? 1.0f / a : a;
  const float z = t * t;
  float p = -0.0018247393f * z + 0.011053138f;
  p = p * z - 0.03143414f;
  p = p * z + 0.058212325f;
  p = p * z - 0.08418121f;
  p = p * z + 0.109571025f;
  p = p * z - 0.14265151f;
  p = p * z + 0.1999863f;
  p = p * z - 0.33333302f;
  const float near = t + t * (z * p);
  const float v = a > 1.0f ? 1.57079637f - near : near;
  return x == x ? as_float(as_int(v) | (as_int(x) & (int)0x80000000)) : x;
}

// asin(t) for t in [0, 1/2].
static inline float asin_near(float t) {
#pragma OPENCL FP_CONTRACT ON
  const float z = t * t;
  float p = 0.042211797f * z + 0.024152093f;
  p = p * z + 0.04547604f;
  p = p * z + 0.07495252f;
  p = p * z + 0.16666754f;
  return t + t * (z * p);
}

static inline float asin_float32(float x) {
  const float a = fabs(x);
  const float near = asin_near(a > 0.5f ? sqrt(0.5f - 0.5f * a) : a);
  const float v = a > 0.5f ? 1.57079637f - 2.0f * near : near;
  return x == x ? as_float(as_int(v) | (as_int(x) & (int)0x80000000)) : x;
}

static inline float acos_float32(float x) {
  const float a = fabs(x);
  const float near = asin_near(a > 0.5f ? sqrt(0.5f - 0.5f * a) : a);
  const float far = x < 0.0f ? 3.14159274f - 2.0f * near : 2.0f * near;
  return a > 0.5f ? far : 1.57079637f - (x < 0.0f ? -near : near);
}

#endif  // CLNET_TRIGONOMETRY_H
