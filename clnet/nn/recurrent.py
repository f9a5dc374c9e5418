"""Recurrent layers, with PyTorch's signatures, weight names and layouts.

Axis letters: t time, b batch, i input features, h hidden features, p projected features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from clnet import functional as F
from clnet.core import Tensor, compute_with
from clnet.errors import DTypeError, ShapeError
from clnet.functional.recurrent import checked_lengths, gru_step, lstm_step, rnn_step
from clnet.nn.cell import check_nonlinearity, uniform
from clnet.nn.layer import parameter
from clnet.nn.module import Module
from clnet.ops import recurrent
from clnet.ops.create import arange, tensor, zeros
from clnet.ops.elementwise import where
from clnet.ops.join import cat, stack

State = tuple[Tensor, ...]


class _Layers(Module):
    """Layers and directions of one kind of cell.

    A subclass says how many gates it has, which states (in `_states`: name and size), and what a
    step computes.
    """

    _gates: ClassVar[int]
    # The cell's name among those of `clnet.ops.recurrent`.
    _cell: str
    # Whether both biases can be added to the input's part.
    _one_bias: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{name}: got dropout={dropout}; needs a probability, 0 to 1")
        for setting, n in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if n < 1:
                raise ValueError(f"{name}: got {setting}={n}; needs a number >= 1")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{name}: got proj_size={proj_size}; needs 0 (none) to {hidden_size - 1}, "
                "less than hidden_size"
            )
        self.input_size, self.hidden_size, self.proj_size = input_size, hidden_size, proj_size
        self.num_layers, self.bias = num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        rows, out = self._gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            features = input_size if layer == 0 else out * self._directions
            for direction in range(self._directions):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, features),
                    "weight_hh": (rows, out),
                }
                if bias:
                    shapes.update(bias_ih=(rows,), bias_hh=(rows,))
                if proj_size:
                    shapes.update(weight_hr=(proj_size, hidden_size))
                for weight, shape in shapes.items():
                    made = parameter(*shape, device=device, dtype=dtype)
                    self.register_parameter(weight + self._suffix(layer, direction), made)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _states(self) -> dict[str, int]:
        return {"hx": self.hidden_size}

    @staticmethod
    def _suffix(layer: int, direction: int) -> str:
        return f"_l{layer}" + ("_reverse" if direction else "")

    def _step(self, pre: Tensor, state: State, weights: dict[str, Any]) -> State:
        """Return the next state, given the input's part of the gates."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        uniform(self, self.hidden_size)

    def _forward(
        self, input: Tensor, hx: Sequence[Tensor] | None, lengths: Any
    ) -> tuple[Tensor, State]:
        layout = ("b", "t") if self.batch_first else ("t", "b")
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: got input {input.node.spec}; needs "
                f"[{', '.join(layout)}, {self.input_size}], or [t, {self.input_size}] unbatched"
            )
        dtype = next(self.parameters()).dtype
        if any(t.dtype is not dtype for t in (input, *(hx or ()))):
            specs = ", ".join(str(t.node.spec) for t in (input, *(hx or ())))
            raise DTypeError(
                f"{type(self).__name__}: got {specs}; needs {dtype.name}, as the weights"
            )
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        states = self._initial(x, hx, batched)
        ends = running = None
        if lengths is not None:
            given = checked_lengths(type(self).__name__, lengths, *x.shape[:2])
            ends = tensor(given, device=x.device)
            times = arange(x.shape[0], dtype=ends.dtype, device=x.device)
            running = (times.unsqueeze(1) < ends).unsqueeze(2)
        last: list[State] = []
        parts: list[Tensor] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._directions):
                first = states[layer * self._directions + direction]
                steps, final, sources = self._run(x, first, layer, direction, ends, running)
                outputs.append(steps)
                last.append(final)
                parts += sources
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        finals = tuple([stack(list(s), 0) for s in zip(*last, strict=True)])
        if not batched:
            x, finals = x.squeeze(1), tuple([s.squeeze(1) for s in finals])
        # The state that is carried to the next step of training is computed with this one's
        # gradients, which need what the last states are made of, if not the output.
        compute_with([s.node for s in finals], [t.node for t in (x, *finals, *parts)])
        return x, finals

    def _initial(self, x: Tensor, hx: Sequence[Tensor] | None, batched: bool) -> list[State]:
        """Return the first state of each layer and direction, its tensors [b, size]."""
        name = type(self).__name__
        time, batch = x.shape[:2]
        if time == 0:
            raise ShapeError(f"{name}: got a sequence of length 0; needs at least one step")
        n = self.num_layers * self._directions
        if hx is None:
            sizes = self._states.values()
            return [tuple([zeros((batch, s), dtype=x.dtype, device=x.device) for s in sizes])] * n
        given = []
        for (what, size), state in zip(self._states.items(), hx, strict=True):
            wanted = (n, batch, size) if batched else (n, size)
            if state.shape != wanted:
                raise ShapeError(
                    f"{name}: got {what} {state.node.spec}; needs {list(wanted)}, that is "
                    f"[num_layers * directions, {'batch, ' if batched else ''}"
                    f"{'proj_size' if size == self.proj_size else 'hidden_size'}]"
                )
            given.append((state if batched else state.unsqueeze(1)).unbind(0))
        return list(zip(*given, strict=True))

    def _run(
        self,
        x: Tensor,
        state: State,
        layer: int,
        direction: int,
        ends: Tensor | None,
        running: Tensor | None,
    ) -> tuple[Tensor, State, State]:
        """Return one layer's output at all times, its last state, and what that is made of.

        ends: int32 [b], the lengths; running: bool [t, b, 1], where sequences have not ended.
        """
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        suffix = self._suffix(layer, direction)
        weights: dict[str, Any] = {name: self._parameters.get(name + suffix) for name in names}
        # The input's part is one matmul over all steps; only the state's part is sequential.
        pre = F.linear(x, weights["weight_ih"])
        of_input, of_state = weights["bias_ih"], weights["bias_hh"]
        whole = weights["weight_hr"] is None and recurrent.whole_sequence(self._cell, pre)
        if of_input is not None and not self._one_bias:
            pre = pre + of_input
        elif of_input is not None and whole:
            of_state = of_input + of_state
        elif of_input is not None:
            pre = pre + (of_input + of_state)
        if whole:
            if of_state is None:
                of_state = zeros(pre.shape[-1], dtype=x.dtype, device=x.device)
            output, state, packed = recurrent.layer(
                self._cell, pre, state, weights["weight_hh"], of_state, ends, bool(direction)
            )
            sources: State = (packed,)
        else:
            output, state = self._step_by_step(pre, state, weights, bool(direction), running)
            sources = state
        return output if running is None else where(running, output, 0.0), state, sources

    def _step_by_step(
        self,
        pre: Tensor,
        state: State,
        weights: dict[str, Any],
        reverse: bool,
        running: Tensor | None,
    ) -> tuple[Tensor, State]:
        """Return h at all times and the last state, by ordinary ops."""
        given = pre.unbind(0)
        alive = None if running is None else running.unbind(0)
        steps: list[Tensor] = [state[0]] * len(given)
        for t in reversed(range(len(given))) if reverse else range(len(given)):
            after = self._step(given[t], state, weights)
            if alive is not None:
                pairs = zip(after, state, strict=True)
                after = tuple([where(alive[t], new, old) for new, old in pairs])
            state = after
            steps[t] = state[0]
        return stack(steps, 0), state

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "nonlinearity": "tanh",
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            value = getattr(self, name, default)
            if value != default:
                text += f", {name}={value}"
        return text


