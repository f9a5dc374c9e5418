"""LSTM variants as cells, to be run along sequences by `cn.map_accum`, and noise for cells.

Axis letters: b batch, i input features, h hidden features; s is the logistic function.
"""

from __future__ import annotations

from typing import Any

from clnet import functional as F
from clnet.core import Tensor
from clnet.errors import ShapeError
from clnet.functional.lstm import (
    coupled_lstm_step,
    layer_norm_lstm_step,
    peephole_lstm_step,
)
from clnet.nn.cell import LSTMCell, RNNCellBase
from clnet.nn.layer import Dropout, LayerNorm, parameter
from clnet.nn.module import Module
from clnet.ops.create import ones
from clnet.ops.random import rand, randn_like

State = tuple[Tensor, Tensor]


class PeepholeLSTMCell(LSTMCell):
    """A LSTM cell whose gates see its memory through diagonal weights (Gers and Schmidhuber, 2000).

    i, f, g, o = x W_ih.T + b_ih + h W_hh.T + b_hh; c' = s(f + p_f c) c + s(i + p_i c) tanh(g);
    h' = s(o + p_o c') tanh(c'). As `nn.LSTMCell`, with weight_ch [3, h], the peepholes p_i, p_f,
    p_o. Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> h, c = cn.nn.PeepholeLSTMCell(3, 4)(cn.ones(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        made = parameter(3, hidden_size, device=device, dtype=dtype)
        self.register_parameter("weight_ch", made)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Return the next hidden and cell states."""
        h, c = self._states(input, hx)
        return peephole_lstm_step(self._pre(input), h, c, self.weight_hh, self.weight_ch)


class CoupledLSTMCell(LSTMCell):
    """A LSTM cell that keeps what it does not write: the forget gate is 1 - i (Greff et al., 2017).

    i, g, o = x W_ih.T + b_ih + h W_hh.T + b_hh; i' = s(i + p_i c); c' = (1 - i') c + i' tanh(g);
    h' = s(o + p_o c') tanh(c'). As `nn.LSTMCell`, with 3 h rows in the order i, g, o; weight_ch
    [2, h], the peepholes p_i, p_o, if `peephole` (DyNet's fast LSTM). Errors: ShapeError,
    DTypeError.

    >>> import clnet as cn
    >>> h, c = cn.nn.CoupledLSTMCell(3, 4, peephole=True)(cn.ones(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        peephole: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        made = parameter(2, hidden_size, device=device, dtype=dtype) if peephole else None
        self.register_parameter("weight_ch", made)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Return the next hidden and cell states."""
        h, c = self._states(input, hx)
        return coupled_lstm_step(self._pre(input), h, c, self.weight_hh, self.weight_ch)


class LayerNormLSTMCell(LSTMCell):
    """A LSTM cell with layer normalisation of both products and of the memory (Ba et al., 2016).

    i, f, g, o = LN(x W_ih.T) + LN(h W_hh.T) + b_ih + b_hh; c' = s(f) c + s(i) tanh(g); h' = s(o)
    tanh(LN(c')). As `nn.LSTMCell`, with `norm_ih` and `norm_hh`, gains of 4 h features, and
    `norm_c`, of h features, with a shift. Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> h, c = cn.nn.LayerNormLSTMCell(3, 4)(cn.ones(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        eps: float = 1e-5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        options = {"device": device, "dtype": dtype}
        self.eps = eps
        self.norm_ih = LayerNorm(4 * hidden_size, eps, bias=False, **options)
        self.norm_hh = LayerNorm(4 * hidden_size, eps, bias=False, **options)
        self.norm_c = LayerNorm(hidden_size, eps, bias=bias, **options)

    def reset_parameters(self) -> None:
        """Draw the initial values again, and set gains to 1 and the shift to 0."""
        super().reset_parameters()
        for norm in (m for m in self.children() if isinstance(m, LayerNorm)):
            norm.reset_parameters()

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Return the next hidden and cell states."""
        h, c = self._states(input, hx)
        pre = self.norm_ih(F.linear(input, self.weight_ih))
        if self.bias_ih is not None:
            pre = pre + self.bias_ih + self.bias_hh
        gains = self.norm_hh.weight, self.norm_c.weight, self.norm_c.bias
        return layer_norm_lstm_step(pre, h, c, self.weight_hh, *gains, eps=self.eps)


# --- noise ----------------------------------------------------------------------------------------


