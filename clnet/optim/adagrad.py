"""Adagrad: gradients divided by the root of the sum of all their squares."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet.core import Tensor
from clnet.ops.create import full_like
from clnet.ops.elementwise import sqrt
from clnet.optim.optimizer import Optimizer, at_least_zero


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011).

    With gradient g (of which `maximize` takes the opposite) and g <- g + weight_decay * p, in step
    t: s <- s + g^2; p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps). State: `sum` s,
    which begins at `initial_accumulator_value`, and `step` t. `foreach` and `fused` are PyTorch's
    and change nothing. Sparse gradients change only the rows in them. Errors: ValueError for
    settings that make no sense.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.Adagrad([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, 0.5]
    """

    takes_sparse = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        names = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        at_least_zero("Adagrad", group, *names)

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        return group["weight_decay"] != 0, group["maximize"]

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        return {"sum": full_like(p, float(group["initial_accumulator_value"]))}

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        rate = float(group["lr"]) / (1 + (stage - 1) * float(group["lr_decay"]))
        return rate, float(group["eps"]), float(group["weight_decay"])

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        rate, eps, weight_decay = numbers
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * weight_decay
        total = state["sum"]
        total.assign(total + g * g)
        p.assign(p - g / (sqrt(total) + eps) * rate)
