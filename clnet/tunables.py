"""Parameters of kernels that may be chosen by measurement, declared as data beside their op."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from clnet.records import Target


@dataclass(frozen=True)
class Tunable:
    """The parameter space of one kernel.

    kernel      its name, the key of tuning tables.
    op          name of the op that it computes, on which it is measured.
    types       the types of device on which it runs.
    parameters  allowed values by parameter, the safe default first; every combination is valid.
    work        sizes of the op's operands to measure on; see `records.Sizes`.

    >>> tiles = Tunable("tiles", "matmul", ("cpu",), {"tile_m": (8, 4, 16)}, ((64, 64, 64),))
    >>> tiles.default
    {'tile_m': 8}
    """

    kernel: str
    op: str
    types: tuple[str, ...]
    parameters: Mapping[str, tuple[int, ...]]
    work: tuple[tuple[int, ...], ...]

    @property
    def default(self) -> dict[str, int]:
        """The safe defaults."""
        return {name: values[0] for name, values in self.parameters.items()}

    def chosen(self, target: Target) -> dict[str, int]:
        """Return the parameters for a device: those of its tuning table, else the defaults.

        A table's parameters that are unknown or not allowed are left out, with a warning.
        """
        result = self.default
        for name, value in target.tuning.get(self.kernel, {}).items():
            if value in self.parameters.get(name, ()):
                result[name] = value
            else:
                allowed = dict(self.parameters)
                warnings.warn(
                    f"tuning: {self.kernel} has no {name} = {value}; needs one of {allowed}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return result


TUNABLES: dict[str, Tunable] = {}


def tunable(
    kernel: str,
    op: str,
    types: tuple[str, ...],
    parameters: Mapping[str, tuple[int, ...]],
    work: tuple[tuple[int, ...], ...],
) -> Tunable:
    """Enter a kernel's parameter space into the table of them, and return it."""
    assert kernel not in TUNABLES, f"kernel {kernel} is declared twice"
    TUNABLES[kernel] = Tunable(kernel, op, types, parameters, work)
    return TUNABLES[kernel]
