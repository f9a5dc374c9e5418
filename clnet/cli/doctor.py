"""Check the OpenCL loader, each platform, and a kernel on each device."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from importlib import metadata
from typing import Any

from clnet.device import loader

_PATIENCE = 180  # seconds for one device; the first compilation of some drivers takes many


def configure(parser: argparse.ArgumentParser) -> None:
    """`clnet doctor` has no options."""


def run(options: argparse.Namespace) -> int:
    """Print what was checked and what is wrong; the status is 0 if at least one device works."""
    found = _in_child([])
    _check_loader(found.get("loader", ""))
    _check_permissions()
    if "devices" not in found:
        _say("FAIL", f"listing the devices {found['text']}; remove the vendor file of that driver")
        return 1
    for platform in found["platforms"]:
        _say("ok", f"platform {platform}")
    if found["devices"]:
        for name, reason in found["skipped"]:
            _say("warning", f"skipped {name}: {reason}")
    working = []
    for device in found["devices"]:
        result = _in_child([device["index"]])
        if result.get("ok"):
            working.append(device["text"])
        _say("ok" if result.get("ok") else "FAIL", f"device {device['text']}: {result['text']}")
    if not working:
        _say("FAIL", found["problem"] or "no device works; update the drivers named above")
        return 1
    total = len(found["devices"])
    _say("ok", f"{len(working)} of {total} devices work; the best is {working[0]}")
    return 0


def _check_loader(library: str) -> None:
    try:
        version = metadata.version("pyopencl")
    except metadata.PackageNotFoundError:
        _say("FAIL", "pyopencl is not installed: `pip install pyopencl`")
        return
    _say("ok" if library else "warning", f"pyopencl {version}, loader {library or 'unknown'}")
    places = ", ".join(map(str, loader.vendor_places()))
    vendors = loader.vendors()
    if not vendors:
        _say("FAIL", f"no vendor file (.icd) in {places}: no OpenCL driver is installed")
    for vendor in vendors:
        if vendor.path is None:
            library_name = vendor.library or "no library"
            text = f"names {library_name}, which is not in the usual folders; reinstall that driver"
            _say("warning", f"driver {vendor.file} {text}")
        else:
            _say("ok", f"driver {vendor.file} is {vendor.path}")


def _check_permissions() -> None:
    for node in loader.unreadable_render_nodes():
        text = "`sudo usermod -aG render,video $USER`, then log in again"
        _say("warning", f"this user may not open {node}, so its GPU is not seen: {text}")


def _in_child(arguments: list[str]) -> dict[str, Any]:
    """The JSON of a trial in a process of its own, or what became of the process in words."""
    command = [sys.executable, "-m", "clnet.cli.trial", *arguments]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {"text": f"did not finish within {_PATIENCE} s: the driver hangs"}
    lines = child.stdout.strip().splitlines()
    if child.returncode == 0 and lines:
        return dict(json.loads(lines[-1]))
    last = (child.stderr.strip().splitlines() or ["no message"])[-1]
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return {"text": f"crashed with {name} in the driver ({last}); update or remove that driver"}
    return {"text": f"ended with status {child.returncode}: {last}"}


def _say(mark: str, text: str) -> None:
    print(f"{mark:8}{text}", flush=True)
