"""Profiles: kernels, host phases, and a trace that tracing tools can read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

import clnet as cn
from clnet.engine.profile import PHASES


def work() -> None:
    x = cn.ones(300, 300)
    cn.softmax((x @ x).tanh(), -1).sum().item()


def test_kernels_and_phases_are_counted() -> None:
    work()
    with cn.profile() as p:
        work()
        work()
    names = {k.name for k in p.kernels}
    assert "matmul.cl:matmul_blocked" in names or any("matmul" in n for n in names)
    product = next(k for k in p.kernels if "matmul" in k.ops)
    assert product.calls == 2
    assert product.flops >= 2 * 2 * 300**3
    assert product.seconds > 0
    assert set(p.host) == set(PHASES)
    assert p.host["enqueue"] > 0
    assert p.host["wait"] > 0
    assert sum(p.host.values()) == pytest.approx(p.seconds, rel=0.05)
    text = str(p)
    assert "GFLOP/s" in text
    assert "host: build" in text


def test_the_trace_follows_the_format(tmp_path: Path) -> None:
    with cn.profile() as p:
        work()
    p.export(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    events = trace["traceEvents"]
    assert {e["args"]["name"].partition(":")[0] for e in events if e["ph"] == "M"} == {
        "host",
        "device",
    }
    slices = [e for e in events if e["ph"] == "X"]
    for e in slices:
        assert isinstance(e["name"], str)
        assert e["name"]
        assert isinstance(e["pid"], int)
        assert isinstance(e["tid"], int)
        assert e["ts"] >= -1000
        assert e["dur"] >= 0
    device = sorted((e for e in slices if e["pid"] == 1), key=lambda e: e["ts"])
    assert device
    for a, b in itertools.pairwise(device):
        assert a["ts"] + a["dur"] <= b["ts"] + 1e-3
    host = [e for e in slices if e["pid"] == 0]
    for a in host:  # slices of a thread nest, or lie apart
        for b in host:
            if a is b or a["tid"] != b["tid"]:
                continue
            begin, end = max(a["ts"], b["ts"]), min(a["ts"] + a["dur"], b["ts"] + b["dur"])
            inner = min(a["dur"], b["dur"])
            assert end - begin <= 1e-3 or end - begin >= inner - 1e-3


def test_profiles_do_not_nest_and_keep_what_was_found() -> None:
    with cn.profile() as p, pytest.raises(cn.ClnetError, match="do not nest"), cn.profile():
        pass

    def fail() -> None:
        work()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), cn.profile() as p:
        fail()
    assert p.kernels
    work()  # the device works on as before


def test_engine_stats_count() -> None:
    before = cn.engine_stats()
    for _ in range(4):
        cn.eval(cn.ones(17) * 5 - 1)
    after = cn.engine_stats()
    assert after["hits"] >= before["hits"] + 3
    assert 0 < after["plans"] <= after["limit"]
    assert after["bytes"] > 1000
