"""Parameters: the tensors of a module that are trained."""

from __future__ import annotations

from typing import Any

from clnet.core import Tensor, record
from clnet.modes import no_grad
from clnet.records import OPS


class Parameter(Tensor):
    """A tensor that a `Module` registers as trainable when it becomes an attribute.

    Shares the data's value, not its later changes. `requires_grad=False` freezes it. Errors:
    GradientError for a dtype that is not floating-point and requires grad.

    >>> import clnet as cn
    >>> cn.nn.Parameter(cn.zeros(2, 3)).requires_grad
    True
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        with no_grad():
            super().__init__(record(OPS["alias"], (data.node,), {}), view=False)
        self.requires_grad_(requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        copy = type(self)(self, self.requires_grad)
        copy.grad = self.grad
        memo[id(self)] = copy
        return copy

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def replace(tensor: Tensor, value: Tensor) -> None:
    """Give a leaf another value, which may differ in dtype and device; it stays the same leaf."""
    with no_grad():
        node = record(OPS["alias"], (value.node,), {})
    old = tensor.node
    node.needs_grad, node.leaf, node.hooks = old.needs_grad, old.leaf, old.hooks
    tensor._hold(node)
    tensor._version += 1
