"""One step of LSTM variants, from what the input contributes to the gates, and the state.

Axis letters: b batch, h hidden features; s is the logistic function.
"""

from __future__ import annotations

from clnet.calls import composite
from clnet.core import Tensor
from clnet.functional.activation import sigmoid, tanh
from clnet.functional.layer import layer_norm, linear


@composite
def peephole_lstm_step(
    pre: Tensor, h: Tensor, c: Tensor, weight: Tensor, peephole: Tensor
) -> tuple[Tensor, Tensor]:
    """Gates i, f, g, o of pre + h W.T that see the cell through diagonal weights.

    c' = s(f + p_f c) c + s(i + p_i c) tanh(g); h' = s(o + p_o c') tanh(c') (Gers and Schmidhuber,
    2000). pre: [b, 4 h]; h, c: [b, h]; weight: [4 h, h]; peephole: [3, h] in the order i, f, o.
    Returns (h', c').

    >>> import clnet as cn
    >>> h, c = peephole_lstm_step(cn.zeros(2, 8), cn.zeros(2, 2), cn.ones(2, 2), cn.zeros(8, 2),
    ...                           cn.zeros(3, 2))
    >>> c.tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    i, f, g, o = (pre + linear(h, weight)).chunk(4, -1)
    p_i, p_f, p_o = peephole.unbind(0)
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
    return sigmoid(o + p_o * c) * tanh(c), c


@composite
def coupled_lstm_step(
    pre: Tensor, h: Tensor, c: Tensor, weight: Tensor, peephole: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gates i, g, o of pre + h W.T, where what is not written is kept: the forget gate is 1 - i.

    c' = (1 - i') c + i' tanh(g) with i' = s(i + p_i c); h' = s(o + p_o c') tanh(c') (Greff et al.,
    2017). pre: [b, 3 h]; h, c: [b, h]; weight: [3 h, h]; peephole: [2, h] in the order i, o, or
    None. Returns (h', c').

    >>> import clnet as cn
    >>> h, c = coupled_lstm_step(cn.zeros(2, 6), cn.zeros(2, 2), cn.ones(2, 2), cn.zeros(6, 2))
    >>> c.tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    i, g, o = (pre + linear(h, weight)).chunk(3, -1)
    if peephole is not None:
        i = i + peephole[0] * c
    i = sigmoid(i)
    c = (1 - i) * c + i * tanh(g)
    if peephole is not None:
        o = o + peephole[1] * c
    return sigmoid(o) * tanh(c), c


@composite
def layer_norm_lstm_step(
    pre: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    gain: Tensor,
    gain_c: Tensor,
    bias_c: Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Gates i, f, g, o of pre + LN(h W.T); c' = s(f) c + s(i) tanh(g); h' = s(o) tanh(LN(c')).

    LN brings rows to mean 0 and variance 1, then scales and shifts (Ba et al., 2016). pre: [b, 4
    h], normalised already; h, c: [b, h]; weight: [4 h, h]; gain: [4 h]; gain_c, bias_c: [h].
    Returns (h', c').

    >>> import clnet as cn
    >>> h, c = layer_norm_lstm_step(cn.zeros(2, 8), cn.zeros(2, 2), cn.ones(2, 2), cn.zeros(8, 2),
    ...                             cn.ones(8), cn.ones(2))
    >>> c.tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    recurrent = layer_norm(linear(h, weight), gain.shape, gain, eps=eps)
    i, f, g, o = (pre + recurrent).chunk(4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c, gain_c.shape, gain_c, bias_c, eps)), c
