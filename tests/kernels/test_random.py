"""Random numbers: the published vectors of Philox, and the distributions made of its words."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn
from clnet.device import KernelSource, device
from clnet.ops import random as ops
from clnet.records import OPS

# Random123 1.14, tests/kat_vectors, lines `philox4x32 10`: counter, key, result.
VECTORS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def _longs(words: str) -> list[np.int64]:
    parts = [int(w, 16) for w in words.split()]
    pairs = [parts[i] | parts[i + 1] << 32 for i in range(0, len(parts), 2)]
    return [np.array(p, np.uint64).view(np.int64)[()] for p in pairs]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    """Check the kernel itself on Random123's vectors, which fill all words of counter and key."""
    on = device()
    source = KernelSource("random.cl", "philox_bits", (("INDEX", "int"), ("LOCAL", "1")))
    (kernel,) = on.kernels([source])
    buffer = on.allocate(16)
    (offset, stream), (seed,) = _longs(counter), _longs(key)
    numbers = (np.int64(0), np.int32(4), np.int32(1), seed, stream, offset)
    kernel.raw.set_args(buffer, *numbers)
    on.enqueue(kernel, (1,), (1,))
    words = on.download(buffer, np.uint32, (4,))
    assert [f"{w:08x}" for w in words] == expected.split()


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_the_stream_is_the_reference(seed: int) -> None:
    """Check words and numbers against the formula in NumPy, for a seed that needs all 64 bits."""
    for shape in ((1,), (4,), (7, 3)):
        for name, draw in (("philox_uniform", cn.rand), ("philox_normal", cn.randn)):
            cn.manual_seed(seed)
            cn.rand(5)  # two blocks
            expected = OPS[name].reference(seed, 2, shape=shape)
            np.testing.assert_allclose(draw(shape).numpy(), expected, rtol=4e-7, atol=4e-7)


def test_manual_seed_and_state() -> None:
    """Check that seeds and saved states repeat the stream, and that draws do not."""
    cn.manual_seed(3)
    first, second = cn.rand(5).tolist(), cn.rand(5).tolist()
    state = cn.get_rng_state()
    third = cn.rand(5).tolist()
    assert first != second
    cn.manual_seed(3)
    assert cn.rand(5).tolist() == first
    cn.set_rng_state(state)
    assert cn.rand(5).tolist() == third
    assert cn.initial_seed() == 3
    with pytest.raises(ValueError, match="set_rng_state"):
        cn.set_rng_state([1, 2, 3])


def test_distributions() -> None:
    """Check moments and ranges within five standard errors."""
    n = 40000
    u, z = cn.rand(n).numpy(), cn.randn(n).numpy()
    assert 0 <= u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * n)
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * n)
    i = cn.randint(-3, 4, (n,)).numpy()
    assert set(i) == set(range(-3, 4))
    assert np.all(np.abs(np.bincount(i + 3) - n / 7) < 5 * np.sqrt(n * 6 / 49))
    kept = cn.full((n,), 0.3).bernoulli().numpy()
    assert abs(kept.mean() - 0.3) < 5 * np.sqrt(0.21 / n)
    assert sorted(cn.randperm(50).tolist()) == list(range(50))
    assert abs(cn.zeros(n).uniform_(2, 4).mean().item() - 3) < 0.05
    assert abs(cn.normal(1.0, 2.0, (n,)).std().item() - 2) < 0.05


def test_refused() -> None:
    """Check the errors for integers asked of floating-point generators, and for empty ranges."""
    with pytest.raises(cn.DTypeError, match="rand: got dtype int32"):
        cn.rand(2, dtype=cn.int32)
    with pytest.raises(ValueError, match="randint: got low=3, high=3"):
        cn.randint(3, 3, (2,))
    assert ops.randint(0, 2**40, (8,)).max().item() > 2**32
