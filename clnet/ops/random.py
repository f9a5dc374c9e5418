"""Random numbers: one Philox stream for each process, the same on every device."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor, method, record, scalar_node
from clnet.dtypes import DType, as_dtype, bool_, float32, int32, int64
from clnet.errors import DTypeError, ShapeError
from clnet.modes import modes
from clnet.ops.create import arange, tensor
from clnet.ops.dims import as_sizes
from clnet.ops.elementwise import bitwise_and, cast
from clnet.ops.launch import ceil_div, index_type, launch_1d, scalars, share, work_group
from clnet.ops.sort import argsort
from clnet.records import (
    Arg,
    Argument,
    Launch,
    Layout,
    Op,
    Out,
    Sample,
    Scalar,
    Sizes,
    Spec,
    Target,
    Value,
    register,
)

_Ints = tuple[int, ...]


# --- the reference: Philox4x32-10 in NumPy -------------------------------------------------------
def _philox(seed: int, offset: int, n: int) -> np.ndarray:
    """Return n words of the stream, beginning with block `offset`, as uint32."""
    blocks = ceil_div(n, 4)
    counter = np.uint64(offset % 2**64) + np.arange(blocks, dtype=np.uint64)
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b = counter & mask, counter >> shift
    c = d = np.zeros(blocks, np.uint64)
    key0, key1 = seed % 2**32, seed % 2**64 >> 32
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (q >> shift) ^ b ^ np.uint64(key0), q & mask
        c, d = (p >> shift) ^ d ^ np.uint64(key1), p & mask
        key0, key1 = (key0 + 0x9E3779B9) % 2**32, (key1 + 0xBB67AE85) % 2**32
    return np.stack([a, b, c, d], axis=1).reshape(-1)[:n].astype(np.uint32)


def _bits(seed: Any, offset: Any, shape: _Ints) -> Any:
    return _philox(int(seed), int(offset), prod(shape)).view(np.int32).reshape(shape)


def _uniform(seed: Any, offset: Any, shape: _Ints) -> Any:
    words = _philox(int(seed), int(offset), prod(shape))
    return ((words >> np.uint32(8)) * 2.0**-24).astype(np.float32).reshape(shape)


def _normal(seed: Any, offset: Any, shape: _Ints) -> Any:
    n = prod(shape)
    words = _philox(int(seed), int(offset), n + n % 2).astype(np.float64).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log((words[:, 0] + 0.5) / 2**32))
    angle = 2 * np.pi * words[:, 1] / 2**32
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:n].astype(np.float32).reshape(shape)


# --- records -------------------------------------------------------------------------------------
_SEED = Arg((), -(2.0**62), 2.0**62, "int64", number=True)
_OFFSET = Arg((), 0, 2.0**40, "int64", number=True)


def _record(name: str, doc: str, dtype: DType, reference: Callable[..., Any]) -> Op:
    def kernel(target: Target, out: Spec, ins: tuple[Layout, ...], shape: _Ints) -> list[Launch]:
        if not out.size:
            return []
        index = index_type(out)
        blocks = ceil_div(out.size, 4)
        each = share(target, blocks, 4)
        args: tuple[Argument, ...] = (
            Out(),
            *scalars(index, out.size, each),
            Value(0, "long"),
            Scalar("long", 0),
            Value(1, "long"),
        )
        items, local = ceil_div(blocks, each), work_group(target)
        return [launch_1d("random.cl", name, (("INDEX", index),), args, items, local)]

    return register(
        Op(
            name,
            doc,
            lambda seed, offset, shape: Spec(shape, dtype),
            reference,
            (Sample((_SEED, _OFFSET), {"shape": (3, 5)}),),
            kernel=kernel,
            sizes=Sizes(
                lambda n: Sample((_SEED, _OFFSET), {"shape": (n,)}), ((1 << 16,), (1 << 24,))
            ),
            cost=lambda out, seed, offset, shape: (40.0 * out.size, 4.0 * out.size),
        )
    )


philox_bits = _record(
    "philox_bits", "Words of the Philox stream of a seed, from block `offset` on.", int32, _bits
)
philox_uniform = _record(
    "philox_uniform", "Uniform numbers in [0, 1), multiples of 2^-24.", float32, _uniform
)
philox_normal = _record(
    "philox_normal", "Standard normal numbers (Box and Muller).", float32, _normal
)


# --- the stream ----------------------------------------------------------------------------------
class _Stream:
    """The seed, and how many blocks of four words were used up."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seed = int.from_bytes(os.urandom(8), "little")
        self.used = 0

    def take(self, blocks: int) -> tuple[int, int]:
        with self.lock:
            offset = self.used
            self.used += blocks
            return self.seed, offset


