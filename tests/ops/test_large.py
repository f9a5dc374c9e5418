"""Values of more than 2^31 elements, where the device has room for them."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn

MORE = 2**31 + 2**21 + 7


@pytest.mark.slow
def test_more_elements_than_an_int_counts() -> None:
    caps = cn.device().caps
    if caps.max_allocation < MORE or caps.memory < 3 * MORE:
        has = f"{caps.max_allocation} and {caps.memory}"
        pytest.skip(f"needs one buffer of {MORE} bytes and three in all; the device has {has}")
    x = cn.zeros(MORE, dtype=cn.uint8)
    x[-3:] = 5
    assert x.sum().item() == 15
    assert x.argmax().item() == MORE - 3
    part = x[-4:] + 1
    np.testing.assert_array_equal(part.numpy(), [1, 6, 6, 6])
    doubled = x * 2
    assert doubled[-1].item() == 10
    assert doubled.reshape(-1)[::-1][0].item() == 10
