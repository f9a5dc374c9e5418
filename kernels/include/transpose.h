// Eight rows of eight neighbours, held as vectors of 8, transposed in registers.
//
//   EIGHT(M)                 M(0) .. M(7)
//   TRANSPOSE_EIGHT(p, q)    statement: transposes p[8], an array of vectors, into q[8]; p is
//                            overwritten
//
// Pairs of elements, then of pairs, change places within halves of four, then halves: each step is
// one instruction for 8 floats where registers have 256 bits. Sixteen rows of sixteen do not fit 16
// such registers: a compiler took 1.6 s more for them (PoCL 3.1, Zen 3). Oclgrind 21.10 loses track
// of initialised values in shuffles.

#ifndef CLNET_TRANSPOSE_H
#define CLNET_TRANSPOSE_H

#define EIGHT(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define TRANSPOSE_ELEMENTS(from, to, i)                                                       \
  to[i] = __builtin_shufflevector(from[i], from[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);            \
  to[i + 1] = __builtin_shufflevector(from[i], from[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
#define TRANSPOSE_PAIRS(from, to, i, j)                                                       \
  to[i] = __builtin_shufflevector(from[j], from[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);            \
  to[i + 1] = __builtin_shufflevector(from[j], from[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
#define TRANSPOSE_HALVES(from, to, i)                                                         \
  to[i] = __builtin_shufflevector(from[i], from[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);            \
  to[i + 4] = __builtin_shufflevector(from[i], from[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
#define TRANSPOSE_EIGHT(p, q)                                                                 \
  TRANSPOSE_ELEMENTS(p, q, 0) TRANSPOSE_ELEMENTS(p, q, 2)                                     \
  TRANSPOSE_ELEMENTS(p, q, 4) TRANSPOSE_ELEMENTS(p, q, 6)                                     \
  TRANSPOSE_PAIRS(q, p, 0, 0) TRANSPOSE_PAIRS(q, p, 2, 1)                                     \
  TRANSPOSE_PAIRS(q, p, 4, 4) TRANSPOSE_PAIRS(q, p, 6, 5)                                     \
  TRANSPOSE_HALVES(p, q, 0) TRANSPOSE_HALVES(p, q, 1)                                         \
  TRANSPOSE_HALVES(p, q, 2) TRANSPOSE_HALVES(p, q, 3)

#endif  // CLNET_TRANSPOSE_H
