"""The installer fetches pip only as published, and says what to do where it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
install = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(install)

WHEEL = b"the wheel"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the pages of an index which lists pip's wheel under a relative link."""
    link = f'<a href="../../files/{install.PIP_WHEEL}#sha256=0">'
    pages = {
        "https://index/simple/pip/": link.encode(),
        f"https://index/files/{install.PIP_WHEEL}": WHEEL,
    }

    def fetch(url: str) -> bytes:
        if url not in pages:
            raise OSError("no such page")
        return pages[url]

    monkeypatch.setattr(install, "fetch", fetch)
    monkeypatch.setattr(install, "PIP_SHA256", hashlib.sha256(WHEEL).hexdigest())
    monkeypatch.setenv("PIP_INDEX_URL", "https://index/simple/")
    return pages


def test_pip_is_fetched_from_the_index_named(index: dict[str, bytes], tmp_path: Path) -> None:
    assert install.fetch_pip(tmp_path).read_bytes() == WHEEL


def test_altered_wheel_is_refused(index: dict[str, bytes], tmp_path: Path) -> None:
    index[f"https://index/files/{install.PIP_WHEEL}"] += b"!"
    with pytest.raises(SystemExit, match="another pip-"):
        install.fetch_pip(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_index_without_that_pip_is_named(index: dict[str, bytes], tmp_path: Path) -> None:
    index["https://index/simple/pip/"] = b""
    with pytest.raises(SystemExit, match="https://index/simple/pip/ does not list pip-"):
        install.fetch_pip(tmp_path)


def test_no_network_says_what_to_do(index: dict[str, bytes], tmp_path: Path) -> None:
    index.clear()
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        install.fetch_pip(tmp_path)
