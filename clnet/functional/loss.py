"""Losses, with PyTorch's names, arguments and reductions; settings are given by keyword.

The loss of a class index is picked with a comparison, not with a gather: forward and gradient then
stay elementwise next to a softmax that touches every class anyway, and no scatter is needed.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from clnet.calls import composite
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.functional.activation import shifted, wide
from clnet.ops import elementwise as op
from clnet.ops.create import arange
from clnet.ops.elementwise import where


def _reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: got reduction={reduction!r}; needs 'mean', 'sum' or 'none'")


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: cannot compare {input.node.spec} with target {target.node.spec}; "
            "needs equal shapes"
        )


# --- classes -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def class_numbers(n: int, device: Any) -> Tensor:
    """Return 0 to n - 1 on a device; kept, so that a step of training uploads nothing."""
    return arange(n, device=device)


def _class_dim(name: str, input: Tensor, target: Tensor) -> int:
    """Return the dimension of the classes; check that the target has all the others."""
    if input.ndim == 0:
        raise ShapeError(f"{name}: got a 0-d input; needs [C], [N, C] or [N, C, d1, ..]")
    if target.dtype.kind != "i":
        raise DTypeError(
            f"{name}: got target {target.node.spec}; needs class indices (integers)"
            + (", or probabilities of the input's shape" if name == "cross_entropy" else "")
        )
    dim = 0 if input.ndim == 1 else 1
    wanted = input.shape[:dim] + input.shape[dim + 1 :]
    if target.shape != wanted:
        raise ShapeError(
            f"{name}: cannot compare {input.node.spec} with target {target.node.spec}; "
            f"needs a target of shape {list(wanted)}, one class index for each prediction"
        )
    return dim


def _per_class(name: str, values: Tensor, input: Tensor, dim: int) -> Tensor:
    """Return a weight for each class in a shape that broadcasts against the input."""
    if values.shape != (input.shape[dim],):
        raise ShapeError(
            f"{name}: got weight {values.node.spec} for {input.node.spec}; "
            f"needs one number for each of {input.shape[dim]} classes"
        )
    return values.reshape(-1, *[1] * (input.ndim - dim - 1))


def _chosen(input: Tensor, target: Tensor, dim: int) -> Tensor:
    """Return where the input belongs to the class that the target names: bool, input's shape."""
    n = input.shape[dim]
    classes = class_numbers(n, target.device).reshape(n, *[1] * (input.ndim - dim - 1))
    return classes == target.unsqueeze(dim)


