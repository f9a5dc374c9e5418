"""The smoke program on every OpenCL implementation found here, and on devices that they imitate."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")


def smoke(tmp_path: Path, *options: str, **environment: str) -> str:
    """Run the smoke program in a process of its own; return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("CLNET_DEVICE", "POCL_DEVICES")}
    settings = {"PYTHONPATH": str(ROOT), "PYOPENCL_NO_CACHE": "1", **environment}
    run = subprocess.run(
        [sys.executable, SMOKE, *options],
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "passed"
    return run.stdout


def vendors(tmp_path: Path, *libraries: str) -> str:
    """Return a folder with vendor files of these libraries, and no others."""
    folder = tmp_path / "vendors"
    folder.mkdir()
    for number, library in enumerate(libraries):
        (folder / f"{number}.icd").write_text(library + "\n")
    return str(folder)


def system_vendor(name: str) -> str:
    """Return the library in the system's vendor file of this name; skip where there is none."""
    file = Path("/etc/OpenCL/vendors") / name
    if not file.is_file():
        pytest.skip(f"{file} is not on this machine")
    return file.read_text().strip()


def test_pocl_of_pypi(tmp_path: Path) -> None:
    import pyopencl

    folder = Path(pyopencl.__file__).parent / ".libs"
    if not list(folder.glob("libpocl*")):
        pytest.skip("pocl-binary-distribution is not installed (pip install clnet[pocl])")
    said = smoke(tmp_path, OCL_ICD_VENDORS=vendors(tmp_path))
    assert "PoCL" in said
    assert "debian" not in said


def test_pocl_of_the_system(tmp_path: Path) -> None:
    folder = vendors(tmp_path, system_vendor("pocl.icd"))
    # The newer of two PoCLs wins, so the one that pip brought need not be hidden.
    assert "PoCL" in smoke(tmp_path, OCL_ICD_VENDORS=folder)


def test_rusticl(tmp_path: Path) -> None:
    """Without float64, 32 KB of local memory, and a compiler of its own."""
    folder = vendors(tmp_path, system_vendor("rusticl.icd"))
    settings = {"RUSTICL_ENABLE": "llvmpipe", "CLNET_DEVICE": "rusticl"}
    assert "rusticl" in smoke(tmp_path, OCL_ICD_VENDORS=folder, **settings)


@pytest.mark.parametrize("architecture", ["", "corei7-avx"])
def test_intel(tmp_path: Path, architecture: str) -> None:
    places = (f"{sys.prefix}/lib/**/libintelocl.so*", "/opt/intel/**/libintelocl.so*")
    found = [path for place in places for path in glob.glob(place, recursive=True)]
    if not found:
        pytest.skip("Intel's CPU runtime is not installed (pip install intel-opencl-rt)")
    settings = {"CL_CONFIG_CPU_TARGET_ARCH": architecture} if architecture else {}
    folder = vendors(tmp_path, found[0])
    assert "Intel" in smoke(tmp_path, OCL_ICD_VENDORS=folder, CLNET_DEVICE="intel", **settings)


# --- devices that PoCL imitates ------------------------------------------------------------------


def needs_pocl() -> None:
    import clnet as cn

    if not any("PoCL" in d.platform_version for d in cn.devices()):
        pytest.skip("no PoCL on this machine")


def test_small_work_groups_and_memory(tmp_path: Path) -> None:
    needs_pocl()
    said = smoke(
        tmp_path,
        POCL_MAX_WORK_GROUP_SIZE="64",
        POCL_MEMORY_LIMIT="1",
        POCL_CACHE_DIR=str(tmp_path / "pocl"),
        CLNET_CACHE=str(tmp_path / "clnet"),
    )
    group, memory = said.splitlines()[1].split(" | ")
    assert group == "work-group: 64"
    assert int(memory.split()[1]) <= 2**30


def test_two_devices_in_one_process(tmp_path: Path) -> None:
    needs_pocl()
    assert "crossed to" in smoke(tmp_path, "--across", POCL_DEVICES="pthread basic")


def test_two_implementations_in_one_process(tmp_path: Path) -> None:
    """Two PoCLs carry one platform name; rusticl has another compiler and no float64."""
    folder = vendors(tmp_path, system_vendor("rusticl.icd"))
    said = smoke(tmp_path, "--across", OCL_ICD_VENDORS=folder, RUSTICL_ENABLE="llvmpipe")
    if "crossed to" not in said:
        pytest.skip("one device only")
