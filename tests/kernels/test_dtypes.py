"""kernels/include/dtype.h: every 16-bit float is read and written right, rounded to even."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn
from clnet.ops.create import bfloat16_bits

# Floats around every rounding decision: all 16-bit patterns, moved up and down by a few bits.
_WORDS = np.arange(2**16, dtype=np.uint16)
_NUDGES = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001], np.uint32)


def _floats(of_words: np.ndarray) -> np.ndarray:
    bits = of_words.view(np.uint32)[:, None] + _NUDGES
    return bits.reshape(-1).view(np.float32)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_loads_are_exact(name: str) -> None:
    """Check the value of each of the 65,536 patterns."""
    if name == "float16":
        expected = _WORDS.view(np.float16).astype(np.float32)
        x = cn.tensor(_WORDS.view(np.float16))
    else:
        expected = (_WORDS.astype(np.uint32) << 16).view(np.float32)
        x = cn.tensor(expected).to(dtype=cn.bfloat16)
    np.testing.assert_array_equal(x.float().numpy(), expected)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_stores_round_to_even(name: str) -> None:
    """Check stores around all values that 16 bits hold: subnormal, halfway, and too large."""
    if name == "float16":
        x = _floats(_WORDS.view(np.float16).astype(np.float32))
        with np.errstate(over="ignore"):
            expected = x.astype(np.float16).astype(np.float32)
        found = cn.tensor(x).to(dtype=cn.float16).float().numpy()
    else:
        x = _floats((_WORDS.astype(np.uint32) << 16).view(np.float32))
        expected = (bfloat16_bits(x).astype(np.uint32) << 16).view(np.float32)
        found = cn.tensor(x).to(dtype=cn.bfloat16).float().numpy()
    np.testing.assert_array_equal(found, expected)


def test_fused_chains_round_like_stores() -> None:
    """Check that ROUND inside a fused chain gives what a store and a load between would."""
    x = _floats(_WORDS.view(np.float16).astype(np.float32))
    for dtype in (cn.float16, cn.bfloat16):
        t = cn.tensor(x)
        fused = (t.to(dtype=dtype).float() * 1).numpy()
        with cn.eager():
            stored = (t.to(dtype=dtype).float() * 1).numpy()
        np.testing.assert_array_equal(fused, stored)


def test_conversions() -> None:
    """Check C's and NumPy's conversions: truncation, wrapping of bytes, nonzero for bool."""
    x = np.array([-1.9, -1.0, -0.5, 0.0, 0.5, 1.9, 200.7], np.float32)
    t = cn.tensor(x)
    assert t.int().tolist() == x.astype(np.int32).tolist()
    assert t.long().tolist() == x.astype(np.int64).tolist()
    assert t.to(dtype=cn.uint8).tolist() == x.astype(np.int32).astype(np.uint8).tolist()
    assert t.bool().tolist() == (x != 0).tolist()
