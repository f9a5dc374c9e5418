"""Sampling, beam search against all sequences, teacher forcing, truncated backpropagation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import generation as G
from clnet import nn


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kept(scores: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """Return which symbols of one row may be drawn."""
    order = np.argsort(-scores, kind="stable")
    if top_k:
        order = order[:top_k]
    p = softmax(scores[order])
    count = 1 + int((np.cumsum(p)[:-1] < top_p).sum())
    return np.isin(np.arange(len(scores)), order[:count])


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(0, 1.0), (1, 1.0), (3, 1.0), (99, 1.0), (0, 0.5), (0, 1e-3), (5, 0.7)]
)
def test_filtered_keeps_the_likeliest(top_k: int, top_p: float) -> None:
    scores = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32) * 2
    found = G.filtered(cn.tensor(scores), top_k, top_p).numpy()
    for row, wanted in zip(found, scores, strict=True):
        mask = kept(wanted, top_k, top_p)
        np.testing.assert_array_equal(np.isfinite(row), mask)
        np.testing.assert_array_equal(row[mask], wanted[mask])


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.5, 0), (2.0, 3)])
def test_draws_have_their_frequencies(temperature: float, top_k: int) -> None:
    scores = np.array([0.5, -1.0, 2.0, 0.0, 1.0], np.float32)
    n = 20_000
    drawn = G.sample(cn.tensor(scores).expand(n, 5), temperature, top_k).numpy()
    p = softmax(np.where(kept(scores, top_k, 1.0), scores / temperature, -np.inf))
    found = np.bincount(drawn, minlength=5) / n
    assert found[p == 0].sum() == 0
    # Five standard deviations of a frequency.
    assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_a_temperature_of_0_takes_the_largest() -> None:
    scores = cn.randn(9, 5)
    assert G.sample(scores, 0.0).tolist() == scores.argmax(-1).tolist()


def net(symbols: int, hidden: int = 6) -> tuple[Any, list[Any]]:
    embedding, cell = nn.Embedding(symbols, 4), nn.LSTMCell(4, hidden)
    out = nn.Linear(hidden, symbols)

    def step(x: cn.Tensor, state: Any) -> Any:
        state = cell(embedding(x), state)
        return out(state[0]) * 4, state

    return step, [*embedding.parameters(), *cell.parameters(), *out.parameters()]


@cn.no_grad()
def test_generate_is_a_loop_of_draws() -> None:
    step, _ = net(7)
    first, begin = cn.tensor([1, 2, 3]), (cn.zeros(3, 6), cn.zeros(3, 6))
    cn.manual_seed(2)
    x, state, wanted = first, begin, []
    for _ in range(20):
        scores, state = step(x, state)
        x = G.sample(scores, 0.8, 5, 0.95)
        wanted.append(x.tolist())
    cn.manual_seed(2)
    found = G.generate(step, first, begin, 20, temperature=0.8, top_k=5, top_p=0.95)
    assert found.output.tolist() == wanted
    np.testing.assert_allclose(found.state[0].numpy(), state[0].numpy(), rtol=1e-5, atol=1e-6)
    cn.manual_seed(2)
    ended = G.generate(step, first, begin, 20, end=3, temperature=0.8, top_k=5, top_p=0.95)
    assert ended.lengths is not None
    columns = np.array(wanted).T
    for b, n in enumerate(ended.lengths.tolist()):
        hits = np.flatnonzero(columns[b] == 3)
        assert n == (hits[0] + 1 if len(hits) else 20)
        assert ended.output[:n, b].tolist() == columns[b, :n].tolist()


def scored(step: Any, first: int, symbols: tuple[int, ...], end: int) -> tuple[float, int]:
    """Return the log-probability of symbols up to `end`, and how many these are."""
    x, state, total = cn.tensor([first]), (cn.zeros(1, 6), cn.zeros(1, 6)), 0.0
    for n, symbol in enumerate(symbols, 1):
        scores, state = step(x, state)
        total += float(cn.log_softmax(scores, -1)[0, symbol].item())
        if symbol == end:
            return total, n
        x = cn.tensor([symbol])
    return total, len(symbols)


@cn.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_enough_beams_find_the_best_of_all_sequences(penalty: float) -> None:
    symbols, steps, end = 3, 4, 2
    step, _ = net(symbols)
    first, begin = cn.tensor([0, 1]), (cn.zeros(2, 6), cn.zeros(2, 6))
    found = G.beam_search(
        step, first, begin, steps, end=end, beams=3**4, length_penalty=penalty, batch_first=True
    )
    for b in range(2):
        every = {}
        for sequence in itertools.product(range(symbols), repeat=steps):
            total, n = scored(step, b, sequence, end)
            every[sequence[:n]] = total / n**penalty
        best = sorted(every, key=lambda s: -every[s])
        for k in range(5):
            n = found.lengths[b, k].item()
            output = found.output[b, k].tolist()
            assert tuple(output[:n]) == best[k]
            assert not any(output[n:])
            assert found.scores[b, k].item() == pytest.approx(every[best[k]], abs=1e-4)


@cn.no_grad()
def test_one_beam_takes_the_largest_each_time() -> None:
    step, _ = net(7)
    first, begin = cn.tensor([1, 2, 3]), (cn.zeros(3, 6), cn.zeros(3, 6))
    greedy = G.generate(step, first, begin, 12, end=0, temperature=0.0)
    found = G.beam_search(step, first, begin, 12, end=0, beams=1)
    assert found.output[:, :, 0].tolist() == greedy.output.tolist()
    assert greedy.lengths is not None
    assert found.lengths[:, 0].tolist() == greedy.lengths.tolist()


# --- training -------------------------------------------------------------------------------------


def test_teacher_forcing_mixes_given_and_chosen() -> None:
    step, parameters = net(7)
    targets = cn.randint(0, 7, (5, 3))
    inputs = G.shifted(targets, 0)
    assert inputs.tolist() == [[0, 0, 0], *targets.tolist()[:-1]]
    assert G.shifted(targets.t(), 0, batch_first=True).tolist() == inputs.t().tolist()
    begin = cn.zeros(3, 6), cn.zeros(3, 6)

    def looped(given: Callable[[int], bool]) -> np.ndarray:
        x, state, found = inputs[0], begin, []
        for t in range(5):
            x = inputs[t] if given(t) else x
            scores, state = step(x, state)
            found.append(scores)
            x = scores.argmax(-1)
        return cn.stack(found).detach().numpy()

    for ratio, given in ((1.0, lambda t: True), (0.0, lambda t: t == 0)):
        scores, _ = G.teacher_forced(step, inputs, begin, ratio=ratio)
        np.testing.assert_allclose(scores.detach().numpy(), looped(given), rtol=1e-4, atol=1e-5)
    mixed, _ = G.teacher_forced(step, inputs.t(), begin, ratio=0.5, batch_first=True)
    assert mixed.shape == (3, 5, 7)
    mixed.sum().backward()
    assert all(p.grad is not None for p in parameters)


def test_truncated_gradients_stay_in_their_window() -> None:
    cell = nn.GRUCell(3, 4)
    x = cn.randn(6, 2, 3).requires_grad_()
    state = cn.zeros(2, 4)
    lasts = []
    for window in G.windows(x, 3):
        state = cn.fold(cell, window, G.detached(state))
        lasts.append(state)
    lasts[1].sum().backward()
    assert x.grad is not None
    grad = x.grad.numpy()
    assert not grad[:3].any()
    assert grad[3:].all()
    whole = cn.fold(cell, x.detach())
    np.testing.assert_allclose(lasts[1].detach().numpy(), whole.detach().numpy(), rtol=1e-5)


def test_windows_of_trees() -> None:
    x = {"a": np.arange(10).reshape(2, 5), "b": cn.arange(10).reshape(2, 5)}
    found = list(G.windows(x, 2, batch_first=True))
    assert [w["a"].tolist() for w in found] == [w["b"].tolist() for w in found]
    assert [w["a"].shape for w in found] == [(2, 2), (2, 2), (2, 1)]


def nothing(x: Any, s: Any) -> Any:
    return cn.zeros(2, 3), s


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: G.sample(cn.ones(3), -1.0), ValueError, "temperature=-1.0; needs a number >= 0"),
        (lambda: G.sample(cn.ones(())), cn.ShapeError, r"got scores float32\[\]; needs float \[.."),
        (lambda: G.filtered(cn.arange(3)), cn.DTypeError, r"got scores int64\[3\]; needs float"),
        (lambda: G.filtered(cn.ones(3), top_k=-1), ValueError, "top_k=-1"),
        (lambda: G.filtered(cn.ones(3), top_p=0.0), ValueError, "top_p=0.0"),
        (lambda: G.generate(nothing, cn.ones(2), cn.ones(2), 3), cn.ShapeError,
         r"generate: got first float32\[2\]; needs integers \[b\]"),
        (lambda: G.beam_search(nothing, cn.arange(2), cn.ones(2), 3, end=0, beams=0), ValueError,
         "beams=0; needs at least one"),
        (lambda: G.beam_search(nothing, cn.arange(2), cn.ones(3), 3, end=0), cn.ShapeError,
         r"got a state float32\[3\]; needs tensors \[2, "),
        (lambda: G.teacher_forced(nothing, cn.ones(2, 2), cn.ones(2), ratio=1.5), ValueError,
         "ratio=1.5; needs a probability"),
        (lambda: list(G.windows(cn.ones(2), 0)), ValueError, "size=0; needs at least one step"),
        (lambda: list(G.windows((cn.ones(2), cn.ones(3)), 1)), cn.ShapeError,
         r"got shapes \[2\], \[3\]; needs one size in dimension 0"),
        (lambda: G.shifted(cn.ones(()), 0), cn.ShapeError, r"got targets float32\[\]; needs \[t"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