_stream = _Stream()


def manual_seed(seed: int) -> None:
    """Begin the stream of a seed: the same seed gives the same numbers on every device.

    A process that never calls this begins with a seed of the operating system.

    >>> import clnet as cn
    >>> cn.manual_seed(1)
    >>> x = cn.rand(3)
    >>> cn.manual_seed(1)
    >>> cn.rand(3).equal(x)
    True
    """
    with _stream.lock:
        _stream.seed, _stream.used = int(seed) % 2**64, 0


def initial_seed() -> int:
    """Return the seed of the stream."""
    return _stream.seed


def get_rng_state() -> Tensor:
    """Return the stream's state, int64[2]: the seed and the blocks used; for checkpoints."""
    with _stream.lock:
        state = [_signed(_stream.seed), _stream.used]
    return tensor(np.array(state, np.int64))


def set_rng_state(state: Any) -> None:
    """Continue the stream from a state of `get_rng_state`: a tensor, an array or two numbers."""
    values = [int(v) for v in np.asarray(state).reshape(-1)]
    if len(values) != 2 or values[1] < 0:
        raise ValueError(f"set_rng_state: got {values}; needs what get_rng_state returned")
    with _stream.lock:
        _stream.seed, _stream.used = values[0] % 2**64, values[1]


def used_blocks() -> int:
    """Return how many blocks of the stream were used up."""
    return _stream.used


def rewind(blocks: int) -> None:
    """Go back in the stream: what was drawn since `used_blocks` gave this is drawn again."""
    with _stream.lock:
        _stream.used = blocks


def _signed(word: int) -> int:
    """Return 64 bits as the signed number that they are in OpenCL's long."""
    return word - 2**64 if word >= 2**63 else word


def _draw(op: Op, shape: _Ints, device: Any) -> Tensor:
    """Return the next numbers of the stream."""

    def take() -> tuple[int, int]:
        seed, offset = _stream.take(ceil_div(prod(shape), 4))
        return _signed(seed), offset

    seed, offset = take()
    operands = (scalar_node(seed, int64), scalar_node(offset, int64))
    if modes.recorder is not None:
        modes.recorder.numbers(take, operands)
    node = record(op, operands, {"shape": shape})
    node.device = core.runtime.device(device)
    return Tensor(node)


def _made(result: Tensor, dtype: Any, requires_grad: bool) -> Tensor:
    found = as_dtype(dtype)
    if found is not result.dtype:
        result = cast(result, dtype=found)
    return result.requires_grad_() if requires_grad else result


def _float(name: str, dtype: Any) -> DType:
    found = as_dtype(dtype)
    if found.kind != "f":
        raise DTypeError(f"{name}: got dtype {found.name}; needs a floating-point dtype")
    return found


