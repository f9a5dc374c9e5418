"""One step of recurrent layers, from what the input contributes to the gates, and the state.

Axis letters: b batch, h hidden features, p projected features (h without a projection).
"""

from __future__ import annotations

from clnet.calls import composite
from clnet.core import Tensor
from clnet.functional.activation import relu, sigmoid, tanh
from clnet.functional.layer import linear

NONLINEARITIES = {"tanh": tanh, "relu": relu}


@composite
def rnn_step(pre: Tensor, h: Tensor, weight: Tensor, *, nonlinearity: str = "tanh") -> Tensor:
    """h' = tanh(pre + h W.T), or relu instead of tanh (Elman, 1990).

    pre, h: [b, h]; weight: [h, h].

    >>> import clnet as cn
    >>> rnn_step(cn.zeros(2, 3), cn.ones(2, 3), cn.zeros(3, 3)).shape
    (2, 3)
    """
    return NONLINEARITIES[nonlinearity](pre + linear(h, weight))


@composite
def lstm_step(
    pre: Tensor, h: Tensor, c: Tensor, weight: Tensor, projection: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gates i, f, g, o of pre + h W.T; c' = s(f) c + s(i) tanh(g); h' = s(o) tanh(c') P.T.

    pre: [b, 4 h]; h: [b, p]; c: [b, h]; weight: [4 h, p]; projection: [p, h]; s is the logistic
    function (Hochreiter and Schmidhuber, 1997; Gers et al., 2000; projection: Sak et al., 2014).
    Returns (h', c').

    >>> import clnet as cn
    >>> h, c = lstm_step(cn.zeros(2, 12), cn.zeros(2, 3), cn.ones(2, 3), cn.zeros(12, 3))
    >>> c.tolist()
    [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """
    i, f, g, o = (pre + linear(h, weight)).chunk(4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h if projection is None else linear(h, projection)), c


@composite
def gru_step(pre: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """r, z, n of pre and of u = h W.T + b: h' = (1 - z') n' + z' h, as cuDNN and PyTorch have it.

    r' = s(r + u_r), z' = s(z + u_z), n' = tanh(n + r' u_n), s the logistic function. pre: [b, 3 h];
    h: [b, h]; weight: [3 h, h]; bias: [3 h] (Cho et al., 2014).

    >>> import clnet as cn
    >>> gru_step(cn.zeros(2, 9), cn.ones(2, 3), cn.zeros(9, 3)).tolist()
    [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """
    r, z, n = pre.chunk(3, -1)
    u_r, u_z, u_n = linear(h, weight, bias).chunk(3, -1)
    z = sigmoid(z + u_z)
    return (1 - z) * tanh(n + sigmoid(r + u_r) * u_n) + z * h
