"""Adam, and AdamW, whose weight decay stands apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet.core import Tensor
from clnet.ops.create import zeros_like
from clnet.ops.elementwise import maximum, sqrt
from clnet.optim.optimizer import Optimizer, at_least_zero


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), with AMSGrad (Reddi, Kale and Kumar, 2018) as an option.

    With gradient g (of which `maximize` takes the opposite) and g <- g + weight_decay * p, in step
    t: m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr / (1 - b1^t) * m /
    (sqrt(v) / sqrt(1 - b2^t) + eps). With `amsgrad` the largest v so far takes the place of v.
    State: `exp_avg` m, `exp_avg_sq` v, `max_exp_avg_sq`, and `step` t, a Python number. `foreach`
    and `fused` are PyTorch's and change nothing: an update is always fused. Errors: ValueError for
    settings that make no sense.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> [round(v, 6) for v in w.tolist()]
    [0.5, 0.5]
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        name = type(self).__name__
        at_least_zero(name, group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"{name}: got betas={betas}; needs two numbers >= 0 and < 1")

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        return group["amsgrad"], group["weight_decay"] != 0, group["maximize"]

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        return {name: zeros_like(p) for name in names}

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        b1, b2 = map(float, group["betas"])
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        return (
            1 - lr * decay if self._decoupled else decay,
            1 - b1,
            b2,
            1 - b2,
            math.sqrt(1 - b2**stage),
            float(group["eps"]),
            lr / (1 - b1**stage),
        )

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        decay, one_minus_b1, b2, one_minus_b2, correction, eps, step_size = numbers
        value: Tensor = p
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            if self._decoupled:
                value = p * decay
            else:
                g = g + p * decay
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.assign(m + (g - m) * one_minus_b1)
        v.assign(v * b2 + g * g * one_minus_b2)
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            largest.assign(maximum(largest, v))
            v = largest
        p.assign(value - m / (sqrt(v) / correction + eps) * step_size)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): p <- p (1 - lr weight_decay).

    The gradient is left as it is; all else is as in `Adam`.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.AdamW([w], lr=0.5, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> [round(v, 6) for v in w.tolist()]
    [0.45, 0.45]
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip
