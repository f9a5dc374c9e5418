"""What the OpenCL loader has to work with: vendor files, the libraries they name, device nodes.

Nothing here talks to OpenCL; these are the facts that explain why it finds nothing, and that tell
one state of the drivers from another.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")
_LIBRARY_FOLDERS = ("/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib", "/opt/rocm/lib")
_QUIET_SETTINGS = ("POCL_CACHE_DIR", "POCL_DEBUG", "POCL_KERNEL_CACHE")


@dataclass(frozen=True)
class Vendor:
    """A vendor file (`.icd`), the library that it names, and where that is, if anywhere."""

    file: Path
    library: str
    path: Path | None


def bundled_folder() -> Path | None:
    """The folder beside pyopencl's own loader, where PyPI packages put their vendor files."""
    spec = importlib.util.find_spec("pyopencl")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    for folder in (package / ".libs", package.parent / "pyopencl.libs"):
        if folder.is_dir():
            return folder
    return None


def vendor_places() -> list[Path]:
    """The folders and files that the loader looks for vendor files in, in its order.

    OCL_ICD_VENDORS replaces the system's folder; as a file it replaces the bundled folder too.
    """
    chosen = os.environ.get("OCL_ICD_VENDORS")
    place = Path(chosen) if chosen else SYSTEM_VENDORS
    if chosen and not place.is_dir():
        return [place]
    bundled = bundled_folder()
    return [place] if bundled is None else [place, bundled]


def vendors() -> list[Vendor]:
    """The vendor files found, with their libraries."""
    found = []
    for place in vendor_places():
        files = sorted(place.glob("*.icd")) if place.is_dir() else [place]
        for file in files:
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            library = lines[0].strip() if lines else ""
            found.append(Vendor(file, library, _library_path(library, file.parent)))
    return found


def _library_path(library: str, folder: Path) -> Path | None:
    if not library:
        return None
    if "/" in library:
        return Path(library) if Path(library).exists() else None
    machine = os.uname().machine
    searched = [str(folder), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    for root in _LIBRARY_FOLDERS:
        searched += [root, f"{root}/{machine}-linux-gnu"]
    for candidate in searched:
        if candidate and (path := Path(candidate) / library).exists():
            return path
    return None


def settings_and_libraries() -> str:
    """A digest that changes with any driver library and with the settings that change compilers."""
    digest = hashlib.sha256(f"{struct.calcsize('P')} {sys.byteorder}".encode())
    for vendor in vendors():
        digest.update(f"\0{vendor.library}".encode())
        if vendor.path is not None:
            status = vendor.path.stat()
            digest.update(f"\0{status.st_size} {status.st_mtime_ns}".encode())
    for name in sorted(os.environ):
        if name.startswith(("POCL_", "CL_CONFIG_")) and name not in _QUIET_SETTINGS:
            digest.update(f"\0{name}={os.environ[name]}".encode())
    return digest.hexdigest()


def unreadable_render_nodes() -> list[Path]:
    """GPU device nodes that exist and that this user may not open."""
    return [
        node
        for node in sorted(Path("/dev/dri").glob("renderD*")) + sorted(Path("/dev").glob("kfd"))
        if not os.access(node, os.R_OK | os.W_OK)
    ]


def loaded_library() -> Path | None:
    """The libOpenCL of this process, once pyopencl is imported; None where it cannot be told."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in maps.splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.name.startswith("libOpenCL"):
            return path
    return None


def loader_version(library: Path) -> str:
    """What this process's libOpenCL calls itself, 'OpenCL ICD Loader 2.3.1', or '' if it does not.

    Loads the drivers if nothing did before.
    """
    try:
        address = ctypes.CDLL(str(library)).clGetExtensionFunctionAddress
    except (OSError, AttributeError):
        return ""
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    found = address(b"clGetICDLoaderInfoOCLICD")
    if not found:
        return ""
    ask = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
    )(found)
    words = []
    for fact in (3, 2):  # CL_ICDL_NAME, CL_ICDL_VERSION
        text = ctypes.create_string_buffer(256)
        if ask(fact, len(text), ctypes.cast(text, ctypes.c_char_p), None) == 0:
            words.append(text.value.decode(errors="replace"))
    return " ".join(words)
