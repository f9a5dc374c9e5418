"""Op records and their compositions, one family a file; importing it installs Tensor's methods."""

from clnet.ops import (
    arithmetic,
    convert,
    create,
    display,
    elementwise,
    indexing,
    join,
    movement,
    operators,
    parts,
    views,
)

__all__ = [
    "arithmetic",
    "convert",
    "create",
    "display",
    "elementwise",
    "indexing",
    "join",
    "movement",
    "operators",
    "parts",
    "views",
]
