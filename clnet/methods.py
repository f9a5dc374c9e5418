"""The base of Tensor, for type checkers: `methods.pyi` lists the methods that ops install.

Methods are installed when clnet is imported (`clnet.core.method`), where no type checker sees them.
`python tools/stubs.py` writes the list; a test fails when it is stale.
"""

from __future__ import annotations


class Methods:
    """What ops add to Tensor; empty until they do."""

    __slots__ = ()
