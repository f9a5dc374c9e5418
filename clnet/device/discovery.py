"""Finding the devices of the machine, ranking them, and choosing one by what a user calls it."""

from __future__ import annotations

import functools
import os
import re
import threading
from dataclasses import dataclass
from typing import Any

from clnet.device import loader, processor, toolchain
from clnet.device.opencl import PLATFORM_NOT_FOUND, cl, import_error
from clnet.device.runtime import Device
from clnet.errors import DeviceError

_INSTALL = (
    "install a GPU driver with OpenCL, or a CPU device: `pip install clnet[pocl]`, "
    "or `apt install pocl-opencl-icd`"
)
# The software rasterisers of Mesa: correct, and far slower than a runtime made for computing.
_RASTERISER = re.compile(r"llvmpipe|softpipe|swrast", re.IGNORECASE)
_TYPES = ("gpu", "accelerator", "cpu")


@dataclass(frozen=True)
class Discovery:
    """What one look at the machine found.

    devices    best first
    skipped    (index and name of a device, why it cannot be used)
    platforms  'name version' of each platform
    problem    why there is no device, in words; '' where there is one
    """

    devices: tuple[Device, ...]
    skipped: tuple[tuple[str, str], ...]
    platforms: tuple[str, ...]
    problem: str


_lock = threading.Lock()
_default: Device | None = None


def discover() -> Discovery:
    """Look at the machine, once in a process."""
    with _lock:
        return _discover()


@functools.cache
def _discover() -> Discovery:
    if cl is None:
        problem = (
            f"pyopencl cannot be imported ({import_error}); reinstall it with "
            "`pip install --force-reinstall pyopencl`"
        )
        return Discovery((), (), (), problem)
    toolchain.provide_linker()
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        if getattr(error, "code", 0) != PLATFORM_NOT_FOUND:
            return Discovery((), (), (), f"the OpenCL loader failed with {error}; {_INSTALL}")
        platforms = []
    found: list[tuple[Any, Device]] = []
    skipped: list[tuple[str, str]] = []
    names = []
    for p, platform in enumerate(platforms):
        names.append(f"{platform.name.strip()} ({platform.version.strip()})")
        try:
            raws = platform.get_devices()
        except cl.Error as error:
            skipped.append((f"{p}:-", f"{names[-1]} cannot list its devices: {error}"))
            continue
        for d, raw in enumerate(raws):
            index = f"{p}:{d}"
            try:
                reason = _unusable(raw)
                if reason:
                    skipped.append((f"{index} '{raw.name.strip()}'", reason))
                else:
                    processor.name_processor(raw)
                    rank, kind, why = _rank(raw)
                    found.append((rank, Device(raw, p, d, kind, why)))
            except cl.Error as error:
                skipped.append((index, f"the driver fails to describe it: {error}"))
    # Stable: of equals the one that the loader lists first.
    devices = tuple(device for _, device in sorted(found, key=lambda pair: pair[0], reverse=True))
    problem = "" if devices else _problem(names, skipped)
    return Discovery(devices, tuple(skipped), tuple(names), problem)


def _unusable(raw: Any) -> str:
    if not raw.available:
        return "the driver says that it is not available"
    if not raw.compiler_available:
        return "its driver has no compiler for OpenCL C"
    if not raw.endian_little:
        return "it is big-endian"
    return ""


def version_number(text: str) -> tuple[int, ...]:
    """The first version number in a text, a release candidate before its release.

    >>> version_number("OpenCL 3.0 PoCL 3.1+debian  Linux"[11:]), version_number("3.0-rc2")
    ((3, 1, 0), (3, 0, -1))
    >>> version_number("no number")
    ()
    """
    match = re.search(r"(\d+(?:\.\d+)+)(-?rc)?", text)
    if match is None:
        return ()
    return (*map(int, match[1].split(".")), -1 if match[2] else 0)


def _rank(raw: Any) -> tuple[tuple[Any, ...], str, str]:
    """A sort key (greater is better), the type, and the reason in words."""
    types = cl.device_type
    standard = version_number(raw.version)
    if raw.type & types.CPU or _RASTERISER.search(raw.name):
        # 'OpenCL 3.0 PoCL 3.1+debian': the implementation's own version follows the standard's.
        own = version_number(raw.platform.version.partition(" ")[2].partition(" ")[2])
        own = own or version_number(raw.driver_version)
        words = "CPU runtime"
        if own:
            words += f", version {'.'.join(map(str, own[:-1]))}{' candidate' if own[-1] else ''}"
        rasteriser = bool(_RASTERISER.search(raw.name))
        if rasteriser:
            words = "software rasteriser: after every CPU runtime"
        fp64 = "cl_khr_fp64" in raw.extensions.split()
        width = int(raw.native_vector_width_float)
        return (0, not rasteriser, fp64, standard[:2], width, own), "cpu", words
    size = int(raw.global_mem_size)
    speed = int(raw.max_compute_units) * int(raw.max_clock_frequency)
    if raw.type & types.GPU:
        if raw.host_unified_memory:
            return (2, size, speed, standard), "gpu", "integrated GPU: before accelerators and CPUs"
        return (3, size, speed, standard), "gpu", "discrete GPU: before all other kinds"
    return (1, size, speed, standard), "accelerator", "accelerator: before CPUs"