# --- for users -----------------------------------------------------------------------------------
def rand(
    *size: Any, dtype: Any = float32, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return numbers uniform in [0, 1), multiples of 2^-24: `rand(2, 3)` or `rand((2, 3))`.

    Errors: ShapeError; DTypeError unless dtype is floating-point.

    >>> import clnet as cn
    >>> cn.rand(2, 3).shape
    (2, 3)
    """
    shape = as_sizes("rand", size)
    found = _float("rand", dtype)
    return _made(_draw(philox_uniform, shape, device), found, requires_grad)


def randn(
    *size: Any, dtype: Any = float32, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return standard normal numbers: `randn(2, 3)` or `randn((2, 3))`.

    Errors: ShapeError; DTypeError unless dtype is floating-point.

    >>> import clnet as cn
    >>> cn.randn(2, 3).shape
    (2, 3)
    """
    shape = as_sizes("randn", size)
    found = _float("randn", dtype)
    return _made(_draw(philox_normal, shape, device), found, requires_grad)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return numbers uniform in [0, 1) of another tensor's shape, dtype and device."""
    return rand(input.shape, dtype=dtype or input.dtype, device=device or input.device)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return standard normal numbers of another tensor's shape, dtype and device."""
    return randn(input.shape, dtype=dtype or input.dtype, device=device or input.device)


def randint(
    low: int, high: Any = None, size: Any = None, *, dtype: Any = int64, device: Any = None
) -> Tensor:
    """Return integers from low up to but not including high: `randint(10, (2, 3))` begins at 0.

    A 63-bit word modulo the span: the bias is below span / 2^63. Errors: ShapeError; ValueError
    where high is not above low.

    >>> import clnet as cn
    >>> cn.randint(3, 4, (2,))
    tensor([3, 3])
    """
    if size is None:
        low, high, size = 0, low, high
    if size is None:
        raise ShapeError("randint: got no size; needs randint(high, size) or (low, high, size)")
    if not low < high <= low + 2**62:
        raise ValueError(f"randint: got low={low}, high={high}; needs low < high")
    shape = as_sizes("randint", (size,))
    words = cast(_draw(philox_bits, (*shape, 2), device), dtype=int64)
    first, second = (words.select(-1, i) for i in (0, 1))
    wide = bitwise_and(first, 2**31 - 1) * 2**32 + bitwise_and(second, 2**32 - 1)
    return _made(wide % (high - low) + low, dtype, False)


def randperm(n: int, *, dtype: Any = int64, device: Any = None) -> Tensor:
    """Return a random order of 0 .. n - 1, by sorting 32-bit words.

    >>> import clnet as cn
    >>> cn.randperm(5).sort().values
    tensor([0, 1, 2, 3, 4])
    """
    (count,) = as_sizes("randperm", (n,))
    if not count:
        return arange(0, dtype=dtype, device=device)
    return _made(argsort(_draw(philox_bits, (count,), device)), dtype, False)


@method("bernoulli")
def bernoulli(input: Tensor, p: float | None = None) -> Tensor:
    """Return 1 with the probability that each element says (or with p), else 0, in x's dtype.

    >>> import clnet as cn
    >>> cn.tensor([0.0, 1.0]).bernoulli()
    tensor([0., 1.])
    """
    drawn = _draw(philox_uniform, input.shape, input.device)
    return cast(drawn < (input.detach() if p is None else p), dtype=input.dtype)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = float32,
    device: Any = None,
) -> Tensor:
    """Return normal numbers of a mean and standard deviation: numbers, with a size, or tensors.

    Errors: ShapeError without a size where neither is a tensor.

    >>> import clnet as cn
    >>> cn.normal(5.0, 0.0, (2,))
    tensor([5., 5.])
    """
    if size is None:
        spread = mean + std * 0 if isinstance(mean, Tensor) else std + mean * 0
        if not isinstance(spread, Tensor):
            raise ShapeError("normal: mean and std are numbers; needs a size")
        return randn(spread.shape, dtype=dtype, device=spread.device) * std + mean
    return randn(*as_sizes("normal", (size,)), dtype=dtype, device=device) * std + mean


@method("uniform_")
def uniform_(input: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Fill a tensor in place with numbers uniform in [low, high), and return it.

    >>> import clnet as cn
    >>> cn.zeros(2).uniform_(3.0, 3.0)
    tensor([3., 3.])
    """
    drawn = rand(input.shape, dtype=input.dtype, device=input.device)
    return input.assign(drawn * (high - low) + low)


@method("normal_")
def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill a tensor in place with normal numbers, and return it.

    >>> import clnet as cn
    >>> cn.zeros(2).normal_(1.0, 0.0)
    tensor([1., 1.])
    """
    drawn = randn(input.shape, dtype=input.dtype, device=input.device)
    return input.assign(drawn * std + mean)


@method("bernoulli_")
def bernoulli_(input: Tensor, p: float = 0.5) -> Tensor:
    """Fill a tensor in place with 1 of probability p, else 0, and return it.

    >>> import clnet as cn
    >>> cn.zeros(2).bernoulli_(1.0)
    tensor([1., 1.])
    """
    drawn = _draw(philox_uniform, input.shape, input.device) < p
    return input.assign(drawn if input.dtype is bool_ else cast(drawn, dtype=input.dtype))
