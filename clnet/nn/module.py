"""`Module`: what layers and models have in common, with PyTorch's names and semantics."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from clnet.core import Tensor
from clnet.dtypes import DType, bfloat16, float16, float32, float64
from clnet.errors import CheckpointError, DTypeError
from clnet.modes import modes, no_grad
from clnet.nn.parameter import Parameter, replace
from clnet.ops.create import as_tensor, zeros_like

M = TypeVar("M", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` found missing, and left over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


class RemovableHandle:
    """What registering a hook returns: `remove()` takes it off again."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks = hooks
        hooks[id(self)] = hook

    def remove(self) -> None:
        """Stop calling the hook."""
        self._hooks.pop(id(self), None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


class Module:
    """Base class of layers and models: parameters, buffers and submodules are found by attribute.

    A subclass calls `super().__init__()`, sets attributes, and defines `forward`.

    >>> import clnet as cn
    >>> class Net(cn.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.out = cn.nn.Linear(3, 2)
    ...     def forward(self, x):
    ...         return self.out(x)
    >>> [name for name, _ in Net().named_parameters()]
    ['out.weight', 'out.bias']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]

    def __init__(self) -> None:
        for name in ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_transient", set())
        object.__setattr__(self, "training", True)

    # --- call -----------------------------------------------------------------------------------

    def forward(self, *input: Any, **kwargs: Any) -> Any:
        """Compute the module's result; subclasses define it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "_parameters" not in self.__dict__:
            raise AttributeError(_NO_INIT.format("call", type(self).__name__))
        if self._forward_pre_hooks:
            for hook in list(self._forward_pre_hooks.values()):
                found = hook(self, args)
                if found is not None:
                    args = found if isinstance(found, tuple) else (found,)
        result = self.forward(*args, **kwargs)
        if self._forward_hooks:
            for hook in list(self._forward_hooks.values()):
                found = hook(self, args, result)
                result = result if found is None else found
        return result

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; a result replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    # --- attributes -----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            if isinstance(value, (Parameter, Module)):
                what = "parameters" if isinstance(value, Parameter) else "modules"
                raise AttributeError(_NO_INIT.format(f"assign {what}", type(self).__name__))
            object.__setattr__(self, name, value)
            return
        tables: tuple[tuple[dict[str, Any], type, str], ...] = (
            (self._parameters, Parameter, "parameter"),
            (self._modules, Module, "child module"),
            (self._buffers, Tensor, "buffer"),
        )
        for table, kind, what in tables:
            # Any tensor may be a plain attribute; a buffer is one that was registered.
            if isinstance(value, kind) and (kind is not Tensor or name in table):
                for other in (self.__dict__, *(t for t, _, _ in tables)):
                    if other is not table:
                        other.pop(name, None)
                table[name] = value
                return
            if name in table:
                if value is not None:
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as {what} {name!r} "
                        f"({kind.__name__} or None expected)"
                    )
                table[name] = None
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_parameters" in own and name in own["_parameters"]:
            return own["_parameters"][name]
        for table in ("_buffers", "_modules"):
            found = own.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        tables: tuple[dict[str, Any], ...] = (self._parameters, self._buffers, self._modules)
        for table in tables:
            if name in table:
                del table[name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _register(self, what: str, name: str, value: Any, kind: type) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(_NO_INIT.format(f"register the {what}", type(self).__name__))
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{what} name {name!r}: needs a string that is not empty and has no '.'")
        table = getattr(self, f"_{what}s")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"{what} name {name!r}: the module has an attribute of that name")
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"cannot register {type(value).__name__} as {what} {name!r}; "
                f"needs a {kind.__name__} or None"
            )
        table[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name without one."""
        self._register("parameter", name, param, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; in `state_dict` unless `persistent` is False."""
        self._register("buffer", name, tensor, Tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name."""
        self._register("module", name, module, Module)

    register_module = add_module

    # --- what is inside -------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it with their dotted names, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct submodules with their names, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules, each once."""
        return (module for _, module in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator[Any]:
        seen: set[int] = set()
        below = self.named_modules(prefix=prefix, remove_duplicate=once)
        for path, module in below if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, table).items():
                if tensor is None or id(tensor) in seen:
                    continue
                if once:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their dotted names; a shared one only once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, as an optimizer takes them."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers with their dotted names; a shared one only once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """Return the module with a dotted name. Errors: AttributeError."""
        module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r}")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter with a dotted name. Errors: AttributeError."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every submodule and then on this module, and return it."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- state ----------------------------------------------------------------------------------

    def _entries(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield prefix + name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                yield prefix + name, buffer
        for name, module in self._modules.items():
            if module is not None:
                yield from module._entries(f"{prefix}{name}.")

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Return parameters and persistent buffers by dotted name.

        The tensors are detached and, as in PyTorch, follow the parameters: `copy.deepcopy` of the
        result keeps the values of now. With `keep_vars` they are the parameters themselves.
        """
        return OrderedDict(
            (name, tensor if keep_vars else tensor.detach())
            for name, tensor in self._entries(prefix)
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values into parameters and buffers of the same names, converting their dtypes.

        Values are tensors or what `cn.as_tensor` takes: NumPy arrays, PyTorch's CPU tensors.
        Nothing is changed if anything does not fit. Errors: CheckpointError (a RuntimeError) that
        lists sizes that differ and, if `strict`, missing and unexpected keys.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        own = dict(self._entries())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        errors = []
        if strict and unexpected:
            keys = ", ".join(f'"{k}"' for k in unexpected)
            errors.append(f"Unexpected key(s) in state_dict: {keys}. ")
        if strict and missing:
            keys = ", ".join(f'"{k}"' for k in missing)
            errors.append(f"Missing key(s) in state_dict: {keys}. ")
        values = {}
        for name, tensor in own.items():
            if name not in state_dict:
                continue
            given = state_dict[name]
            shape = tuple(given.shape) if hasattr(given, "shape") else None
            if shape == tensor.shape:
                values[name] = given
                continue
            errors.append(
                f"size mismatch for {name}: copying a param with shape {list(shape)} from "
                f"checkpoint, the shape in current model is {list(tensor.shape)}."
                if shape is not None
                else f"While copying the parameter named {name!r}: expected a tensor or an array "
                f"from checkpoint but received {type(given)}."
            )
        if errors:
            raise CheckpointError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(
                    type(self).__name__, "\n\t".join(errors)
                )
            )
        with no_grad():
            for name, given in values.items():
                own[name].copy_(as_tensor(given))
        return IncompatibleKeys(missing, unexpected)

    # --- modes and conversion -------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode (dropout and the like) here and below, and return the module."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            modes.switches += module.training != mode
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set evaluation mode here and below: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Ask for gradients of all parameters, or stop asking, and return the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else zeros_like(parameter.grad)

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move parameters and buffers to a device, or convert their dtype, and return the module.

        `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`; a dtype, which must be a
        float, applies to floating-point tensors only. The parameters stay the same objects, so an
        optimizer that holds them goes on working. Errors: DTypeError, DeviceError.

        >>> import clnet as cn
        >>> cn.nn.Linear(3, 2).to(cn.float16).weight.dtype
        clnet.float16
        """
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        if kwargs:
            raise TypeError(f"to: got {sorted(kwargs)}; takes device and dtype")
        for arg in args:
            if isinstance(arg, DType):
                dtype = arg
            elif isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif arg is not None:
                device = arg
        if dtype is not None and dtype.kind != "f":
            raise DTypeError(
                f"to: a module cannot have dtype {dtype}; needs a floating-point dtype"
            )

        def convert(tensor: Tensor) -> Tensor:
            wanted = {} if device is None else {"device": device}
            if dtype is not None and tensor.dtype.kind == "f":
                wanted["dtype"] = dtype
            return tensor.to(**wanted) if wanted else tensor

        with no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                value = convert(tensor)
                if value.node is tensor.node:
                    continue
                replace(tensor, value)
                if tensor.grad is not None:
                    tensor.grad = convert(tensor.grad)
        return self

    def float(self: M) -> M:
        """Convert floating-point parameters and buffers to float32."""
        return self.to(float32)

    def double(self: M) -> M:
        """Convert floating-point parameters and buffers to float64."""
        return self.to(float64)

    def half(self: M) -> M:
        """Convert floating-point parameters and buffers to float16."""
        return self.to(float16)

    def bfloat16(self: M) -> M:
        """Convert floating-point parameters and buffers to bfloat16."""
        return self.to(bfloat16)

    # --- text -----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return what stands between the brackets of the module's text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        below = [f"({name}): {_indented(repr(m))}" for name, m in self._modules.items()]
        if len(extra) == 1 and not below:
            return f"{type(self).__name__}({extra[0]})"
        lines = extra + below
        inside = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{type(self).__name__}({inside})"


_NO_INIT = "cannot {} before Module.__init__() call: {} must call super().__init__() first"
