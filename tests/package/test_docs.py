"""What the documents promise is run: their Python blocks, and the form of README's two commands.

A block fenced as `python` is run, all blocks of a document in order and in one namespace; with
prompts (>>>) its output is compared too. What is not meant to run is fenced as `text`.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Return (line, code) of each block fenced as python."""
    return [
        (text.count("\n", 0, block.start(1)) + 1, block[1])
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def run_blocks(text: str, name: str) -> str:
    """Run a document's blocks; return what differs from the output that the document shows."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    said: list[str] = []
    for line, code in python_blocks(text):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, {}, name, name, line - 1)
            test.globs = namespace
            doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
        else:
            exec(compile("\n" * (line - 1) + code, name, "exec"), namespace)
    return "".join(said)


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if python_blocks(path.read_text())],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = run_blocks(path.read_text(), str(path))
    assert not said, said


def test_wrong_output_is_caught() -> None:
    text = "```python\nx = 2\n```\n\n```python\n>>> x + 1\n{}\n```\n"
    assert run_blocks(text.format(3), "right") == ""
    assert "Expected:\n    4\nGot:\n    3" in run_blocks(text.format(4), "wrong")


def test_readme_opens_with_the_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    commands = re.findall(r"^ *(python3 tools/install\.py [\w ]+&& .*)$", screen, re.MULTILINE)
    assert [command.split()[-1] for command in commands] == ["examples/char_lm.py", "pytest"]
    for command in commands:
        extras = re.findall(r"install\.py ([\w ]+?) &&", command)[0].split()
        declared = (ROOT / "pyproject.toml").read_text()
        assert all(re.search(rf"^{extra} = \[", declared, re.MULTILINE) for extra in extras)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
