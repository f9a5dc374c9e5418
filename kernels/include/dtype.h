// The dtypes of clnet in OpenCL C: how each is stored, computed with, read, written and rounded.
//
// Every macro takes the dtype's name (float16, float32, float64, bfloat16, int32, int64, uint8,
// bool), or a macro which expands to it:
//
//   STORAGE(dtype)          type of an element in a buffer
//   ARITH(dtype)            type to compute with: float for the 16-bit floats
//   ARITH4(dtype)           four of them as a vector (not of bool)
//   LOAD(dtype, p, i)       element i of buffer p, as ARITH(dtype)
//   STORE(dtype, p, i, v)   write v (an ARITH(dtype)) as element i of p; rounds to nearest even
//   ROUND(dtype, v)         what storing v and loading it again gives
//   CONVERT(to, from, v)    v (an ARITH(from)) as ARITH(to), as C and NumPy convert; not rounded to
//                           16 bits: STORE or ROUND does that
//   LOWEST(dtype)           no value is less: -inf, or the least integer
//   HIGHEST(dtype)          no value is greater: +inf, or the greatest integer
//   ISNAN(dtype, v)         1 if v is not a number
//   IS_FLOAT(dtype)         1 or 0, for #if
//   PLAIN(dtype)            1 if ARITH(dtype) is what a buffer holds, so that vectors may be loaded
//
// 16-bit floats need no cl_khr_fp16, because only vload_half and vstore_half touch them. float64
// needs cl_khr_fp64; naming it without that extension is a build error.

#ifndef CLNET_DTYPE_H
#define CLNET_DTYPE_H

#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#define DTYPE_PASTE_(a, b) a##b
#define DTYPE_PASTE(a, b) DTYPE_PASTE_(a, b)

#define STORAGE(dtype) DTYPE_PASTE(storage_, dtype)
#define ARITH(dtype) DTYPE_PASTE(arith_, dtype)
#define ARITH4(dtype) DTYPE_PASTE(arith4_, dtype)
#define LOAD(dtype, p, i) DTYPE_PASTE(load_, dtype)(p, i)
#define STORE(dtype, p, i, v) DTYPE_PASTE(store_, dtype)(p, i, v)
#define ROUND(dtype, v) DTYPE_PASTE(round_, dtype)(v)
#define CONVERT(to, from, v) DTYPE_PASTE(convert_to_, to)(v)
#define LOWEST(dtype) DTYPE_PASTE(lowest_, dtype)
#define HIGHEST(dtype) DTYPE_PASTE(highest_, dtype)
#define ISNAN(dtype, v) DTYPE_PASTE(isnan_, dtype)(v)
#define IS_FLOAT(dtype) DTYPE_PASTE(is_float_, dtype)
#define PLAIN(dtype) DTYPE_PASTE(plain_, dtype)

// --- float32 -----------------------------------------------------------------------------------
typedef float storage_float32;
typedef float arith_float32;
typedef float4 arith4_float32;
#define load_float32(p, i) ((p)[i])
#define store_float32(p, i, v) ((p)[i] = (v))
#define round_float32(v) (v)
#define convert_to_float32(v) ((float)(v))
#define lowest_float32 (-INFINITY)
#define highest_float32 INFINITY
#define isnan_float32(v) isnan(v)
#define is_float_float32 1
#define plain_float32 1

// --- float64 -----------------------------------------------------------------------------------
#ifdef cl_khr_fp64
typedef double storage_float64;
typedef double arith_float64;
typedef double4 arith4_float64;
#endif
#define load_float64(p, i) ((p)[i])
#define store_float64(p, i, v) ((p)[i] = (v))
#define round_float64(v) (v)
#define convert_to_float64(v) ((double)(v))
#define lowest_float64 (-(double)INFINITY)
#define highest_float64 ((double)INFINITY)
#define isnan_float64(v) isnan(v)
#define is_float_float64 1
#define plain_float64 1

// --- float16: IEEE binary16 --------------------------------------------------------------------
typedef half storage_float16;
typedef float arith_float16;
typedef float4 arith4_float16;
#define load_float16(p, i) vload_half((size_t)(i), p)
#define store_float16(p, i, v) vstore_half_rte(v, (size_t)(i), p)
#define round_float16(v) float16_rounded(v)
#define convert_to_float16(v) ((float)(v))
#define lowest_float16 (-INFINITY)
#define highest_float16 INFINITY
#define isnan_float16(v) isnan(v)
#define is_float_float16 1
#define plain_float16 0

