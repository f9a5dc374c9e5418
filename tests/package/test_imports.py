"""Imports point down: the layers of the package, read from the sources without running them."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CORE = ("clnet.core", "clnet.modes", "clnet.records", "clnet.dtypes", "clnet.errors")
GRAPH = ("clnet.binding", "clnet.calls", *CORE)

# layer -> what it may import of clnet besides its own modules. A name covers what lies below it.
LAYERS: Mapping[str, tuple[str, ...]] = {
    "clnet.errors": (),
    "clnet.dtypes": ("clnet.errors",),
    "clnet.files": (),
    "clnet.methods": (),
    "clnet.modes": (),
    "clnet.records": ("clnet.dtypes", "clnet.errors"),
    "clnet.tunables": ("clnet.records",),
    "clnet.columns": ("clnet.records",),
    "clnet.core": ("clnet.methods", "clnet.modes", "clnet.records", "clnet.dtypes", "clnet.errors"),
    "clnet.binding": CORE,
    "clnet.calls": CORE,
    "clnet.ops": (*GRAPH, "clnet.tunables", "clnet.columns"),
    "clnet.transforms": (*GRAPH, "clnet.ops"),
    "clnet.device": ("clnet.errors", "clnet.files"),
    "clnet.engine": (*GRAPH, "clnet.device", "clnet.columns"),
    "clnet.functional": (*GRAPH, "clnet.ops"),
    # Parameters are made by the creation functions, which are ops.
    "clnet.nn": (*GRAPH, "clnet.ops", "clnet.functional"),
    "clnet.optim": (*GRAPH, "clnet.ops", "clnet.functional"),
    # Cells that nn has a layer of are run by that layer.
    "clnet.combinators": (*GRAPH, "clnet.ops", "clnet.transforms", "clnet.functional", "clnet.nn"),
    "clnet.generation": (
        *GRAPH,
        "clnet.ops",
        "clnet.transforms",
        "clnet.functional",
        "clnet.combinators",
    ),
    # Tensors are read from and uploaded to devices by ops; the generator's state is theirs too.
    "clnet.io": (*GRAPH, "clnet.ops", "clnet.files"),
    "clnet.testing": (*GRAPH, "clnet.ops", "clnet.transforms", "clnet.engine"),
    "clnet.cli": ("clnet",),
    "clnet.__main__": ("clnet",),
    "clnet": ("clnet",),
}

# Only these layers may import the package named.
FOREIGN = {
    "numpy": tuple(LAYERS),
    "pyopencl": ("clnet.device",),
    "safetensors": ("clnet.io",),
    "tqdm": ("clnet.cli",),
    "matplotlib": ("clnet.cli",),
}


def modules(root: Path) -> dict[str, Path]:
    """Return the modules of clnet by dotted name."""
    found = {}
    for path in sorted((root / "clnet").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(module: str) -> str | None:
    """Return the layer that a module belongs to: the longest name in `LAYERS` that covers it.

    `clnet` itself covers only `clnet/__init__.py`: a new top-level module needs a layer.
    """
    while module not in LAYERS or module == "clnet":
        if "." not in module:
            return module if module == "clnet" else None
        module = module.rpartition(".")[0]
        if module == "clnet":
            return None
    return module


def imports(source: str, module: str, package: bool, known: set[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of all imports, those inside functions and by name included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + package]
                base = ".".join(above + ([base] if base else []))
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield node.lineno, below if below in known else base
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            target = node.args[0]
            if name in ("import_module", "__import__") and isinstance(target, ast.Constant):
                yield node.lineno, str(target.value)


def covers(name: str, module: str) -> bool:
    return module == name or module.startswith(name + ".")


def upward_imports(source: str, module: str, package: bool, known: set[str]) -> list[str]:
    """Return the imports that the layers forbid, as `module:line imports name`."""
    layer = layer_of(module)
    if layer is None:
        return [f"{module} belongs to no layer: enter it in LAYERS"]
    wrong = []
    for line, name in imports(source, module, package, known):
        top = name.partition(".")[0]
        if top == "clnet":
            # `import clnet` reaches everything, so only a layer that may do that may write it.
            allowed = LAYERS[layer] if layer == "clnet" else (layer, *LAYERS[layer])
            ok = any(covers(permitted, name) for permitted in allowed)
        elif top in FOREIGN:
            ok = layer in FOREIGN[top] or layer == "clnet.cli"
        else:
            ok = top in sys.stdlib_module_names
        if not ok:
            wrong.append(f"{module}:{line} imports {name}")
    return wrong


def op_names_in(source: str, names: set[str]) -> list[str]:
    """Return where a source names an op: as a whole string, or as a name that it did not bind."""
    tree = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    bound = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            # From Python's own library: math.prod is no op. Ops are caught by the layers.
            bound.update(alias.asname or alias.name for alias in node.names)
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in names and id(node) not in documentation:
            wrong.append(f"line {node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Name) and node.id in names - bound:
            wrong.append(f"line {node.lineno}: {node.id}")
    return wrong


MODULES = modules(ROOT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    path = MODULES[module]
    package = path.name == "__init__.py"
    assert upward_imports(path.read_text(), module, package, set(MODULES)) == []


@pytest.mark.parametrize("module", [name for name in MODULES if covers("clnet.engine", name)])
def test_engine_knows_no_op_by_name(module: str) -> None:
    import clnet.ops  # noqa: F401  registers the records
    from clnet.records import OPS

    assert len(OPS) > 50
    assert op_names_in(MODULES[module].read_text(), set(OPS)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("clnet.errors", "import clnet.core"),
        ("clnet.core", "def f():\n    from clnet.engine import run"),
        ("clnet.core", "import importlib\nimportlib.import_module('clnet.engine')"),
        ("clnet.core", "from clnet import engine"),
        ("clnet.core", "import clnet"),
        ("clnet.ops.linalg", "from ..transforms import reverse"),
        ("clnet.ops.linalg", "import pyopencl as cl"),
        ("clnet.engine.plan", "from clnet.ops.linalg import matmul"),
        ("clnet.device.queue", "from clnet.records import Launch"),
        ("clnet.nn.linear", "import torch"),
        ("clnet.utils", "import math"),
    ],
)
def test_forbidden_import_is_caught(module: str, source: str) -> None:
    known = {*LAYERS, "clnet.transforms.reverse", "clnet.ops.linalg"}
    assert len(upward_imports(source, module, False, known)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("clnet.core", "import numpy as np\nfrom clnet.errors import ShapeError"),
        ("clnet.ops.linalg", "from .reduce import sum\nfrom ..core import bind\nimport math"),
        ("clnet.device.queue", "import pyopencl as cl\nfrom clnet.device import sources"),
        ("clnet", "from clnet import nn\nfrom clnet.core import Tensor"),
        ("clnet.cli.bench", "import clnet as cn\nfrom tqdm import tqdm"),
    ],
)
def test_permitted_import_passes(module: str, source: str) -> None:
    assert upward_imports(source, module, False, {*LAYERS, "clnet.ops.reduce"}) == []


@pytest.mark.parametrize("source", ["if op.name == 'matmul': pass", "special = matmul"])
def test_op_name_in_engine_is_caught(source: str) -> None:
    assert len(op_names_in(source, {"matmul", "sum"})) == 1


def test_other_names_in_engine_pass() -> None:
    source = '"""matmul"""\nfrom math import prod\nn = prod(x) + sum(y)\nadd = 1\nseen.add(add)'
    assert op_names_in(source, {"matmul", "sum", "prod", "add"}) == []
