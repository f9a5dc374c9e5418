"""The linker for machines without one: real objects, real kernels, and refusals in words."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clnet.device import linker, loader, toolchain

C_SOURCE = """
#include <math.h>
#include <string.h>
int five = 5;
int *pointers[2] = {&five, &five};
static const char *const names[] = {"ab", "cde"};
int zeros[1000];
const double table[3] = {1.5, 2.5, 3.5};
extern int nowhere(void) __attribute__((weak));
double mixed(double x, int i) {
  zeros[i] += i;
  return fmod(x, table[i]) + *pointers[0] + strlen(names[i]) + zeros[i] + (nowhere ? 1000 : 0);
}
unsigned long wide(unsigned long a) {
  return (unsigned long)(((unsigned __int128)a << 64) / 12345678901234567ull);
}
"""

PROGRAM = """
import numpy as np
import clnet as cn
device = cn.device()
assert "3.0-rc2" in device.platform_version, device
x = np.linspace(-3, 3, 1000).astype(np.float32)
y = cn.tanh(cn.tensor(x)) * cn.exp(cn.tensor(x))
np.testing.assert_allclose(y.numpy(), np.tanh(x) * np.exp(x), rtol=1e-5)
z = cn.tensor(x).to(cn.float16)
np.testing.assert_allclose(z.numpy(), x.astype(np.float16))
print("computed")
"""


def run_linker(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", linker.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make an object")
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_library_computes_what_the_compilers_own_does(tmp_path: Path, level: str) -> None:
    source, out = tmp_path / "a.c", tmp_path / "a.so"
    source.write_text(C_SOURCE)
    subprocess.run(["gcc", level, "-fPIC", "-c", source, "-o", tmp_path / "a.o"], check=True)
    done = run_linker("--hash-style=both", "-m", "elf_x86_64", "-shared", "-o", out, "-L/lib",
                      tmp_path / "a.o", "-lgcc", "--as-needed", "-lc")  # fmt: skip
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(out), mode=os.RTLD_NOW)
    library.mixed.restype, library.mixed.argtypes = ctypes.c_double, [ctypes.c_double, ctypes.c_int]
    library.wide.restype, library.wide.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    assert library.mixed(7.25, 1) == 7.25 % 2.5 + 5 + 3 + 1
    assert library.mixed(7.25, 1) == 7.25 % 2.5 + 5 + 3 + 2
    assert library.wide(12345) == (12345 << 64) // 12345678901234567


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(b"\x7fELF not an object")
    done = run_linker("-shared", "-o", tmp_path / "a.so", tmp_path / "a.o")
    assert done.returncode == 1
    assert "a.o: not a relocatable x86-64 ELF file" in done.stderr
    assert not (tmp_path / "a.so").exists()


def test_other_uses_are_refused(tmp_path: Path) -> None:
    done = run_linker("-o", tmp_path / "a.out", "a.o", "b.o")
    assert done.returncode == 1
    assert "a shared library of one object" in done.stderr


def test_launcher_is_a_program_of_this_interpreter(tmp_path: Path) -> None:
    place = toolchain.write_launcher(tmp_path / "with space")
    assert stat.S_IMODE((place / "ld").stat().st_mode) == 0o755
    assert [path.name for path in place.iterdir()] == ["ld"]
    assert toolchain.write_launcher(tmp_path / "with space") == place
    done = subprocess.run([place / "ld"], capture_output=True, text=True)
    assert (done.returncode, done.stderr[:3]) == (1, "ld:")


def test_kernels_run_on_pypis_pocl_without_a_compiler(tmp_path: Path) -> None:
    folder = loader.bundled_folder()
    if folder is None or not list(folder.glob("libpocl*")):
        pytest.skip("PoCL from PyPI is not installed (clnet[pocl])")
    # Fresh caches, so that kernels are linked; a PATH without `ld` and without system drivers.
    places = {
        "PATH": "bin",
        "CLNET_CACHE": "clnet",
        "POCL_CACHE_DIR": "pocl",
        "OCL_ICD_VENDORS": "none",
    }
    environment = {name: str(tmp_path / folder) for name, folder in places.items()}
    for place in environment.values():
        Path(place).mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in places}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, **environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "computed"
    assert list(tmp_path.glob("clnet/linker/*/ld"))
