"""Safetensors files and checkpoints: exact, readable by others, atomic, and clear when damaged."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import clnet as cn
from clnet import nn, optim


def examples() -> dict[str, cn.Tensor]:
    return {
        "half": cn.tensor([[1.5, -2.0]], dtype=cn.float16),
        "brain": cn.tensor([1.0, 3.140625, -math.inf, math.nan], dtype=cn.bfloat16),
        "float": cn.arange(6, dtype=cn.float32).reshape(2, 3).T,
        "double": cn.tensor([0.1], dtype=cn.float64),
        "int": cn.tensor([[-1], [2**31 - 1]], dtype=cn.int32),
        "long": cn.tensor(2**62),
        "byte": cn.tensor([0, 255], dtype=cn.uint8),
        "bool": cn.tensor([True, False, True]),
        "empty": cn.zeros(0, 3),
    }


def bits(x: cn.Tensor) -> list[Any]:
    values = x.float().numpy() if x.dtype is cn.bfloat16 else x.numpy()
    return [x.dtype, x.shape, np.ascontiguousarray(values).tobytes()]


def test_tensors_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    numbers = examples()
    cn.save(numbers, path, {"note": "three"})
    found = cn.load(path)
    assert sorted(found) == sorted(numbers)
    for name, x in numbers.items():
        assert bits(found[name]) == bits(x), name
    assert cn.load_metadata(path)["note"] == "three"
    assert [p.name for p in tmp_path.iterdir()] == ["all.safetensors"]


def test_safetensors_reads_ours_and_we_read_theirs(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    some = {k: x for k, x in examples().items() if k != "brain"}
    cn.save(some, ours)
    arrays = load_file(ours)
    for name, x in some.items():
        np.testing.assert_array_equal(arrays[name], x.numpy())
    save_file(arrays, theirs)
    for name, x in cn.load(theirs).items():
        assert bits(x) == bits(some[name])
    assert cn.load_metadata(theirs) == {}


def test_arrays_and_views_are_saved_as_they_look(tmp_path: Path) -> None:
    x = cn.arange(12).reshape(3, 4)
    cn.save({"view": x[::2, 1:], "array": np.float32([1, 2])}, tmp_path / "f")
    found = cn.load(tmp_path / "f")
    assert found["view"].tolist() == [[1, 2, 3], [9, 10, 11]]
    assert found["array"].dtype is cn.float32


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    cn.save({"x": cn.ones(2)}, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cn.CheckpointError, match=r"cannot write .*f: No space left on device"):
        cn.save({"x": cn.zeros(2)}, path)
    monkeypatch.undo()
    assert cn.load(path)["x"].tolist() == [1.0, 1.0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    cn.save({}, tmp_path / "f")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "f")]
    assert modes[0] == modes[1]


def _header(text: str, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + data


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:5], "no safetensors file: it has 5 bytes"),
        (lambda data: data[:40], r"truncated or damaged: its header has \d+ bytes, 32 of them"),
        (lambda data: data[:-3], r"truncated: it has \d+ bytes of \d+"),
        (_flipped, "damaged: its checksum does not match"),
        (lambda data: b"PK\x03\x04" * 20, "no safetensors file, or its header is damaged"),
        (lambda data: _header('{"x": nothing}'), "no safetensors file, or its header is damaged"),
        (lambda data: _header('{"x": 3}'), "is damaged: "),
        (lambda data: data + b"more", "is damaged: "),
        (lambda data: _header(json.dumps(
            {"x": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}), b"a"),
         "holds 'x' as I8, which clnet has not"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "model.safetensors"
    cn.save({"x": cn.ones(4)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(cn.CheckpointError, match=message) as caught:
        cn.load(path)
    assert str(path) in str(caught.value)


def test_wrong_use_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with pytest.raises(cn.CheckpointError, match=r"cannot read .*f: No such file"):
        cn.load(path)
    with pytest.raises(cn.CheckpointError, match="cannot write"):
        cn.save({}, tmp_path / "no" / "folder")
    with pytest.raises(TypeError, match="needs strings"):
        cn.save({}, path, {"epoch": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"cannot save values\.nets\.first, a Linear"):
        cn.save_checkpoint(path, nets={"first": nn.Linear(1, 1)})
    cn.save({"x": cn.ones(1)}, path)
    with pytest.raises(cn.CheckpointError, match=r"holds tensors only; use cn.load"):
        cn.load_checkpoint(path)
    cn.save_checkpoint(path, model=nn.Linear(3, 2))
    with pytest.raises(cn.CheckpointError, match="holds no optimizer; it holds values, model, rng"):
        cn.load_checkpoint(path, optimizer=optim.SGD([cn.ones(1, requires_grad=True)]))
    with pytest.raises(cn.CheckpointError, match=r"f: Error\(s\) in loading state_dict for Linear"):
        cn.load_checkpoint(path, model=nn.Linear(4, 2))


# --- checkpoints ---------------------------------------------------------------------------------


class Run:
    """A small training run with all that keeps state: momentum, schedule, dropout, shuffling."""

    def __init__(self, seed: int) -> None:
        cn.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2))
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.schedule = optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        self.losses: list[float] = []

    def go(self, steps: int) -> None:
        for _ in range(steps):
            x = cn.randn(5, 4)
            self.optimizer.zero_grad()
            loss = (self.net(x) - x[:, :2]).square().mean()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.losses.append(loss.item())

    def parts(self) -> dict[str, Any]:
        return {"model": self.net, "optimizer": self.optimizer, "scheduler": self.schedule}


def test_resumed_training_is_bit_identical(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole = Run(1)
    whole.go(3)
    cn.save_checkpoint(path, **whole.parts(), step=3, history=whole.losses)
    whole.go(3)
    resumed = Run(2)
    resumed.go(1)
    values = cn.load_checkpoint(path, **resumed.parts())
    assert values == {"step": 3, "history": whole.losses[:3]}
    resumed.losses = values["history"]
    resumed.go(3)
    assert resumed.losses == whole.losses
    for p, q in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


def test_further_values_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "f"
    values = {
        "best": 0.1 + 0.2,
        "shape": (1, [2, (3,)]),
        "by_epoch": {1: "a", 2: None, "x": True},
        "worst": math.inf,
        "hidden": (cn.tensor([1.0, 2.0]), cn.tensor([3])),
        "text": "h\u00e9llo",
    }
    cn.save_checkpoint(path, rng=False, **values)
    found = cn.load_checkpoint(path)
    hidden = found.pop("hidden")
    wanted = {k: v for k, v in values.items() if k != "hidden"}
    assert found == wanted
    assert type(found["shape"]) is tuple
    assert [h.tolist() for h in hidden] == [[1.0, 2.0], [3]]


def test_generator_is_left_alone_unless_asked(tmp_path: Path) -> None:
    cn.manual_seed(3)
    cn.save_checkpoint(tmp_path / "f", step=1)
    first = cn.rand(2).tolist()
    cn.load_checkpoint(tmp_path / "f", rng=False)
    second = cn.rand(2).tolist()
    cn.load_checkpoint(tmp_path / "f")
    assert first != second
    assert cn.rand(2).tolist() == first


_MOVE = """
import sys
import clnet as cn
from clnet import nn, optim
first, second = cn.devices()[:2]
net = nn.Linear(3, 2).to(first)
optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
net(cn.ones(4, 3, device=first)).sum().backward()
optimizer.step()
cn.save_checkpoint(sys.argv[1], model=net, optimizer=optimizer, h=cn.ones(2, device=first))
other = nn.Linear(3, 2, device=second)
again = optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
values = cn.load_checkpoint(sys.argv[1], model=other, optimizer=again, device=second)
tensors = [*other.parameters(), values["h"]]
tensors += [s["momentum_buffer"] for s in again.state.values()]
assert len(tensors) == 5 and all(t.device is second for t in tensors)
for x in (net, other):
    o = optimizer if x is net else again
    o.zero_grad()
    x(cn.ones(4, 3, device=x.weight.device)).sum().backward()
    o.step()
assert net.weight.tolist() == other.weight.tolist()
assert cn.load(sys.argv[1], device=second)["model.weight"].device is second
net.to(second)
assert net.weight.device is second and net.weight.grad.device is second
print("moved")
"""


def test_checkpoint_goes_to_another_device(tmp_path: Path) -> None:
    # PoCL shows as many devices as it is told to; other implementations do not listen.
    environment = {**os.environ, "POCL_DEVICES": "pthread basic"}
    count = "import clnet as cn; print(len(cn.devices()))"
    root = Path(__file__).resolve().parents[2]
    run = functools.partial(
        subprocess.run, env=environment, cwd=root, capture_output=True, text=True
    )
    if int(run([sys.executable, "-c", count], check=True).stdout) < 2:
        pytest.skip("only one OpenCL device")
    done = run([sys.executable, "-c", _MOVE, str(tmp_path / "f")], check=False)
    assert done.stdout == "moved\n", done.stderr
