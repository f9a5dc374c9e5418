"""Modules that hold modules: a chain, a list, a dictionary."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from clnet.errors import IndexOutOfRange
from clnet.nn.module import Module

L = TypeVar("L", bound="_Listed")


class _Listed(Module):
    """Modules named '0', '1', ...: what Sequential and ModuleList share."""

    def _items(self) -> list[Module]:
        return [m for m in self._modules.values() if m is not None]

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def _key(self, index: Any) -> str:
        names = list(self._modules)
        i = operator.index(index)
        if not -len(names) <= i < len(names):
            raise IndexOutOfRange(
                f"{type(self).__name__}: index {i} of {len(names)} modules; "
                f"needs {-len(names)} to {len(names) - 1}"
            )
        return names[i]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self: L, index: slice) -> L: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            chosen = type(self)()
            for name, module in list(self._modules.items())[index]:
                chosen.add_module(name, module)
            return chosen
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        kept = self._items()
        if isinstance(index, slice):
            del kept[index]
        else:
            del kept[list(self._modules).index(self._key(index))]
        self._renumber(kept)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def append(self: L, module: Module) -> L:
        """Add a module at the end, and return the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Add modules at the end, and return the container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: L, index: int, module: Module) -> L:
        """Put a module before the one at `index`, and return the container."""
        items = self._items()
        items.insert(index, module)
        self._renumber(items)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take a module out, and return it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Listed):
    """A chain of modules: each gets what the one before returns.

    Takes modules, or one OrderedDict that names them.

    >>> import clnet as cn
    >>> net = cn.nn.Sequential(cn.nn.Linear(3, 4), cn.nn.Tanh(), cn.nn.Linear(4, 2))
    >>> net(cn.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = len(args) == 1 and isinstance(args[0], (OrderedDict, dict))
        for name, module in args[0].items() if named else enumerate(args):
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """Return the input passed through all modules in order."""
        for module in self._modules.values():
            if module is not None:
                input = module(input)
        return input


class ModuleList(_Listed):
    """A list of modules whose parameters belong to the module that holds it.

    >>> import clnet as cn
    >>> layers = cn.nn.ModuleList(cn.nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())


class ModuleDict(Module):
    """A dictionary of modules whose parameters belong to the module that holds it.

    >>> import clnet as cn
    >>> cn.nn.ModuleDict({"act": cn.nn.ReLU()})["act"]
    ReLU()
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the names with their modules."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules under their names."""
        for name, module in modules.items():
            self[name] = module

    def pop(self, key: str) -> Any:
        """Take a module out, and return it."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
