"""Kernels of users: OpenCL C that is not clnet's own, built as it is."""

from __future__ import annotations

import warnings
from pathlib import Path

from clnet.device.opencl import cl
from clnet.device.programs import Kernel
from clnet.device.runtime import Device
from clnet.device.sources import KernelSource
from clnet.errors import BuildError, ClnetError


def custom_kernel(on: Device, path: Path, name: str, options: str = "") -> Kernel:
    """Build a file and return the kernel `name` of it.

    Raises BuildError with the log, ClnetError where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClnetError(f"{path} cannot be read: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        try:
            program = cl.Program(on.context, text).build(options, cache_dir=False)
            return Kernel(cl.Kernel(program, name), KernelSource(path.name, name))
        except cl.Error as error:
            raise BuildError(f"kernel {name} of {path}: {error}", log=str(error)) from error
