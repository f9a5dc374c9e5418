// Up to eight dimensions of a strided walk, as kernel arguments and as the offset of an element.
//
//   DIMS(RANK, p)              argument list: `const INDEX pn0, const INDEX ps0, ...`: the size and
//                              the stride, in elements, of each dimension of the group named p
//   SIZES(RANK, p)             the same, sizes only
//   STRIDES(RANK, p)           the same, strides only
//   OFFSET(RANK, i, a, b, to)  statement: add to `to` the offset of element i (row-major) of the
//                              dims whose sizes are those of group a and whose strides those of
//                              group b
//
// RANK is 1, 2, 3, 4 or 8 (a macro or a number); the file that includes this defines INDEX. Unused
// dimensions, the leading ones, have size 1 and stride 0.

#ifndef CLNET_DIMS_H
#define CLNET_DIMS_H

#define DIMS_PASTE_(a, b) a##b
#define DIMS_PASTE(a, b) DIMS_PASTE_(a, b)

#define SIZES(rank, p) DIMS_PASTE(SIZES_, rank)(p)
#define STRIDES(rank, p) DIMS_PASTE(STRIDES_, rank)(p)
#define DIMS(rank, p) SIZES(rank, p), STRIDES(rank, p)
#define OFFSET(rank, i, sizes, strides, to)        \
  {                                                \
    INDEX rest_ = (i);                             \
    DIMS_PASTE(OFFSET_, rank)(sizes, strides, to)  \
  }

#define SIZES_1(p) const INDEX p##n0
#define SIZES_2(p) SIZES_1(p), const INDEX p##n1
#define SIZES_3(p) SIZES_2(p), const INDEX p##n2
#define SIZES_4(p) SIZES_3(p), const INDEX p##n3
#define SIZES_8(p) \
  SIZES_4(p), const INDEX p##n4, const INDEX p##n5, const INDEX p##n6, const INDEX p##n7

#define STRIDES_1(p) const INDEX p##s0
#define STRIDES_2(p) STRIDES_1(p), const INDEX p##s1
#define STRIDES_3(p) STRIDES_2(p), const INDEX p##s2
#define STRIDES_4(p) STRIDES_3(p), const INDEX p##s3
#define STRIDES_8(p) \
  STRIDES_4(p), const INDEX p##s4, const INDEX p##s5, const INDEX p##s6, const INDEX p##s7

// One division, and a product for the remainder.
#define OFFSET_AT(sizes, strides, d, to)                                   \
  {                                                                        \
    const INDEX quotient_ = rest_ / sizes##n##d;                           \
    to += (rest_ - quotient_ * sizes##n##d) * strides##s##d;               \
    rest_ = quotient_;                                                     \
  }
#define OFFSET_1(sizes, strides, to) to += rest_ * strides##s0;
#define OFFSET_2(sizes, strides, to) OFFSET_AT(sizes, strides, 1, to) OFFSET_1(sizes, strides, to)
#define OFFSET_3(sizes, strides, to) OFFSET_AT(sizes, strides, 2, to) OFFSET_2(sizes, strides, to)
#define OFFSET_4(sizes, strides, to) OFFSET_AT(sizes, strides, 3, to) OFFSET_3(sizes, strides, to)
#define OFFSET_8(sizes, strides, to)                                            \
  OFFSET_AT(sizes, strides, 7, to) OFFSET_AT(sizes, strides, 6, to)             \
  OFFSET_AT(sizes, strides, 5, to) OFFSET_AT(sizes, strides, 4, to) OFFSET_4(sizes, strides, to)

#endif  // CLNET_DIMS_H
