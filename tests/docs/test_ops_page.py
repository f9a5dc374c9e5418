"""docs/ops.md says what the records say."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from clnet.records import OPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ops_page", ROOT / "tools" / "ops_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_fresh(tool: ModuleType) -> None:
    stored = tool.PAGE.read_text()
    assert stored == tool.page(OPS.values()), "stale: run python tools/ops_page.py"


def test_changed_records_make_the_page_stale(tool: ModuleType) -> None:
    stored = tool.PAGE.read_text()
    for name, change in (
        ("add", {"doc": "Another sentence."}),
        ("add", {"vjp": None}),
        ("div", {"promote": "same"}),
        ("matmul", {"strided": ()}),
    ):
        changed = {**OPS, name: dataclasses.replace(OPS[name], **change)}
        assert tool.page(changed.values()) != stored, (name, change)
