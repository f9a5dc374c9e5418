"""Capabilities are tried out, not believed."""

from __future__ import annotations

import numpy as np
import pytest

from clnet.device import Capabilities, capabilities, device
from clnet.errors import BuildError


def claims(extensions, answer):
    """Capabilities of a driver with these extensions, and the capabilities that were tried."""
    tried = []
    caps = Capabilities(
        local_memory=1,
        max_work_group=1,
        max_allocation=1,
        memory=1,
        unified_memory=True,
        compute_units=1,
        extensions=frozenset(extensions),
        _try=lambda name: tried.append(name) or answer,
        _width=lambda: 0,
    )
    return caps, tried


@pytest.mark.parametrize("name", ["fp16", "fp64", "subgroups"])
@pytest.mark.parametrize("works", [True, False])
def test_a_claim_is_tried_once(name, works):
    caps, tried = claims([f"cl_khr_{name}"], works)
    assert getattr(caps, name) is works
    assert getattr(caps, name) is works
    assert tried == [name]


@pytest.mark.parametrize("name", ["fp16", "fp64", "subgroups"])
def test_what_is_not_claimed_is_not_tried(name):
    caps, tried = claims([], True)
    assert getattr(caps, name) is False
    assert tried == []


def test_every_device_computes_in_float32():
    assert capabilities._computes(device(), "float", np.dtype(np.float32))


def test_wrong_numbers_are_no_capability():
    class Zeros:
        """A driver that compiles everything and computes zeros."""

        def __getattr__(self, name):
            return getattr(device(), name)

        def download(self, buffer, dtype, shape):
            return np.zeros(shape, dtype)

    assert capabilities.works(device(), "fp64") == device().caps.fp64
    assert not capabilities.works(Zeros(), "fp64")


def test_a_refusal_to_compile_is_no_capability():
    class Refuses:
        """A driver that compiles nothing."""

        def kernels(self, sources):
            raise BuildError("no")

    assert not capabilities.works(Refuses(), "fp16")
    assert capabilities.vector_bits(Refuses()) == 0


def test_facts_are_plausible():
    caps = device().caps
    assert caps.vector_bits in (0, 128, 256, 512)
    assert 0 < caps.max_allocation <= caps.memory
    assert caps.local_memory >= 16 << 10
    assert caps.max_work_group >= 1
    assert caps.compute_units >= 1
