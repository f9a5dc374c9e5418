"""Readable in an evening: no file outgrows its budget or is named after nothing in particular."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 320  # logical lines: "about 300"
FOLDERS = ("clnet", "kernels", "tests", "examples", "benchmarks", "tools")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".pyi", ".cl", ".h") and "__pycache__" not in path.parts
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def logical_lines(path: Path) -> int:
    """Count statements of Python (comments and further lines left out), or lines of C code."""
    text = path.read_text()
    if path.suffix in (".cl", ".h"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL).replace("\\\n", "")
        return sum(bool(line.strip()) for line in code.splitlines())
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.NEWLINE for token in tokens)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_its_budget(path: Path) -> None:
    # Stubs are generated: one line for each op and method.
    assert path.suffix == ".pyi" or logical_lines(path) <= BUDGET
    assert path.stem not in VAGUE
    if path.suffix in (".cl", ".h"):
        lines = enumerate(path.read_text().splitlines(), 1)
        assert [f"line {number}" for number, line in lines if len(line) > 100] == []


def test_logical_lines_are_statements(tmp_path: Path) -> None:
    python, c = tmp_path / "a.py", tmp_path / "a.cl"
    python.write_text('"""Doc\nstring."""\n# comment\nx = [\n    1,\n]\nif x:\n    pass\n')
    c.write_text("// comment\n/* a\n b */\n#define F(x) \\\n  (x)\nint i;\n\n")
    assert logical_lines(python) == 4
    assert logical_lines(c) == 2
