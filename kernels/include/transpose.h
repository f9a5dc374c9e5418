// Sixteen rows of sixteen neighbours, held as vectors of 16, transposed in registers.
//
//   SIXTEEN(M)               M(0) .. M(15)
//   TRANSPOSE_SIXTEEN(p, q)  statement: transposes p[16], an array of vectors; q[16] is overwritten
//
// Four rounds of interleaving rows i and i + 8 do it: a round turns the eight bits of (row, column)
// left by one. Oclgrind 21.10 loses track of initialised values in shuffles.

#ifndef CLNET_TRANSPOSE_H
#define CLNET_TRANSPOSE_H

#define SIXTEEN(M) \
  M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define TRANSPOSE_PAIR(x, y, to, i)                                                              \
  to[i] = __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); \
  to[i + 1] = __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,    \
                                      30, 15, 31);
#define TRANSPOSE_ROUND(from, to)                                                   \
  TRANSPOSE_PAIR(from[0], from[8], to, 0) TRANSPOSE_PAIR(from[1], from[9], to, 2)   \
  TRANSPOSE_PAIR(from[2], from[10], to, 4) TRANSPOSE_PAIR(from[3], from[11], to, 6) \
  TRANSPOSE_PAIR(from[4], from[12], to, 8) TRANSPOSE_PAIR(from[5], from[13], to, 10) \
  TRANSPOSE_PAIR(from[6], from[14], to, 12) TRANSPOSE_PAIR(from[7], from[15], to, 14)
#define TRANSPOSE_SIXTEEN(p, q) \
  TRANSPOSE_ROUND(p, q) TRANSPOSE_ROUND(q, p) TRANSPOSE_ROUND(p, q) TRANSPOSE_ROUND(q, p)

#endif  // CLNET_TRANSPOSE_H
