"""The pieces of work that are compared: for each a function of a contender's name.

Each returns a step, and how to wait for what it enqueued; None where the contender cannot do it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
Step = Callable[[], Any]
Work = tuple[Step, Callable[[], Any]] | None
ROWS = 4096


def framework(name: str) -> tuple[Any, Callable[[], Any]]:
    """Return a namespace with the names that clnet shares with PyTorch, and how to wait for it."""
    if name in ("clnet", "compiled"):
        sys.path.insert(0, str(ROOT))
        import clnet
        from clnet import functional

        clnet.F = functional  # type: ignore[attr-defined]
        clnet.clip = clnet.nn.clip_grad_norm_  # type: ignore[attr-defined]
        return clnet, clnet.synchronize
    import torch

    on = os.environ.get("TORCH_DEVICE", "cpu")
    torch.set_default_device(on)
    torch.F = torch.nn.functional
    torch.clip = torch.nn.utils.clip_grad_norm_
    torch.eval = lambda *tensors: None
    return torch, torch.cuda.synchronize if on == "cuda" else lambda: None


def tinygrad_step(function: Callable[..., Any], *arrays: np.ndarray) -> Work:
    """Return tinygrad's step, replayed on the first OpenCL device that it finds."""
    os.environ.setdefault("DEV", "CL")
    from tinygrad import Device, Tensor, TinyJit

    operands = [Tensor(a).realize() for a in arrays]
    step = TinyJit(lambda *given: function(*given).realize())
    return lambda: step(*operands), Device[Device.DEFAULT].synchronize


def random(*shape: int) -> np.ndarray:
    """Return normal float32 numbers, the same for all contenders."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def clblast_product(a: np.ndarray, b: np.ndarray, turned: bool) -> Work:
    """Return CLBlast's product on the device that clnet chooses; None without its library."""
    sys.path.insert(0, str(ROOT))
    import clnet
    from clnet.cli.bench import clblast

    try:
        clblast.library()
    except OSError:
        return None
    queue = clblast.queue_on(clnet.device().index)
    x, y = clblast.matrix(queue, a), clblast.matrix(queue, b)
    return lambda: clblast.matmul(x, y, turned), lambda: None


def matmul(name: str, m: int, n: int, k: int, turned: str = "") -> Work:
    """One product of float32 matrices [m, k] and [k, n], those in `turned` stored by columns."""
    a, b = random(m, k), random(k, n)
    a = np.ascontiguousarray(a.T).T if "a" in turned else a
    b = np.ascontiguousarray(b.T).T if "b" in turned else b
    if name == "numpy":
        return lambda: a @ b, lambda: None
    if name == "tinygrad":
        # A matrix stored by columns is the transpose of one stored by rows.
        stored = [a.T if "a" in turned else a, b.T if "b" in turned else b]
        return tinygrad_step(
            lambda x, y: (x.T if "a" in turned else x) @ (y.T if "b" in turned else y), *stored
        )
    if name == "clblast":
        return None if "a" in turned else clblast_product(a, b.T if turned else b, bool(turned))
    if name == "jax":
        import jax

        # GPUs would round the operands to TF32.
        jax.config.update("jax_default_matmul_precision", "highest")
        f, x, y = jax.jit(lambda x, y: x @ y), jax.numpy.asarray(a), jax.numpy.asarray(b)
        return lambda: f(x, y).block_until_ready(), lambda: None
    c, wait = framework(name)
    # A tensor of an array stored by columns would be stored by rows.
    p = c.tensor(a.T).T if "a" in turned else c.tensor(a)
    q = c.tensor(b.T).T if "b" in turned else c.tensor(b)
    return lambda: c.eval(p @ q), wait


def total(name: str, shape: tuple[int, ...], axis: int | None) -> Work:
    """The sum of float32 numbers, or of those along an axis."""
    a = random(*shape)
    if name == "numpy":
        return lambda: a.sum(axis), lambda: None
    if name == "jax":
        import jax

        f, x = jax.jit(lambda x: x.sum(axis)), jax.numpy.asarray(a)
        return lambda: f(x).block_until_ready(), lambda: None
    if name == "tinygrad":
        return tinygrad_step(lambda x: x.sum(axis), a)
    if name in ("compiled", "clblast"):
        return None
    c, wait = framework(name)
    x = c.tensor(a)
    return (lambda: c.eval(x.sum())) if axis is None else (lambda: c.eval(x.sum(axis))), wait


