"""The cache of program binaries on disk, which several processes may use at once.

An entry is named by the digest of all that the compiler's result depends on, and is written to a
temporary file that is then renamed, so that a reader sees a whole entry or none. A damaged entry is
deleted and built again.

Asking some drivers for a binary costs as much as the build did (PoCL 3.1: 0.09 s for each kernel,
measured on 2 cores), while many keep a cache of their own. So the first build of a program only
notes how long it took, and the second saves the binary if the driver was no faster then.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import warnings
from pathlib import Path

_MAGIC = b"clnet program 1\n"
_DIGEST = hashlib.sha256().digest_size
_NOTE, _BINARY = b"N", b"B"
_SECONDS = struct.Struct("<d")
_LARGEST_CACHE = 512 << 20  # bytes; beyond it the older half goes

_warned = False


def cache_folder() -> Path:
    """The cache's folder: CLNET_CACHE, or `clnet` in XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("CLNET_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clnet"


def worth_saving(first: float, again: float) -> bool:
    """Whether a program that took `first` seconds to build, and now `again`, needs our cache.

    >>> worth_saving(0.8, 0.04), worth_saving(0.8, 0.7), worth_saving(0.03, 0.03)
    (False, True, False)
    """
    return again > max(first / 2, 0.05)


class Entry:
    """The place of one program in the cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | float | None:
        """The binary, or the seconds that the first build took, or None where there is neither."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST
        payload = data[start:]
        if data[:start] == _MAGIC + hashlib.sha256(payload).digest():
            if payload[:1] == _BINARY:
                return payload[1:]
            if payload[:1] == _NOTE and len(payload) == 1 + _SECONDS.size:
                return float(_SECONDS.unpack(payload[1:])[0])
        self.discard()
        return None

    def write(self, content: bytes | float) -> None:
        """Put a binary, or the seconds of the first build, in the entry's place."""
        if isinstance(content, bytes):
            payload = _BINARY + content
        else:
            payload = _NOTE + _SECONDS.pack(content)
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
            if isinstance(content, bytes):
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
