"""Op records and their compositions, one family a file; importing it installs Tensor's methods."""

from clnet.ops import convert, create, display, elementwise, views

__all__ = ["convert", "create", "display", "elementwise", "views"]
