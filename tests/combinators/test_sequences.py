"""fold, scan, map_accum, bidirectional: against layers, against plain loops, lengths, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn
from clnet.transforms.tree import tree_leaves

KINDS = ["RNN", "LSTM", "GRU"]
LENGTHS = [2, 5, 1, 4]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def values(t: Any) -> list[np.ndarray]:
    return [x.detach().numpy() for x in tree_leaves(t)]


def close(got: Any, wanted: Any) -> None:
    for a, b in zip(values(got), values(wanted), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def gradients(loss: cn.Tensor, *of: Any) -> list[np.ndarray]:
    tensors = [t for x in of for t in (x.parameters() if isinstance(x, nn.Module) else [x])]
    for t in tensors:
        t.grad = None
    loss.backward()
    found = [t.grad.numpy() for t in tensors if t.grad is not None]
    assert len(found) == len(tensors)
    return found


def total(tree: Any) -> cn.Tensor:
    parts = [(x * x).sum() for x in tree_leaves(tree)]
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result


def cell_of(layer: Any, suffix: str = "_l0", **options: Any) -> Any:
    """Return a cell with the weights of one layer and direction of a net."""
    inputs = layer.get_parameter(f"weight_ih{suffix}").shape[1]
    cell = getattr(nn, f"{type(layer).__name__}Cell")(inputs, layer.hidden_size, **options)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: layer.get_parameter(name + suffix) for name in names})
    return cell


def own(cell: Any) -> Callable[[Any, Any], Any]:
    """Return a cell that the library does not know."""

    def step(x: cn.Tensor, state: Any) -> tuple[cn.Tensor, Any]:
        after = cell(x, state)
        return tree_leaves(after)[0], after

    return step


# --- equal to the layers --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("segments", [1, 2, 5])
def test_map_accum_is_a_layer(kind: str, lengths: Any, known: bool, segments: int) -> None:
    net = getattr(nn, kind)(3, 4)
    cell = cell_of(net)
    x = cn.randn(5, 4, 3).requires_grad_()
    state = cell.initial_state(x[0])
    state = tuple(s + 0.5 for s in state) if isinstance(state, tuple) else state + 0.5
    first = tree_leaves(state)
    for s in first:
        s.requires_grad_()
    stacked = [s.unsqueeze(0) for s in first]
    wanted, last = net(x, tuple(stacked) if len(stacked) > 1 else stacked[0], lengths=lengths)
    wanted_grads = gradients(total((wanted, last)), net, x, *first)
    found, after = cn.map_accum(
        cell if known else own(cell), x, state, lengths=lengths, segments=segments
    )
    close((found, after), (wanted, [s.squeeze(0) for s in tree_leaves(last)]))
    for a, b in zip(gradients(total((found, after)), cell, x, *first), wanted_grads, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_bidirectional_is_a_layer(kind: str, lengths: Any, batch_first: bool, known: bool) -> None:
    net = getattr(nn, kind)(3, 4, bidirectional=True, batch_first=batch_first)
    cells = cell_of(net), cell_of(net, "_l0_reverse")
    x = cn.randn(*((4, 5, 3) if batch_first else (5, 4, 3))).requires_grad_()
    wanted, last = net(x, lengths=lengths)
    options = {"lengths": lengths, "batch_first": batch_first}
    wanted_grads = gradients(total((wanted, last)), net, x)
    if known:
        found, after = cn.bidirectional(*cells, x, **options)
    else:
        begin = tuple(c.initial_state(cn.zeros(4, 3)) for c in cells)
        found, after = cn.bidirectional(own(cells[0]), own(cells[1]), x, begin, **options)
    close(found, wanted)
    close([s for pair in zip(*map(tree_leaves, after), strict=True) for s in pair],
          [s for t in tree_leaves(last) for s in t.unbind(0)])  # fmt: skip
    for a, b in zip(gradients(total((found, after)), *cells, x), wanted_grads, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_a_stacked_net_in_a_few_lines() -> None:
    net = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    x = cn.randn(5, 4, 3)
    y, last = x, []
    for layer in range(2):
        left, right = (cell_of(net, f"_l{layer}{d}") for d in ("", "_reverse"))
        y, states = cn.bidirectional(left, right, y, lengths=LENGTHS)
        last += states
    wanted, (h, c) = net(x, lengths=LENGTHS)
    close((y, cn.stack([s[0] for s in last]), cn.stack([s[1] for s in last])), (wanted, h, c))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_reverse_is_the_reversed_sequence(kind: str, lengths: Any) -> None:
    cell = getattr(nn, f"{kind}Cell")(3, 4)
    x = cn.randn(5, 4, 3)
    begin = cell.initial_state(x[0])
    turned = x.numpy().copy()
    for b, n in enumerate(lengths or [5] * 4):
        turned[:n, b] = turned[:n, b][::-1]
    wanted, after = cn.map_accum(cell, cn.tensor(turned), lengths=lengths)
    again = wanted.detach().numpy().copy()
    for b, n in enumerate(lengths or [5] * 4):
        again[:n, b] = again[:n, b][::-1]
    for c, s in ((cell, None), (own(cell), begin)):
        found, last = cn.map_accum(c, x, s, lengths=lengths, reverse=True)
        np.testing.assert_allclose(found.detach().numpy(), again, **CLOSE)
        close(last, after)


def test_fold_and_scan_are_parts_of_map_accum() -> None:
    cell, x = nn.LSTMCell(3, 4), cn.randn(5, 4, 3)
    output, last = cn.map_accum(cell, x, lengths=LENGTHS)
    close(cn.fold(cell, x, lengths=LENGTHS), last)
    h, c = cn.scan(cell, x, lengths=LENGTHS)
    close(h, output)
    for b, n in enumerate(LENGTHS):
        close(c[n - 1, b], last[1][b])
        assert not c[n:, b].detach().numpy().any()
    gru = nn.GRUCell(3, 4)
    close(cn.scan(gru, x, lengths=LENGTHS), cn.map_accum(gru, x, lengths=LENGTHS)[0])
    close(cn.fold(lambda x, s: gru(x, s), x, cn.zeros(4, 4)), cn.fold(gru, x))
    # A subclass may compute anything, so that it is not run by the layer.

    class Twice(nn.GRUCell):
        def forward(self, input: cn.Tensor, hx: Any = None) -> cn.Tensor:
            return 2 * super().forward(input, hx)

    twice = Twice(3, 4)
    twice.load_state_dict(gru.state_dict())
    wanted = 2 * gru(x[1], 2 * gru(x[0]))
    close(cn.fold(twice, x[:2]), wanted)


def test_unbatched_sequences() -> None:
    for cell in (nn.GRUCell(3, 4), nn.LSTMCell(3, 4)):
        x = cn.randn(5, 3)
        output, last = cn.map_accum(cell, x)
        many, lasts = cn.map_accum(cell, x.unsqueeze(1))
        close((output, last), (many.squeeze(1), [s.squeeze(0) for s in tree_leaves(lasts)]))


# --- cells of the user ----------------------------------------------------------------------------


def loop(cell: Any, x: Any, state: Any) -> tuple[list[Any], Any]:
    outputs = []
    for t in range(x.shape[0]):
        y, state = cell(x[t], state)
        outputs.append(y)
    return outputs, state


def test_a_cell_is_recorded_once_and_planned_once() -> None:
    w = cn.randn(4, 4).requires_grad_()
    calls = []

    def cell(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        calls.append(1)
        s = cn.tanh(x + s @ w) * 0.5
        return s, s

    x = cn.randn(6, 2, 4)
    misses = []
    for _ in range(4):
        output, last = cn.map_accum(cell, x, cn.zeros(2, 4))
        w.grad = None
        (output * last).sum().backward()
        cn.eval(w.grad)
        misses.append(cn.engine_stats()["misses"])
    assert len(calls) == 4
    assert misses[-1] == misses[1]


def test_inputs_states_and_outputs_may_be_trees() -> None:
    def cell(x: Any, s: Any) -> Any:
        a, b = x["a"], x["b"]
        return {"sum": a + b + s[0], "same": s[1]}, (s[0] + a, b)

    a, b = cn.arange(6).reshape(3, 2), cn.arange(6).reshape(3, 2) * 10
    y, (s, last) = cn.map_accum(cell, {"a": a, "b": b}, (cn.zeros(2).long(), cn.ones(2).long()))
    assert y["sum"].tolist() == [[0, 11], [22, 34], [46, 59]]
    assert y["same"].tolist() == [[1, 1], [0, 10], [20, 30]]
    assert (s.tolist(), last.tolist()) == ([6, 9], [40, 50])


@pytest.mark.parametrize("segments", [None, 1, 2])
def test_random_numbers_are_those_of_a_loop(segments: int | None) -> None:
    def cell(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        s = nn.functional.dropout(x, 0.5) + nn.functional.dropout(s, 0.5)
        return s + cn.rand(2, 3), s

    # In one part; in many, which is chosen for long walks; in two.
    x = cn.ones(200 if segments is None else 5, 2, 3).requires_grad_()
    cn.manual_seed(3)
    wanted, _ = loop(cell, x, cn.zeros(2, 3))
    after = cn.rand(2).tolist()
    cn.manual_seed(3)
    found, _ = cn.map_accum(cell, x, cn.zeros(2, 3), segments=segments)
    joined = cn.stack(wanted)
    np.testing.assert_array_equal(found.detach().numpy(), joined.detach().numpy())
    for a, b in zip(gradients(found.sum(), x), gradients(joined.sum(), x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert cn.rand(2).tolist() == after


def value_dependent(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
    s = s + x if x.sum().item() > 0 else s * 2
    return s, s


def with_no_grad(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
    with cn.no_grad():
        hard = (s > 0.1).to(cn.float32) + x
    s = s * x + hard
    return s, s


def with_a_rule(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
    s = clipped(x * s) + x
    return s, s


@cn.custom_vjp
def clipped(x: cn.Tensor) -> cn.Tensor:
    return x


clipped.defvjp(lambda x: (x, None), lambda _, d: (d.clamp(-0.5, 0.5),))


@pytest.mark.parametrize("cell", [value_dependent, with_no_grad, with_a_rule])
def test_cells_that_cannot_be_recorded_run_at_each_step(cell: Any) -> None:
    found = []
    for walk in (cn.map_accum, loop):
        x = cn.tensor(np.random.default_rng(0).normal(size=(5, 2, 3)), dtype=cn.float32)
        x.requires_grad_()
        y, last = walk(cell, x, cn.ones(2, 3))
        y = cn.stack(y) if isinstance(y, list) else y
        found.append([y.detach().numpy(), *gradients((y * y).sum() + last.sum(), x)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_a_cell_that_counts_in_place_counts_each_step() -> None:
    count = cn.zeros(())

    def cell(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        count.add_(1)
        return x * count, s

    y, _ = cn.map_accum(cell, cn.ones(4, 1), cn.zeros(1))
    assert y.flatten().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("context", [cn.eager, cn.detect_anomaly, cn.no_grad])
def test_contexts(context: Any) -> None:
    cell, x = own(nn.GRUCell(3, 4)), cn.randn(5, 2, 3)
    wanted, _ = cn.map_accum(cell, x, cn.zeros(2, 4))
    with context():
        found, _ = cn.map_accum(cell, x, cn.zeros(2, 4))
        close(found, wanted)
    assert found.requires_grad == (context is not cn.no_grad)


def test_compiled() -> None:
    cell = nn.GRUCell(3, 4)

    @cn.compile
    def step(x: cn.Tensor) -> cn.Tensor:
        cell.zero_grad()
        loss = (cn.map_accum(own(cell), x, cn.zeros(2, 4), segments=2)[0] ** 2).sum()
        loss.backward()
        return loss

    x = cn.randn(5, 2, 3)
    wanted = (cn.map_accum(cell, x)[0] ** 2).sum()
    grads = gradients(wanted, cell)
    for _ in range(3):
        assert step(x).item() == pytest.approx(wanted.item(), rel=1e-4)
        for a, b in zip(cell.parameters(), grads, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b, **CLOSE)


@pytest.mark.parametrize("segments", [1, 3])
def test_second_derivatives(segments: int) -> None:
    w = cn.randn(3, 3)
    x = cn.randn(4, 2, 3)

    def loss(w: cn.Tensor, walk: Any) -> cn.Tensor:
        def cell(x: cn.Tensor, s: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
            s = cn.tanh(x + s @ w)
            return s, s

        y, _ = walk(cell, x, cn.zeros(2, 3))
        y = cn.stack(y) if isinstance(y, list) else y
        return (y * y).sum()

    def curved(walk: Any) -> np.ndarray:
        first = cn.grad(lambda w: loss(w, walk))
        found: cn.Tensor = cn.grad(lambda w: (first(w) ** 2).sum())(w)
        return found.numpy()

    def walk(*args: Any) -> Any:
        return cn.map_accum(*args, segments=segments)

    np.testing.assert_allclose(curved(walk), curved(loop), rtol=1e-3, atol=1e-3)


# --- errors ---------------------------------------------------------------------------------------

GRU = nn.GRUCell(3, 4)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: cn.fold(GRU, np.ones((5, 2, 3))), cn.DTypeError,
         "fold: the input has a ndarray; needs tensors"),
        (lambda: cn.fold(GRU, cn.ones(3), batch_first=True), cn.ShapeError,
         r"fold: got input float32\[3\]; needs tensors \[b, t, \.\.\]"),
        (lambda: cn.fold(GRU, cn.ones(0, 2, 3)), cn.ShapeError, "fold: got a sequence of length 0"),
        (lambda: cn.map_accum(own(GRU), (cn.ones(5, 2, 3), cn.ones(4, 2)), cn.zeros(2, 4)),
         cn.ShapeError, r"float32\[5, 2, 3\], float32\[4, 2\]; needs equal sizes in \[t"),
        (lambda: cn.fold(own(GRU), cn.ones(5, 2, 3)), cn.ShapeError, "fold: got no state"),
        (lambda: cn.fold(lambda x, s: s, cn.ones(5, 2), 0.0), cn.DTypeError,
         "fold: the state has a float; needs tensors"),
        (lambda: cn.fold(lambda x, s: s + x, cn.ones(5, 2), cn.zeros(())), cn.ShapeError,
         r"fold: the cell made a state float32\[2\] of float32\[\]; needs the same"),
        (lambda: cn.fold(lambda x, s: s.half(), cn.ones(5, 2), cn.zeros(2)), cn.DTypeError,
         r"fold: the cell made a state float16\[2\] of float32\[2\]; needs the same"),
        (lambda: cn.map_accum(lambda x, s: s, cn.ones(5, 2), cn.zeros(2)), cn.DTypeError,
         r"map_accum: the cell returned .*; needs \(output, state\)"),
        (lambda: cn.map_accum(lambda x, s: (None, s), cn.ones(5, 2), cn.zeros(2)), cn.DTypeError,
         "map_accum: the cell's output has a NoneType"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 3), lengths=[5]), cn.ShapeError,
         "fold: got lengths of shape .*; needs 2 integers"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 3), lengths=[5.0, 1.0]), cn.ShapeError, "2 integers"),
        (lambda: cn.fold(own(GRU), cn.ones(5, 2, 3), cn.ones(2, 4), lengths=[0, 6]), ValueError,
         "fold: got lengths from 0 to 6; needs 1 to 5"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 3), segments=6), ValueError,
         "segments=6; needs 1 to 5"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 3), cn.ones(2, 5)), cn.ShapeError,
         r"GRU: got hx float32\[1, 2, 5\]; needs \[1, 2, 4\]"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 3), cn.ones(2, 4).half()), cn.DTypeError,
         "needs float32, as the weights"),
        (lambda: cn.fold(GRU, cn.ones(5, 2, 2)), cn.ShapeError, r"GRU.*: got input"),
        (lambda: cn.fold(nn.LSTMCell(3, 4), cn.ones(5, 2, 3), cn.ones(2, 4)), cn.ShapeError,
         r"LSTM: got one state; needs hx=\(h_0, c_0\)"),
        (lambda: cn.bidirectional(GRU, GRU, cn.ones(5, 2, 3), cn.ones(2, 4)), cn.ShapeError,
         "bidirectional: got one state; needs a pair"),
        (lambda: cn.map_accum(value_dependent, cn.ones(5, 2), cn.ones(2), segments=2),
         cn.ClnetError, "checkpoint: the function looks at a value"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
