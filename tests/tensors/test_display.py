"""What is printed, as PyTorch prints it; and what the package shows of itself."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest

import clnet as cn
from clnet.core import METHODS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: cn.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: cn.tensor([1.5, -2.25]), "tensor([ 1.5000, -2.2500])"),
        (lambda: cn.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (lambda: cn.tensor(3), "tensor(3)"),
        (lambda: cn.tensor(2.5), "tensor(2.5000)"),
        (lambda: cn.tensor([True, False]), "tensor([ True, False])"),
        (lambda: cn.zeros(0), "tensor([])"),
        (lambda: cn.zeros(0, 3), "tensor([], size=(0, 3))"),
        (lambda: cn.tensor([1], dtype=cn.int32), "tensor([1], dtype=clnet.int32)"),
        (lambda: cn.tensor([1.0], dtype=cn.bfloat16), "tensor([1.], dtype=clnet.bfloat16)"),
        (lambda: cn.tensor([1.0, float("nan")]), "tensor([ 1., nan])"),
        (lambda: cn.tensor([0.5, float("inf")]), "tensor([0.5000,    inf])"),
        (lambda: cn.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: cn.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
    ],
)
def test_repr(make, text: str) -> None:
    assert repr(make()) == str(make()) == text


def test_long_tensors_are_shortened() -> None:
    text = repr(cn.zeros(2000))
    assert "..." in text and len(text) < 60


def test_format() -> None:
    assert f"{cn.tensor(1.23456):.2f} {cn.tensor(7):03d} {cn.tensor(2.5)}" == "1.23 007 2.5"
    assert f"{cn.tensor([1, 2])}" == "tensor([1, 2])"
    with pytest.raises(TypeError, match=r"takes no format"):
        f"{cn.tensor([1.0, 2.0]):.2f}"


def _stubs():
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools" / "stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stub_is_fresh() -> None:
    stubs = _stubs()
    assert stubs.STUB.read_text(encoding="utf-8") == stubs.stub(), "run `python tools/stubs.py`"


def test_stub_declares_each_method_once() -> None:
    (body,) = (
        node.body
        for node in ast.parse(_stubs().STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assert sorted(names) == sorted(METHODS)


def test_a_stale_stub_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = _stubs()
    stale = tmp_path / "methods.pyi"
    stale.write_text("class Methods: ...\n")
    monkeypatch.setattr(stubs, "ROOT", tmp_path)
    monkeypatch.setattr(stubs, "STUB", stale)
    assert stubs.main(["--check"]) == 1
    assert stubs.main([]) == 0
    assert stubs.main(["--check"]) == 0
    assert "def reshape(self, *shape: Any) -> Tensor:" in stale.read_text()


def test_public_names() -> None:
    """`dir(cn)` is what `__init__` imports: no more, and each exists and is named once."""
    tree = ast.parse((ROOT / "clnet" / "__init__.py").read_text(encoding="utf-8"))
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert sorted(imported) == sorted(cn.__all__)
    assert set(dir(cn)) == {*cn.__all__, "__version__"}
    assert all(hasattr(cn, name) for name in cn.__all__)


def test_public_functions_and_methods_are_documented() -> None:
    for name in cn.__all__:
        value = getattr(cn, name)
        if callable(value) and not isinstance(value, type):
            assert inspect.getdoc(value), name
    for name, value in METHODS.items():
        if not name.startswith("_"):
            assert inspect.getdoc(value), name
