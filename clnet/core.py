"""The graph: immutable nodes, and the tensors that hold them.

Calling an op checks shapes and dtypes at once and records a node; nothing runs. A `Tensor` is a
handle on a node: in-place methods give the handle another node, so that nodes never change what
they mean and anything recorded before an update still sees the old value.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from clnet.dtypes import DType
from clnet.errors import ClnetError, DeviceError, DTypeError, GradientError, ShapeError
from clnet.methods import Methods
from clnet.modes import modes
from clnet.records import OPS, Layout, Op, Spec, Target, row_major

# A pending chain longer than this is evaluated by itself, so that `total += loss` stays bounded.
MAX_PENDING_DEPTH = 5000


class Runtime(Protocol):
    """What the graph asks of the engine; `clnet.engine` installs itself here when imported."""

    def evaluate(self, nodes: Sequence[Node]) -> None:
        """Enqueue what the nodes need; afterwards each has a buffer."""

    @property
    def lock(self) -> Any:
        """Held while something is evaluated."""

    def hold(self, nodes: Sequence[Node]) -> Any:
        """Evaluate, but leave the last launches to the caller: None, or what has `launch()`.

        The caller holds `lock` until then.
        """

    def default_device(self) -> Any:
        """The device on which a value without one is computed."""

    def device(self, spec: Any) -> Any:
        """The device that a user means by `spec` (None: the default device)."""

    def target(self, on: Any) -> Target:
        """What records may know about a device."""

    def capture(
        self,
        on: Any,
        results: Sequence[Node],
        sources: Mapping[Node, int],
        updates: Mapping[int, int],
    ) -> Any:
        """A recorded computation as a program to be run on other values."""


# Set when clnet.engine is imported, which clnet itself does.
runtime = cast(Runtime, None)


class Node:
    """A value of the graph: a Python scalar, a buffer, or an op on other nodes.

    spec        shape and dtype.
    op, inputs, attrs   how it is computed; inputs are dropped once nothing needs them.
    device      where; None for scalars and values made of scalars alone.
    value       the Python scalar, for scalar nodes.
    buffer, strides, offset   where the value lies (elements), once it is computed.
    needs_grad  a gradient flows through it; `leaf`: a gradient ends here.
    released    its graph was given up by `backward`.
    depth       length of the longest chain of nodes not yet computed that ends here.
    group       a loss and its gradients, which are best computed together.
    owner       weak reference to the tensor that holds it; hooks, retain: see Tensor.
    call        the call (see clnet.calls) that it is a result of, its `output`th; `inner`: it lies
                inside of one.
    """

    __slots__ = (
        "__weakref__",
        "attrs",
        "buffer",
        "call",
        "depth",
        "device",
        "group",
        "hooks",
        "inner",
        "inputs",
        "leaf",
        "needs_grad",
        "offset",
        "op",
        "output",
        "owner",
        "released",
        "retain",
        "spec",
        "strides",
        "value",
    )

    def __init__(
        self,
        spec: Spec,
        op: Op | None = None,
        inputs: tuple[Node, ...] = (),
        attrs: dict[str, Any] | None = None,
        device: Any = None,
        value: bool | int | float | None = None,
        buffer: Any = None,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> None:
        self.reset(spec, device, value)
        self.op = op
        self.inputs = inputs
        self.attrs = attrs or {}
        self.buffer = buffer
        self.strides, self.offset = strides, offset

    def reset(self, spec: Spec, device: Any, value: bool | int | float | None = None) -> None:
        """Set what every node has, as it is at first."""
        self.spec = spec
        self.device = device
        self.value = value
        self.buffer = self.strides = None
        self.call: Any = None
        self.offset = self.depth = self.output = 0
        self.needs_grad = self.leaf = self.released = self.retain = self.inner = False
        self.group: Group | None = None
        self.owner: Callable[[], Tensor | None] | None = None
        self.hooks: list[Callable[[Tensor], Tensor | None]] | None = None

    @property
    def layout(self) -> Layout:
        """How the computed value lies in its buffer."""
        assert self.strides is not None
        return Layout(self.spec.shape, self.strides, self.spec.dtype)

    def holder(self) -> Tensor | None:
        """Return the living tensor whose value this node is, if there is one."""
        tensor = self.owner() if self.owner is not None else None
        return tensor if tensor is not None and tensor._node is self else None

    def tensor(self) -> Tensor:
        """Return the tensor that holds this node, or a new one."""
        holder = self.holder()
        if holder is not None:
            return holder
        owner = self.owner
        tensor = Tensor(self, view=False)
        # A leaf's gradient goes to the tensor that held it first, whatever that holds by now.
        self.owner = owner or self.owner
        return tensor


def buffer_node(
    spec: Spec, device: Any, buffer: Any, strides: tuple[int, ...] | None = None
) -> Node:
    """Return the node of a value that lies in `buffer`."""
    strides = row_major(spec.shape) if strides is None else strides
    return Node(spec, device=device, buffer=buffer, strides=strides)


class Group(list["weakref.ref[Node]"]):
    """Nodes which are best computed together.

    Where they are a loss and its gradients, of a structure seen before, and nothing else,
    `structure` is that, and `forward` the nodes of the loss, without itself, and their operands;
    None otherwise.
    """

    __slots__ = ("forward", "structure")

    def __init__(self, members: Sequence[Node] = ()) -> None:
        super().__init__([weakref.ref(n) for n in members])
        self.structure: Any = None
        self.forward: Sequence[Node] = ()


def compute_with(members: Sequence[Node], nodes: Sequence[Node]) -> Group:
    """Have the evaluation of any of `nodes` compute those of `members` that tensors still hold."""
    group = Group(members)
    for node in nodes:
        if node.group is None:
            node.group = group
        else:
            joint = Group()
            joint += node.group
            joint += group
            node.group = joint
    return group


def scalar_node(value: bool | int | float, dtype: DType) -> Node:
    """Return the 0-d node of a Python number: an input to plans, not part of their key."""
    return Node(Spec((), dtype), value=value)


def record(op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
    """Add a node: `op` on operands that are already of the right dtypes and shapes."""
    return enter(op, inputs, attrs, op.spec(*[n.spec for n in inputs], **attrs))


def follow(op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any], spec: Spec, grad: bool) -> Node:
    """Return a pending node on operands, which must lie on one device."""
    device = None
    depth = 0
    needs_grad = False
    for n in inputs:
        if n.device is not None and n.device is not device:
            if device is not None:
                raise DeviceError(
                    f"{op.name}: operands on different devices, {device} and {n.device}; "
                    "move one with x.to(device)"
                )
            device = n.device
        if n.depth > depth:
            depth = n.depth
        needs_grad = needs_grad or n.needs_grad
    node = Node(spec, op, inputs, attrs, device)
    node.depth = depth + 1
    if needs_grad and grad and op.differentiable and spec.dtype.kind == "f":
        node.needs_grad = True
    return node


def enter(op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any], spec: Spec) -> Node:
    """Add a node whose result is known to be of `spec`."""
    node = follow(op, inputs, attrs, spec, modes.grad)
    if op.view is not None and inputs[0].buffer is not None and modes.recorder is None:
        base = inputs[0]
        viewed = op.view(base.layout, **attrs)
        if viewed is not None:
            node.buffer, node.strides = base.buffer, viewed[0]
            node.offset = base.offset + viewed[1]
            node.depth = 0
    if node.depth > MAX_PENDING_DEPTH:
        runtime.evaluate([node])
    for observer in modes.observers:
        observer(node)
    return node


def placeholder(tensor: Tensor) -> Tensor:
    """Return a tensor with the value of another, evaluated, that stands for it in a recording."""
    n = tensor.node
    node = Node(n.spec, device=n.device, buffer=n.buffer, strides=n.strides, offset=n.offset)
    return Tensor(node, view=False)


def evaluate(*tensors: Tensor) -> None:
    """Enqueue the computation of tensors, all in one plan, without waiting for the device.

    >>> import clnet as cn
    >>> x = cn.ones(3) * 2
    >>> cn.eval(x)
    """
    runtime.evaluate([t.node for t in tensors])


class Tensor(Methods):
    """An n-dimensional array on an OpenCL device, and a node of the graph that computes it.

    Made by `cn.tensor`, `cn.zeros`, ... and by ops. Its value is computed when somebody looks:
    `numpy()`, `item()`, `print`, `cn.eval`.

    >>> import clnet as cn
    >>> x = cn.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> (x @ x).shape
    (2, 2)
    """

    __slots__ = (
        "__weakref__",
        "_hooks",
        "_node",
        "_parent",
        "_root",
        "_seen",
        "_version",
        "grad",
    )
    # NumPy must leave `array + tensor` to us, and we say what to do.
    __array_ufunc__ = None

    def __init__(self, node: Node, view: bool = True) -> None:
        self._hooks: list[Callable[[Tensor], Tensor | None]] | None = None
        self._parent: Tensor | None = None
        # The tensor that this one is, in the end, a view of; None for a tensor that is none, since
        # a tensor which held itself would be freed only by the garbage collector.
        self._root: Tensor | None = None
        self._seen = self._version = 0
        self.grad: Tensor | None = None
        self._hold(node)
        if view and node.op is not None and node.op.put is not None and node.inputs:
            self._view_of(node.inputs[0])

    def _view_of(self, base: Node) -> None:
        parent = base.holder()
        if parent is not None:
            self._parent = parent
            self._root = parent if parent._root is None else parent._root
            self._seen = self._root._version

    def _hold(self, node: Node) -> None:
        self._node = node
        node.owner = weakref.ref(self)

    @property
    def node(self) -> Node:
        """The node that is this tensor's value now."""
        if self._root is not None and self._seen != self._root._version:
            old = self._node
            assert old.op is not None and self._parent is not None
            self._seen = self._root._version
            self._hold(record(old.op, (self._parent.node,), old.attrs))
        return self._node

    # --- what it is -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self._node.spec.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._node.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._node.spec.shape)

    @property
    def device(self) -> Any:
        """The device that holds, or will compute, the value."""
        return self._node.device or runtime.default_device()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor; settable on leaves."""
        return self.node.needs_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded op computed: gradients accumulate in their `grad`."""
        return self.node.leaf or not self._node.needs_grad

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for (or stop asking for) a gradient of this leaf, in place, and return it."""
        node = self.node
        if requires_grad == node.needs_grad:
            return self
        if requires_grad and node.spec.dtype.kind != "f":
            raise GradientError(
                f"requires_grad: {node.spec} cannot have a gradient; needs a floating-point dtype"
            )
        if not requires_grad and not node.leaf:
            raise GradientError(
                "requires_grad: cannot be switched off on a result of recorded ops; use x.detach()"
            )
        node.needs_grad = node.leaf = requires_grad
        node.hooks = self._hooks
        if node.buffer is not None:
            node.inputs = ()
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this non-leaf tensor in `grad` when `backward` passes it."""
        if not self.requires_grad:
            raise GradientError("retain_grad: this tensor does not require grad")
        self.node.retain = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call `hook(grad)` when the gradient of this tensor is computed; it may return another.

        Returns a function that removes the hook.
        """
        if not self.requires_grad:
            raise GradientError("register_hook: this tensor does not require grad")
        node = self.node
        if node.hooks is None:
            node.hooks = self._hooks = []
        hooks = node.hooks
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    # --- in-place -------------------------------------------------------------------------------

    def assign(self, value: Tensor) -> Tensor:
        """Give this tensor, and what it is a view of, the value of another of its shape and dtype.

        Every in-place method ends here. Errors: GradientError for a leaf that requires grad while
        recording; ShapeError, DTypeError where shape or dtype differ.
        """
        node, new = self.node, value.node
        if new.spec != node.spec:
            raise (ShapeError if new.spec.shape != node.spec.shape else DTypeError)(
                f"in-place: cannot store {new.spec} in {node.spec}; needs the same shape and dtype"
            )
        if node.leaf and modes.grad:
            raise GradientError(
                "in-place: a leaf Tensor that requires grad cannot be changed while recording; "
                "use `with cn.no_grad():`"
            )
        if self._parent is not None:
            put = node.op.put if node.op is not None else None
            assert put is not None and node.op is not None
            self._parent.assign(put(self._parent, value, **node.attrs))
            return self
        if modes.recorder is not None:
            modes.recorder.assigns(self, node)
        self.replace(record(OPS["alias"], (new,), {}))
        return self

    def replace(self, new: Node) -> None:
        """Hold another node, of the same spec, from now on; what is a view of this one follows."""
        if self._node.leaf:
            new.needs_grad, new.leaf, new.hooks = True, True, self._hooks
        self._hold(new)
        self._version += 1

    # --- Python protocol ------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    __hash__ = object.__hash__

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise ClnetError("deepcopy: only leaf tensors can be copied; use x.detach().clone()")
        copy = type(self)(record(OPS["alias"], (self.node,), {}), view=False)
        copy._node.needs_grad = copy._node.leaf = self.requires_grad
        copy.grad = self.grad
        memo[id(self)] = copy
        return copy


METHODS: dict[str, Any] = {}


def method(name: str) -> Callable[[Any], Any]:
    """Make the decorated function (or record) a method of Tensor too, under `name`."""

    def install(function: Any) -> Any:
        assert name not in METHODS, f"Tensor.{name} is defined twice"
        METHODS[name] = function
        setattr(
            Tensor,
            name,
            (lambda self, *args, **kwargs: function(self, *args, **kwargs))
            if isinstance(function, Op)
            else function,
        )
        return function

    return install
