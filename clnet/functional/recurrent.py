"""One step of recurrent layers, from what the input contributes to the gates, and the state.

Axis letters: b batch, h hidden features, p projected features (h without a projection).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clnet.calls import composite
from clnet.core import Tensor
from clnet.errors import ShapeError
from clnet.functional.activation import relu, sigmoid, tanh
from clnet.functional.layer import linear

NONLINEARITIES = {"tanh": tanh, "relu": relu}


def checked_lengths(name: str, lengths: Any, time: int, batch: int) -> np.ndarray:
    """Return the lengths of a batch of sequences as int32 [b].

    Errors, which begin with `name`: ShapeError unless lengths are b integers; ValueError for
    lengths not in 1 to `time`.

    >>> checked_lengths("fold", [3, 1], time=3, batch=2)
    array([3, 1], dtype=int32)
    """
    given = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths)
    if given.shape != (batch,) or given.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: got lengths of shape {list(given.shape)} and dtype {given.dtype}; "
            f"needs {batch} integers, one for each sequence of the batch"
        )
    if batch and not 1 <= given.min() <= given.max() <= time:
        raise ValueError(
            f"{name}: got lengths from {given.min()} to {given.max()}; "
            f"needs 1 to {time}, the steps of the input"
        )
    return given.astype(np.int32)


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
