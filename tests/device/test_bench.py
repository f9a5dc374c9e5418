"""`clnet bench`: what it times, how it compares runs, and what is kept after Ctrl-C."""

from __future__ import annotations

import ctypes.util
import json
from dataclasses import replace

import numpy as np
import pytest

import clnet as cn
from clnet.cli import bench, main
from clnet.cli.bench import clblast, peer, report
from clnet.cli.bench.against import Peers
from clnet.cli.bench.measure import Figures, figures
from clnet.cli.bench.work import sizes_of, works
from clnet.device import set_default_device
from clnet.device.limits import Limits
from clnet.errors import ClnetError
from clnet.records import OPS


@pytest.fixture(autouse=True)
def _default_device():
    """Undo `clnet bench`'s choice of a device."""
    yield
    set_default_device(None)


QUICK = ["bench", "--op", "matmul", "--op", "tanh", "--size", "33", "--seconds", "0"]


def test_every_op_that_computes_is_timed():
    timed = {work.op.name for work in works([], ["4"], [])}
    assert timed == {name for name, op in OPS.items() if op.view is None}
    assert all(sizes_of(OPS[name]).typical for name in timed)


def test_sizes_and_dtypes():
    found = list(works(["matmul"], ["3x4x5", "6", "2x2"], ["float32", "float16", "bool"]))
    assert [work.title for work in found] == [
        "matmul 3x4x5 float32",
        "matmul 3x4x5 float16",
        "matmul 6 float32",
        "matmul 6 float16",
    ]
    assert [arg.shape for arg in found[0].sample.args] == [(3, 4), (4, 5)]
    with pytest.raises(ClnetError, match=r"size: got '3x'; needs numbers"):
        list(works(["matmul"], ["3x"], []))
    with pytest.raises(ClnetError, match=r"nothing to time in permute; choose of add"):
        list(works(["permute"], [], []))


def test_figures_are_medians_and_quartiles():
    found = figures("a", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8.0, 40.0)
    assert (found.seconds, found.noise) == (4.0, 0.5)
    # 2 flops and 10 bytes a second: half of the memory's limit, a tenth of the arithmetic's.
    assert found.limit(Limits(20.0, 20.0)) == 0.5


def test_bench_prints_writes_draws_and_compares(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main([*QUICK, "--json", str(file), "--plot", str(tmp_path / "roof.png")]) == 0
    out = capsys.readouterr().out
    assert "limits: " in out
    assert "round trip" in out
    assert "matmul 33 float32" in out
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    assert "tanh" in (tmp_path / "roof.svg").read_text()
    data = json.loads(file.read_text())
    assert [r["flops"] for r in data["results"]] == [2.0 * 33**3, 33.0]
    # Against a run that was far faster, and steady, everything is a regression.
    for result in data["results"]:
        result["seconds"] /= 100
        result["noise"] = 0.0
    file.write_text(json.dumps(data))
    assert main([*QUICK, "--compare", str(file)]) == 1
    assert "2 of 2 slower beyond the noise" in capsys.readouterr().out


def test_changes_within_the_noise_are_none():
    old = Figures("a", 1.0, 0.01, 1.0, 1.0)
    changes = {1.04: "", 1.2: "slower", 0.8: "faster"}
    for seconds, word in changes.items():
        text, slower = report.comparison([old], [replace(old, seconds=seconds)])
        assert text.splitlines()[1].endswith(word or "%")
        assert slower == (word == "slower")
    _, slower = report.comparison([old], [replace(old, seconds=1.2, noise=0.1)])
    assert slower == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "clnet bench", "version": 2}'])
def test_files_of_others_are_refused(text, tmp_path, capsys):
    file = tmp_path / "old.json"
    file.write_text(text)
    assert main([*QUICK, "--compare", str(file)]) == 1
    assert "holds no figures of `clnet bench`" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_timed(tmp_path, capsys, monkeypatch):
    timed = bench._timed

    def second_is_interrupted(work, seconds, peers):
        if work.op.name == "tanh":
            raise KeyboardInterrupt
        return timed(work, seconds, peers)

    monkeypatch.setattr(bench, "_timed", second_is_interrupted)
    file = tmp_path / "figures.json"
    assert main([*QUICK, "--json", str(file)]) == 130
    assert "interrupted: 1 of 2 were timed" in capsys.readouterr().err
    assert [f.title for f in report.load(file)] == ["matmul 33 float32"]


