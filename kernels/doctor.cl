// What a device is asked before it is trusted: group sums, arithmetic, sub-group sums, long loops,
// and how wide its registers are.
//
// Formula:
//   group_sum      y[g] = sum of x over the work-group g
//   arithmetic     y[i] = x[i] * 1.5 + 0.25, in REAL
//   subgroup_sum   y[i] = sum of x over the sub-group of i, s[i] = the sub-group's number
//   long_loop      y[0] = the n-th number of y -> 1664525 y + 1013904223 (mod 2^32) from 0
//   vector_bits    y[0] = bits of the vector registers that the compiler uses; 0 if it hides them
// Layout:
//   x, y and s are contiguous, one element a work-item.
// Launch:
//   group_sum      one item an element: global = a multiple of LOCAL; y has global / LOCAL elements
//   arithmetic     one item an element, in work-groups of one
//   subgroup_sum   one item an element: global = LOCAL
//   long_loop, vector_bits  one item
// Entries:
//   group_sum
//   arithmetic
//   subgroup_sum
//   long_loop
//   vector_bits
// Macros:
//   LOCAL  work-items of a work-group (group_sum, subgroup_sum); a power of two, 2 to the device's
//          limit
//   REAL   type of the arithmetic (arithmetic); float, half, double
// Oracle:
//   numpy, on values whose results are exact; clnet/cli/doctor.py, clnet/device/capabilities.py.

#ifdef USE_group_sum
#ifndef LOCAL
#error "doctor.cl: LOCAL is not defined: work-items of a work-group"
#endif
// A tree in local memory: wrong wherever barriers or local memory are, and with every item taking
// part.
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(group_sum)(
    __global const float *x, __global float *y) {
  __local float part[LOCAL];
  const int item = get_local_id(0);
  part[item] = x[get_global_id(0)];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_way = LOCAL / 2; half_way > 0; half_way /= 2) {
    if (item < half_way) part[item] += part[item + half_way];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (item == 0) y[get_group_id(0)] = part[0];
}
#endif

#ifdef USE_arithmetic
#ifndef REAL
#error "doctor.cl: REAL is not defined: type of the arithmetic"
#endif
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(arithmetic)(
    __global const REAL *x, __global REAL *y) {
  const int i = get_global_id(0);
  y[i] = x[i] * (REAL)1.5f + (REAL)0.25f;
}
#endif

#ifdef USE_subgroup_sum
#ifndef LOCAL
#error "doctor.cl: LOCAL is not defined: work-items of a work-group"
#endif
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(subgroup_sum)(
    __global const float *x, __global float *y, __global int *s) {
  const int i = get_global_id(0);
  y[i] = sub_group_reduce_add(x[i]);
  s[i] = get_sub_group_id();
}
#endif

#ifdef USE_long_loop
// rusticl on llvmpipe 22.3 leaves a loop after 65,536 turns, without a word.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(long_loop)(
    __global uint *y, const int n) {
  uint value = 0;
  for (int i = 0; i < n; i++) value = value * 1664525u + 1013904223u;
  y[0] = value;
}
#endif

#ifdef USE_vector_bits
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void KERNEL_NAME(vector_bits)(
    __global int *y) {
#if defined(__AVX512F__)
  y[0] = 512;
#elif defined(__AVX__)
  y[0] = 256;
#elif defined(__SSE__) || defined(__ARM_NEON)
  y[0] = 128;
#else
  y[0] = 0;
#endif
}
#endif