def _picked(
    name: str,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Return -input at the target's class, and the weight of each prediction (0 where ignored)."""
    chosen = _chosen(input, target, dim)
    kept = target != ignore_index
    missing = op.logical_or(target < 0, target >= input.shape[dim])
    loss = -where(chosen, input, 0.0).sum(dim)
    # A class that does not exist must not pass for a perfect prediction.
    loss = where(op.logical_and(kept, missing), math.nan, loss)
    if weight is None:
        weights = where(kept, 1.0, 0.0).to(input.dtype)
    else:
        w = _per_class(name, weight, input, dim)
        weights = where(kept, where(chosen, w, 0.0).sum(dim), 0.0)
    return where(kept, loss, 0.0), weights


def _averaged(name: str, loss: Tensor, weights: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.sum() / weights.sum()
    return _reduced(name, loss, reduction)


@composite
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of class indices, from log-probabilities.

    input: [C], [N, C] or [N, C, d1, ..]; target: integers, the input's shape without C; weight:
    [C]. The mean is over the weights of the targets that are not `ignore_index`. A class index out
    of range gives NaN. Errors: ShapeError, DTypeError; ValueError for an unknown reduction.

    >>> import clnet as cn
    >>> logp = cn.zeros(4, 3).log_softmax(1)
    >>> cn.functional.nll_loss(logp, cn.tensor([0, 2, 1, 1]), reduction="none").shape
    (4,)
    """
    dim = _class_dim("nll_loss", input, target)
    loss, weights = _picked("nll_loss", input, target, weight, ignore_index, dim)
    return _averaged("nll_loss", loss * weights, weights, reduction)


@composite
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy, in nats, of a softmax over the class dimension of `input` (the logits).

    input: [C], [N, C] or [N, C, d1, ..]; target: class indices (integers, the input's shape without
    C) or class probabilities (floats, the input's shape); weight: [C]. 16-bit floats are computed
    in float32. A class index out of range gives NaN. Errors: ShapeError, DTypeError; ValueError for
    an unknown reduction or a label_smoothing outside [0, 1].

    >>> import clnet as cn
    >>> cn.functional.cross_entropy(cn.zeros(4, 3), cn.tensor([0, 2, 1, 1])).shape
    ()
    """
    name = "cross_entropy"
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"{name}: got label_smoothing={label_smoothing}; needs 0 to 1")
    probabilities = target.dtype.kind == "f" and target.shape == input.shape and input.ndim > 0
    dim = min(input.ndim - 1, 1) if probabilities else _class_dim(name, input, target)
    result = input.dtype
    if input.dtype.kind != "f":
        raise DTypeError(f"{name}: got {input.node.spec}; needs floating-point logits")
    z = shifted(name, input, dim)
    log_sum = op.log(op.exp(z).sum(dim, keepdim=True))
    n = input.shape[dim]
    if probabilities:
        target = wide(target)
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / n
        terms = (log_sum - z) * target
        if weight is not None:
            terms = terms * _per_class(name, weight, input, dim)
        loss = terms.sum(dim)
        if reduction == "mean":
            # PyTorch's mean here is over predictions, whatever their weights.
            return (loss.sum() / max(math.prod(loss.shape), 1)).to(result)
        return _reduced(name, loss, reduction).to(result)
    loss, weights = _picked(name, z, target, weight, ignore_index, dim)
    kept = target != ignore_index
    loss = (loss + where(kept, log_sum.squeeze(dim), 0.0)) * weights
    if label_smoothing:
        spread = log_sum - z
        if weight is not None:
            spread = spread * _per_class(name, weight, input, dim)
        spread = where(kept, spread.sum(dim), 0.0)
        loss = loss * (1 - label_smoothing) + spread * (label_smoothing / n)
    return _averaged(name, loss, weights, reduction).to(result)


# --- numbers -------------------------------------------------------------------------------------


@composite
def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Squared difference. Errors: ShapeError unless the shapes are equal.

    >>> import clnet as cn
    >>> cn.functional.mse_loss(cn.tensor([1.0, 3.0]), cn.tensor([0.0, 0.0])).item()
    5.0
    """
    _same_shape("mse_loss", input, target)
    return _reduced("mse_loss", op.square(input - target), reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Absolute difference. Errors: ShapeError unless the shapes are equal."""
    _same_shape("l1_loss", input, target)
    return _reduced("l1_loss", op.abs(input - target), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Absolute difference, rounded to a parabola where it is below `beta` (Girshick, 2015).

    Errors: ShapeError unless the shapes are equal; ValueError for a negative beta.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: got beta={beta}; needs a number >= 0")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    _same_shape("smooth_l1_loss", input, target)
    d = input - target
    size = op.abs(d)
    loss = where(size < beta, op.square(d) * (0.5 / beta), size - 0.5 * beta)
    return _reduced("smooth_l1_loss", loss, reduction)


def huber_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Half the squared difference, linear beyond `delta` (Huber, 1964)."""
    if delta <= 0:
        raise ValueError(f"huber_loss: got delta={delta}; needs a number > 0")
    _same_shape("huber_loss", input, target)
    d = input - target
    size = op.abs(d)
    loss = where(size < delta, op.square(d) * 0.5, (size - 0.5 * delta) * delta)
    return _reduced("huber_loss", loss, reduction)


def _log(p: Tensor) -> Tensor:
    """log(p), but -100 at 0 with gradient 0, so that an impossible outcome costs a finite loss."""
    return where(p > 0, op.log(where(p > 0, p, 1.0)), -100.0)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Cross entropy, in nats, of probabilities in [0, 1] against targets in [0, 1].

    The logarithm is at least -100, as in PyTorch; where it is that, the gradient is 0. Prefer
    `binary_cross_entropy_with_logits`. Errors: ShapeError unless the shapes are equal.
    """
    _same_shape("binary_cross_entropy", input, target)
    loss = -(target * _log(input) + (1 - target) * _log(1 - input))
    if weight is not None:
        loss = loss * weight
    return _reduced("binary_cross_entropy", loss, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross entropy, in nats, of sigmoid(input) against targets in [0, 1], without overflow.

    `weight` and `pos_weight` (the weight of positive targets) broadcast against the input. Errors:
    ShapeError unless input and target have equal shapes.

    >>> import clnet as cn
    >>> x = cn.zeros(3)
    >>> round(cn.functional.binary_cross_entropy_with_logits(x, x).item(), 6)
    0.693147
    """
    name = "binary_cross_entropy_with_logits"
    _same_shape(name, input, target)
    log_1p = op.softplus(-input)
    if pos_weight is not None:
        log_1p = log_1p * ((pos_weight - 1) * target + 1)
    loss = (1 - target) * input + log_1p
    if weight is not None:
        loss = loss * weight
    return _reduced(name, loss, reduction)


def kl_div(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Kullback-Leibler divergence of the target from exp(input), both of one shape.

    `reduction='batchmean'` divides the sum by the size of the first dimension: the mathematical
    definition. 0 log 0 counts as 0.
    """
    _same_shape("kl_div", input, target)
    if log_target:
        loss = op.exp(target) * (target - input)
    else:
        loss = where(target > 0, target * op.log(where(target > 0, target, 1.0)), 0.0)
        loss = loss - target * input
    if reduction == "batchmean":
        return loss.sum() / max(input.shape[0] if input.ndim else 1, 1)
    return _reduced("kl_div", loss, reduction)
