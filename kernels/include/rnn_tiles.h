// How the product of rnn_tiled.cl brings its operands to local memory.
//
//   RNN_LINE     elements of a line of local memory: TILE_K, and one vector of padding, so that
//                neighbours that read vectors of neighbouring lines do not meet
//   RNN_LEFT, RNN_RIGHT  elements that an item brings of A and of W for TILE_K steps
//   RNN_FETCH    statement: read them, of step k0 on, to next_a and next_w
//   RNN_KEEP     statement: write them to tile_a and tile_w
//
// An item brings every RNN_BY-th line of a tile, at one k, or, of a W that lies along the units,
// every RNN_BY_K-th k of a line. 16-bit floats are carried from step to step unrounded: `a` is of
// type ARITH(X), but where `first` is given.
//
// The file that includes this defines X, ACC, COLUMNS, ROWS, EACH, BLOCKS, ALONG_K, TILE_K and
// EDGES. What a statement names stands in the function that it is in.

#ifndef CLNET_RNN_TILES_H
#define CLNET_RNN_TILES_H

#include "dtype.h"

#define RNN_LINE (TILE_K + 4)
#define RNN_BY (256 / TILE_K)
#define RNN_BY_K (256 / COLUMNS)
#define RNN_LEFT ((ROWS * EACH + RNN_BY - 1) / RNN_BY)
#define RNN_RIGHT (COLUMNS * BLOCKS * TILE_K / 256)
// Few rows are brought by some of the items.
#define RNN_BRINGS(l) (ROWS * EACH % RNN_BY == 0 || line + (l) * RNN_BY < ROWS * EACH)
#define RNN_A(i) (!PLAIN(X) && first ? LOAD(X, first, i) : a[i])
#define RNN_W_ROW(l) ((l) * RNN_BY / COLUMNS * H + (l) * RNN_BY % COLUMNS)
#define RNN_W_AT(l) ((ALONG_K ? RNN_W_ROW(l) : (l) * RNN_BY_K) * H)
#define RNN_W_COLUMN(l) (w_line + (ALONG_K ? (l) * RNN_BY % COLUMNS : 0))
#define RNN_W_K(l) (w_k + (ALONG_K ? 0 : (l) * RNN_BY_K))
#define RNN_W_LINE(l) (w_line + (ALONG_K ? (l) * RNN_BY : 0))
#define RNN_FETCH                                                                              \
  _Pragma("unroll") for (int l = 0; l < RNN_LEFT; l++) {                                       \
    const bool inside =                                                                        \
        RNN_BRINGS(l) && (!EDGES || (line + l * RNN_BY < rows && k0 + k < stop));              \
    next_a[l] = inside ? RNN_A(l * RNN_BY * depth) : (ACC)0;                                   \
  }                                                                                            \
  _Pragma("unroll") for (int l = 0; l < RNN_RIGHT; l++) {                                      \
    const bool inside = !EDGES || (RNN_W_COLUMN(l) < columns && k0 + RNN_W_K(l) < stop);       \
    next_w[l] = inside ? LOAD(X, w, RNN_W_AT(l)) : (ACC)0;                                     \
  }
#define RNN_KEEP                                                                               \
  _Pragma("unroll") for (int l = 0; l < RNN_LEFT; l++)                                         \
      if (RNN_BRINGS(l))                                                                       \
        ((__local ACC *)tile_a)[(line + l * RNN_BY) * RNN_LINE + k] = next_a[l];               \
  _Pragma("unroll") for (int l = 0; l < RNN_RIGHT; l++)                                        \
      ((__local ACC *)tile_w)[RNN_W_LINE(l) * RNN_LINE + RNN_W_K(l)] = next_w[l];

#endif  // CLNET_RNN_TILES_H
