"""RMSprop: gradients divided by a running average of their size."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet.core import Tensor
from clnet.ops.create import zeros_like
from clnet.ops.elementwise import sqrt
from clnet.optim.optimizer import Optimizer, at_least_zero


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012), centered (Graves, 2013) and with momentum as options.

    With gradient g (of which `maximize` takes the opposite) and g <- g + weight_decay * p:
    v <- alpha v + (1 - alpha) g^2; a <- alpha a + (1 - alpha) g, which `centered` subtracts,
    squared, from v; u = g / (sqrt(v) + eps); p <- p - lr * u, or with `momentum`
    b <- momentum * b + u and p <- p - lr * b. State: `square_avg` v, `grad_avg` a,
    `momentum_buffer` b, and `step`. `foreach` is PyTorch's and changes nothing.
    Errors: ValueError for settings that make no sense.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.RMSprop([w], lr=0.1, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> [round(v, 6) for v in w.tolist()]
    [0.8, 0.8]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        at_least_zero("RMSprop", group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        return (
            group["momentum"] > 0,
            group["weight_decay"] != 0,
            group["centered"],
            group["maximize"],
        )

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        names = ["square_avg"] + ["momentum_buffer"] * (group["momentum"] > 0)
        names += ["grad_avg"] * bool(group["centered"])
        return {name: zeros_like(p) for name in names}

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        names = ("lr", "alpha", "eps", "weight_decay", "momentum")
        return (*(float(group[name]) for name in names), 1 - float(group["alpha"]))

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        lr, alpha, eps, weight_decay, momentum, one_minus_alpha = numbers
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * weight_decay
        square: Tensor = state["square_avg"]
        square.assign(square * alpha + g * g * one_minus_alpha)
        if group["centered"]:
            mean = state["grad_avg"]
            mean.assign(mean + (g - mean) * one_minus_alpha)
            square = square - mean * mean
        step: Tensor = g / (sqrt(square) + eps)
        if group["momentum"] > 0:
            velocity = state["momentum_buffer"]
            velocity.assign(velocity * momentum + step)
            step = velocity
        p.assign(p - step * lr)