class VariationalDropout(Dropout):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani, 2016).

    input: [t, b, ..], or [b, t, ..] with `batch_first`. Errors: ValueError for a probability
    outside [0, 1]; ShapeError for fewer than three dimensions.

    >>> import clnet as cn
    >>> y = cn.nn.VariationalDropout(0.5)(cn.ones(3, 2, 4))
    >>> bool((y == y[:1]).all())
    True
    """

    def __init__(self, p: float = 0.5, batch_first: bool = False) -> None:
        super().__init__(p)
        self.batch_first = batch_first

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with the same elements of all steps dropped, while training."""
        if input.ndim < 3:
            raise ShapeError(
                f"VariationalDropout: got {input.node.spec}; needs [t, b, ..] or [b, t, ..]"
            )
        if not self.training or self.p == 0:
            return input
        dim = int(self.batch_first)
        return input * _mask(input.select(dim, 0), self.p).unsqueeze(dim)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}" + (", batch_first=True" if self.batch_first else "")


def _mask(like: Tensor, p: float) -> Tensor:
    """Return 1 / (1 - p), or 0 with probability p, in the shape of a tensor."""
    if p == 1.0:
        return like.detach() * 0
    kept = rand(like.shape, device=like.device) >= p
    return kept.to(like.dtype) * (1 / (1 - p))


class VariationalDropoutCell(RNNCellBase):
    """A cell whose input and hidden state are dropped by one mask a sequence (Gal and Ghahramani).

    cell: of `cn.nn`, (x, state) -> state; p_input, p_hidden: probabilities. The masks are drawn
    with the first state and carried along with it: the state is (state of the cell, mask [b, i],
    mask [b, h]), which `initial_state(x)`, and a sequence begun without a state, make. In
    evaluation they are 1. Errors: as the cell; ValueError for probabilities outside [0, 1].

    >>> import clnet as cn
    >>> cell = cn.nn.VariationalDropoutCell(cn.nn.GRUCell(3, 4), p_input=0.2, p_hidden=0.5)
    >>> output, (h, _, _) = cn.map_accum(cell, cn.ones(5, 2, 3))
    >>> output.shape, h.shape
    ((5, 2, 4), (2, 4))
    """

    def __init__(self, cell: RNNCellBase, p_input: float = 0.5, p_hidden: float = 0.5) -> None:
        Module.__init__(self)
        for name, p in (("p_input", p_input), ("p_hidden", p_hidden)):
            if not 0.0 <= p <= 1.0:
                raise ValueError(
                    f"VariationalDropoutCell: got {name}={p}; needs a probability, 0 to 1"
                )
        self.cell, self.p_input, self.p_hidden = cell, p_input, p_hidden

    def initial_state(self, input: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Return the cell's first state and two new masks."""
        state = self.cell.initial_state(input)
        h = state[0] if isinstance(state, tuple) else state
        masks = [
            _mask(like, p) if self.training and p else ones(like.shape, dtype=like.dtype)
            for like, p in ((input, self.p_input), (h, self.p_hidden))
        ]
        return state, masks[0], masks[1]

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Any, Tensor, Tensor]:
        """Return the next state of the cell, and the masks."""
        state, x_mask, h_mask = self.initial_state(input) if hx is None else hx
        if isinstance(state, tuple):
            dropped: Any = (state[0] * h_mask, *state[1:])
        else:
            dropped = state * h_mask
        return self.cell(input * x_mask, dropped), x_mask, h_mask

    def extra_repr(self) -> str:
        """Return the probabilities."""
        return f"p_input={self.p_input}, p_hidden={self.p_hidden}"


class WeightNoise(Module):
    """A module whose weights have normal noise added in each call, while training (Graves, 2011).

    module: any; std: the noise's standard deviation; every parameter gets noise of its own, drawn
    anew in each call. Around a layer such as `nn.LSTM`, that is once for all steps. Gradients are
    those at the noisy weights, and flow to the module's parameters. Errors: ValueError for a
    negative std.

    >>> import clnet as cn
    >>> net = cn.nn.WeightNoise(cn.nn.Linear(3, 2), std=0.1)
    >>> bool((net(cn.ones(1, 3)) == net(cn.ones(1, 3))).any())
    False
    """

    def __init__(self, module: Module, std: float) -> None:
        super().__init__()
        if not std >= 0:
            raise ValueError(f"WeightNoise: got std={std}; needs a number >= 0")
        self.module, self.std = module, std

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module does, with other weights."""
        if not self.training or not self.std:
            return self.module(*args, **kwargs)
        tables = [m._parameters for m in self.module.modules()]
        noisy: dict[int, Any] = {}
        for p in self.module.parameters():
            noisy[id(p)] = p + randn_like(p) * self.std
        before = [dict(table) for table in tables]
        try:
            for table in tables:
                table.update({k: noisy[id(p)] for k, p in table.items() if p is not None})
            return self.module(*args, **kwargs)
        finally:
            for table, own in zip(tables, before, strict=True):
                table.update(own)

    def extra_repr(self) -> str:
        """Return the standard deviation."""
        return f"std={self.std}"
