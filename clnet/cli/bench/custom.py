"""A user's own kernel: its arguments from words, its results checked, its time."""

from __future__ import annotations

import argparse
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clnet.cli.bench.measure import Figures, figures, times_of
from clnet.device import Device
from clnet.device.custom import custom_kernel
from clnet.errors import ClnetError

_ARGUMENT = re.compile(r"(out:)?(\w+)(?:\[([\d,x ]+)\]|=(\S+))")


def argument_of(text: str, random: np.random.Generator) -> tuple[bool, Any]:
    """Return whether an argument is a result, and its value: an array or a NumPy number.

    `float32[64,64]` is random in [-1, 1), `out:float32[64]` is a result and starts as zeros,
    `int32=64` is a number. Errors: ClnetError for anything else.
    """
    match = _ARGUMENT.fullmatch(text)
    try:
        if match is None or (match[1] and match[4]):
            raise ValueError
        dtype = np.dtype(match[2])
        if match[4] is not None:
            return False, dtype.type(float(match[4]) if dtype.kind == "f" else int(match[4]))
        shape = tuple(int(n) for n in re.split(r"[,x]", match[3]))
        if match[1]:
            return True, np.zeros(shape, dtype)
        if dtype.kind == "f":
            return False, random.uniform(-1, 1, shape).astype(dtype)
        return False, random.integers(0, 100, shape).astype(dtype)
    except (TypeError, ValueError) as error:
        raise ClnetError(
            f"argument {text!r}; needs dtype[shape], out:dtype[shape] or dtype=number"
        ) from error


def time_kernel(on: Device, options: argparse.Namespace) -> Figures:
    """Run a user's kernel, check it if asked, and time it. Errors: ClnetError, BuildError."""
    if not options.kernel or not options.global_size:
        raise ClnetError("a file needs --kernel NAME, --args ... and --global SIZE ...")
    random = np.random.default_rng(0)
    arguments = [argument_of(text, random) for text in options.args]
    kernel = custom_kernel(on, options.file, options.kernel, options.build)
    given = [on.upload(v) if isinstance(v, np.ndarray) else v for _, v in arguments]
    count = kernel.raw.num_args
    if count != len(given):
        raise ClnetError(f"{options.kernel} takes {count} arguments; --args has {len(given)}")
    kernel.raw.set_args(*given)
    size = tuple(options.global_size)
    local = tuple(options.local_size or [1] * len(size))

    def step() -> None:
        on.enqueue(kernel, size, local)
        on.synchronize()

    if options.check:
        step()
        values = [v for _, v in arguments]
        found = [
            on.download(buffer, v.dtype, v.shape)
            for (out, v), buffer in zip(arguments, given, strict=True)
            if out
        ]
        _check(options.check, values, found)
    times = times_of(step, options.seconds)
    title = f"{options.file.name}:{options.kernel}"
    return figures(title, times, options.flops, options.bytes)


def _check(reference: str, values: list[Any], found: list[np.ndarray]) -> None:
    """Compare results with those that `FILE:FUNCTION` returns for the same arguments."""
    file, _, name = reference.rpartition(":")
    if not file or not Path(file).exists():
        raise ClnetError(f"--check {reference!r}; needs FILE.py:FUNCTION")
    function: Callable[..., Any] | None = runpy.run_path(file).get(name)
    if function is None:
        raise ClnetError(f"{file} has no function {name}")
    expected = function(*values)
    expected = expected if isinstance(expected, tuple) else (expected,)
    if len(expected) != len(found):
        raise ClnetError(f"{name} returns {len(expected)} arrays, --args has {len(found)}")
    for number, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        try:
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        except AssertionError as error:
            raise ClnetError(f"result {number} is wrong: {error}") from error
