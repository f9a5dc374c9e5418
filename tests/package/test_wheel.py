"""The wheel holds all that clnet needs: built, installed alone and run from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import clnet as cn
from pathlib import Path
x = cn.arange(6).reshape(2, 3)
assert (x * x).sum(0).numpy().tolist() == [9, 17, 29]
print(Path(cn.__file__).parent)
"""


def run(*command: object, cwd: Path) -> str:
    """Run a command without this checkout on its path; its output is the failure's message."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build 'wheel' or 'sdist' from the project in `source` with the hatchling that is here."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=source)
    (built,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_modules_kernels_and_types(wheel: Path) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "clnet").rglob("*.py")}
    kernels = {
        "clnet/" + path.relative_to(ROOT).as_posix()
        for suffix in ("*.cl", "*.h")
        for path in (ROOT / "kernels").rglob(suffix)
    }
    assert len(kernels) > 5
    assert modules | kernels | {"clnet/py.typed"} <= names(wheel)


def test_wheel_from_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path)) as archive:
        # Our own archive; without the filter newer Pythons warn.
        filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **filtered)
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert names(build("wheel", source, tmp_path)) == names(wheel)


def test_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="this environment has no pip to install with")
    builder = venv.EnvBuilder(symlinks=True)
    builder.create(tmp_path / "env")
    context = builder.ensure_directories(tmp_path / "env")
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    # The dependencies come from this environment, so that the test needs no network. A folder named
    # in a .pth file is not searched for further .pth files: an editable clnet there stays unseen.
    dependencies = ("numpy", "pyopencl", "safetensors", "tqdm", "pip")
    folders = {str(Path(find_spec(name).origin).parents[1]) for name in dependencies}
    (site / "dependencies.pth").write_text("\n".join(sorted(folders)))

    install = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed")
    run(context.env_exe, *install, wheel, cwd=tmp_path)
    assert Path(run(context.env_exe, "-c", PROGRAM, cwd=tmp_path).strip()) == site / "clnet"
    assert run(Path(context.bin_path) / "clnet", "devices", cwd=tmp_path).strip()
