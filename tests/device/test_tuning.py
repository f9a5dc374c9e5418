"""Tuning tables: whose entry counts, what becomes of damaged files, and that kernels obey them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clnet as cn
from clnet.device import device, tuning
from clnet.engine import run
from clnet.errors import ClnetError
from clnet.records import OPS, Layout, Spec, row_major
from clnet.tunables import TUNABLES

DEVICE = {"device": "A", "platform": "P", "driver": "1", "vendor": "V", "type": "cpu"}


def entry(tile: int, **match: str) -> dict:
    return {"match": match, "kernels": {"k": {"tile": tile}}}


ORDER = [
    ("user", entry(1, device="A", platform="P", driver="1")),
    ("shipped", entry(2, device="A")),
    ("user", entry(3, vendor="V")),
    ("shipped", entry(4, vendor="V", type="cpu")),
    ("user", entry(5, type="cpu")),
    ("shipped", entry(6, type="cpu")),
]


def test_lookup_goes_from_the_device_to_its_type():
    """Take away the first of the entries that match, again and again."""
    for first in range(len(ORDER)):
        left = ORDER[first:]
        tables = [[e for whose, e in left if whose == table] for table in ("user", "shipped")]
        assert tuning.choose(tables, DEVICE) == {"k": {"tile": first + 1}}
    assert tuning.choose([[], []], DEVICE) == {}


@pytest.mark.parametrize("other", [{"driver": "2"}, {"device": "B"}, {"platform": "Q"}])
def test_an_entry_of_another_device_or_driver_is_not_taken(other):
    assert tuning.choose([[ORDER[0][1]]], {**DEVICE, **other}) == {}


def test_kernels_are_looked_up_one_by_one():
    mine = {"match": {"device": "A"}, "kernels": {"k": {"tile": 1}}}
    all_cpus = {"match": {"type": "cpu"}, "kernels": {"k": {"tile": 2}, "l": {"width": 3}}}
    assert tuning.choose([[all_cpus, mine]], DEVICE) == {"k": {"tile": 1}, "l": {"width": 3}}


BROKEN = {
    "{": "is not JSON",
    "[]": "is no tuning table",
    '{"format": "clnet tuning", "version": 2, "entries": []}': "is of version 2",
    '{"format": "clnet tuning", "version": 1}': "has damaged entries",
    '{"format": "clnet tuning", "version": 1, "entries": [{"kernels": {}}]}': "damaged entries",
    json.dumps(
        {
            "format": "clnet tuning",
            "version": 1,
            "entries": [{"match": {"type": "cpu"}, "kernels": {"k": {"tile": "wide"}}}],
        }
    ): "has damaged entries",
}


@pytest.mark.parametrize("text", BROKEN, ids=list(BROKEN.values()))
def test_a_file_that_cannot_be_used_is_named_and_ignored(text, tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    path.write_text(text)
    monkeypatch.setenv("CLNET_TUNING", str(path))
    with pytest.warns(RuntimeWarning, match=BROKEN[text]) as caught:
        found = tuning.parameters(device())
    assert str(path) in str(caught[0].message)
    monkeypatch.setenv("CLNET_TUNING", str(tmp_path / "none.json"))
    assert found == tuning.parameters(device())
    # Nor is it overwritten: it may be of a newer clnet, or hold what a person can repair.
    with pytest.raises(ClnetError, match=BROKEN[text]):
        tuning.write(DEVICE, {"k": {"tile": 1}}, path)
    assert path.read_text() == text


def test_writing_keeps_what_others_wrote(tmp_path):
    path = tmp_path / "new" / "tuning.json"
    tuning.write(DEVICE, {"k": {"tile": 1}}, path)
    tuning.write({**DEVICE, "driver": "2"}, {"k": {"tile": 2}}, path)
    tuning.write(DEVICE, {"l": {"width": 3}}, path)
    assert tuning.choose([tuning.read(path)], DEVICE) == {"k": {"tile": 1}, "l": {"width": 3}}
    assert [p.name for p in path.parent.iterdir()] == ["tuning.json"]


def test_a_write_that_fails_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    tuning.write(DEVICE, {"k": {"tile": 1}}, path)
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ClnetError, match=r"cannot be written: .*No space"):
        tuning.write(DEVICE, {"k": {"tile": 2}}, path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tuning.json"]


def test_the_users_file_is_where_it_is_said(monkeypatch):
    monkeypatch.delenv("CLNET_TUNING", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert tuning.user_file() == Path("/config/clnet/tuning.json")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert tuning.user_file() == Path.home() / ".config/clnet/tuning.json"


def test_a_written_entry_reaches_the_kernels(tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    monkeypatch.setenv("CLNET_TUNING", str(path))
    tuning.write(tuning.facts(device()), {"matmul_blocked": {"tile_m": 4, "tile_n": 16}}, path)
    target = replace(run.target(device()), type="cpu")
    (launch,) = matmul_launches(target)
    assert {("TILE_M", "4"), ("TILE_N", "16")} <= set(launch.defines)
    x = np.random.default_rng(0).normal(size=(71, 71)).astype(np.float32)
    y = (cn.tensor(x) @ cn.tensor(x)).numpy()
    np.testing.assert_allclose(y, x @ x, rtol=1e-4, atol=1e-4)


def test_a_value_that_the_kernel_does_not_allow_is_left_out():
    target = replace(run.target(device()), tuning={"matmul_blocked": {"tile_m": 5, "rows": 3}})
    with pytest.warns(RuntimeWarning, match=r"matmul_blocked has no (tile_m = 5|rows = 3)"):
        chosen = TUNABLES["matmul_blocked"].chosen(target)
    assert chosen == TUNABLES["matmul_blocked"].default


def matmul_launches(target):
    x = Layout((70, 70), row_major((70, 70)), cn.float32)
    return OPS["matmul"].kernel(target, Spec((70, 70), cn.float32), (x, x))


def test_shipped_table_is_sound():
    """Check the shipped table: every kernel and value in it is declared."""
    entries = tuning.read(tuning.SHIPPED)
    for each in entries:
        for kernel, values in each["kernels"].items():
            for name, value in values.items():
                assert value in TUNABLES[kernel].parameters[name]


@pytest.mark.parametrize("kernel", TUNABLES)
def test_declarations_are_sound(kernel):
    space = TUNABLES[kernel]
    op = OPS[space.op]
    assert all(len(set(values)) == len(values) > 1 for values in space.parameters.values())
    assert set(space.types) <= {"cpu", "gpu", "accelerator"}
    assert op.sizes is not None or op.expr is not None
    assert space.work
