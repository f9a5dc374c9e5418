#!/usr/bin/env python3
"""A character language model: a recurrent network that learns to continue a text.

    .venv/bin/python examples/char_lm.py                # the Python standard library's sources
    .venv/bin/python examples/char_lm.py --text FILE
    .venv/bin/python examples/char_lm.py --cell lstm    # or gru, rnn; --layers N
    .venv/bin/python examples/char_lm.py --resume       # goes on from the last checkpoint

Embedding, recurrent layer, linear, cross entropy; SGD with momentum through truncated time: the
text is cut into parallel streams, a step reads the next characters of each, and the state of the
recurrent layer is carried from step to step. Ctrl-C saves and stops. A run that was stopped or
killed and is resumed ends with the same bits as one that ran through, on the same device.

After 1,500 steps a held-out character of Python 3.11's library takes 1.96 bits with `--cell rnn`,
1.83 with `gru`, and 1.83 with `lstm --lr 1`.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import sysconfig
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import clnet as cn
from clnet import functional as F
from clnet import generation, nn, optim

SETTINGS: dict[str, Any] = {
    "text": "",
    "characters": 3_000_000,
    "cell": "rnn",
    "hidden": 256,
    "layers": 1,
    "embedding": 64,
    "batch": 128,
    "time": 32,
    "steps": 1500,
    "lr": 0.7,
    "seed": 0,
}
SMOKE = {"characters": 20_000, "hidden": 16, "embedding": 8, "batch": 4, "time": 8, "steps": 6}
CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
SYMBOLS = 128  # the most frequent characters of the text; the last symbol stands for all others
HELD_OUT = 0.04  # share of the text, at its end, that is never trained on
READ_EVERY = 10  # steps between looks at the loss: looking waits for the device
PROMPT = "import "


# --- text ----------------------------------------------------------------------------------------


class Text(NamedTuple):
    """A text as numbers of symbols."""

    train: np.ndarray
    held_out: np.ndarray
    alphabet: str
    checksum: int


def read_text(path: str, limit: int) -> Text:
    """Read a file, or else the modules of the standard library in the order of their names."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    files = [Path(path)] if path else sorted(stdlib.glob("*.py"))
    try:
        text = "".join(f.read_text(encoding="utf-8", errors="replace") for f in files)[:limit]
    except OSError as error:
        sys.exit(f"char_lm: cannot read {error.filename}: {error.strerror}")
    if len(text) < 1000:
        where = path or f"{stdlib}/*.py"
        sys.exit(f"char_lm: {where} has {len(text)} characters; needs a text of 1000 or more")
    # Ties are broken by the character, so that the alphabet is a function of the text.
    frequent = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
    alphabet = "".join(c for c, _ in frequent[: SYMBOLS - 1]) + "\ufffd"
    number = {c: i for i, c in enumerate(alphabet)}
    symbols = np.array([number.get(c, len(alphabet) - 1) for c in text], np.int32)
    cut = int(len(symbols) * (1 - HELD_OUT))
    return Text(symbols[:cut], symbols[cut:], alphabet, zlib.crc32(text.encode(errors="replace")))


def entropies(text: Text) -> tuple[float, float]:
    """Return what counting alone achieves on the held-out text, in bits per character.

    The first predicts each character by its frequency in the training text, with one count added
    to each symbol; the second by its frequency after the character before it, with `strength`
    counts added, shared out by the first's probabilities. The strength is chosen on the held-out
    text itself, in favour of counting.
    """
    n = len(text.alphabet)
    once = np.bincount(text.train, minlength=n) + 1.0
    unigram = once / once.sum()
    pairs = np.bincount(text.train[:-1] * n + text.train[1:], minlength=n * n).reshape(n, n)
    before, after = text.held_out[:-1], text.held_out[1:]
    bigram = min(
        -np.log2(
            (pairs[before, after] + strength * unigram[after]) / (pairs.sum(1)[before] + strength)
        ).mean()
        for strength in (0.1, 1.0, 10.0, 100.0)
    )
    return float(-np.log2(unigram[after]).mean()), float(bigram)


def streams(symbols: np.ndarray, batch: int, time: int) -> np.ndarray:
    """Cut symbols into `batch` parallel streams: [windows, time + 1, batch].

    Windows of a stream follow each other; a window's last symbol is the next one's first.
    """
    windows = (len(symbols) - 1) // (batch * time)
    if windows == 0:
        sys.exit(
            f"char_lm: {len(symbols)} characters give no window of {batch} streams x {time}; "
            "needs a longer text, or smaller --batch and --time"
        )
    starts = np.arange(batch) * windows * time
    places = starts + np.arange(time + 1)[:, None] + np.arange(windows)[:, None, None] * time
    return np.ascontiguousarray(symbols[places])


