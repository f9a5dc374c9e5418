"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet.core import Tensor
from clnet.ops.create import zeros_like
from clnet.optim.optimizer import Optimizer, at_least_zero


class SGD(Optimizer):
    """Gradient descent with momentum, in PyTorch's formulation (Sutskever et al., 2013).

    With gradient g (of which `maximize` takes the opposite) and g <- g + weight_decay * p:
    v <- momentum * v + (1 - dampening) * g (v <- g in the first step); p <- p - lr * v, or
    p <- p - lr * (g + momentum * v) with `nesterov`. Settings may differ between groups, and may be
    changed between steps at no cost. Sparse gradients (`nn.Embedding(sparse=True)`) change only
    the rows in them; momentum and weight decay have to be 0 then, or RuntimeError. Errors:
    ValueError for settings that make no sense.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

    takes_sparse = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        at_least_zero("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: Nesterov momentum requires a momentum and zero dampening")

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        return (
            group["momentum"] != 0,
            group["weight_decay"] != 0,
            group["nesterov"],
            group["maximize"],
        )

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        return {"momentum_buffer": zeros_like(p)} if group["momentum"] else {}

    def _stage(self, group: Mapping[str, Any], p: Tensor) -> int:
        # PyTorch's SGD counts no steps; only the first one with momentum differs.
        state = self.state.setdefault(p, {})
        if not group["momentum"] or state.get("momentum_buffer") is not None:
            return 2
        state.update(self._initial(group, p))
        return 1

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        dampening = 0.0 if stage == 1 else float(group["dampening"])
        return (
            float(group["lr"]),
            float(group["momentum"]),
            1.0 - dampening,
            float(group["weight_decay"]),
        )

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        lr, momentum, share, weight_decay = numbers
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * weight_decay
        if group["momentum"]:
            velocity = state["momentum_buffer"]
            velocity.assign(velocity * momentum + g * share)
            g = g + velocity * momentum if group["nesterov"] else velocity
        p.assign(p - g * lr)
