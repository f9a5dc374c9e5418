"""Who watches launches and waits: nobody, or a profiler."""

from __future__ import annotations

from typing import Any

# What `clnet.engine.profile` installs while a profile is taken.
active: Any = None