# --- network -------------------------------------------------------------------------------------


class Net(nn.Module):
    """Predicts the next symbol at each step: symbols [t, b] to scores [t, b, symbols]."""

    def __init__(self, symbols: int, embedding: int, hidden: int, layers: int, cell: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers)
        self.output = nn.Linear(hidden, symbols)

    def forward(self, x: cn.Tensor, state: Any) -> tuple[cn.Tensor, Any]:
        """Return the scores, and the state after the last step."""
        h, state = self.rnn(self.embedding(x), state)
        return self.output(h), state


def loss_of(net: Net, window: np.ndarray, state: Any) -> tuple[cn.Tensor, Any]:
    """Return the mean cross entropy over a window, in nats, and the state after it."""
    symbols = cn.tensor(window)
    scores, state = net(symbols[:-1], state)
    loss = F.cross_entropy(scores.flatten(0, 1), symbols[1:].flatten())
    return loss, generation.detached(state)


@cn.no_grad()
def bits_per_character(net: Net, windows: np.ndarray) -> float:
    """Return the cross entropy over windows, read one after another, in bits per character."""
    state = None
    total = cn.zeros(())
    for window in windows:
        loss, state = loss_of(net, window, state)
        total = total + loss
        cn.eval(total, *(state if isinstance(state, tuple) else (state,)))
    return total.item() / len(windows) / math.log(2)


@cn.no_grad()
def sample(net: Net, alphabet: str, length: int, temperature: float, seed: int) -> str:
    """Continue the prompt by `length` characters, each drawn with p ~ exp(score / temperature)."""
    cn.manual_seed(seed)
    known = [0, *(alphabet.find(c) for c in PROMPT if c in alphabet)]
    _, state = net(cn.tensor(known[:-1] or [0]).unsqueeze(1), None)

    def step(symbol: cn.Tensor, state: Any) -> tuple[cn.Tensor, Any]:
        scores, state = net(symbol.unsqueeze(0), state)
        return scores[0], state

    last = cn.tensor(known[-1:])
    found = generation.generate(step, last, state, length, temperature=temperature)
    return PROMPT + "".join(alphabet[i] for i in found.output[:, 0].tolist())


# --- training ------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What a checkpoint holds besides network and optimizer; losses in nats, held out in bits."""

    settings: dict[str, Any]
    checksum: int
    step: int
    state: Any
    losses: list[float]
    held_out: list[tuple[int, float]]


