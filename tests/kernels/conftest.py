"""Kernels are run through the graph, as on a CPU and as if the device were a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clnet import core
from clnet.engine import run


@pytest.fixture(params=["cpu", "gpu"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let records choose the variants that they would on this type of device."""
    real = run.target

    def pretended(on: object) -> run.DeviceTarget:
        return replace(real(on), type=request.param, compute_units=2)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "target", pretended)
    monkeypatch.setattr(core, "runtime", run.Engine())
    return str(request.param)