// Rounds to nearest even. Integer arithmetic on the bits, since a private half needs cl_khr_fp16.
static inline float float16_rounded(float v) {
  const uint bits = as_uint(v);
  const uint magnitude = bits & 0x7fffffffu;
  const uint sign = bits & 0x80000000u;
  if (magnitude > 0x7f800000u) return v;  // NaN
  if (magnitude >= 0x477ff000u) return as_float(sign | 0x7f800000u);  // 65520 and above: infinite
  // Below 2^-14 the spacing is 2^-24, which is that of floats near 0.5.
  if (magnitude < 0x38800000u)
    return as_float(sign | as_uint((as_float(magnitude) + 0.5f) - 0.5f));
  return as_float(sign | ((magnitude + 0x0fffu + ((magnitude >> 13) & 1u)) & 0xffffe000u));
}

// --- bfloat16: the upper half of a float32 -----------------------------------------------------
typedef ushort storage_bfloat16;
typedef float arith_bfloat16;
typedef float4 arith4_bfloat16;
#define load_bfloat16(p, i) as_float((uint)(p)[i] << 16)
#define store_bfloat16(p, i, v) ((p)[i] = bfloat16_bits(v))
#define round_bfloat16(v) as_float((uint)bfloat16_bits(v) << 16)
#define convert_to_bfloat16(v) ((float)(v))
#define lowest_bfloat16 (-INFINITY)
#define highest_bfloat16 INFINITY
#define isnan_bfloat16(v) isnan(v)
#define is_float_bfloat16 1
#define plain_bfloat16 0

// Rounds to nearest even; a NaN stays one, made quiet so that cutting its bits cannot give
// infinity.
static inline ushort bfloat16_bits(float v) {
  const uint bits = as_uint(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (ushort)((bits >> 16) | 0x40u);
  return (ushort)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// --- integers ----------------------------------------------------------------------------------
typedef int storage_int32;
typedef int arith_int32;
typedef int4 arith4_int32;
#define load_int32(p, i) ((p)[i])
#define store_int32(p, i, v) ((p)[i] = (v))
#define round_int32(v) (v)
#define convert_to_int32(v) ((int)(v))
#define lowest_int32 INT_MIN
#define highest_int32 INT_MAX
#define isnan_int32(v) 0
#define is_float_int32 0
#define plain_int32 1

typedef long storage_int64;
typedef long arith_int64;
typedef long4 arith4_int64;
#define load_int64(p, i) ((p)[i])
#define store_int64(p, i, v) ((p)[i] = (v))
#define round_int64(v) (v)
#define convert_to_int64(v) ((long)(v))
#define lowest_int64 LONG_MIN
#define highest_int64 LONG_MAX
#define isnan_int64(v) 0
#define is_float_int64 0
#define plain_int64 1

// A float goes to uint8 through int, so that -1.0 becomes 255, as -1 does.
typedef uchar storage_uint8;
typedef uchar arith_uint8;
typedef uchar4 arith4_uint8;
#define load_uint8(p, i) ((p)[i])
#define store_uint8(p, i, v) ((p)[i] = (v))
#define round_uint8(v) (v)
#define convert_to_uint8(v) ((uchar)(int)(v))
#define lowest_uint8 ((uchar)0)
#define highest_uint8 ((uchar)255)
#define isnan_uint8(v) 0
#define is_float_uint8 0
#define plain_uint8 1

// --- bool: one byte, 0 or 1 --------------------------------------------------------------------
typedef uchar storage_bool;
typedef uchar arith_bool;
#define load_bool(p, i) ((p)[i])
#define store_bool(p, i, v) ((p)[i] = (uchar)((v) != 0))
#define round_bool(v) ((uchar)((v) != 0))
#define convert_to_bool(v) ((uchar)((v) != 0))
#define lowest_bool ((uchar)0)
#define highest_bool ((uchar)1)
#define isnan_bool(v) 0
#define is_float_bool 0
#define plain_bool 1

#endif  // CLNET_DTYPE_H
