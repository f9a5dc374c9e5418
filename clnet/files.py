"""Files that are written as a whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file so that at every moment either the old one or the whole new one is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # Made with the permissions that an ordinary new file gets, unlike tempfile's.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # The new name is in the folder's own data: that too must reach the disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