SCALE = """__kernel void scale(__global const float *x, __global float *y, const float a) {
  const int i = get_global_id(0);
  y[i] = a * x[i];
}
"""
OWN = ["--kernel", "scale", "--args", "float32[64]", "out:float32[64]", "float32=3"]


@pytest.mark.parametrize(("factor", "status"), [("a", 0), ("2", 1)])
def test_a_kernel_of_the_users_own(factor, status, tmp_path, capsys):
    file, reference = tmp_path / "scale.cl", tmp_path / "reference.py"
    file.write_text(SCALE)
    reference.write_text(f"def scaled(x, y, a):\n    return {factor} * x\n")
    command = ["bench", str(file), *OWN, "--global", "64", "--flops", "64", "--bytes", "512"]
    assert main([*command, "--seconds", "0", "--check", f"{reference}:scaled"]) == status
    out, err = capsys.readouterr()
    assert ("scale.cl:scale" in out) == (status == 0)
    assert ("result 0 is wrong" in err) == (status == 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kernel", "scale"], "needs --kernel NAME, --args ... and --global"),
        ([*OWN[:4], "--global", "64"], "scale takes 3 arguments; --args has 1"),
        (["--kernel", "none", *OWN[2:], "--global", "64"], "kernel none of"),
        ([*OWN[:3], "float32", "--global", "64"], "argument 'float32'; needs dtype[shape]"),
        ([*OWN, "--global", "64", "--check", "nowhere:f"], "needs FILE.py:FUNCTION"),
    ],
)
def test_what_is_wrong_with_a_users_kernel_is_said(arguments, words, tmp_path, capsys):
    file = tmp_path / "scale.cl"
    file.write_text(SCALE)
    assert main(["bench", str(file), *arguments]) == 1
    assert words in capsys.readouterr().err


def test_against_numpy(capsys):
    command = ["bench", "--size", "33", "--seconds", "0", "--against", "numpy"]
    assert main([*command, "--op", "matmul", "--op", "sum", "--op", "sigmoid"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["work"][-1] == "numpy/clnet"
    assert float(rows["matmul"][-1]) > 0
    assert float(rows["sum"][-1]) > 0
    assert rows["sigmoid"][-1] == "-"  # NumPy has none


def test_against_clblast_on_the_same_device(capsys):
    if ctypes.util.find_library("clblast") is None:
        pytest.skip("libclblast is not installed")
    command = ["bench", "--size", "33", "--seconds", "0", "--against", "clblast"]
    assert main([*command, "--op", "matmul", "--op", "sum"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert float(rows["matmul"][-1]) > 0
    assert rows["sum"][-1] == "-"
    queue = clblast.queue_on(cn.device().index)
    a, b = (np.arange(n, dtype=np.float64).reshape(-1, 3) for n in (6, 12))
    if cn.device().caps.fp64:
        x, y = (clblast.matrix(queue, m) for m in (a, b))
        np.testing.assert_allclose(clblast.matmul(x, y, turned=True).tolist(), a @ b.T)


def test_without_clblast_it_is_left_out_in_words(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    clblast.library.cache_clear()
    there, words = peer.greeting("clblast", "0:0")
    assert not there
    assert words == "clblast is left out: no shared library clblast; Debian has it as libclblast1"


def test_a_library_that_is_missing_is_left_out_in_words(capsys):
    command = ["bench", "--size", "33", "--seconds", "0", "--op", "tanh", "--against", "jax,numpy"]
    assert main([*command, "--python", "jax=/nowhere/python"]) == 0
    lines = capsys.readouterr().out.splitlines()
    reason = "/nowhere/python cannot be started: No such file or directory"
    assert f"jax is left out: {reason}" in lines
    assert f"numpy {np.__version__}" in lines
    assert lines[-2].split()[-2:] == ["limit", "numpy/clnet"]  # no column of jax


def test_a_library_whose_op_means_another_thing_is_left_out():
    (work,) = works(["sum"], ["4"], [])
    peers = Peers(["numpy"], {})
    try:
        assert peers.able(work) == ["numpy"]
        assert peers.able(replace(work, op=replace(work.op, name="mean"))) == []
    finally:
        peers.close()
    with pytest.raises(ClnetError, match="nothing is known of"):
        Peers(["caffe"], {})
