// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011).
//
// Formula:
//   block(b) = philox4x32-10(counter: offset + b, then stream; key: seed), 64 bits each: 4 words
//   word(e) = block(e / 4)[e % 4]
//   bits     y[e] = word(e)
//   uniform  y[e] = floor(word(e) / 2^8) / 2^24: in [0, 1), all multiples of 2^-24
//   normal   y[e], y[e + 1] = r cos(a), r sin(a) for even e           (Box and Muller 1958)
//            r = sqrt(-2 log((word(e) + 1/2) / 2^32)), a = 2 pi word(e + 1) / 2^32
// Layout:
//   y is contiguous. The stream depends on seed, stream and offset alone, not on the device or the
//   launch. log, sin and cos are written out here in correctly rounded operations, so that normals
//   differ between devices by the rounding of sqrt at most. Error of a normal: below 4e-7 * max(1,
//   |y|).
// Launch:
//   one item makes `each` blocks of 4 neighbours: global >= ceil(n / (4 * each)), padded to LOCAL
// Entries:
//   philox_bits
//   philox_uniform
//   philox_normal
// Macros:
//   LOCAL  work-items of a work-group; 1 to the device's limit
//   INDEX  type of sizes and offsets; int, long
// Oracle:
//   the known-answer vectors of Random123; the formula above in NumPy.

#ifndef LOCAL
#error "random.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifndef INDEX
#error "random.cl: INDEX is not defined: int or long"
#endif

#define PHILOX KERNEL_NAME(philox)
static inline uint4 PHILOX(const ulong counter, const ulong stream, const ulong seed) {
  uint a = (uint)counter, b = (uint)(counter >> 32);
  uint c = (uint)stream, d = (uint)(stream >> 32);
  uint key0 = (uint)seed, key1 = (uint)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const ulong p = (ulong)0xD2511F53u * a;
    const ulong q = (ulong)0xCD9E8D57u * c;
    a = (uint)(q >> 32) ^ b ^ key0;
    b = (uint)q;
    c = (uint)(p >> 32) ^ d ^ key1;
    d = (uint)p;
    key0 += 0x9E3779B9u;  // the golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return (uint4)(a, b, c, d);
}

// Walks the blocks of this item; BODY sees the block's words as `w`, and writes v[0 .. 3].
#define PHILOX_WALK(T, BODY)                                                \
  __global T *to = y + y0;                                                  \
  const INDEX blocks = (n - 1) / 4 + 1;                                     \
  const INDEX first = (INDEX)get_global_id(0) * each;                       \
  const INDEX last = min(first + each, blocks);                             \
  for (INDEX b = first; b < last; b++) {                                    \
    const uint4 w = PHILOX((ulong)offset + (ulong)b, (ulong)stream, (ulong)seed); \
    T v[4];                                                                 \
    BODY                                                                    \
    const int count = (int)min(n - 4 * b, (INDEX)4);                        \
    for (int l = 0; l < count; l++) to[4 * b + l] = v[l];                   \
  }

#ifdef USE_philox_bits
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(philox_bits)(
    __global int *y, const long y0, const INDEX n, const INDEX each, const long seed,
    const long stream, const long offset) {
  PHILOX_WALK(int, v[0] = (int)w.x; v[1] = (int)w.y; v[2] = (int)w.z; v[3] = (int)w.w;)
}
#endif

#ifdef USE_philox_uniform
#define UNIFORM(word) ((float)((word) >> 8) * 0x1p-24f)
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(philox_uniform)(
    __global float *y, const long y0, const INDEX n, const INDEX each, const long seed,
    const long stream, const long offset) {
  PHILOX_WALK(float, v[0] = UNIFORM(w.x); v[1] = UNIFORM(w.y); v[2] = UNIFORM(w.z);
              v[3] = UNIFORM(w.w);)
}
#undef UNIFORM
#endif

#ifdef USE_philox_normal
#define BOX_MULLER KERNEL_NAME(box_muller)
static inline float2 BOX_MULLER(const uint radius, const uint angle) {
#pragma OPENCL FP_CONTRACT OFF
  // log(u) = exponent * log(2) + log(m) with m in [sqrt(1/2), sqrt(2)); polynomial of Cephes' logf.
  const float u = (float)radius * 0x1p-32f + 0x1p-33f;
  const uint bits = as_uint(u);
  const int exponent = (int)((bits + 0x004afb0du) >> 23) - 127;
  // Near 1, m - 1 comes from the integer: u has lost its last bits, on which a small r depends.
  const float x = exponent == 0 ? -((float)~radius * 0x1p-32f + 0x1p-33f)
                                : as_float(bits - ((uint)exponent << 23)) - 1.0f;
  const float z = x * x;
  float p = 7.0376836292e-2f;
  p = p * x - 1.1514610310e-1f;
  p = p * x + 1.1676998740e-1f;
  p = p * x - 1.2420140846e-1f;
  p = p * x + 1.4249322787e-1f;
  p = p * x - 1.6668057665e-1f;
  p = p * x + 2.0000714765e-1f;
  p = p * x - 2.4999993993e-1f;
  p = p * x + 3.3333331174e-1f;
  p = p * x * z - 2.12194440e-4f * (float)exponent - 0.5f * z;
  const float log_u = (x + p) + 0.693359375f * (float)exponent;
  const float r = sqrt(max(-2.0f * log_u, 0.0f));
  // The angle is an integer, so its octant is exact: a = quarter * pi / 2 + t, |t| <= pi / 4.
  const uint quarter = (angle + 0x20000000u) >> 30;
  const float t = (float)(int)(angle - (quarter << 30)) * 1.4629180792671596e-9f;  // pi / 2^31
  const float s = t * t;
  const float sine =
      ((-1.9515295891e-4f * s + 8.3321608736e-3f) * s - 1.6666654611e-1f) * s * t + t;
  const float cosine =
      ((2.443315711809948e-5f * s - 1.388731625493765e-3f) * s + 4.166664568298827e-2f) * s * s -
      0.5f * s + 1.0f;
  const float c = (quarter & 1u) ? sine : cosine;
  const float d = (quarter & 1u) ? cosine : sine;
  return (float2)(((quarter + 1u) & 2u) ? -r * c : r * c, (quarter & 2u) ? -r * d : r * d);
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(philox_normal)(
    __global float *y, const long y0, const INDEX n, const INDEX each, const long seed,
    const long stream, const long offset) {
  PHILOX_WALK(float, const float2 f = BOX_MULLER(w.x, w.y); const float2 g = BOX_MULLER(w.z, w.w);
              v[0] = f.x; v[1] = f.y; v[2] = g.x; v[3] = g.y;)
}
#undef BOX_MULLER
#endif

#undef PHILOX
#undef PHILOX_WALK
