"""The Oclgrind pass sees what it is for: a race and an unwritten value turn it red."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "oclgrind"

PROGRAM = """
import sys
import numpy as np, pyopencl as cl
context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
queue = cl.CommandQueue(context)
source = '''
__kernel void reverse(__global float *x) {
  __local float t[16];
  const int i = get_local_id(0);
  t[i] = x[i];
  BARRIER
  x[i] = t[15 - i];
}'''
program = cl.Program(context, source.replace("BARRIER", sys.argv[1])).build(cache_dir=False)
x = np.arange(16, dtype=np.float32)
buffer = cl.Buffer(context, cl.mem_flags.COPY_HOST_PTR, hostbuf=x)
program.reverse(queue, (16,), (16,), buffer)
queue.finish()
"""

pytestmark = pytest.mark.skipif(
    shutil.which("oclgrind") is None, reason="oclgrind is not installed (apt install oclgrind)"
)


@pytest.mark.parametrize(
    ("barrier", "status"), [("barrier(CLK_LOCAL_MEM_FENCE);", 0), ("", 1)], ids=["barrier", "race"]
)
def test_race_fails_the_pass(barrier: str, status: int) -> None:
    run = subprocess.run(
        [TOOL, sys.executable, "-c", PROGRAM, barrier], capture_output=True, text=True
    )
    assert run.returncode == status, run.stdout + run.stderr
    assert ("race" in run.stdout) == bool(status)
