#!/usr/bin/env python3
"""Make the virtual environment `.venv` and install clnet there with the extras named.

    python3 tools/install.py pocl plot && .venv/bin/python examples/char_lm.py

Needs Python 3.10+ and an index of packages (PyPI), nothing else: no root, no pip. Debian keeps
`ensurepip` in a package of its own (python3-venv), without which `python3 -m venv` fails; where it
is missing, pip's wheel is fetched from the index and checked against the digest below.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP_WHEEL = "pip-25.3-py3-none-any.whl"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"


def fetch(url: str) -> bytes:
    """Read `url`; without certificates on the machine (no ca-certificates) read it unverified.

    Nothing fetched is trusted for its origin: the wheel is compared with `PIP_SHA256`.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(url, timeout=60, context=context) as answer:
        return answer.read()


def fetch_pip(folder: Path) -> Path:
    """Fetch pip's wheel from the index (`PIP_INDEX_URL`, else PyPI) into `folder`."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    try:
        link = re.search(rf'href="([^"]*{re.escape(PIP_WHEEL)})[#"]', fetch(index).decode())
        if link is None:
            sys.exit(f"install.py: {index} does not list {PIP_WHEEL}")
        wheel = fetch(urllib.parse.urljoin(index, link[1]))
    except OSError as error:
        sys.exit(
            f"install.py: cannot fetch pip from {index}: {error}; needs a network, or "
            "python3-venv (as root: apt install python3-venv)"
        )
    if hashlib.sha256(wheel).hexdigest() != PIP_SHA256:
        sys.exit(f"install.py: {index} gave another {PIP_WHEEL} than the published one")
    path = folder / PIP_WHEEL
    path.write_bytes(wheel)
    return path


def provide_pip(python: str) -> None:
    """Put pip into the environment of the interpreter `python` where it is not there yet."""
    if subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0:
        return
    if importlib.util.find_spec("ensurepip") is not None:
        subprocess.run([python, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
        return
    print("no ensurepip here: fetching pip from the package index", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch_pip(Path(folder))
        # A wheel is a zip file: Python runs the pip in it, which installs itself.
        install = [f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run([python, *install], check=True)


def main() -> None:
    """Make the environment, install, and say how long it took."""
    if sys.version_info < (3, 10):  # noqa: UP036  this file is run before pip could refuse
        sys.exit(f"install.py: this is Python {sys.version.split()[0]}; clnet needs 3.10 or newer")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("extras", nargs="*", help="extras of clnet: pocl, plot, test, dev")
    parser.add_argument("--path", default=".venv", help="where to make it (default: .venv)")
    options = parser.parse_args()
    start = time.monotonic()
    target = f"{ROOT}[{','.join(options.extras)}]" if options.extras else str(ROOT)
    print(f"installing clnet[{','.join(options.extras)}] into {options.path} ...", flush=True)
    builder = venv.EnvBuilder(symlinks=True)
    builder.create(options.path)
    python = builder.ensure_directories(options.path).env_exe
    provide_pip(python)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    code = subprocess.run([*pip, "--editable", target]).returncode
    if code:
        sys.exit(code)
    print(f"installed in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