def rate(steps: int) -> Callable[[int], float]:
    """Return the schedule: up in a line over the first steps, then half a cosine down to 2%."""
    warm = max(1, min(100, steps // 10))
    return lambda step: min(
        (step + 1) / warm, 0.51 + 0.49 * math.cos(math.pi * min(step, steps) / steps)
    )


def interrupts() -> Iterator[bool]:
    """Yield whether Ctrl-C or SIGTERM came; until it did, they only leave that mark."""
    came: list[int] = []

    def mark(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.default_int_handler)  # the second one is heard at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, mark)
    while True:
        yield bool(came)


def train(run: Run, net: Net, optimizer: Any, text: Text, path: Path, save_every: int) -> Run:
    """Train to the last step or the first interrupt, saving on the way and at the end."""
    settings, state, losses, held_out = run.settings, run.state, run.losses, run.held_out
    steps, batch, time = settings["steps"], settings["batch"], settings["time"]
    windows = streams(text.train, batch, time)
    trial = streams(text.held_out, min(batch, max(1, len(text.held_out) // (8 * time))), time)
    schedule = rate(steps)
    look_every = max(1, steps // 5)
    interrupted = interrupts()
    unread: list[cn.Tensor] = []
    step = run.step

    def save() -> Run:
        losses.extend(loss.item() for loss in unread)
        unread.clear()
        now = Run(settings, run.checksum, step, state, losses, held_out)
        cn.save_checkpoint(path, model=net, optimizer=optimizer, **now._asdict())
        return now

    with tqdm(
        total=steps * batch * time,
        initial=step * batch * time,
        unit="char",
        unit_scale=True,
        dynamic_ncols=True,
    ) as bar:
        while step < steps and not next(interrupted):
            # The window is a function of the step, so a resumed run reads what it would have read.
            if step % len(windows) == 0:
                state = None
            optimizer.param_groups[0]["lr"] = settings["lr"] * schedule(step)
            optimizer.zero_grad()
            loss, state = loss_of(net, windows[step % len(windows)], state)
            loss.backward()
            nn.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            unread.append(loss.detach())
            step += 1
            bar.update(batch * time)
            if step % READ_EVERY == 0:
                losses.extend(value.item() for value in unread)
                unread.clear()
                bar.set_postfix_str(f"loss {np.mean(losses[-50:]) / math.log(2):.3f} bits/char")
            if step % look_every == 0 or step == steps:
                held_out.append((step, bits_per_character(net, trial)))
                bar.write(f"step {step:5d}  held out {held_out[-1][1]:.3f} bits/char", sys.stdout)
            if step % save_every == 0:
                save()
    return save()


def plot(run: Run, unigram: float, bigram: float, path: Path) -> str:
    """Draw the losses over the steps to a PNG; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no loss curve: it needs matplotlib (the extra `plot`)"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="step", ylabel="bits per character", title="Character language model"
    )
    bits = np.array(run.losses) / math.log(2)
    width = max(1, len(bits) // 100)
    smooth = np.convolve(bits, np.ones(width) / width, "valid")
    axes.plot(np.arange(len(smooth)) + width, smooth, label="training")
    axes.plot(*zip(*run.held_out, strict=True), "o-", label="held out")
    axes.axhline(unigram, color="gray", linestyle=":", label="counting characters")
    axes.axhline(bigram, color="gray", linestyle="--", label="counting pairs")
    axes.legend()
    figure.savefig(path, dpi=120)
    return f"loss curve: {path}"


def parsed() -> argparse.Namespace:
    """Read the command line; settings that are not given are None."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    about = {
        "cell": "kind of the recurrent layers",
        "text": "file to learn from (default: modules of Python's standard library)",
        "characters": "characters of the text to use",
        "time": "steps that the gradient goes back",
    }
    for name, value in SETTINGS.items():
        choices = sorted(CELLS) if name == "cell" else None
        help = about.get(name, "").partition(" (default")[0]
        help = about[name] if name == "text" else f"{help} (default: {value})".lstrip()
        parser.add_argument(f"--{name}", type=type(value), help=help, choices=choices)
    parser.add_argument("--device", help="fragment of a device's name, gpu, cpu, or indices as 0:0")
    parser.add_argument("--out", type=Path, default=Path("char_lm_out"), help="folder for results")
    parser.add_argument("--save-every", type=int, default=250, help="steps (default: 250)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--length", type=int, default=500, help="characters of the sample")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="of the sample; 1: as learnt"
    )
    parser.add_argument("--smoke", action="store_true", help="the shortest run through all parts")
    return parser.parse_args()


def main() -> None:
    """Train, or go on training; then report, draw and sample."""
    options = parsed()
    given = {name: getattr(options, name) for name in SETTINGS}
    settings = {**SETTINGS, **(SMOKE if options.smoke else {})}
    path = options.out / "checkpoint.safetensors"
    if options.resume:
        try:
            settings = cn.load_checkpoint(path, rng=False)["settings"]
        except cn.CheckpointError as error:
            sys.exit(f"char_lm: {error}")
    settings.update((name, value) for name, value in given.items() if value is not None)
    cn.set_default_device(options.device)
    cn.manual_seed(settings["seed"])

    text = read_text(settings["text"], settings["characters"])
    sizes = (settings[name] for name in ("embedding", "hidden", "layers", "cell"))
    net = Net(len(text.alphabet), *sizes)
    optimizer = optim.SGD(net.parameters(), lr=settings["lr"], momentum=0.9)
    run = Run(settings, text.checksum, 0, None, [], [])
    if options.resume:
        saved = cn.load_checkpoint(path, model=net, optimizer=optimizer)
        run = Run(**{**saved, "settings": settings})
        if run.checksum != text.checksum:
            sys.exit(f"char_lm: {path} was trained on another text")
    options.out.mkdir(parents=True, exist_ok=True)
    unigram, bigram = entropies(text)
    weights = sum(p.numel() for p in net.parameters())
    print(f"device: {cn.device()}")
    print(f"text: {settings['text'] or 'Python standard library'}, ", end="")
    print(f"{len(text.train):,} characters to learn from, {len(text.held_out):,} held out")
    print(f"network: {weights:,} weights; step {run.step} of {settings['steps']}")

    run = train(run, net, optimizer, text, path, options.save_every)
    print(f"checkpoint: {path}")
    if run.step < settings["steps"]:
        print(f"stopped at step {run.step}; go on with --resume --out {options.out}")
        return
    print(plot(run, unigram, bigram, options.out / "loss.png"))
    print(f"held out: {run.held_out[-1][1]:.3f} bits per character")
    print(f"for comparison: counting characters {unigram:.3f}, counting pairs {bigram:.3f}")
    print(f"--- sample, temperature {options.temperature}")
    length = 20 if options.smoke else options.length
    print(sample(net, text.alphabet, length, options.temperature, settings["seed"]))


if __name__ == "__main__":
    main()