def function(name: str, of: str) -> Work:
    """A function of 16M floats between 0 and 1."""
    a = np.random.default_rng(0).random(1 << 24).astype(np.float32)
    if name == "numpy":
        f = getattr(np, of, None)
        return None if f is None else (lambda: f(a), lambda: None)
    if name == "jax":
        import jax

        f = jax.jit(getattr(jax.numpy, of, None) or getattr(jax.scipy.special, of))
        x = jax.numpy.asarray(a)
        return lambda: f(x).block_until_ready(), lambda: None
    if name == "tinygrad":
        return tinygrad_step(lambda x: getattr(x, of)(), a)
    if name in ("compiled", "clblast"):
        return None
    c, wait = framework(name)
    x = c.tensor(a)
    return lambda: c.eval(getattr(c, of)(x)), wait


def chain(name: str) -> Work:
    """tanh(x * y + x) * y over 16M floats."""
    a, b = random(1 << 24), random(1 << 24)
    if name == "numpy":
        return lambda: np.tanh(a * b + a) * b, lambda: None
    if name == "jax":
        import jax

        f = jax.jit(lambda x, y: jax.numpy.tanh(x * y + x) * y)
        x, y = jax.numpy.asarray(a), jax.numpy.asarray(b)
        return lambda: f(x, y).block_until_ready(), lambda: None
    if name == "tinygrad":
        return tinygrad_step(lambda x, y: (x * y + x).tanh() * y, a, b)
    if name == "clblast":
        return None
    c, wait = framework(name)
    p, q = c.tensor(a), c.tensor(b)
    return lambda: c.eval(c.tanh(p * q + p) * q), wait


def tiny(name: str) -> Work:
    """A thousand elementwise ops on tensors of four floats, recorded anew each time."""
    a, b = random(4), random(4)

    def thousand(x: Any, y: Any) -> Any:
        for i in range(500):
            x = (x + y) * 0.5 if i % 2 else (x - y) * 0.5
        return x

    if name == "numpy":
        return lambda: thousand(a, b), lambda: None
    if name == "jax":
        import jax

        f, x, y = jax.jit(thousand), jax.numpy.asarray(a), jax.numpy.asarray(b)
        return lambda: f(x, y).block_until_ready(), lambda: None
    if name in ("tinygrad", "clblast"):  # tinygrad takes minutes to compile it
        return None
    c, wait = framework(name)
    p, q = c.tensor(a), c.tensor(b)
    if name == "compiled":
        g = c.compile(thousand)
        return lambda: g(p, q), wait
    return lambda: c.eval(thousand(p, q)), wait


def trained(c: Any, name: str, net: Any, loss_of: Step, optimizer: Any, clip: bool) -> Step:
    """Return one step of training."""

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        if clip:
            c.clip(net.parameters(), 1.0)
        optimizer.step()
        return loss

    return c.compile(step) if name == "compiled" else step


def torch_like(name: str) -> bool:
    """Whether a contender has layers and optimizers."""
    return name in ("clnet", "compiled", "torch")


def _xor(name: str) -> Work:
    c, wait = framework(name)
    net = c.nn.Sequential(c.nn.Linear(2, 8), c.nn.Tanh(), c.nn.Linear(8, 1))
    x, y = c.tensor([1.0, -1.0]), c.tensor([1.0])
    optimizer = c.optim.SGD(net.parameters(), lr=0.01)
    return trained(c, name, net, lambda: c.F.mse_loss(net(x), y), optimizer, False), wait


def xor(name: str) -> Work:
    """A step on one example, after which the loss is read."""
    if not torch_like(name):
        return None
    made = _xor(name)
    assert made is not None
    step, wait = made
    return lambda: step().item(), wait


def xor_100(name: str) -> Work:
    """A hundred steps on one example, then the loss is read."""
    if not torch_like(name):
        return None
    made = _xor(name)
    assert made is not None
    step, wait = made

    def hundred() -> Any:
        for _ in range(100):
            loss = step()
        return loss.item()

    return hundred, wait


