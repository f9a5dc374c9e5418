"""`Optimizer`: parameter groups, per-parameter state, and their saving and loading."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clnet.core import Tensor, evaluate
from clnet.errors import CheckpointError
from clnet.modes import enable_grad, no_grad
from clnet.ops.create import zeros_like


class Optimizer:
    """Base class of optimizers.

    `params` is an iterable of tensors, or of dicts, each a group: its tensors under 'params' and
    its own settings; what a group leaves out is taken from `defaults`. A subclass defines
    `_update`. A step records the new values of everything, and enqueues them together without
    waiting for the device.

    Errors: ValueError for no parameters, or one that is in two groups or not a leaf; TypeError for
    what is not a tensor.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__}: got one tensor as params; "
                "needs an iterable of tensors or of dicts"
            )
        self.defaults = dict(defaults)
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add tensors to train, with settings of their own."""
        name = type(self).__name__
        group = dict(param_group)
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: cannot optimize {type(p).__name__}; needs tensors")
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: cannot optimize a non-leaf tensor, {p.node.spec}; "
                    "needs parameters, not results of ops"
                )
            if id(p) in known:
                raise ValueError(f"{name}: some parameters appear in more than one parameter group")
            known.add(id(p))
        for key, value in self.defaults.items():
            group.setdefault(key, value)
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError for settings of a group that make no sense."""

    def _update(
        self, group: Mapping[str, Any], p: Tensor, g: Tensor, state: dict[str, Any]
    ) -> None:
        """Assign the parameter's next value, and its state's, given its gradient."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; enqueues, and does not wait.

        `closure` computes the loss again, and the gradients; its result is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        changed: list[Tensor] = []
        with no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    state = self.state.setdefault(p, {})
                    self._update(group, p, p.grad, state)
                    changed.append(p)
                    changed.extend(v for v in state.values() if isinstance(v, Tensor))
        if changed:
            # All in one plan: the backward pass is shared, and new values can replace old ones.
            evaluate(*changed)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else zeros_like(p.grad)

    def state_dict(self) -> dict[str, Any]:
        """Return the state by number of the parameter, and the groups with numbers for tensors."""
        numbers = {
            id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])
        }
        return {
            "state": {
                numbers[id(p)]: {
                    k: v.detach() if isinstance(v, Tensor) else copy.deepcopy(v)
                    for k, v in state.items()
                }
                for p, state in self.state.items()
            },
            "param_groups": [
                {**group, "params": [numbers[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state and the settings of groups from another's `state_dict`.

        Tensors are brought to the device and dtype of their parameters. Errors: CheckpointError
        unless the groups and the numbers of their parameters are the same; nothing changes then.
        """
        groups = state_dict["param_groups"]
        given = [len(g["params"]) for g in groups]
        own = [len(g["params"]) for g in self.param_groups]
        if len(given) != len(own):
            raise CheckpointError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(given)}, the optimizer has {len(own)}"
            )
        if given != own:
            raise CheckpointError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                f"optimizer's group: {given} parameters, the optimizer has {own}"
            )
        numbers = (i for g in groups for i in g["params"])
        tensors = dict(
            zip(numbers, (p for g in self.param_groups for p in g["params"]), strict=True)
        )
        state = {}
        for number, values in state_dict["state"].items():
            if number not in tensors:
                raise CheckpointError(
                    f"loaded state dict has state of parameter {number!r}, of none"
                )
            p = tensors[number]
            state[p] = {k: _fitted(v, p, f"{k} of parameter {number}") for k, v in values.items()}
        self.state = state
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update((k, copy.deepcopy(v)) for k, v in saved.items() if k != "params")

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def _fitted(value: Any, p: Tensor, what: str) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    if value.ndim and value.shape != p.shape:
        raise CheckpointError(
            f"loaded state dict has {value.node.spec} as {what}; the optimizer needs "
            f"{list(p.shape)}"
        )
    dtype = p.dtype if value.dtype.kind == "f" else value.dtype
    return value.detach().to(dtype=dtype, device=p.device).clone()
