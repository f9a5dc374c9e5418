"""Another library's op of the same name, timed in a process of its own, where clnet need not be.

`python peer.py numpy 0:0` answers requests, lines of JSON: an op's name, operands as (shape, dtype,
low, high), attributes, and the seconds to spend; without seconds, the op's result is wanted. Null
asks whether the library is there: the answer is that, and its version or the reason in words.
"""

import importlib
import importlib.metadata
import json
import os
import pkgutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

# Where a library's functions are; CLBlast's are none of Python.
PLACES = {
    "numpy": ("numpy",),
    "torch": ("torch", "torch.special"),
    "jax": ("jax.numpy", "jax.nn", "jax.scipy.special", "jax.lax"),
    "tinygrad": ("tinygrad:Tensor",),
    "clblast": (),
}


def drawn(args: Any) -> list[Any]:
    """Return the operands, the same in every process."""
    import numpy as np

    random = np.random.default_rng(0)
    return [random.uniform(low, high, shape).astype(dtype) for shape, dtype, low, high in args]


def function_of(peer, name):
    """Return the library's function of a name."""
    for place in PLACES[peer]:
        found = getattr(pkgutil.resolve_name(place), name, None)
        if found is not None:
            return found
    raise AttributeError(name)


def greeting(peer, device):
    """Return whether the library is there, and its version or why it is not."""
    try:
        if peer == "clblast":
            import clnet
            from clnet.cli.bench.clblast import library

            library()
            return True, f"clblast on {clnet.device(device)}"
        importlib.import_module(PLACES[peer][0].partition(":")[0])
        words = f"{peer} {importlib.metadata.version(peer)}"
        if peer == "tinygrad":
            words += f" on {_tinygrad_device().device_name}"
        return True, words
    except Exception as error:
        return False, f"{peer} is left out: {error}"


def _tinygrad_device():
    device = pkgutil.resolve_name("tinygrad:Device")
    return device[device.DEFAULT]


def step_of(peer, device, request):
    """Return a step that computes and waits, and what gives its result as lists."""
    arrays = drawn(request["args"])
    if peer == "clblast":
        import clnet
        from clnet.cli.bench.clblast import step_of as clblast_step

        return clblast_step(clnet.device(device), request["op"], arrays, request["attrs"])
    function = function_of(peer, request["op"])
    attrs = {}
    for name, value in request["attrs"].items():
        axis = {"dims": "axis", "dim": "axis"}[name]
        value = tuple(value) if isinstance(value, list) else value
        # argmax and the like take one number.
        attrs["dim" if peer == "torch" else axis] = value[0] if value == (1,) else value
    if peer == "torch":
        torch = sys.modules[peer]
        operands = [torch.from_numpy(a) for a in arrays]

        def step():
            return function(*operands, **attrs)

    elif peer == "jax":
        jax = sys.modules[peer]
        operands = [jax.numpy.asarray(a) for a in arrays]
        compiled = jax.jit(lambda *given: function(*given, **attrs))

        def step():
            return compiled(*operands).block_until_ready()

    elif peer == "tinygrad":
        tinygrad = sys.modules[peer]
        operands = [tinygrad.Tensor(a).realize() for a in arrays]
        compiled = tinygrad.TinyJit(lambda *given: function(*given, **attrs).realize())
        wait = _tinygrad_device().synchronize

        def step():
            result = compiled(*operands)
            wait()
            return result

    else:

        def step():
            return function(*arrays, **attrs)

    return step, lambda: step().tolist()


def answer(peer, device, request):
    """Return the median of seconds, or the result as lists."""
    step, result = step_of(peer, device, request)
    if not request["seconds"]:
        return result()
    times: list[float] = []
    for _ in range(3):  # tinygrad's first call computes, the second records
        step()
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < request["seconds"]:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    """Answer until standard input ends; null where the library cannot do it."""
    peer, device = sys.argv[1:]
    sys.path.pop(0)  # the folder of this file: its modules must not stand for others
    if peer == "clblast":
        sys.path.append(str(Path(__file__).resolve().parents[3]))
    os.environ.setdefault("DEV", "CL")  # tinygrad's device
    out = os.fdopen(os.dup(1), "w")  # what drivers print goes to stderr
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = answer(peer, device, request) if request else greeting(peer, device)
        except Exception:
            result = None
        print(json.dumps(result), file=out, flush=True)


if __name__ == "__main__":
    main()
