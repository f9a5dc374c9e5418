"""Recurrent layers, with PyTorch's signatures, weight names and layouts.

Axis letters: t time, b batch, i input features, h hidden features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from clnet import functional as F
from clnet.core import Tensor, compute_with
from clnet.errors import ShapeError
from clnet.nn import init
from clnet.nn.layer import parameter
from clnet.nn.module import Module
from clnet.ops.create import zeros
from clnet.ops.join import cat, stack

_NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": F.tanh, "relu": F.relu}


def _nonlinearity(name: str, which: str) -> Callable[[Tensor], Tensor]:
    if which not in _NONLINEARITIES:
        raise ValueError(f"{name}: got nonlinearity={which!r}; needs 'tanh' or 'relu'")
    return _NONLINEARITIES[which]


def _uniform(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


class RNNCell(Module):
    """One step of a simple recurrent layer: h' = tanh(x W_ih.T + b_ih + h W_hh.T + b_hh).

    input: [b, i] or [i]; hx: [b, h] or [h], zero if left out; result: as hx. weight_ih: [h, i];
    weight_hh: [h, h]; biases: [h]; all uniform in +-1 / sqrt(h) at first. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.nn.RNNCell(3, 4)(cn.ones(2, 3)).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _nonlinearity("RNNCell", nonlinearity)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.bias, self.nonlinearity = bias, nonlinearity
        options = {"device": device, "dtype": dtype}
        self.weight_ih = parameter(hidden_size, input_size, **options)
        self.weight_hh = parameter(hidden_size, hidden_size, **options)
        self.register_parameter("bias_ih", parameter(hidden_size, **options) if bias else None)
        self.register_parameter("bias_hh", parameter(hidden_size, **options) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        _uniform(self, self.hidden_size)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state."""
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"RNNCell: got input {input.node.spec}; needs [batch, {self.input_size}] or "
                f"[{self.input_size}]"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            hx = zeros(shape, dtype=input.dtype, device=input.device)
        elif hx.shape != shape:
            raise ShapeError(f"RNNCell: got hx {hx.node.spec}; needs {list(shape)}")
        pre = F.linear(input, self.weight_ih, self.bias_ih)
        pre = pre + F.linear(hx, self.weight_hh, self.bias_hh)
        return _nonlinearity("RNNCell", self.nonlinearity)(pre)

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        return text + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class RNN(Module):
    """Layers of a simple recurrent net: h_t = tanh(x_t W_ih.T + b_ih + h_(t-1) W_hh.T + b_hh).

    input: [t, b, i], [b, t, i] with `batch_first`, or [t, i] unbatched; hx: [layers * directions,
    b, h] (unbatched without b), zero if left out. Returns (output, h_n): output [t, b, directions *
    h] of the last layer, h_n the last state of each layer and direction, shaped as hx. `dropout` is
    applied between layers in training. Weights, named as in PyTorch (weight_ih_l0, weight_hh_l0,
    bias_ih_l0, bias_hh_l0, .._l1, .._reverse), are uniform in +-1 / sqrt(h) at first. Errors:
    ShapeError for inputs and states that do not fit; ValueError for other settings.

    >>> import clnet as cn
    >>> output, h = cn.nn.RNN(3, 4, num_layers=2)(cn.ones(5, 2, 3))
    >>> output.shape, h.shape
    ((5, 2, 4), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _nonlinearity("RNN", nonlinearity)
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"RNN: got dropout={dropout}; needs a probability, 0 to 1")
        for name, n in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if n < 1:
                raise ValueError(f"RNN: got {name}={n}; needs a number >= 1")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.nonlinearity, self.bias = num_layers, nonlinearity, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        for layer in range(num_layers):
            features = input_size if layer == 0 else hidden_size * self._directions
            for direction in range(self._directions):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (hidden_size, features),
                    "weight_hh": (hidden_size, hidden_size),
                }
                if bias:
                    shapes.update(bias_ih=(hidden_size,), bias_hh=(hidden_size,))
                for name, shape in shapes.items():
                    made = parameter(*shape, device=device, dtype=dtype)
                    self.register_parameter(name + self._suffix(layer, direction), made)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @staticmethod
    def _suffix(layer: int, direction: int) -> str:
        return f"_l{layer}" + ("_reverse" if direction else "")

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        _uniform(self, self.hidden_size)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the last layer's output at all times, and the last states."""
        layout = ("b", "t") if self.batch_first else ("t", "b")
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"RNN: got input {input.node.spec}; needs [{', '.join(layout)}, "
                f"{self.input_size}], or [t, {self.input_size}] unbatched"
            )
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        states = self._initial(x, hx, batched)
        last = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._directions):
                h = states[layer * self._directions + direction]
                steps = self._run(x, h, self._suffix(layer, direction), direction == 1)
                last.append(steps[0 if direction else -1])
                outputs.append(stack(steps, 0))
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        h_n = stack(last, 0)
        if not batched:
            x, h_n = x.squeeze(1), h_n.squeeze(1)
        # The state that is carried to the next step of training is computed with this one's
        # gradients, which need the last states, if not the output.
        compute_with([h_n.node], [tensor.node for tensor in (x, h_n, *last)])
        return x, h_n

    def _initial(self, x: Tensor, hx: Tensor | None, batched: bool) -> list[Tensor]:
        """Return the first state of each layer and direction, each [b, h]."""
        time, batch = x.shape[:2]
        if time == 0:
            raise ShapeError("RNN: got a sequence of length 0; needs at least one step")
        n = self.num_layers * self._directions
        if hx is None:
            h = zeros((batch, self.hidden_size), dtype=x.dtype, device=x.device)
            return [h] * n
        wanted = (n, batch, self.hidden_size) if batched else (n, self.hidden_size)
        if hx.shape != wanted:
            raise ShapeError(
                f"RNN: got hx {hx.node.spec}; needs {list(wanted)}, that is [num_layers * "
                f"directions, {'batch, ' if batched else ''}hidden_size]"
            )
        return list((hx if batched else hx.unsqueeze(1)).unbind(0))

    def _run(self, x: Tensor, h: Tensor, suffix: str, reverse: bool) -> list[Tensor]:
        """Return one layer's state after each step, in the order of time."""
        activation = _nonlinearity("RNN", self.nonlinearity)
        bias = None
        if self.bias:
            bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}")
        # The input's part is one matmul over all steps; only the state's part is sequential.
        pre = F.linear(x, getattr(self, f"weight_ih{suffix}"), bias).unbind(0)
        weight = getattr(self, f"weight_hh{suffix}").transpose(0, 1)
        steps = []
        for p in reversed(pre) if reverse else pre:
            h = activation(p + h @ weight)
            steps.append(h)
        return steps[::-1] if reverse else steps

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "num_layers": 1,
            "nonlinearity": "tanh",
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text
