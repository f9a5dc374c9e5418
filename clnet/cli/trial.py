"""One device, or the list of them, tried in a process of its own: a crash stays in it.

`python -m clnet.cli.trial` prints the list, `python -m clnet.cli.trial 0:0` what became of a
device; the last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from clnet.device import Device, KernelSource, discover, loader
from clnet.errors import ClnetError

_GROUPS = 64


def enumerate_devices() -> dict[str, Any]:
    """What discovery finds, as JSON values."""
    found = discover()
    library = loader.loaded_library()
    return {
        "loader": "" if library is None else f"{loader.loader_version(library)} at {library}",
        "devices": [{"index": each.index, "text": str(each)} for each in found.devices],
        "skipped": list(found.skipped),
        "platforms": list(found.platforms),
        "problem": found.problem,
    }


def try_device(device: Device) -> dict[str, Any]:
    """Build and run a kernel with local memory and a barrier, check its sums, and ask for types."""
    local = min(64, 1 << (device.caps.max_work_group.bit_length() - 1))
    if local < 2:
        return {"ok": False, "text": "its work-groups have one item: barriers mean nothing there"}
    start = time.perf_counter()
    source = KernelSource("doctor.cl", "group_sum", (("LOCAL", str(local)),))
    (kernel,) = device.kernels([source])
    built = time.perf_counter()
    x = (np.arange(_GROUPS * local) % 251).astype(np.float32)  # the sums are exact in float32
    given, sums = device.upload(x), device.allocate(4 * _GROUPS)
    kernel.raw.set_args(given, sums)
    device.enqueue(kernel, x.shape, (local,))
    got = device.download(sums, np.float32, (_GROUPS,))
    done = time.perf_counter()
    expected = x.reshape(_GROUPS, local).sum(1)
    wrong = int((got != expected).sum())
    if wrong:
        group = int(np.flatnonzero(got != expected)[0])
        text = (
            f"wrong numbers: {wrong} of {_GROUPS} group sums, the first {got[group]} instead of "
            f"{expected[group]}; local memory or barriers are broken in this driver: update it, or "
            "choose another device with CLNET_DEVICE"
        )
        return {"ok": False, "text": text}
    reals = ["fp32", *(real for real in ("fp16", "fp64") if getattr(device.caps, real))]
    text = (
        f"compiles in {built - start:.2f} s, runs in {done - built:.2f} s, local memory and "
        f"barriers work, arithmetic in {', '.join(reals)}"
    )
    return {"ok": True, "text": text}


def main(arguments: list[str]) -> None:
    """Print the list, or try the device that the argument names."""
    if not arguments:
        result = enumerate_devices()
    else:
        (device,) = (each for each in discover().devices if each.index == arguments[0])
        try:
            result = try_device(device)
        except ClnetError as error:
            result = {"ok": False, "text": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
