"""Cells that `clnet.nn` has a layer of: run by that layer, with the kernels for whole sequences."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from clnet.core import Tensor
from clnet.nn.cell import GRUCell, LSTMCell, RNNCell
from clnet.nn.recurrent import GRU, LSTM, RNN
from clnet.ops.create import tensor
from clnet.ops.gather import take
from clnet.ops.join import stack


class _SharedRNN(RNN):
    def reset_parameters(self) -> None:
        """Draw nothing: the parameters are those of cells."""


class _SharedLSTM(LSTM):
    def reset_parameters(self) -> None:
        """Draw nothing: the parameters are those of cells."""


class _SharedGRU(GRU):
    def reset_parameters(self) -> None:
        """Draw nothing: the parameters are those of cells."""


_LAYERS: dict[type, Any] = {RNNCell: _SharedRNN, LSTMCell: _SharedLSTM, GRUCell: _SharedGRU}
for _shared in _LAYERS.values():
    _shared.__name__ = _shared.__mro__[1].__name__  # as messages call it

# By settings: a layer whose copies are given the cells' parameters.
_layers: dict[Any, Any] = {}


def _settings(cell: Any) -> tuple[Any, ...]:
    """Return what cells of one layer must have in common."""
    kind = getattr(cell, "nonlinearity", None)
    return type(cell), cell.input_size, cell.hidden_size, cell.bias, kind, cell.weight_ih.dtype


def layer_of(*cells: Any) -> Any:
    """Return a layer that computes what a cell, or one for each direction, does; None without.

    Only for the very classes of `clnet.nn`: a subclass may compute anything.
    """
    made = _LAYERS.get(type(cells[0]))
    if made is None or any(c._forward_hooks or c._forward_pre_hooks for c in cells):
        return None
    settings = {_settings(cell) for cell in cells}
    if len(settings) > 1:
        return None
    key = (len(cells), *settings)
    if key not in _layers:
        cell = cells[0]
        options = {"bias": cell.bias, "bidirectional": len(cells) == 2}
        if isinstance(cell, RNNCell):
            options["nonlinearity"] = cell.nonlinearity
        _layers[key] = made(
            cell.input_size, cell.hidden_size, dtype=cell.weight_ih.dtype, **options
        )
    layer = copy.copy(_layers[key])
    # Not by attribute, because `nn.WeightNoise` puts tensors in the place of parameters.
    layer.__dict__["_parameters"] = {
        name + suffix: parameter
        for cell, suffix in zip(cells, ("_l0", "_l0_reverse"), strict=False)
        for name, parameter in cell._parameters.items()
        if parameter is not None
    }
    return layer


def _turned(x: Tensor, lengths: Any) -> Tensor:
    """Return [t, b, ..] with the steps of each sequence, as long as it is, in reverse order."""
    if lengths is None:
        return x.flip(0)
    time, batch = x.shape[:2]
    ends = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths)
    at = np.arange(time)[:, None]
    rows = np.where(at < ends, ends - 1 - at, at) * batch + np.arange(batch)
    return take(x.flatten(0, 1), tensor(rows.reshape(-1), device=x.device), 0).reshape(*x.shape)


def run_layer(
    layer: Any, x: Tensor, states: tuple[Any, ...], lengths: Any, reverse: bool
) -> tuple[Tensor, tuple[Any, ...]]:
    """Run a layer on [t, b, i] or [t, i]; `states` and last states: one for each direction."""
    several = isinstance(states[0], tuple)
    columns = list(zip(*states, strict=True)) if several else [states]
    stacked = tuple([stack(list(column), 0) for column in columns])
    x = _turned(x, lengths) if reverse else x
    output, after = layer(x, stacked if several else stacked[0], lengths=lengths)
    output = _turned(output, lengths) if reverse else output
    if several:
        return output, tuple(zip(*(s.unbind(0) for s in after), strict=True))
    return output, after.unbind(0)
