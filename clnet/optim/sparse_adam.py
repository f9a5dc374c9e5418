"""Adam for gradients that are zero but for some rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet.core import Tensor
from clnet.ops.create import zeros_like
from clnet.ops.elementwise import sqrt
from clnet.ops.sparse import SparseTensor
from clnet.optim.optimizer import Optimizer, at_least_zero
from clnet.optim.update import Due


class SparseAdam(Optimizer):
    """Adam that touches, of every parameter, only the rows in its sparse gradient (lazy Adam).

    As PyTorch's: moments of a row decay only in steps whose gradient holds the row, whatever its
    values, and rows that it does not hold keep their moments and values to the last bit. With
    gradient g (of which `maximize` takes the opposite), in step t, on the rows of g: m <- b1 m +
    (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) +
    eps), where t counts all steps of the parameter. State: `exp_avg` m, `exp_avg_sq` v, `step` t.
    Other than Adam it adds eps before the correction, and has no weight decay. The parameters are
    those of `nn.Embedding(sparse=True)`. Errors: RuntimeError for a gradient that is not sparse;
    ValueError for settings that make no sense.

    >>> import clnet as cn
    >>> table = cn.nn.Embedding(4, 2, sparse=True)
    >>> before = table.weight.detach().numpy()
    >>> optimizer = cn.optim.SparseAdam(table.parameters(), lr=0.5)
    >>> table(cn.tensor([1, 2])).sum().backward()
    >>> optimizer.step()
    >>> (before - table.weight.detach().numpy()).round(4).tolist()
    [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]
    """

    takes_sparse = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def _check(self, group: Mapping[str, Any]) -> None:
        at_least_zero("SparseAdam", group, "lr", "eps")
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"SparseAdam: got betas={betas}; needs two numbers >= 0 and < 1")

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        return group["maximize"]

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        return {"exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _all_due(self) -> list[Due]:
        found = super()._all_due()
        for due in found:
            if not isinstance(due.g, SparseTensor):
                raise RuntimeError(
                    f"SparseAdam: got a dense gradient {due.g.node.spec}; needs the sparse ones of "
                    "nn.Embedding(sparse=True) (or use Adam)"
                )
        return found

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        b1, b2 = map(float, group["betas"])
        rate = float(group["lr"]) * math.sqrt(1 - b2**stage) / (1 - b1**stage)
        return 1 - b1, 1 - b2, float(group["eps"]), rate

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        one_minus_b1, one_minus_b2, eps, rate = numbers
        if group["maximize"]:
            g = -g
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.assign(m + (g - m) * one_minus_b1)
        v.assign(v + (g * g - v) * one_minus_b2)
        p.assign(p - m / (sqrt(v) + eps) * rate)
