// Recurrent cells: what one step makes of the gates of a hidden unit, and its derivative.
//
//   CELL(_GATES), CELL(_KEPT)  gates, and values that the derivative needs, of a unit
//   CELL(_STATES)              states of a unit: 1 (h) or 2 (h, c)
//   CELL(_APART)               whether du differs from dp
//   CELL(_STEP)(l)             statement: from p[g], the input's part of gate g, u[g], the state's
//                              part, h0 and c0, the states before, all at lane l: h and c, the
//                              states after, and kept[k]
//   CELL(_BACK)(l)             statement: from kept[k], the states h0, c0 before and h1, c1 after,
//                              and their cotangents dh and dc: dp[g] and du[g], and dh and dc of
//                              the states before but for what flows through u
//
// rnn_tanh, rnn_relu  h = tanh(p + u), or relu (Elman, 1990)
// lstm  gates i, f, g, o: c = s(f) c0 + s(i) tanh(g), h = s(o) tanh(c) (Hochreiter and Schmidhuber,
//       1997; Gers et al., 2000); kept: s(i), s(f), tanh(g), s(o)
// gru   gates r, z, n: n' = tanh(p_n + s(r) u_n), h = (1 - s(z)) n' + s(z) h0 (Cho et al., 2014);
//       kept: s(r), s(z), n', u_n
//
// s is the logistic function. The file that includes this defines CELL_TYPE, the cell's name, X,
// the dtype, ACC, the type of these arrays, and LANES, their length.

#ifndef CLNET_CELLS_H
#define CLNET_CELLS_H

#include "dtype.h"
#include "math.h"

#define CELL(part) DTYPE_PASTE(CELL_TYPE, part)
#define AT(array, g, l) array[(g) * LANES + (l)]
#define LOGISTIC(x) (1 / (1 + MATH(exp, X)(-(x))))

#define rnn_tanh_GATES 1
#define rnn_tanh_KEPT 0
#define rnn_tanh_STATES 1
#define rnn_tanh_APART 0
#define rnn_tanh_STEP(l) h[l] = MATH(tanh, X)(p[l] + u[l]);
#define rnn_tanh_BACK(l)              \
  dp[l] = dh[l] * (1 - h1[l] * h1[l]); \
  du[l] = dp[l];                      \
  dh[l] = 0;

#define rnn_relu_GATES 1
#define rnn_relu_KEPT 0
#define rnn_relu_STATES 1
#define rnn_relu_APART 0
#define rnn_relu_STEP(l)          \
  {                               \
    const ACC v = p[l] + u[l];    \
    h[l] = v < 0 ? 0 : v;         \
  }
#define rnn_relu_BACK(l)              \
  dp[l] = h1[l] > 0 ? dh[l] : 0;      \
  du[l] = dp[l];                      \
  dh[l] = 0;

#define lstm_GATES 4
#define lstm_KEPT 4
#define lstm_STATES 2
#define lstm_APART 0
#define lstm_STEP(l)                                     \
  {                                                      \
    const ACC i_ = LOGISTIC(AT(p, 0, l) + AT(u, 0, l));  \
    const ACC f_ = LOGISTIC(AT(p, 1, l) + AT(u, 1, l));  \
    const ACC g_ = MATH(tanh, X)(AT(p, 2, l) + AT(u, 2, l)); \
    const ACC o_ = LOGISTIC(AT(p, 3, l) + AT(u, 3, l));  \
    c[l] = f_ * c0[l] + i_ * g_;                         \
    h[l] = o_ * MATH(tanh, X)(c[l]);                     \
    AT(kept, 0, l) = i_;                                 \
    AT(kept, 1, l) = f_;                                 \
    AT(kept, 2, l) = g_;                                 \
    AT(kept, 3, l) = o_;                                 \
  }
#define lstm_BACK(l)                                                    \
  {                                                                     \
    const ACC i_ = AT(kept, 0, l), f_ = AT(kept, 1, l);                 \
    const ACC g_ = AT(kept, 2, l), o_ = AT(kept, 3, l);                 \
    const ACC t_ = MATH(tanh, X)(c1[l]);                                \
    const ACC dc_ = dc[l] + dh[l] * o_ * (1 - t_ * t_);                 \
    AT(dp, 0, l) = AT(du, 0, l) = dc_ * g_ * i_ * (1 - i_);             \
    AT(dp, 1, l) = AT(du, 1, l) = dc_ * c0[l] * f_ * (1 - f_);          \
    AT(dp, 2, l) = AT(du, 2, l) = dc_ * i_ * (1 - g_ * g_);             \
    AT(dp, 3, l) = AT(du, 3, l) = dh[l] * t_ * o_ * (1 - o_);           \
    dc[l] = dc_ * f_;                                                   \
    dh[l] = 0;                                                          \
  }

#define gru_GATES 3
#define gru_KEPT 4
#define gru_STATES 1
#define gru_APART 1
#define gru_STEP(l)                                                     \
  {                                                                     \
    const ACC r_ = LOGISTIC(AT(p, 0, l) + AT(u, 0, l));                 \
    const ACC z_ = LOGISTIC(AT(p, 1, l) + AT(u, 1, l));                 \
    const ACC n_ = MATH(tanh, X)(AT(p, 2, l) + r_ * AT(u, 2, l));       \
    h[l] = (1 - z_) * n_ + z_ * h0[l];                                  \
    AT(kept, 0, l) = r_;                                                \
    AT(kept, 1, l) = z_;                                                \
    AT(kept, 2, l) = n_;                                                \
    AT(kept, 3, l) = AT(u, 2, l);                                       \
  }
#define gru_BACK(l)                                                     \
  {                                                                     \
    const ACC r_ = AT(kept, 0, l), z_ = AT(kept, 1, l), n_ = AT(kept, 2, l); \
    const ACC dn_ = dh[l] * (1 - z_) * (1 - n_ * n_);                   \
    AT(dp, 0, l) = AT(du, 0, l) = dn_ * AT(kept, 3, l) * r_ * (1 - r_); \
    AT(dp, 1, l) = AT(du, 1, l) = dh[l] * (h0[l] - n_) * z_ * (1 - z_); \
    AT(dp, 2, l) = dn_;                                                 \
    AT(du, 2, l) = dn_ * r_;                                            \
    dh[l] *= z_;                                                        \
  }

#endif  // CLNET_CELLS_H
