#!/usr/bin/env python3
"""A sequence tagger: what kind of token each is, in the sources of Python's standard library.

    .venv/bin/python examples/tagger.py
    .venv/bin/python examples/tagger.py --source "if x: print('a', 0x1F)"

The tokens of a few lines are read character by character by one bidirectional LSTM, whose last
states make a vector of each token; another one reads those vectors, and tells for each token which
type Python's tokenizer gives it: a name, a keyword, a number, a string, which operator, a line that
ends a statement or one that does not, .. Files that are held out are tagged in the end: 99.54% of
33,792 tokens right after 600 steps, which take 30 s on two CPU cores, where looking each token up
among those seen gets 86.57%.
"""

from __future__ import annotations

import argparse
import io
import keyword
import random
import sys
import sysconfig
import token
import tokenize
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import clnet as cn
from clnet import functional as F
from clnet import nn, optim

SETTINGS: dict[str, Any] = {
    "files": 120,
    "embedding": 24,
    "characters": 32,
    "hidden": 64,
    "batch": 16,
    "steps": 600,
    "lr": 5e-3,
    "seed": 0,
}
SMOKE = {"files": 4, "embedding": 4, "characters": 4, "hidden": 4, "batch": 2, "steps": 3}
WINDOW = 32  # tokens that are read together
LETTERS = 8  # characters of a token that are read: the first, and the last two
HELD_OUT = 10  # every so many files one is held out
CODES = 130  # ASCII, and two more symbols: any other character, none at all

# --- tokens ---------------------------------------------------------------------------------------


class Tokens(NamedTuple):
    """Tokens of many windows: text [n][w], tags [n, w]."""

    texts: list[list[str]]
    tags: np.ndarray


def kind_of(found: tokenize.TokenInfo) -> str:
    """Return the name of a token's type: that of the tokenizer, and whether it is a keyword."""
    if found.type == token.NAME and keyword.iskeyword(found.string):
        return "KEYWORD"
    return token.tok_name[found.exact_type]


def tokens_of(source: str) -> list[tuple[str, str]]:
    """Return (text, kind) of the tokens of a source."""
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(t.string, kind_of(t)) for t in found if t.type != token.ENDMARKER]


def read_files(limit: int) -> list[list[tuple[str, str]]]:
    """Return the tokens of modules of the standard library, file by file."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(stdlib.glob("*.py")):
        try:
            files.append(tokens_of(path.read_text(encoding="utf-8", errors="replace")))
        except (SyntaxError, tokenize.TokenError):
            continue
        if len(files) == limit:
            break
    return files


def windows_of(files: list[list[tuple[str, str]]], kinds: dict[str, int]) -> Tokens:
    """Cut files into windows of equal length."""
    texts, tags = [], []
    for found in files:
        for start in range(0, len(found) - WINDOW + 1, WINDOW):
            part = found[start : start + WINDOW]
            texts.append([text for text, _ in part])
            tags.append([kinds.get(kind, 0) for _, kind in part])
    return Tokens(texts, np.array(tags, np.int64))


def letters_of(texts: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the characters of windows, [letters, w * n] with tokens in order, and their counts."""
    flat = [text for column in zip(*texts, strict=True) for text in column]
    codes = np.full((LETTERS, len(flat)), CODES - 1, np.int32)
    lengths = np.ones(len(flat), np.int64)
    for i, text in enumerate(flat):
        short = text if len(text) <= LETTERS else text[: LETTERS - 2] + text[-2:]
        codes[: len(short), i] = [min(ord(c), CODES - 2) for c in short]
        lengths[i] = max(len(short), 1)
    return codes, lengths


# --- network --------------------------------------------------------------------------------------


class Net(nn.Module):
    """Scores [w, n, kinds] of tokens, from their characters."""

    def __init__(self, kinds: int, embedding: int, characters: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, embedding)
        self.spell = nn.LSTM(embedding, characters, bidirectional=True)
        self.read = nn.LSTM(2 * characters, hidden, bidirectional=True)
        self.output = nn.Linear(2 * hidden, kinds)

    def forward(self, texts: list[list[str]]) -> cn.Tensor:
        """Return the scores of windows of tokens."""
        codes, lengths = letters_of(texts)
        _, (last, _) = self.spell(self.embedding(cn.tensor(codes)), lengths=lengths)
        vectors = cn.cat(last.unbind(0), -1).unflatten(0, (-1, len(texts)))
        read, _ = self.read(vectors)
        scores: cn.Tensor = self.output(read)
        return scores


@cn.no_grad()
def tagged(net: Net, texts: list[list[str]]) -> np.ndarray:
    """Return the likeliest kinds [n, w]."""
    return net(texts).argmax(-1).numpy().T


