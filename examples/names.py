#!/usr/bin/env python3
"""An encoder and a generator, written with `fold` and `unfold`: names to vectors, and back.

    .venv/bin/python examples/names.py
    .venv/bin/python examples/names.py --name spam_and_eggs

The names of functions in Python's standard library are folded into vectors by one cell and unfolded
from them by another; there is no recurrent layer. In training the generator's state holds what it
has to write, and each character written is the next step's input; afterwards what it wrote is.
It learns from mixtures of names, and is tested on names that it has never seen: it rebuilds 98.1%
of 429 after 2,000 steps, which take 41 s on two CPU cores.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import clnet as cn
from clnet import functional as F
from clnet import generation, nn, optim

SETTINGS: dict[str, Any] = {
    "hidden": 192,
    "embedding": 32,
    "batch": 128,
    "steps": 2000,
    "lr": 3e-3,
    "seed": 0,
}
SMOKE = {"hidden": 8, "embedding": 4, "batch": 4, "steps": 3}
ALPHABET = "abcdefghijklmnopqrstuvwxyz_0123456789"
START, END = 0, 1
NUMBER = {c: i for i, c in enumerate(ALPHABET, 2)}
SYMBOLS = len(ALPHABET) + 2
LONGEST = 12  # characters of a name
HELD_OUT = 0.1  # share of the names

# --- names ----------------------------------------------------------------------------------------


def read_names() -> list[str]:
    """Return the names of functions in the modules of the standard library, each once."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    names = set()
    for path in sorted([*stdlib.glob("*.py"), *stdlib.glob("[a-z]*/*.py")]):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        except (SyntaxError, ValueError):
            continue
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    lower = {name.lower().strip("_") for name in names}
    return sorted(n for n in lower if 2 < len(n) <= LONGEST and set(n) <= set(ALPHABET))


def mixed(names: list[str], count: int, rng: random.Random) -> list[str]:
    """Return as many strings, each the beginning of a name and the end of another."""
    found: list[str] = []
    while len(found) < count:
        a, b = rng.sample(names, 2)
        name = (a[: rng.randint(0, len(a))] + b[rng.randint(0, len(b)) :])[:LONGEST]
        found += [name] if name else []
    return found


