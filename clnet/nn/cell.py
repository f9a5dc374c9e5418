"""Cells: one step of a recurrent layer, with PyTorch's signatures, weight names and layouts.

Axis letters: b batch, i input features, h hidden features.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from clnet import functional as F
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.functional.recurrent import NONLINEARITIES, gru_step, lstm_step, rnn_step
from clnet.nn import init
from clnet.nn.layer import parameter
from clnet.nn.module import Module
from clnet.ops.create import zeros


def check_nonlinearity(name: str, which: str) -> None:
    """Raise ValueError unless the nonlinearity is known."""
    if which not in NONLINEARITIES:
        raise ValueError(f"{name}: got nonlinearity={which!r}; needs 'tanh' or 'relu'")


def uniform(module: Module, hidden_size: int) -> None:
    """Draw all parameters from +-1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


class RNNCellBase(Module):
    """Base class of cells: one step of a recurrent layer, that returns its state alone.

    The hidden state, the state's first tensor, is also the step's output.
    """

    _gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self._gates * hidden_size
        options = {"device": device, "dtype": dtype}
        self.weight_ih = parameter(rows, input_size, **options)
        self.weight_hh = parameter(rows, hidden_size, **options)
        self.register_parameter("bias_ih", parameter(rows, **options) if bias else None)
        self.register_parameter("bias_hh", parameter(rows, **options) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        uniform(self, self.hidden_size)

    def initial_state(self, input: Tensor) -> Any:
        """Return the state, zero, that a sequence begins with, given an input of one step."""
        return self._state(input, None)

    def _pre(self, input: Tensor) -> Tensor:
        """Return what the input and the biases contribute to the gates."""
        pre = F.linear(input, self.weight_ih, self.bias_ih)
        return pre if self.bias_hh is None else pre + self.bias_hh

    def _state(self, input: Tensor, hx: Tensor | None, what: str = "hx") -> Tensor:
        """Check the input and a state, and return the state, zero if there is none."""
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: got input {input.node.spec}; needs [batch, {self.input_size}] or "
                f"[{self.input_size}]"
            )
        if any(t is not None and t.dtype is not self.weight_ih.dtype for t in (input, hx)):
            given = ", ".join(str(t.node.spec) for t in (input, hx) if t is not None)
            raise DTypeError(
                f"{name}: got {given}; needs {self.weight_ih.dtype.name}, as the weights"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            return zeros(shape, dtype=input.dtype, device=input.device)
        if hx.shape != shape:
            raise ShapeError(f"{name}: got {what} {hx.node.spec}; needs {list(shape)}")
        return hx

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of a simple recurrent layer: h' = tanh(x W_ih.T + b_ih + h W_hh.T + b_hh).

    input: [b, i] or [i]; hx: [b, h] or [h], zero if left out; result: as hx. weight_ih: [h, i];
    weight_hh: [h, h]; biases: [h]; all uniform in +-1 / sqrt(h) at first. Errors: ShapeError,
    DTypeError.

    >>> import clnet as cn
    >>> cn.nn.RNNCell(3, 4)(cn.ones(2, 3)).shape
    (2, 4)
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state."""
        h = self._state(input, hx)
        return rnn_step(self._pre(input), h, self.weight_hh, nonlinearity=self.nonlinearity)

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        text = super().extra_repr()
        return text + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of a long short-term memory; the gates are in the order i, f, g, o.

    input: [b, i] or [i]; hx: (h, c), each [b, h] or [h], zero if left out; returns (h', c').
    weight_ih: [4 h, i]; weight_hh: [4 h, h]; biases: [4 h]; all uniform in +-1 / sqrt(h) at first.
    The formula is that of `nn.LSTM`. Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> h, c = cn.nn.LSTMCell(3, 4)(cn.ones(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    _gates = 4

    def initial_state(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden and cell states of zero, given an input of one step."""
        return self._states(input, None)

    def _states(self, input: Tensor, hx: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        given = (None, None) if hx is None else hx
        if isinstance(given, Tensor) or len(given) != 2:
            raise ShapeError(f"{type(self).__name__}: got one state; needs hx=(h, c)")
        return self._state(input, given[0], "h"), self._state(input, given[1], "c")

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell states."""
        h, c = self._states(input, hx)
        return lstm_step(self._pre(input), h, c, self.weight_hh)


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit; the gates are in the order r, z, n.

    input: [b, i] or [i]; hx: [b, h] or [h], zero if left out; result: as hx. weight_ih: [3 h, i];
    weight_hh: [3 h, h]; biases: [3 h]; all uniform in +-1 / sqrt(h) at first. The formula is that
    of `nn.GRU`. Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> cn.nn.GRUCell(3, 4)(cn.ones(2, 3)).shape
    (2, 4)
    """

    _gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state."""
        h = self._state(input, hx)
        pre = F.linear(input, self.weight_ih, self.bias_ih)
        return gru_step(pre, h, self.weight_hh, self.bias_hh)
