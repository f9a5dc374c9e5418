"""The character model, stopped in any way and resumed, ends with the bits of a run that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Long enough that a signal sent at the first checkpoint finds the run far from its end.
STEPS, SAVE_EVERY = 200, 5


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "examples" / "char_lm.py", "--smoke", f"--out={out}"]
    return subprocess.Popen(
        [*command, f"--steps={STEPS}", f"--save-every={SAVE_EVERY}", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(run: subprocess.Popen[str]) -> str:
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, out + err
    assert "Traceback" not in err
    return out


def stop_at_first_checkpoint(out: Path, how: signal.Signals) -> subprocess.Popen[str]:
    run = start(out)
    until = time.monotonic() + 100
    while not (out / "checkpoint.safetensors").exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    run.send_signal(how)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The last checkpoint of a run that went through, and before it its words."""
    out = tmp_path_factory.mktemp("whole")
    said = finish(start(out))
    assert "bits per character" in said
    assert f"{STEPS}  held out" in said
    return (out / "checkpoint.safetensors").read_bytes()


@pytest.mark.xdist_group("char_lm")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_resumed_run_is_bit_identical(how: signal.Signals, whole: bytes, tmp_path: Path) -> None:
    stopped = stop_at_first_checkpoint(tmp_path, how)
    if how == signal.SIGINT:
        assert "go on with --resume" in finish(stopped)
    else:
        stopped.communicate(timeout=120)
        assert stopped.returncode == -signal.SIGKILL
    left = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert left != whole
    finish(start(tmp_path, "--resume"))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == whole


@pytest.mark.xdist_group("char_lm")
def test_wrong_files_are_named(tmp_path: Path) -> None:
    def said(*options: str) -> str:
        run = start(tmp_path, *options)
        _, err = run.communicate(timeout=120)
        assert run.returncode != 0
        return err.strip().splitlines()[-1]

    assert "cannot read" in said("--resume")
    assert "cannot read" in said(f"--text={tmp_path / 'none.txt'}")
    short = tmp_path / "short.txt"
    short.write_text("too short")
    assert said(f"--text={short}").endswith("has 9 characters; needs a text of 1000 or more")