def symbols_of(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return names as symbols [t, b], each with an end, and their lengths with it."""
    symbols = np.full((LONGEST + 1, len(names)), END, np.int64)
    for b, name in enumerate(names):
        symbols[: len(name), b] = [NUMBER[c] for c in name]
    return symbols, np.array([len(name) + 1 for name in names])


# --- network --------------------------------------------------------------------------------------


class Net(nn.Module):
    """Folds symbols into a vector [b, h], and unfolds it again."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, embedding)
        self.reader, self.writer = nn.GRUCell(embedding, hidden), nn.GRUCell(embedding, hidden)
        self.output = nn.Linear(hidden, SYMBOLS)

    def encode(self, symbols: cn.Tensor, lengths: Any) -> cn.Tensor:
        """Return the vectors of names."""
        h: cn.Tensor = cn.fold(self.reader, self.embedding(symbols), lengths=lengths)
        return h

    def write(self, symbol: cn.Tensor, h: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        """Return scores [b, symbols] of what follows a symbol [b], and the next state."""
        h = self.writer(self.embedding(symbol), h)
        return self.output(h), h

    def forced(self, h: cn.Tensor, symbols: cn.Tensor) -> cn.Tensor:
        """Return scores [t, b, symbols] for symbols [t, b] that are given."""

        def step(state: Any) -> Any:
            before, ahead, h = state
            scores, h = self.write(before, h)
            return scores, (ahead[:, 0], ahead.roll(-1, 1), h)

        begin = (symbols[0] * 0 + START, symbols.t(), h)
        scores: cn.Tensor = cn.unfold(step, begin, symbols.shape[0]).output
        return scores

    def decode(self, h: cn.Tensor) -> cn.Tensor:
        """Return the likeliest symbols [t, b], each an input of the next step."""

        def step(state: Any) -> Any:
            symbol, h = state
            scores, h = self.write(symbol, h)
            symbol = generation.sample(scores, temperature=0.0)
            return symbol, (symbol, h)

        begin = (cn.full(h.shape[:1], START, dtype=cn.int64), h)
        found: cn.Tensor = cn.unfold(step, begin, LONGEST + 1, stop=lambda s: s == END).output
        return found


def loss_of(net: Net, names: list[str]) -> cn.Tensor:
    """Return the mean cross entropy of the names' symbols, in nats."""
    given, lengths = symbols_of(names)
    symbols = cn.tensor(given)
    scores = net.forced(net.encode(symbols, lengths), symbols)
    losses = F.cross_entropy(scores.flatten(0, 1), symbols.flatten(), reduction="none")
    running = cn.tensor((np.arange(LONGEST + 1)[:, None] < lengths).astype(np.float32))
    return (losses * running.flatten()).sum() / int(lengths.sum())


@cn.no_grad()
def rebuilt(net: Net, names: list[str]) -> list[str]:
    """Return what is left of names on their way through the vectors."""
    symbols, lengths = symbols_of(names)
    found = net.decode(net.encode(cn.tensor(symbols), lengths)).numpy().T
    return ["".join(ALPHABET[i - 2] for i in row if i > END) for row in found]


def accuracy(net: Net, names: list[str]) -> float:
    """Return the share of names that come back without a mistake."""
    return float(np.mean([a == b for a, b in zip(rebuilt(net, names), names, strict=True)]))


# --- training -------------------------------------------------------------------------------------


def train(
    net: Net, settings: dict[str, Any], known: list[str], held_out: list[str], look_every: int
) -> tuple[list[float], list[Any]]:
    """Train; return the losses, and (step, accuracy on held-out names)."""
    rng = random.Random(settings["seed"])
    optimizer = optim.Adam(net.parameters(), lr=settings["lr"])
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
    losses: list[float] = []
    looks: list[Any] = []
    unread: list[cn.Tensor] = []
    with tqdm(total=settings["steps"], dynamic_ncols=True) as bar:
        for step in range(1, settings["steps"] + 1):
            optimizer.zero_grad()
            loss = loss_of(net, mixed(known, settings["batch"], rng))
            loss.backward()
            nn.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            unread.append(loss.detach())
            bar.update()
            if step % 10 == 0 or step == settings["steps"]:
                losses += [value.item() for value in unread]
                unread.clear()
                bar.set_postfix_str(f"loss {np.mean(losses[-10:]):.4f}")
            if step % look_every == 0 or step == settings["steps"]:
                looks.append((step, accuracy(net, held_out)))
                bar.write(f"step {step:5d}  rebuilt {100 * looks[-1][1]:.1f}%", sys.stdout)
    return losses, looks


def plot(losses: list[float], looks: list[Any], path: Path) -> str:
    """Draw losses and accuracies over the steps to a PNG; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no loss curve: it needs matplotlib (the extra `plot`)"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="cross entropy, nats a symbol", title="Names")
    axes.semilogy(range(1, len(losses) + 1), losses, label="training")
    right = axes.twinx()
    right.plot(*zip(*looks, strict=True), "o-", color="C1", label="held-out names rebuilt")
    right.set(ylabel="share of names rebuilt", ylim=(0, 1.02))
    figure.legend(loc="center right")
    figure.savefig(path, dpi=120)
    return f"loss curve: {path}"


def main() -> None:
    """Train, test on held-out names, and walk from one name's vector to another's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(value), help=f"(default: {value})")
    parser.add_argument("--device", help="fragment of a device's name, gpu, cpu, or indices as 0:0")
    parser.add_argument("--out", type=Path, default=Path("names_out"), help="folder for results")
    parser.add_argument("--name", help="a name to rebuild in the end")
    parser.add_argument("--smoke", action="store_true", help="the shortest run through all parts")
    options = parser.parse_args()
    settings = {**SETTINGS, **(SMOKE if options.smoke else {})}
    given = {name: getattr(options, name) for name in SETTINGS}
    settings.update((name, value) for name, value in given.items() if value is not None)
    asked = [options.name.lower()] if options.name else []
    if any(not 0 < len(n) <= LONGEST or not set(n) <= set(ALPHABET) for n in asked):
        sys.exit(f"names: cannot read {options.name!r}; needs 1 to {LONGEST} of {ALPHABET}")
    cn.set_default_device(options.device)
    cn.manual_seed(settings["seed"])
    options.out.mkdir(parents=True, exist_ok=True)

    names = read_names()
    random.Random(settings["seed"]).shuffle(names)
    cut = int(len(names) * HELD_OUT)
    held_out, known = names[:cut], names[cut:]
    net = Net(settings["embedding"], settings["hidden"])
    print(f"device: {cn.device()}")
    print(f"names: {len(known):,} to learn from, {len(held_out):,} held out")
    print(f"network: {sum(p.numel() for p in net.parameters()):,} weights")
    losses, looks = train(net, settings, known, held_out, max(1, settings["steps"] // 6))
    print(plot(losses, looks, options.out / "loss.png"))
    print(f"rebuilt: {100 * looks[-1][1]:.1f}% of {len(held_out)} names never seen")
    for name in asked or held_out[:5]:
        print(f"{name:>{LONGEST}} -> {rebuilt(net, [name])[0]}")


if __name__ == "__main__":
    main()
