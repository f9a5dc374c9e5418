"""The cache of program binaries on disk, which several processes may use at once.

An entry is named by the digest of all that the compiler's result depends on, and is written to a
temporary file that is then renamed, so that a reader sees a whole entry or none. A damaged entry is
deleted and built again.

PoCL keeps what it builds itself, and takes a program from there in 40 to 70 ms. Asking it for the
binary compiles the kernels once more, 3 s for a network of tiny products and 9 s for one program
with four large kernels (2 cores, PoCL 3.1), to save 50 ms a program in later runs. So for PoCL an
entry is a note only.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from clnet.device.opencl import is_pocl

_MAGIC = b"clnet program 1\n"
_DIGEST = hashlib.sha256().digest_size
_LARGEST_CACHE = 512 << 20  # bytes; beyond it the older half goes

_warned = False


def worth_keeping(raw: Any) -> bool:
    """Whether the binaries of a pyopencl device spare more than asking for them costs."""
    return not is_pocl(raw)


def cache_folder() -> Path:
    """The cache's folder: CLNET_CACHE, or `clnet` in XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("CLNET_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clnet"


class Entry:
    """The place of one program in the cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """The binary, b'' where the program is noted only, or None where it was not seen yet."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST
        binary = data[start:]
        if data[:start] == _MAGIC + hashlib.sha256(binary).digest():
            return binary
        self.discard()
        return None

    def write(self, binary: bytes) -> None:
        """Put a binary, or b'' as a note, in the entry's place."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(binary).digest() + binary)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
            if binary:
                _shrink(folder)
        except OSError as error:
            _warn(folder, error)

    def discard(self) -> None:
        """Forget the entry, if it is there."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _warn(self.path.parent, error)


def entry(options: str, fingerprint: str, text: str) -> Entry:
    """The entry of a program: compiler options, fingerprint of driver and device, and text."""
    digest = hashlib.sha256()
    for part in (options, fingerprint, text):
        digest.update(part.encode())
        digest.update(b"\0")
    return Entry(cache_folder() / "programs" / digest.hexdigest())


def _shrink(folder: Path) -> None:
    files = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # another process renamed or deleted it
        files.append((status.st_mtime, status.st_size, path))
    excess = sum(size for _, size, _ in files) - _LARGEST_CACHE
    if excess <= 0:
        return
    excess += _LARGEST_CACHE // 2
    for _, size, path in sorted(files):
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size


def _warn(folder: Path, error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"kernels are not cached on disk: {folder} cannot be written ({error.strerror}); "
            "set CLNET_CACHE to a folder that can",
            RuntimeWarning,
            stacklevel=2,
        )
