"""Kernels of users: OpenCL C that is not clnet's own, built as it is."""

from __future__ import annotations

import warnings
from pathlib import Path

from clnet.device.opencl import cl
from clnet.device.programs import Kernel
from clnet.device.runtime import Device
from clnet.device.sources import KernelSource
from clnet.errors import BuildError


def custom_kernel(on: Device, path: Path, name: str, options: str = "") -> Kernel:
    """Build a file and return the kernel `name` of it. Raises BuildError with the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        try:
            program = cl.Program(on.context, path.read_text()).build(options, cache_dir=False)
            return Kernel(cl.Kernel(program, name), KernelSource(path.name, name))
        except cl.Error as error:
            raise BuildError(f"bench: kernel {name} of {path}: {error}", log=str(error)) from error
