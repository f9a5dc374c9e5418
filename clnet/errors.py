"""The exceptions of clnet, and the shape of their messages.

A message reads `op: what was given; what is needed`, for instance
`matmul: cannot multiply float32[2, 3] by float32[2, 3]; needs [.., m, k] @ [.., k, n]`.
Where Python has an exception of its own for the case, the class here is one of those too, so that
`except ValueError` catches a wrong shape.
"""

from __future__ import annotations


class ClnetError(RuntimeError):
    """Anything clnet refuses or fails to do."""


class ShapeError(ClnetError, ValueError):
    """Shapes, sizes or dimensions that the op cannot take."""


class DTypeError(ClnetError, TypeError):
    """A dtype that the op or the device cannot take."""


class IndexOutOfRange(ClnetError, IndexError):  # noqa: N818  (public name)
    """An index or dimension number beyond the tensor's."""


class GradientError(ClnetError):
    """A derivative that does not exist or was asked for in a way that cannot work."""


class AnomalyError(ClnetError):
    """A NaN that anomaly mode found; the message names the op that first made one."""


class DeviceError(ClnetError):
    """No device, an unknown device, or a driver that failed."""


class OutOfMemoryError(DeviceError):
    """A buffer that the device has no room for; the tensors that exist stay usable.

    All sizes are in bytes: `requested`, `in_use` (held by tensors), `cached` (held for reuse, and
    already given back when this is raised) and `limit` (what the device has, or may use).
    """

    def __init__(
        self, message: str, *, requested: int = 0, in_use: int = 0, cached: int = 0, limit: int = 0
    ) -> None:
        super().__init__(message)
        self.requested = requested
        self.in_use = in_use
        self.cached = cached
        self.limit = limit


class BuildError(ClnetError):
    """A kernel that the device's compiler refused; `log` is the compiler's whole output."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class CheckpointError(ClnetError):
    """A checkpoint file that is missing, damaged, or of another model."""