def _problem(platforms: list[str], skipped: list[tuple[str, str]]) -> str:
    """Why no device was found, and what to do, from what the loader had to work with."""
    advice = []
    nodes = loader.unreadable_render_nodes()
    if nodes:
        names = ", ".join(map(str, nodes))
        advice.append(
            f"this user may not open {names}: `sudo usermod -aG render,video $USER`, then "
            "log in again"
        )
    if skipped:
        found = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        return "; ".join([f"no usable OpenCL device: {found}", *advice, _INSTALL])
    if platforms:
        found = f"OpenCL platforms without a device: {', '.join(platforms)}"
        if any("rusticl" in name for name in platforms):
            advice.append("rusticl shows only drivers named in RUSTICL_ENABLE")
        return "; ".join([found, *advice, _INSTALL])
    chosen = os.environ.get("OCL_ICD_VENDORS")
    vendors = loader.vendors()
    places = " and ".join(map(str, loader.vendor_places()))
    if vendors:
        missing = ", ".join(
            f"{vendor.file} names {vendor.library or 'nothing'}"
            + ("" if vendor.path else ", which is not there")
            for vendor in vendors
        )
        found = f"no OpenCL platform: none of the drivers loads ({missing})"
    else:
        found = f"no OpenCL platform: no vendor file (.icd) in {places}"
    if chosen:
        advice.append(f"OCL_ICD_VENDORS is set to {chosen}: unset it to use the system's drivers")
    return "; ".join([found, *advice, _INSTALL])


def devices() -> list[Device]:
    """The usable OpenCL devices of the machine, best first.

    Discrete GPUs come before integrated ones, then accelerators, then CPUs; of CPU runtimes the
    newest comes first. The list is made once in a process; it is empty where there is none.

    >>> [d for d in devices() if d.type not in ("gpu", "cpu", "accelerator")]
    []
    """
    return list(discover().devices)


def device(spec: Device | str | None = None) -> Device:
    """The device that `spec` names, or the default: the one set, CLNET_DEVICE's, else the best.

    A name is a piece of the device's, vendor's or platform's name (case does not matter), 'gpu',
    'cpu', 'accelerator', or 'platform:device' indices as `clnet devices` shows them. Where several
    fit, the best ranked is taken. Raises DeviceError, which says what there is.

    >>> device(device().index) is device()
    True
    """
    if isinstance(spec, Device):
        return spec
    if spec is None and _default is not None:
        return _default
    found = discover()
    origin = ""
    if spec is None:
        spec = os.environ.get("CLNET_DEVICE", "").strip()
        origin = " (from CLNET_DEVICE)"
    elif not isinstance(spec, str) or not spec.strip():
        raise DeviceError(f"device: cannot choose by {spec!r}; needs a name, an index or None")
    if not found.devices:
        raise DeviceError(f"device: {found.problem}")
    if not spec:
        return found.devices[0]
    wanted = spec.strip().lower()
    for candidate in found.devices:
        if _fits(candidate, wanted):
            return candidate
    present = ", ".join(map(str, found.devices))
    skipped = "".join(f"; skipped {name}: {reason}" for name, reason in found.skipped)
    raise DeviceError(
        f"device: nothing fits {spec!r}{origin}; there is {present}{skipped}; give a piece of a "
        "name, 'gpu', 'cpu' or platform:device indices"
    )


def _fits(candidate: Device, wanted: str) -> bool:
    if wanted in _TYPES:
        return candidate.type == wanted
    if re.fullmatch(r"\d+:\d+", wanted):
        return candidate.index == wanted
    names = (candidate.name, candidate.vendor, candidate.platform, candidate.platform_version)
    return any(wanted in name.lower() for name in names)


def default_device() -> Device:
    """The device of values that name none: `device()`."""
    return device()


def set_default_device(spec: Device | str | None) -> None:
    """Make a device the default of the whole process; None undoes it."""
    global _default
    _default = None if spec is None else device(spec)


def memory_stats(which: Device | str | None = None) -> dict[str, int]:
    """Memory of a device, in bytes: in_use, cached, peak, limit, largest_allocation, allocations.

    `in_use` is what live buffers asked for, in `allocations` pieces, `peak` the most it ever was,
    `cached` what the pool holds beyond it, and `limit` what the pool may hold: the device's memory,
    or CLNET_MEMORY_LIMIT.

    >>> sorted(memory_stats())
    ['allocations', 'cached', 'in_use', 'largest_allocation', 'limit', 'peak']
    """
    return device(which).memory.stats()


def empty_cache(which: Device | str | None = None) -> None:
    """Give the memory that the pool of a device holds for reuse back to the driver."""
    device(which).memory.empty_cache()