def mlp(name: str) -> Work:
    """A step of a multi-layer perceptron on the sizes of MNIST."""
    if not torch_like(name):
        return None
    c, wait = framework(name)
    layers = [c.nn.Linear(784, 512), c.nn.ReLU(), c.nn.Linear(512, 512), c.nn.ReLU()]
    net = c.nn.Sequential(*layers, c.nn.Linear(512, 10))
    x = c.tensor(random(128, 784))
    y = c.tensor(np.random.default_rng(0).integers(0, 10, 128))
    optimizer = c.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return trained(c, name, net, lambda: c.F.cross_entropy(net(x), y), optimizer, False), wait


def adam(name: str) -> Work:
    """A step of Adam over 200 tensors from 64 to 65,536 elements, gradients given."""
    if not torch_like(name) or name == "compiled":
        return None
    c, wait = framework(name)
    shapes = [(64,), (256,), (64, 64), (128, 128), (256, 256)] * 40
    parameters = [c.tensor(random(*shape)) for shape in shapes]
    for p in parameters:
        p.requires_grad_()
        p.grad = c.tensor(random(*p.shape))
    optimizer = c.optim.Adam(parameters)
    return optimizer.step, wait


def rnn(name: str) -> Work:
    """A step of the character model of examples/char_lm.py with its default sizes."""
    if not torch_like(name):
        return None
    c, wait = framework(name)
    net = c.nn.ModuleList([c.nn.Embedding(128, 64), c.nn.RNN(64, 256), c.nn.Linear(256, 128)])
    symbols = c.tensor(np.random.default_rng(0).integers(0, 128, (33, 128)))

    def loss_of() -> Any:
        hidden, _ = net[1](net[0](symbols[:-1]))
        return c.F.cross_entropy(net[2](hidden).flatten(0, 1), symbols[1:].flatten())

    optimizer = c.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return trained(c, name, net, loss_of, optimizer, True), wait


def recurrent(name: str, kind: str, backward: bool) -> Work:
    """Two layers of 512 over 20 steps of a batch of 64, with all gradients if asked."""
    if not torch_like(name):
        return None
    c, wait = framework(name)
    net = getattr(c.nn, kind)(512, 512, 2)
    x, d = c.tensor(random(20, 64, 512)), c.tensor(random(20, 64, 512))
    x.requires_grad_(backward)

    leaves = [x, *net.parameters()]

    def step() -> Any:
        for t in leaves:
            t.grad = None
        with contextlib.nullcontext() if backward else c.no_grad():
            y, _ = net(x)
        if backward:
            y.backward(d)
        return y

    if name == "compiled":
        return c.compile(step), wait
    return lambda: c.eval(step(), *[t.grad for t in leaves if t.grad is not None]), wait


def sparse_embedding(name: str) -> Work:
    """A step of SparseAdam for a table of which each step looks up few rows, never the same."""
    if not torch_like(name):
        return None
    c, wait = framework(name)
    table = c.nn.Embedding(100_000, 512, sparse=True)
    optimizer = c.optim.SparseAdam(list(table.parameters()), lr=0.01)
    words = np.random.default_rng(0).integers(0, 100_000, (64, 320))
    batches = itertools.cycle([c.tensor(row) for row in words])

    def step(index: Any) -> Any:
        optimizer.zero_grad()
        y = table(index)
        (y * y).sum().backward()
        optimizer.step()

    run = c.compile(step) if name == "compiled" else step
    return lambda: run(next(batches)), wait


def language_model(name: str) -> Work:
    """A step of DyNet's benchmark: LSTM, 10,000 words, embedding 128, hidden 256, 16 x 20 words."""
    if not torch_like(name):
        return None
    c, wait = framework(name)
    net = c.nn.ModuleList(
        [c.nn.Embedding(10000, 128), c.nn.LSTM(128, 256), c.nn.Linear(256, 10000)]
    )
    words = c.tensor(np.random.default_rng(0).integers(0, 10000, (21, 16)))

    def loss_of() -> Any:
        hidden, _ = net[1](net[0](words[:-1]))
        return c.F.cross_entropy(net[2](hidden).flatten(0, 1), words[1:].flatten())

    optimizer = c.optim.SGD(net.parameters(), lr=0.01)
    return trained(c, name, net, loss_of, optimizer, False), wait


