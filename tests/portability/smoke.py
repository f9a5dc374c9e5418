"""A little of everything on the device that clnet chooses, checked against NumPy.

python tests/portability/smoke.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

import clnet as cn
from clnet import nn, optim


def near(got: cn.Tensor, expected: object, tolerance: float = 1e-5) -> None:
    """Fail unless the values are equal within an absolute and relative tolerance."""
    np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)


def refusal(function: Callable[[], object]) -> str:
    """Return the message with which clnet refuses a call; empty where it does not."""
    try:
        function()
    except cn.ClnetError as error:
        return str(error)
    return ""


def products_and_reductions() -> None:
    """Sizes are prime, so that no work-group divides them."""
    random = np.random.default_rng(0)
    a = random.standard_normal((67, 41)).astype(np.float32)
    b = random.standard_normal((41, 131)).astype(np.float32)
    x, y = cn.tensor(a), cn.tensor(b)
    near(x @ y, a.astype(np.float64) @ b, 1e-4)
    near(x.T @ x, a.T.astype(np.float64) @ a, 1e-4)
    for dim in (0, 1):
        near(x.sum(dim), a.sum(dim, dtype=np.float64), 1e-4)
        near(x.amax(dim), a.max(dim))
        near(x.argmax(dim), a.argmax(dim))
        near(x.cumsum(dim), a.cumsum(dim, dtype=np.float64), 1e-4)
        near(x.argsort(dim), a.argsort(dim, kind="stable"))
    near(x.std(), a.std(ddof=1, dtype=np.float64), 1e-4)
    e = np.exp(a - a.max(1, keepdims=True))
    near(x.softmax(1), e / e.sum(1, keepdims=True))
    near(y[:, [3, -1]], b[:, [3, -1]])
    large = random.standard_normal(100_003).astype(np.float32)
    near((cn.tensor(large) * 2 + 1).sum(), (large * 2.0 + 1).sum(dtype=np.float64), 1e-2)


def special_values() -> None:
    """Compilers that assume finite numbers, and tanh(inf) below 1, were both seen."""
    x = cn.tensor([float("inf"), -float("inf"), float("nan"), 0.0])
    near(x.tanh()[:2], [1.0, -1.0], 0.0)
    assert x.isnan().tolist() == [False, False, True, False]
    assert x.isfinite().tolist() == [False, False, False, True]
    assert (x / 0).isnan().tolist() == [False, False, True, True]
    assert np.isnan(x.amax().item())
    near(cn.exp(cn.tensor([-5.0, 5.0, 80.0])), np.exp([-5.0, 5.0, 80.0]))


def dtypes() -> None:
    """16-bit floats are stored everywhere; float64 works, or is refused in words."""
    half = cn.tensor([1.0, 1 / 3, 65504.0], dtype=cn.float16)
    np.testing.assert_array_equal((half * 1).numpy(), np.float16([1, 1 / 3, 65504]))
    near(cn.tensor([1 / 3], dtype=cn.bfloat16).float(), [0.333984375], 0.0)
    assert (cn.tensor([2**40]) * 3).tolist() == [3 * 2**40]
    if cn.device().caps.fp64:
        near(cn.tensor([0.1], dtype=cn.float64).exp(), np.exp([0.1]), 1e-14)
    else:
        assert "cl_khr_fp64" in refusal(lambda: cn.tensor([0.1], dtype=cn.float64))
    # Philox's published words: the stream is the same everywhere.
    cn.manual_seed(0)
    near(cn.rand(2), np.array([0x6627E8D5 >> 8, 0xE169C58D >> 8]) * 2.0**-24, 0.0)


def learns_xor() -> None:
    """Loss falls to nothing with gradients through matmul, tanh and a mean."""
    cn.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = cn.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    wanted = cn.tensor([[-1.0], [1.0], [1.0], [-1.0]])
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(100):
        optimizer.zero_grad()
        loss = ((net(inputs) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05, f"XOR is not learned: loss {loss.item()}"


def between_devices() -> None:
    """A value and its gradient cross to every other device and back."""
    here = cn.device()
    for there in cn.devices():
        if there is here:
            continue
        x = cn.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = (x * 2).to(there)
        assert y.device is there
        (y * y).sum().backward()
        assert x.grad is not None
        assert x.grad.device is here
        near(x.grad, [8.0, 16.0, 24.0])
        message = refusal(lambda x=x, y=y: x.detach() + y.detach())
        assert "different devices" in message
        print("crossed to", there)


def main() -> None:
    """Run all; print the device, its platform's version and its limits first."""
    device = cn.device()
    print(f"device: {device.name} | {device.platform} | {device.platform_version}")
    print(f"work-group: {device.caps.max_work_group} | memory: {device.caps.memory}", flush=True)
    for part in (products_and_reductions, special_values, dtypes, learns_xor):
        part()
    if "--across" in sys.argv:
        between_devices()
    print("passed")


if __name__ == "__main__":
    main()
