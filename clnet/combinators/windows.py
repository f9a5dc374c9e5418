"""Windows of sequences: a function of each, a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clnet.combinators.sequences import masked, running_mask, swapped, tensors_of
from clnet.core import Tensor
from clnet.errors import ShapeError
from clnet.ops.create import as_tensor
from clnet.ops.join import pad, stack
from clnet.ops.parts import part_of
from clnet.transforms.tree import tree_map


def window_map(
    function: Callable[[Tensor], Any],
    input: Tensor,
    size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    lengths: Any = None,
    batch_first: bool = False,
) -> Any:
    """Map a function over the windows of sequences: a convolution, if the function is linear.

    function: windows [n, size, ..] -> tensors [n, ..], a function or Module of any number of
    windows, called once for all of them. input: [t, b, ..], or [b, t, ..] with `batch_first`.
    Windows begin every `stride` steps, take every `dilation`-th, and see `padding` steps of zeros
    at both ends; there are w = (t + 2 padding - dilation (size - 1) - 1) // stride + 1 of them, and
    as many in a sequence of `lengths` as this gives of its length: beyond, the result is 0, and
    steps beyond the end are seen as zeros. Returns [w, b, ..], or [b, w, ..].

    Errors: ShapeError for inputs and lengths that do not fit, and a function that does not give a
    result for each window; ValueError for settings and lengths out of range.

    >>> import clnet as cn
    >>> x = cn.tensor([[1.0], [2.0], [4.0]])
    >>> cn.window_map(lambda w: w.sum(1), x, 2).tolist()
    [[3.0], [6.0]]
    """
    (x,) = tensors_of("window_map", "the input", input)
    settings = {"size": size, "stride": stride, "dilation": dilation}
    wrong = [f"{name}={n}" for name, n in settings.items() if n < 1]
    if wrong or padding < 0:
        raise ValueError(
            f"window_map: got {', '.join(wrong) or f'padding={padding}'}; needs numbers >= 1, and "
            "padding >= 0"
        )
    if x.ndim < 2:
        raise ShapeError(f"window_map: got input {x.node.spec}; needs [t, b, ..]")
    x = swapped(x, batch_first)
    time, batch = x.shape[:2]

    def windows_of(steps: Any) -> Any:
        return (steps + 2 * padding - dilation * (size - 1) - 1) // stride + 1

    count = windows_of(time)
    if time == 0 or count < 1:
        raise ShapeError(
            f"window_map: got {time} steps and {padding} of padding; needs at least "
            f"{dilation * (size - 1) + 1}, the steps of a window"
        )
    running = None
    if lengths is not None:
        running = running_mask("window_map", lengths, time, batch, x.device)
        x = masked(running, x, None)
    if padding:
        x = pad(x, (0, 0) * (x.ndim - 1) + (padding, padding))
    parts = [part_of(x, 0, k * dilation, stride, count) for k in range(size)]
    windows = stack(parts, 2)
    found = function(windows.flatten(0, 1))
    for y in tensors_of("window_map", "the function's result", found):
        if y.shape[:1] != (count * batch,):
            raise ShapeError(
                f"window_map: the function made {y.node.spec} of {windows.flatten(0, 1).node.spec};"
                f" needs [{count * batch}, ..], a result for each window"
            )
    result = tree_map(lambda y: y.unflatten(0, (count, batch)), found)
    if running is not None:
        counts = windows_of(as_tensor(lengths, device=x.device))
        at = as_tensor(list(range(count)), device=x.device).unsqueeze(1)
        result = masked(at < counts, result, None)
    return swapped(result, batch_first)
