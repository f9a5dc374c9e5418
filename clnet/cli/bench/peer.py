"""Another library's op of the same name, timed in a process of its own, where clnet need not be.

`python peer.py numpy 0:0` answers requests, lines of JSON: an op's name, operands as (shape, dtype,
low, high), attributes, and the seconds to spend; without seconds, the op's result is wanted. Null
asks whether the library is there: the answer is that, and its version or the reason in words.
CLBlast works on the OpenCL device that is named, tinygrad on the first that it finds.
"""

import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time
from typing import Any

PLACES = {
    "numpy": ("numpy",),
    "torch": ("torch", "torch.special"),
    "jax": ("jax.numpy", "jax.nn", "jax.scipy.special", "jax.lax"),
    "tinygrad": ("tinygrad:Tensor",),
    "clblast": ("clnet.cli.bench.clblast",),
}


def drawn(args: Any) -> list[Any]:
    """Return the operands, the same in every process."""
    import numpy as np

    random = np.random.default_rng(0)
    return [random.uniform(low, high, shape).astype(dtype) for shape, dtype, low, high in args]


def function_of(peer, name):
    """Return the library's function of a name, compiled where that is its way."""
    for place in PLACES[peer]:
        module, _, owner = place.partition(":")
        holder = importlib.import_module(module)
        found = getattr(getattr(holder, owner) if owner else holder, name, None)
        if found is not None:
            return found
    raise AttributeError(name)


def greeting(peer, index):
    """Return whether the library is there, and its version or why it is not."""
    try:
        module = importlib.import_module(PLACES[peer][0].partition(":")[0])
        if peer == "clblast":
            module.library()
            return True, f"clblast on {index}"
        words = f"{peer} {importlib.metadata.version(peer)}"
        if peer == "tinygrad":
            words += f" on {module.Device[module.Device.DEFAULT].device_name}"
        return True, words
    except Exception as error:
        return False, f"{peer} is left out: {error}"


def answer(peer, index, request):
    """Return the median of seconds, or the result as lists."""
    arrays = drawn(request["args"])
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
        jitted = tinygrad.TinyJit(lambda *given: function(*given, **attrs).realize())
        on = tinygrad.Device[tinygrad.Device.DEFAULT]
        for _ in range(2):  # recorded by the second call, replayed from the third on
            jitted(*operands)

        def step():
            result = jitted(*operands)
            on.synchronize()
            return result

    elif peer == "clblast":
        clblast = sys.modules[PLACES[peer][0]]
        queue = clblast.queue_on(index)
        operands = [clblast.matrix(queue, a) for a in arrays]

        def step():
            return function(*operands, **attrs)

    else:

        def step():
            return function(*arrays, **attrs)

    if not request["seconds"]:
        return step().tolist()
    times: list[float] = []
    step()
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < request["seconds"]:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    """Answer until standard input ends; null where the library cannot do it."""
    sys.path.pop(0)  # the folder of this file: its modules must not stand for others
    os.environ.setdefault("DEV", "CL")  # tinygrad's device
    peer, index = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")  # what drivers print goes to stderr
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = answer(peer, index, request) if request else greeting(peer, index)
        except Exception:
            result = None
        print(json.dumps(result), file=out, flush=True)


if __name__ == "__main__":
    main()
