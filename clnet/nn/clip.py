"""Clipping of gradients before an optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable

from clnet import functional as F
from clnet.core import Tensor
from clnet.errors import GradientError
from clnet.functional.activation import wide
from clnet.modes import no_grad
from clnet.ops.create import full
from clnet.ops.elementwise import maximum
from clnet.ops.join import stack
from clnet.ops.sparse import SparseTensor


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]


def _power_sum(gradient: Tensor, norm_type: float) -> Tensor:
    """Return the sum of |g|^norm_type; the largest |g| for infinity."""
    g = wide(gradient)
    if norm_type == 2:
        return (g * g).sum()
    size = g.abs()
    return size.amax() if norm_type == math.inf else (size**norm_type).sum()


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients of all parameters together so that their norm is at most `max_norm`.

    Returns the norm before clipping, a 0-d tensor; nothing waits for the device unless
    `error_if_nonfinite`. Errors: GradientError for a norm that is not finite, if asked to look.

    >>> import clnet as cn
    >>> w = cn.zeros(2, requires_grad=True)
    >>> (w * cn.tensor([3.0, 4.0])).sum().backward()
    >>> cn.nn.clip_grad_norm_(w, 1.0).item()
    5.0
    """
    gradients = [g for g in _gradients(parameters) if g.node.spec.size]
    if not gradients:
        return full((), 0.0)
    device = gradients[0].device
    parts = stack([_power_sum(g, norm_type).to(device=device) for g in gradients])
    total = parts.amax() if norm_type == math.inf else parts.sum() ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradientError(
            f"clip_grad_norm_: the norm of order {norm_type} of the gradients is {total.item()}; "
            "needs a finite one (or error_if_nonfinite=False)"
        )
    scale = float(max_norm) / maximum(total + 1e-6, float(max_norm))
    for g in gradients:
        factor = scale.to(device=g.device)
        if isinstance(g, SparseTensor):
            g.scale_(factor)
        else:
            g.assign((g * factor).to(g.dtype))
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value]."""
    for g in _gradients(parameters):
        g.assign(F.hardtanh(g, -float(clip_value), float(clip_value)))
