"""What PoCL needs of the machine besides itself: a program `ld` and the libraries of a C compiler.

PoCL compiles a kernel to an object file and runs `ld` on it. Debian's package depends on a
compiler; PyPI's does not, and on a machine without one the first kernel would end the process
('Executable "ld" doesn't exist'). There clnet's own linker is put on PATH.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from clnet.device import linker
from clnet.device.binaries import cache_folder
from clnet.device.loader import bundled_folder

_SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib64")


def has_linker() -> bool:
    """Whether `ld` and the libraries that PoCL names to it (libgcc, libc) are on this machine."""
    libraries = [Path(folder) for folder in _SYSTEM_LIBRARIES]
    libgcc = any(next(folder.glob("gcc/*/*/libgcc.a"), None) for folder in libraries)
    libc = any(
        (folder / below / "libc.so").exists()
        for folder in libraries
        for below in ("", f"{platform.machine()}-linux-gnu")
    )
    return shutil.which("ld") is not None and libgcc and libc


def needs_linker() -> bool:
    """Whether PyPI's PoCL is here on a machine that it cannot link kernels on."""
    folder = bundled_folder()
    if folder is None or platform.machine() != "x86_64" or sys.platform != "linux":
        return False
    return next(folder.glob("libpocl*"), None) is not None and not has_linker()


def write_launcher(folder: Path) -> Path:
    """Write the program `ld` that runs clnet's linker into a folder below; returns that folder.

    The folder's name tells the interpreter and clnet apart, so that environments do not meet.
    """
    words = [sys.executable, "-I", "-S", linker.__file__]
    text = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
    place = folder / "linker" / hashlib.sha256(text.encode()).hexdigest()[:12]
    if not (place / "ld").exists():
        place.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.chmod(name, 0o755)
        os.replace(name, place / "ld")  # another process may be doing the same
    return place


def provide_linker() -> None:
    """Put clnet's linker first on PATH where PyPI's PoCL would find none, before it builds kernels.

    Only this process and those that it starts see it.
    """
    if not needs_linker():
        return
    try:
        place = write_launcher(cache_folder())
    except OSError:
        place = write_launcher(Path(tempfile.mkdtemp(prefix="clnet-")))
    path = os.environ.get("PATH", os.defpath)
    if str(place) not in path.split(os.pathsep):
        os.environ["PATH"] = f"{place}{os.pathsep}{path}"