class RNN(_Layers):
    """Layers of a simple recurrent net: h_t = tanh(x_t W_ih.T + b_ih + h_(t-1) W_hh.T + b_hh).

    input: [t, b, i], [b, t, i] with `batch_first`, or [t, i] unbatched; hx: [layers * directions,
    b, h] (unbatched without b), zero if left out; lengths: b integers, or None if all sequences
    have t steps. Returns (output, h_n): output [t, b, directions * h] of the last layer, h_n the
    last state of each layer and direction, shaped as hx. With `lengths` a state stops where its
    sequence ends, the other direction begins there, and the output is 0 beyond, as with PyTorch's
    packed sequences. `dropout` is applied between layers in training. Weights, named as in PyTorch
    (weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, .._l1, .._reverse), are uniform in
    +-1 / sqrt(h) at first. Errors: ShapeError for inputs, states and lengths that do not fit;
    DTypeError unless they have the
    weights' dtype; ValueError for other settings and lengths out of range.

    >>> import clnet as cn
    >>> output, h = cn.nn.RNN(3, 4, num_layers=2)(cn.ones(5, 2, 3), lengths=[5, 2])
    >>> output.shape, h.shape
    ((5, 2, 4), (2, 2, 4))
    """

    _gates = 1

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
        check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity
        self._cell = f"rnn_{nonlinearity}"

    def forward(
        self, input: Tensor, hx: Tensor | None = None, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return the last layer's output at all times, and the last states."""
        output, (h,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h

    def _step(self, pre: Tensor, state: State, weights: dict[str, Any]) -> State:
        return (rnn_step(pre, state[0], weights["weight_hh"], nonlinearity=self.nonlinearity),)


class LSTM(_Layers):
    """Layers of long short-term memory, with `proj_size` of projected states.

    i, f, g, o = x_t W_ih.T + b_ih + h_(t-1) W_hh.T + b_hh; c_t = s(f) c_(t-1) + s(i) tanh(g);
    h_t = s(o) tanh(c_t), times W_hr.T with a projection; s is the logistic function (Hochreiter and
    Schmidhuber, 1997; Gers et al., 2000; Sak et al., 2014). input, lengths, output, dropout and
    weights' names as in `nn.RNN`, with 4 h rows in the order i, f, g, o and weight_hr [p, h]. hx:
    (h_0, c_0), [layers * directions, b, p or h] and [.., b, h], zero if left out. Returns (output,
    (h_n, c_n)). Errors: as `nn.RNN`.

    >>> import clnet as cn
    >>> output, (h, c) = cn.nn.LSTM(3, 4, bidirectional=True)(cn.ones(5, 2, 3))
    >>> output.shape, h.shape, c.shape
    ((5, 2, 8), (2, 2, 4), (2, 2, 4))
    """

    _cell = "lstm"
    _gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype,
        )  # fmt: skip

    @property
    def _states(self) -> dict[str, int]:
        return {"h_0": self.proj_size or self.hidden_size, "c_0": self.hidden_size}

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, lengths: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the last layer's output at all times, and the last hidden and cell states."""
        if hx is not None and (isinstance(hx, Tensor) or len(hx) != 2):
            raise ShapeError("LSTM: got one state; needs hx=(h_0, c_0)")
        output, (h, c) = self._forward(input, hx, lengths)
        return output, (h, c)

    def _step(self, pre: Tensor, state: State, weights: dict[str, Any]) -> State:
        h, c = state
        return lstm_step(pre, h, c, weights["weight_hh"], weights["weight_hr"])


class GRU(_Layers):
    """Layers of gated recurrent units.

    r, z, n = x_t W_ih.T + b_ih and u = h_(t-1) W_hh.T + b_hh; r' = s(r + u_r), z' = s(z + u_z),
    h_t = (1 - z') tanh(n + r' u_n) + z' h_(t-1); s is the logistic function (Cho et al., 2014, in
    the form of cuDNN and PyTorch). input, hx, lengths, results, dropout and weights' names as in
    `nn.RNN`, with 3 h rows in the order r, z, n. Errors: as `nn.RNN`.

    >>> import clnet as cn
    >>> output, h = cn.nn.GRU(3, 4, batch_first=True)(cn.ones(2, 5, 3))
    >>> output.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    """

    _cell = "gru"
    _gates = 3
    _one_bias = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype,
        )  # fmt: skip

    def forward(
        self, input: Tensor, hx: Tensor | None = None, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return the last layer's output at all times, and the last states."""
        output, (h,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h

    def _step(self, pre: Tensor, state: State, weights: dict[str, Any]) -> State:
        return (gru_step(pre, state[0], weights["weight_hh"], weights["bias_hh"]),)
