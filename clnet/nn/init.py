"""Initialisations of parameters, with PyTorch's names and formulas.

Each fills a tensor in place, records nothing for differentiation, and returns it. Random numbers
come from the generator of `cn.manual_seed`. Values are enqueued at once, so that the first step
of training is planned like all others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clnet.core import Tensor, evaluate
from clnet.errors import ShapeError
from clnet.modes import no_grad
from clnet.ops.create import eye, full_like, tensor
from clnet.ops.random import rand, randn


def _filled(target: Tensor, value: Tensor) -> Tensor:
    with no_grad():
        target.assign(value.to(target.dtype))
        evaluate(target)
    return target


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers drawn uniformly from [a, b)."""
    return _filled(tensor, rand(*tensor.shape, device=tensor.device) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with numbers drawn from a normal distribution."""
    return _filled(tensor, randn(*tensor.shape, device=tensor.device) * std + mean)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    return _filled(tensor, full_like(tensor, val))


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity. Errors: ShapeError."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: got {tensor.node.spec}; needs a matrix")
    return _filled(tensor, eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights grow to keep the variance through a nonlinearity.

    Errors: ValueError for a name that is not known.

    >>> calculate_gain("leaky_relu", 0.0) == calculate_gain("relu")
    True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: got {nonlinearity!r}; needs one of {known}")
    return _GAINS[nonlinearity]


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs an output has, and how many outputs an input has."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"{name}: got {tensor.node.spec}; needs at least 2 dimensions [out, in, ..]"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill uniformly so that activations and gradients keep their variance (Glorot, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill normally so that activations and gradients keep their variance (Glorot, 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


def _kaiming(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: got mode={mode!r}; needs 'fan_in' or 'fan_out'")
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill uniformly for layers followed by a rectifier (He et al., 2015)."""
    bound = math.sqrt(3.0) * _kaiming("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill normally for layers followed by a rectifier (He et al., 2015)."""
    return normal_(tensor, 0.0, _kaiming("kaiming_normal_", tensor, a, mode, nonlinearity))


def orthogonal_(target: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with a (semi-)orthogonal matrix times `gain` (Saxe et al., 2013).

    Dimensions after the first count as one. The factorisation runs on the host.
    """
    if target.ndim < 2:
        raise ShapeError(f"orthogonal_: got {target.node.spec}; needs at least 2 dimensions")
    rows, columns = target.shape[0], math.prod(target.shape[1:])
    numbers: Any = randn(rows, columns, device=target.device).numpy().astype(np.float64)
    q, r = np.linalg.qr(numbers.T if rows < columns else numbers)
    # The signs make the distribution uniform over orthogonal matrices.
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    matrix = (q.T if rows < columns else q) * gain
    value = tensor(matrix.astype(np.float32).reshape(target.shape), device=target.device)
    return _filled(target, value)
