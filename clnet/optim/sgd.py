"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clnet.core import Tensor
from clnet.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent with momentum, in PyTorch's formulation (Sutskever et al., 2013).

    With gradient g (of which `maximize` takes the opposite) and g <- g + weight_decay * p:
    v <- momentum * v + (1 - dampening) * g (v <- g in the first step); p <- p - lr * v, or
    p <- p - lr * (g + momentum * v) with `nesterov`. Settings may differ between groups, and may be
    changed between steps at no cost. Errors: ValueError for settings that make no sense.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

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
        for name in ("lr", "momentum", "weight_decay"):
            if group[name] < 0:
                raise ValueError(f"SGD: got {name}={group[name]}; needs a number >= 0")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: Nesterov momentum requires a momentum and zero dampening")

    def _update(
        self, group: Mapping[str, Any], p: Tensor, g: Tensor, state: dict[str, Any]
    ) -> None:
        momentum = float(group["momentum"])
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * float(group["weight_decay"])
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = g.clone()
            else:
                velocity.assign(velocity * momentum + g * (1.0 - float(group["dampening"])))
            g = g + velocity * momentum if group["nesterov"] else velocity
        p.assign(p - g * float(group["lr"]))
