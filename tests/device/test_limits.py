"""The kernels that measure limits compute what they say, and the figures hang together."""

from __future__ import annotations

import numpy as np
import pytest

from clnet.device import KernelSource, device
from clnet.device.limits import latencies, limits


@pytest.mark.oclgrind
@pytest.mark.parametrize("entry", ["copy", "triad"])
@pytest.mark.parametrize(("local", "vector", "lanes"), [(1, "float16", 16), (4, "float4", 4)])
def test_streams(entry, local, vector, lanes):
    on = device()
    defines = (("LOCAL", str(local)), ("VECTOR", vector))
    (kernel,) = on.kernels([KernelSource("limits.cl", entry, defines)])
    n, chunk = 7, 2
    x, z = np.random.default_rng(0).integers(-9, 9, (2, n * lanes)).astype(np.float32)
    given = [on.upload(v) for v in ((x, z) if entry == "triad" else (x,))]
    out = on.allocate(x.nbytes)
    kernel.raw.set_scalar_arg_dtypes([None] * (len(given) + 1) + [np.int32, np.int32])
    kernel.raw.set_args(*given, out, n, chunk)
    on.enqueue(kernel, (4,), (local,))
    y = on.download(out, np.float32, x.shape)
    np.testing.assert_array_equal(y, x + 3 * z if entry == "triad" else x)


def test_figures_hang_together():
    most, also = limits(device()), latencies(device())
    assert most.flops > 1e8
    assert most.bandwidth > 1e7
    assert most.bandwidth / 5 < also.triad < most.bandwidth * 5
    assert 0 < also.launch < also.round_trip < 0.1
