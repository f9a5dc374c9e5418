"""Learning rates that change from epoch to epoch (or step to step), as functions of their count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clnet.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: sets each group's 'lr' to what `rate` says, at once and on each `step()`.

    `last_epoch` counts the steps. Rates are computed in closed form from the group's 'initial_lr',
    so that a schedule resumes exactly. A subclass defines `rate`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}]")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def rate(self, base: float, index: int) -> float:
        """Return the learning rate of group `index`, that began with `base`, now."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one epoch, and set the learning rates."""
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        for i, (group, base) in enumerate(
            zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ):
            group["lr"] = self.rate(base, i)

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what a schedule needs to go on; functions given by the user are not in it."""
        return {
            k: v
            for k, v in self.__dict__.items()
            if k != "optimizer" and isinstance(v, (int, float, list)) and not _has_callable(v)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another schedule was, and set the learning rates of then."""
        self.__dict__.update(state_dict)
        self._set()


def _has_callable(value: Any) -> bool:
    return isinstance(value, list) and any(callable(v) for v in value)


class LambdaLR(LRScheduler):
    """The initial rate times `lr_lambda(epoch)`: one function, or one for each group.

    >>> import clnet as cn
    >>> optimizer = cn.optim.SGD([cn.nn.Parameter(cn.ones(2))], lr=0.5)
    >>> schedule = cn.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return base * lr_lambda(epoch)."""
        return base * self.lr_lambdas[index](self.last_epoch)


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return base * gamma^(epoch // step_size)."""
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the epochs `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return base * gamma^(milestones passed)."""
        return base * self.gamma ** sum(self.last_epoch >= m for m in self.milestones)


class ExponentialLR(LRScheduler):
    """The rate times `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return base * gamma^epoch."""
        return base * self.gamma**self.last_epoch


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate to `eta_min` in `T_max` epochs (Loshchilov, 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return eta_min + (base - eta_min) * (1 + cos(pi * epoch / T_max)) / 2."""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * share


class LinearLR(LRScheduler):
    """A factor that goes linearly from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0 or not 0.0 <= end_factor <= 1.0:
            raise ValueError(
                f"LinearLR: got start_factor={start_factor}, end_factor={end_factor}; "
                "needs factors up to 1, the first above 0"
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, index: int) -> float:
        """Return base * (start + (end - start) * min(epoch, total) / total)."""
        share = min(self.last_epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)