def rows(name: str, of: str, backward: bool) -> Work:
    """Softmax, layer norm or cross entropy of 4096 x 4096 floats, with its gradients if asked."""
    if name == "tinygrad" and of == "softmax" and not backward:
        return tinygrad_step(lambda x: x.softmax(-1), random(ROWS, ROWS))
    if not torch_like(name) or name == "compiled":
        return None
    c, wait = framework(name)
    x, d = c.tensor(random(ROWS, ROWS)), c.tensor(random(ROWS, ROWS))
    target = c.tensor(np.random.default_rng(0).integers(0, ROWS, ROWS))
    weight, bias = c.tensor(np.ones(ROWS, np.float32)), c.tensor(np.zeros(ROWS, np.float32))
    functions = {
        "softmax": lambda: c.softmax(x, -1),
        "layer_norm": lambda: c.F.layer_norm(x, (ROWS,), weight, bias),
        "cross_entropy": lambda: c.F.cross_entropy(x, target),
    }
    leaves = [x, weight, bias] if of == "layer_norm" else [x]
    if backward:
        for t in leaves:
            t.requires_grad_()

    def step() -> None:
        for t in leaves:
            t.grad = None
        y = functions[of]()
        if backward:
            y.backward(*([d] if y.ndim else []))
        c.eval(y, *[t.grad for t in leaves if t.grad is not None])

    return step, wait


WORK: dict[str, tuple[Callable[[str], Work], int]] = {
    **{
        f"matmul {m} x {k} x {n}{words}": (
            lambda name, sizes=(m, n, k, turned): matmul(name, *sizes),
            30 if m * n * k < 1 << 28 else 9,
        )
        for m, k, n, turned, words in (
            (384, 384, 384, "", ""),
            (512, 512, 512, "", ""),
            (1024, 1024, 1024, "", ""),
            (1024, 1024, 1024, "a", ", left by columns"),
            (1024, 1024, 1024, "b", ", right by columns"),
            (2048, 2048, 2048, "", ""),
            (1280, 512, 512, "", ""),
            (128, 784, 512, "b", ", right by columns"),
            (64, 512, 512, "b", ", right by columns"),
            (16, 256, 1024, "b", ", right by columns"),
        )
    },
    "sum of 32M floats": (lambda name: total(name, (1 << 25,), None), 15),
    "sums of rows, 4096 x 4096": (lambda name: total(name, (ROWS, ROWS), 1), 15),
    "sums of columns, 4096 x 4096": (lambda name: total(name, (ROWS, ROWS), 0), 15),
    **{
        f"{of} of 16M floats": (lambda name, of=of: function(name, of), 5)
        for of in ("exp", "log", "sin", "erf")
    },
    "tanh(x * y + x) * y, 16M floats": (chain, 9),
    "1,000 ops on 4 floats": (tiny, 10),
    "XOR step, loss read": (xor, 200),
    "100 XOR steps, then loss read": (xor_100, 5),
    "MLP 784-512-512-10, batch 128, SGD step": (mlp, 30),
    "Adam step, 200 tensors": (adam, 20),
    "softmax 4096 x 4096": (lambda name: rows(name, "softmax", False), 7),
    "softmax, forward and backward": (lambda name: rows(name, "softmax", True), 7),
    "layer norm 4096 x 4096": (lambda name: rows(name, "layer_norm", False), 7),
    "layer norm, forward and backward": (lambda name: rows(name, "layer_norm", True), 7),
    "cross entropy 4096 x 4096": (lambda name: rows(name, "cross_entropy", False), 7),
    "cross entropy, forward and backward": (lambda name: rows(name, "cross_entropy", True), 7),
    **{
        f"{kind} 512, 2 layers, batch 64, 20 steps: {what}": (
            lambda name, kind=kind, backward=backward: recurrent(name, kind, backward),
            5,
        )
        for kind in ("RNN", "LSTM", "GRU")
        for what, backward in (("forward", False), ("forward and backward", True))
    },
    "LSTM language model, 10,000 words, 320 a step": (language_model, 5),
    "sparse table 100,000 x 512, 320 rows a step, SparseAdam": (sparse_embedding, 20),
    "char LM: RNN 256, batch 128, 32 steps, SGD step": (rnn, 7),
}
