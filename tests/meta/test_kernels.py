"""Bugs that PoCL hides: a lost barrier or bounds check, which only Oclgrind reports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "oclgrind"

PROGRAM = """
import pathlib, sys
import numpy as np
from clnet.device import sources
sources.kernel_folder = lambda: pathlib.Path(sys.argv[1])
import clnet as cn
from clnet.engine import run
real = run.target
run.target = lambda on: run.DeviceTarget("gpu", real(on).local_memory, 64, 2, 1 << 30, {})
x = np.arange(120, dtype=np.float32).reshape(2, 60)
t = cn.tensor(x)
np.testing.assert_array_equal(t.sum(1).numpy(), x.sum(1))
np.testing.assert_array_equal((t * 2 + 1).numpy(), x * 2 + 1)
np.testing.assert_array_equal(cn.cat([t, t], 1).numpy(), np.concatenate([x, x], 1))
np.testing.assert_array_equal(t.sum(0).numpy(), x.sum(0))
"""

MUTATIONS = {
    "unbroken": ("reduce.cl", "", "", ""),
    "barrier": (
        "reduce.cl",
        "    barrier(CLK_LOCAL_MEM_FENCE);\n    if (item < half_)",
        "    if (item < half_)",
        # Its work-items run one after another, so the first finds nothing written yet.
        "Uninitialized value",
    ),
    "copy_region": ("place.cl", "  if (i >= total) return;\n", "", "Invalid"),
}


def mutated(name: str, folder: Path) -> Path:
    """Copy the kernels with one line changed."""
    kernels = folder / "kernels"
    shutil.copytree(ROOT / "kernels", kernels)
    file, old, new, _ = MUTATIONS[name]
    text = (kernels / file).read_text()
    assert old in text, f"{file} no longer holds {old!r}: adapt the mutation"
    (kernels / file).write_text(text.replace(old, new))
    return kernels


@pytest.mark.skipif(
    shutil.which("oclgrind") is None, reason="oclgrind is not installed (apt install oclgrind)"
)
@pytest.mark.parametrize("name", MUTATIONS)
def test_oclgrind_reports_what_pocl_hides(name: str, tmp_path: Path) -> None:
    kernels = mutated(name, tmp_path)
    run = subprocess.run(
        [TOOL, sys.executable, "-c", PROGRAM, kernels],
        env={k: v for k, v in os.environ.items() if k != "CLNET_DEVICE"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    wanted = MUTATIONS[name][3]
    assert (run.returncode != 0) == bool(wanted), run.stdout + run.stderr
    assert wanted.lower() in run.stdout.lower()
