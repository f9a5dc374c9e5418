"""`clnet tune`: candidates that crash, hang or err are refused, and what was found is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import prod

import pytest

import clnet as cn
from clnet.cli import main, tune
from clnet.cli.child import Child, ChildError
from clnet.cli.tune import report, trial
from clnet.cli.tune.search import Found, search
from clnet.device import tuning
from clnet.engine import run
from clnet.errors import ClnetError
from clnet.records import OPS
from clnet.tunables import TUNABLES

SPACE = replace(TUNABLES["matmul_blocked"], work=((40, 33, 50),))

# The process of `clnet tune`, whose driver crashes at one value and hangs at another.
CHILD = """
import os, signal, sys, time
from dataclasses import replace
from clnet.cli.child import serve
from clnet.cli.tune import trial
trial.TUNABLES["matmul_blocked"] = replace(
    trial.TUNABLES["matmul_blocked"], work=((40, 33, 50),))
trial._ENOUGH = 0.01
compare = trial.Trials.compare
def checked(self, candidate, best):
    if candidate["tile_m"] == 4:
        print("the driver complains", file=sys.stderr, flush=True)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # PoCL has a handler of its own
        os.kill(os.getpid(), signal.SIGSEGV)
    if candidate["tile_m"] == 16:
        time.sleep(600)
    return {**compare(self, candidate, best), "ratio": 1.0}
trial.Trials.compare = checked
serve(trial.answer)
"""


def test_a_crash_and_a_hang_do_not_lose_the_rest():
    child = Child([sys.executable, "-c", CHILD])
    found = Found(SPACE, SPACE.default, SPACE.default)
    steps = []
    try:
        search(found, child, lambda: steps.append(0), patience=10)
    finally:
        child.close()
    refused = {p["tile_m"]: reason for p, reason in found.refused}
    assert refused[4] == "crashed with SIGSEGV (the driver complains)"
    assert refused[16] == "did not finish within 10 s"
    assert len(found.refused) == 2
    # All other parameters were tried after them.
    assert len(steps) == found.tried - 1 >= sum(len(v) - 1 for v in SPACE.parameters.values())
    assert found.best == SPACE.default
    assert "crashed with SIGSEGV" in report(found)


def test_a_candidate_with_wrong_results_is_refused(monkeypatch):
    """Give the oracle another kernel's results: every candidate then differs from it."""
    op = OPS["matmul"]

    def doubled(target, out, ins, **attrs):
        (launch,) = op.plain(target, out, ins)
        body = (("STORED", "1"), ("STORED_BODY", "const float stored = product + 1;"))
        kept = tuple(pair for pair in launch.defines if pair[0] not in dict(body))
        return [replace(launch, defines=(*kept, *body))]

    assert "ratio" in trial.Trials(SPACE).compare(SPACE.default, SPACE.default)
    monkeypatch.setitem(OPS, "matmul", replace(op, plain=doubled))
    answer = trial.Trials(SPACE).compare(SPACE.default, SPACE.default)
    assert answer["wrong"].startswith("matmul float32 contiguous [2, 3] [3, 4]: 8 of 8 elements")


class Scripted:
    """A child whose candidates take a time known beforehand."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.asked = 0

    def ask(self, request, patience):
        self.asked += 1
        candidate, best = (self.seconds(request[name]) for name in ("candidate", "best"))
        return {"wrong": "no"} if candidate is None else {"ratio": candidate / best}


def test_search_finds_the_best_of_independent_parameters_without_trying_all():
    wanted = {**SPACE.default, "tile_m": 4, "tile_n": 32, "block": 384, "depth": 128}

    def seconds(parameters):
        return 1 + sum(parameters[name] != value for name, value in wanted.items())

    child = Scripted(seconds)
    found = Found(SPACE, SPACE.default, SPACE.default)
    search(found, child, lambda: None)
    assert found.best == wanted
    assert found.gain == pytest.approx(5.0)
    assert child.asked < prod(map(len, SPACE.parameters.values()))
    assert "5.00 times as fast" in report(found)


def test_search_does_not_follow_noise():
    times = iter([1.0, 0.98] * 100)
    child = Scripted(lambda parameters: next(times))
    found = Found(SPACE, SPACE.default, SPACE.default)
    search(found, child, lambda: None)
    assert found.best == SPACE.default
    assert "stays the best" in report(found)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Tune on small work, as on a CPU, into a table of the test's own."""
    path = tmp_path / "tuning.json"
    facing = replace(run.target(cn.device()), type="cpu")
    monkeypatch.setattr(tune, "target", lambda on: facing)
    monkeypatch.setenv("CLNET_TUNING", str(path))
    monkeypatch.setitem(TUNABLES, "matmul_blocked", SPACE)
    return path


def half_with_four_rows(self, request, patience):
    """Stand for a child in which tiles of four rows take half the time."""
    candidate, best = (1 + (request[name].get("tile_m") != 4) for name in ("candidate", "best"))
    return {"ratio": candidate / best}


def test_tune_writes_the_table(quick, monkeypatch, capsys):
    monkeypatch.setattr(Child, "ask", half_with_four_rows)
    assert main(["tune", "--op", "matmul"]) == 0
    out = capsys.readouterr().out
    assert "tile_m=4 tile_n=16 block=192 depth=256 rows=64 columns=0: 2.00 times as fast" in out
    assert tuning.parameters(cn.device())["matmul_blocked"]["tile_m"] == 4
    assert run.target(cn.device()).tuning["matmul_blocked"]["tile_m"] == 4


def test_interrupted_tuning_keeps_what_it_found(quick, monkeypatch, capsys):
    def interrupted(self, request, patience):
        if request["candidate"].get("tile_n") == 32:
            raise KeyboardInterrupt
        return half_with_four_rows(self, request, patience)

    monkeypatch.setattr(Child, "ask", interrupted)
    assert main(["tune"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert tuning.parameters(cn.device())["matmul_blocked"]["tile_m"] == 4


def test_unknown_op_and_unusable_table_are_said_before_the_search(quick, monkeypatch, capsys):
    assert main(["tune", "--op", "tanh"]) == 1
    assert (
        "no kernel of tanh can be tuned; choose ['lstm_states', 'matmul'" in capsys.readouterr().err
    )
    quick.write_text('{"format": "clnet tuning", "version": 9}')
    monkeypatch.setattr(Child, "ask", None)
    assert main(["tune"]) == 1
    assert "is of version 9" in capsys.readouterr().err


def test_ctrl_c_in_a_terminal(tmp_path):
    """Send the signal to the whole group, as a terminal does, while a candidate is measured."""
    table = tmp_path / "tuning.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "clnet", "tune"],
        env={**os.environ, "CLNET_TUNING": str(table)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "kernels to tune" in process.stdout.readline()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert "matmul" in out
    assert tuning.read(table)[0]["match"]["device"] == cn.device().name


def test_a_child_that_cannot_start_says_why():
    child = Child([sys.executable, "-c", "raise SystemExit('no such device')"])
    with pytest.raises(ChildError, match="ended with status 1: no such device"):
        child.ask({}, 30)
    with pytest.raises(ClnetError):  # and is started again
        child.ask({}, 30)
