"""What all tests share: the same random numbers in every run, and Hypothesis' settings."""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Times vary with the machine's load and the first run of a kernel compiles it, so no deadline.
_SETTINGS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("person", **_SETTINGS)
settings.register_profile("ci", derandomize=True, database=None, **_SETTINGS)
settings.load_profile("ci" if os.environ.get("CI") else "person")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Seed every generator before each test, so that a test gives the same alone and in a suite."""
    random.seed(0)
    np.random.seed(0)
    # Tests that only read sources or start processes need not import clnet.
    clnet = sys.modules.get("clnet")
    if hasattr(clnet, "manual_seed"):
        clnet.manual_seed(0)
