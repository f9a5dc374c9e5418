"""`Optimizer`: parameter groups, per-parameter state, and their saving and loading."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from clnet import core
from clnet.core import Tensor
from clnet.errors import CheckpointError
from clnet.modes import enable_grad, modes, no_grad
from clnet.ops.create import zeros_like
from clnet.ops.sparse import SparseTensor
from clnet.optim.update import Due, Update, kinds

# Recorded updates that an optimizer keeps: one for each set of parameters that have gradients.
_MAX_UPDATES = 16


class Optimizer:
    """Base class of optimizers.

    `params` is an iterable of tensors, or of dicts, each a group: its tensors under 'params' and
    its own settings; what a group leaves out is taken from `defaults`. A subclass defines
    `_initial`, `_structure`, `_numbers` and `_update`.

    Errors: ValueError for no parameters, or one that is in two groups or not a leaf; TypeError for
    what is not a tensor.
    """

    # Whether the update of a row depends on the gradient's row and its own state alone.
    takes_sparse = False

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__}: got one tensor as params; "
                "needs an iterable of tensors or of dicts"
            )
        self.defaults = dict(defaults)
        self.state: dict[Tensor, dict[str, Any]] = {}
        self._updates: dict[Any, Update] = {}
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

    def _structure(self, group: Mapping[str, Any]) -> Hashable:
        """Return the settings of a group that decide which ops an update has."""
        raise NotImplementedError

    def _initial(self, group: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
        """Return the state of a parameter before its first step, without `step`."""
        raise NotImplementedError

    def _stage(self, group: Mapping[str, Any], p: Tensor) -> int:
        """Make the state ready for one more step, and return which step it is, from 1."""
        state = self.state.get(p)
        if state is None:
            state = self.state[p] = {"step": 0, **self._initial(group, p)}
        state["step"] += 1
        return int(state["step"])

    def _numbers(self, group: Mapping[str, Any], stage: int) -> tuple[float, ...]:
        """Return the Python numbers of an update: all that changes from step to step."""
        raise NotImplementedError

    def _update(
        self,
        group: Mapping[str, Any],
        numbers: Sequence[Tensor],
        p: Tensor,
        g: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        """Assign the parameter's next value, and its state's, given its gradient."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; enqueues, and does not wait.

        `closure` computes the loss again, and the gradients; its result is returned. An update is
        recorded once for the groups, parameters and settings at hand, and replayed from then on in
        a few launches for all parameters; memory that nothing else holds is overwritten.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            by_device: dict[Any, list[Due]] = {}
            for due in self._all_due():
                on = due.p.device
                if on in by_device:
                    by_device[on].append(due)
                else:
                    by_device[on] = [due]
            for on, dues in by_device.items():
                self._step(on, dues)
        return loss

    def _all_due(self) -> list[Due]:
        """Return the parameters that have a gradient, and count their steps."""
        for group in self.param_groups:
            if [p for p in group["params"] if isinstance(p.grad, SparseTensor)]:
                self._check_sparse(group)
        return [
            Due(group, self._stage(group, p), p, g, self.state[p])
            for group in self.param_groups
            for p in group["params"]
            if (g := p.grad) is not None
        ]

    def _check_sparse(self, group: Mapping[str, Any]) -> None:
        """Raise RuntimeError unless a group can be updated by sparse gradients."""
        name = type(self).__name__
        if not self.takes_sparse:
            raise RuntimeError(
                f"{name} does not support sparse gradients, please consider SparseAdam instead"
            )
        if group.get("weight_decay") or group.get("momentum"):
            raise RuntimeError(
                f"{name}: got sparse gradients with weight_decay={group.get('weight_decay')} and "
                f"momentum={group.get('momentum', 0)}; needs both 0, or rows that are not used "
                "would change"
            )

    def _step(self, on: Any, dues: Sequence[Due]) -> None:
        if modes.recorder is not None:
            Update(self, dues).record_into(modes.recorder, dues)
            return
        tensors = [t for due in dues for t in due.tensors]
        with core.runtime.lock:
            # The gradients, and with them the loss, if they are not computed yet.
            held = core.runtime.hold([t.node for t in tensors])
            try:
                self._run(on, dues, tensors, held)
            finally:
                if held is not None:
                    held.launch()

    def _run(self, on: Any, dues: Sequence[Due], tensors: Sequence[Tensor], held: Any) -> None:
        """Enqueue the update of tensors whose values, or launches for them, exist."""
        structure = tuple([self._structure(group) for group in self.param_groups])
        looked_up = tuple([due.g.parts[0].shape for due in dues if isinstance(due.g, SparseTensor)])
        key = (structure, on, tuple([id(due.p) for due in dues]), kinds(dues), looked_up)
        update = self._updates.get(key)
        if update is None or not update.fits(tensors):
            if held is not None:
                held.launch()
            update = Update(self, dues)
            update.compile(on, dues)
            self._updates[key] = update
            if len(self._updates) > _MAX_UPDATES:
                del self._updates[next(iter(self._updates))]
        update.run(dues, tensors, held)

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
            if "step" in state[p]:  # PyTorch keeps it in a tensor
                state[p]["step"] = int(state[p]["step"])
        self.state = state
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update((k, copy.deepcopy(v)) for k, v in saved.items() if k != "params")

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def at_least_zero(name: str, group: Mapping[str, Any], *settings: str) -> None:
    """Raise ValueError unless these settings of a group are numbers that are not negative."""
    for setting in settings:
        if not group[setting] >= 0:
            raise ValueError(f"{name}: got {setting}={group[setting]}; needs a number >= 0")


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