def accuracy(net: Net, tokens: Tokens) -> float:
    """Return the share of tokens that are tagged right."""
    right = 0
    for start in range(0, len(tokens.texts) - 15, 16):
        at = slice(start, start + 16)
        right += int((tagged(net, tokens.texts[at]) == tokens.tags[at]).sum())
    return right / (len(tokens.texts) // 16 * 16 * WINDOW)


def looked_up(known: Tokens, tokens: Tokens) -> float:
    """Return the share of tokens right by the most frequent kind of each text, or of all."""
    counts: dict[str, Counter[int]] = {}
    for texts, tags in zip(known.texts, known.tags.tolist(), strict=True):
        for text, tag in zip(texts, tags, strict=True):
            counts.setdefault(text, Counter())[tag] += 1
    common = Counter(known.tags.flatten().tolist()).most_common(1)[0][0]
    best = {text: c.most_common(1)[0][0] for text, c in counts.items()}
    found = [[best.get(text, common) for text in texts] for texts in tokens.texts]
    return float((np.array(found) == tokens.tags).mean())


# --- training -------------------------------------------------------------------------------------


def train(
    net: Net, settings: dict[str, Any], known: Tokens, held_out: Tokens
) -> tuple[list[float], list[Any]]:
    """Train; return the losses, and (step, accuracy on a part of the held-out files)."""
    rng = random.Random(settings["seed"])
    optimizer = optim.Adam(net.parameters(), lr=settings["lr"])
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
    trial = Tokens(held_out.texts[:64], held_out.tags[:64])
    look_every = max(1, settings["steps"] // 6)
    losses: list[float] = []
    looks: list[Any] = []
    unread: list[cn.Tensor] = []
    with tqdm(total=settings["steps"], dynamic_ncols=True) as bar:
        for step in range(1, settings["steps"] + 1):
            chosen = rng.sample(range(len(known.texts)), settings["batch"])
            tags = cn.tensor(known.tags[chosen].T.reshape(-1))
            optimizer.zero_grad()
            scores = net([known.texts[i] for i in chosen])
            loss = F.cross_entropy(scores.flatten(0, 1), tags)
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
                looks.append((step, accuracy(net, trial)))
                bar.write(f"step {step:5d}  right {100 * looks[-1][1]:.2f}%", sys.stdout)
    return losses, looks


def plot(losses: list[float], looks: list[Any], baseline: float, path: Path) -> str:
    """Draw losses and mistakes over the steps to a PNG; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no loss curve: it needs matplotlib (the extra `plot`)"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", title="Kinds of tokens")
    axes.semilogy(range(1, len(losses) + 1), losses, label="cross entropy, training, nats")
    steps, right = zip(*looks, strict=True)
    axes.plot(steps, 1 - np.array(right) + 1e-4, "o-", label="share of mistakes, held out")
    axes.axhline(1 - baseline, color="gray", linestyle="--", label="mistakes of looking up")
    axes.legend()
    figure.savefig(path, dpi=120)
    return f"loss curve: {path}"


def main() -> None:
    """Train, test on held-out files, and tag a source."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(value), help=f"(default: {value})")
    parser.add_argument("--device", help="fragment of a device's name, gpu, cpu, or indices as 0:0")
    parser.add_argument("--out", type=Path, default=Path("tagger_out"), help="folder for results")
    parser.add_argument("--source", default="def f(x):\n    return x + 0x1F\n", help="to be tagged")
    parser.add_argument("--smoke", action="store_true", help="the shortest run through all parts")
    options = parser.parse_args()
    settings = {**SETTINGS, **(SMOKE if options.smoke else {})}
    given = {name: getattr(options, name) for name in SETTINGS}
    settings.update((name, value) for name, value in given.items() if value is not None)
    try:
        source = tokens_of(options.source)
    except (SyntaxError, tokenize.TokenError) as error:
        sys.exit(f"tagger: {options.source!r} is no Python: {error}")
    cn.set_default_device(options.device)
    cn.manual_seed(settings["seed"])
    options.out.mkdir(parents=True, exist_ok=True)

    files = read_files(settings["files"])
    names = sorted({kind for found in files for _, kind in found})
    kinds = {name: i for i, name in enumerate(names)}
    apart = [f for i, f in enumerate(files) if i % HELD_OUT == HELD_OUT // 2] or files[-1:]
    known = windows_of([f for f in files if f not in apart], kinds)
    held_out = windows_of(apart, kinds)
    net = Net(len(kinds), *(settings[n] for n in ("embedding", "characters", "hidden")))
    print(f"device: {cn.device()}")
    print(f"tokens: {known.tags.size:,} to learn from, {held_out.tags.size:,} held out; ", end="")
    print(f"{len(kinds)} kinds; {sum(p.numel() for p in net.parameters()):,} weights")
    baseline = looked_up(known, held_out)
    losses, looks = train(net, settings, known, held_out)
    print(plot(losses, looks, baseline, options.out / "loss.png"))
    tested = Tokens(held_out.texts[:64], held_out.tags[:64]) if options.smoke else held_out
    print(f"right: {100 * accuracy(net, tested):.2f}% of the tokens of held-out files")
    print(f"for comparison: looking tokens up {100 * baseline:.2f}%")
    for (text, kind), tag in zip(source, tagged(net, [[t for t, _ in source]])[0], strict=True):
        mark = "" if names[tag] == kind else f"  (is {kind})"
        print(f"{text!r:>12} {names[tag]}{mark}")


if __name__ == "__main__":
    main()
