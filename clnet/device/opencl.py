"""The one import of pyopencl, and the translation of its errors into clnet's.

When pyopencl cannot be imported (not installed, or its libOpenCL missing), importing clnet still
works: `import_error` holds the reason, which asking for a device reports.
"""

from __future__ import annotations

from typing import Any

from clnet.errors import DeviceError

cl: Any
import_error: Exception | None = None
try:
    import pyopencl as cl
    import pyopencl.tools  # noqa: F401  (the memory pool)
except (ImportError, OSError) as error:
    cl = None
    import_error = error

PLATFORM_NOT_FOUND = (
    -1001
)  # CL_PLATFORM_NOT_FOUND_KHR, which pyopencl has no name for in all versions
_OUT_OF_RESOURCES = -5
_OUT_OF_HOST_MEMORY = -6
_ALLOCATION_FAILURE = -4
_INVALID_BUFFER_SIZE = -61


def is_pocl(raw: Any) -> bool:
    """Whether a pyopencl device is PoCL's."""
    return bool(raw.platform.name.startswith("Portable Computing Language"))


def is_exhaustion(error: Exception) -> bool:
    """Whether an OpenCL error says that device memory ran out."""
    return getattr(error, "code", 0) in (
        _ALLOCATION_FAILURE,
        _OUT_OF_HOST_MEMORY,
        _INVALID_BUFFER_SIZE,
    )


def device_error(op: str, device: object, error: Exception) -> DeviceError:
    """The DeviceError that tells an OpenCL error of `op` on `device` in words."""
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = "run `clnet doctor` to check the driver"
    if getattr(error, "code", 0) == _OUT_OF_RESOURCES:
        advice = (
            "the driver ran out of resources, often because a kernel crashed or a watchdog stopped "
            "it; " + advice
        )
    return DeviceError(f"{op}: {device} failed with {what}; {advice}")
