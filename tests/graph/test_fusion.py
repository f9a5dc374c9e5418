"""What shares a launch, what does not and why, and that it changes no result."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet.core import Tensor, record
from clnet.engine.graph import Graph
from clnet.engine.groups import consumers_of, elementwise_groups, schedule
from clnet.engine.plan import Plan
from clnet.engine.run import target
from clnet.records import OPS


def plan(*tensors: cn.Tensor) -> Plan:
    return Plan(Graph([t.node for t in tensors]).opened()[0], target(cn.device()))


def files(*tensors: cn.Tensor) -> list[str]:
    return [task.launch.file for task in plan(*tensors).tasks]


def agree(together: np.ndarray, apart: np.ndarray) -> None:
    """CPUs fold in the same order, fused or not; GPUs by other trees."""
    if target(cn.device()).type == "cpu":
        np.testing.assert_array_equal(together, apart)
    else:
        np.testing.assert_allclose(together, apart, rtol=2e-6, atol=1e-7)


def data(*shape: int) -> cn.Tensor:
    rng = np.random.default_rng(sum(shape))
    return cn.tensor(rng.normal(size=shape).astype(np.float32))


ROWS: dict[str, Callable[[cn.Tensor], cn.Tensor]] = {
    "softmax": lambda x: cn.softmax(x, -1),
    "log_softmax": lambda x: cn.log_softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "logsumexp": lambda x: x.logsumexp(-1),
    "norm of rows": lambda x: (x * x).sum(-1).sqrt(),
    "variance": lambda x: x.var(-1),
}


@pytest.mark.parametrize("shape", [(5, 7), (3, 130), (2, 3, 65), (1, 1), (4, 5000)])
@pytest.mark.parametrize("name", ROWS)
def test_rows_are_one_launch_and_agree(name: str, shape: tuple[int, ...]) -> None:
    if name == "variance" and shape[-1] == 1:
        pytest.skip("a variance of one element is no number")
    x = data(*shape)
    y = ROWS[name](x)
    assert files(y) == ["rows.cl"] or x.node.spec.size == 1
    with cn.eager():
        apart = ROWS[name](x).numpy()
    agree(y.numpy(), apart)


def test_rows_of_views_and_of_operands_of_other_shapes() -> None:
    x, w, b = data(40, 6, 30), data(30), data(6, 1)

    def f() -> cn.Tensor:
        return cn.softmax(x.permute(1, 2, 0)[:, ::2] * w[::2, None] + b[:, :, None], -1)

    y = f()
    assert files(y) == ["rows.cl"]
    with cn.eager():
        apart = f().numpy()
    agree(y.numpy(), apart)


COLUMNS: dict[str, Callable[[cn.Tensor, int | tuple[int, ...]], tuple[cn.Tensor, ...]]] = {
    "sum of squares": lambda x, dims: ((x * x).sum(dims),),
    "several folds of one walk": lambda x, dims: (x.sum(dims), (x * 2).amax(dims), x.amin(dims)),
    "written too": lambda x, dims: (lambda e: (e, e.sum(dims)))(x.exp()),
    "of an operand repeated": lambda x, dims: ((x * x[:1] - x[..., :1]).prod(dims),),
}


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((5, 7), 0),
        ((3, 40, 6), 1),
        ((4, 9, 2, 3), (1, 2)),
        ((3, 4, 5), (0, 1)),
        ((700, 1100), 0),  # several rows at once, and chunks on CPUs
        ((2000, 3), 0),
    ],
)
@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_one_walk_and_agree(
    name: str, shape: tuple[int, ...], dims: int | tuple[int, ...]
) -> None:
    x = data(*shape)
    cn.eval(x)
    ys = COLUMNS[name](x, dims)
    launched = files(*ys)
    assert launched.count("columns.cl") == 1
    assert set(launched) <= {"columns.cl", "reduce.cl"}  # which joins chunks
    with cn.eager():
        apart = [y.numpy() for y in COLUMNS[name](x, dims)]
    for y, want in zip(ys, apart, strict=True):
        agree(y.numpy(), want)


@pytest.mark.parametrize("dim", [0, 1])
def test_folds_of_nothing_but_scalars(dim: int) -> None:
    y = (cn.zeros(5, 7) + 1.5).exp().sum(dim)
    np.testing.assert_allclose(y.numpy(), np.exp(1.5) * (7 if dim else 5), rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 1), (5, 30, 1), (50_000, 1, 1), (1, 9, 1)])
def test_one_column_goes_by_rows(shape: tuple[int, ...]) -> None:
    x = data(*shape)
    cn.eval(x)
    dim = 1 if shape[1] > 1 else 0

    def f() -> cn.Tensor:
        return (x * x).sum(dim) * 2

    y = f()
    assert files(y)[0] == "rows.cl"
    with cn.eager():
        apart = f().numpy()
    agree(y.numpy(), apart)


@pytest.mark.parametrize("dim", [0, 1])
def test_names_in_a_kernel_stay_apart_however_many(dim: int) -> None:
    x, w = data(4, 6), data(4, 1)
    cn.eval(x, w)

    def f() -> list[cn.Tensor]:
        found, y = [], x * w
        for _ in range(9):
            y = y + x
            found.append(y.sum(dim))
        return found

    assert all(len(files(y)) == 1 for y in f())
    with cn.eager():
        apart = [y.numpy() for y in f()]
    for y, want in zip(f(), apart, strict=True):
        agree(y.numpy(), want)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "bool"])
@pytest.mark.parametrize("rows", [9, 3000])
def test_columns_of_other_dtypes_agree(dtype: str, rows: int) -> None:
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("this device has no float64")
    x = (data(rows, 5) * 4).to(getattr(cn, dtype))
    cn.eval(x)

    def f() -> cn.Tensor:
        return (x * x).sum(0).to(cn.float32)

    y = f()
    assert "columns.cl" in files(y)
    with cn.eager():
        apart = f().numpy()
    agree(y.numpy(), apart)


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_along_columns_agrees(dim: int) -> None:
    x = data(20, 30, 7)
    y = cn.softmax(x, dim)
    assert files(y) == ["reduce.cl", "columns.cl", "elementwise.cl"]
    with cn.eager():
        apart = cn.softmax(x, dim).numpy()
    agree(y.numpy(), apart)


@pytest.mark.parametrize("size", [10, 5000, 100_000])
def test_elementwise_work_fuses_into_full_reductions(size: int) -> None:
    x, y = data(size), data(size)
    loss = F.mse_loss(x, y)
    assert files(loss)[0] == "rows.cl"
    assert "elementwise.cl" not in files(loss)[:1]
    want = np.mean((x.numpy().astype(np.float64) - y.numpy()) ** 2)
    assert loss.item() == pytest.approx(want, rel=2e-6)


def test_gradients_of_rows_agree() -> None:
    t = cn.tensor(np.arange(9) % 5)

    def gradients() -> list[np.ndarray]:
        x, w = data(9, 5).requires_grad_(), data(5).requires_grad_()
        F.cross_entropy(F.layer_norm(x, (5,), w), t).backward()
        assert x.grad is not None
        assert w.grad is not None
        return [x.grad.numpy(), w.grad.numpy()]

    together = gradients()
    with cn.eager():
        apart = gradients()
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("sizes", [(1, 2, 8), (33, 300, 17), (64, 64, 64), (5, 1, 1)])
def test_products_store_bias_activation_and_residual(
    sizes: tuple[int, int, int], dtype: str
) -> None:
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("this device has no float64")
    m, k, n = sizes
    rng = np.random.default_rng(0)
    x, w, b, r = (
        cn.tensor((rng.normal(size=s) * 2).astype(np.float32)).to(getattr(cn, dtype))
        for s in ((m, k), (n, k), (n,), (n, m))
    )
    cn.eval(x, w, b, r)

    def f() -> cn.Tensor:
        return (x @ w.T + b).relu() * 2 + r.T

    y = f()
    # GPUs may split a long product, and store as they join its parts.
    assert all(file.startswith("matmul") for file in files(y))
    with cn.eager():
        apart = f().numpy()
    agree(y.numpy(), apart)


def test_explain_says_why_not() -> None:
    x, w = data(4, 8), data(8, 8)
    y = x @ w
    z = y + 1
    assert "matmul stands alone: its own value is asked for" in cn.explain(y, z, source=False)
    text = cn.explain((data(2, 3, 4) * 2).sum((0, 2)), source=False)
    assert "sum stands alone: folds dims that do not lie side by side" in text
    text = cn.explain((x @ w + 1).sum(0), source=False)
    assert "sum stands alone: what it folds is stored by the product before it" in text


def test_explain_says_why_a_chain_ends() -> None:
    x, w = data(4, 8), data(8, 8)
    text = cn.explain((x[:1] * 2) + x, source=False)
    assert "mul ends a kernel: what follows reads it through expand" in text
    y = x.exp()
    text = cn.explain((y @ w).relu() + y * y, source=False)
    assert "exp ends a kernel: others need its value before the next one can run" in text
    y = x
    for _ in range(40):
        y = y * x
    assert "mul ends a kernel: the next one has 32 ops and" in cn.explain(y, source=False)


def test_a_kernel_writes_every_value_that_others_read() -> None:
    x, w = data(6, 6), data(6, 6)
    y = x.exp()
    product, z = y @ w, y * y + 1
    del y
    # exp is read by both; it cannot wait for the product, which needs it.
    assert files(product, z).count("elementwise.cl") == 1
    want = np.exp(x.numpy().astype(np.float64))
    np.testing.assert_allclose(product.numpy(), want @ w.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z.numpy(), want * want + 1, rtol=1e-5)


def test_a_value_needed_before_and_after_a_product_makes_no_cycle() -> None:
    x, w = data(6, 6), data(6, 6)
    y = x.exp()
    z = y @ w + y
    del y
    want = np.exp(x.numpy().astype(np.float64))
    np.testing.assert_allclose(z.numpy(), want @ w.numpy() + want, rtol=1e-4, atol=1e-5)


def test_equal_chains_on_many_tensors_share_launches() -> None:
    xs = [data(n) for n in (5, 100, 1000, 20_000, 7)]
    ys = [x * x + x for x in xs]
    assert len(plan(*ys).tasks) == 1
    cn.eval(*ys)
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_array_equal(y.numpy(), x.numpy() * x.numpy() + x.numpy())


def test_gathered_launches_keep_the_order_of_their_data() -> None:
    x = data(10)
    a = x * 2 + 1
    b = a @ data(10, 10)
    c = b * 2 + 1
    cn.eval(a, c)
    np.testing.assert_array_equal(c.numpy(), b.numpy() * 2 + 1)


def test_a_matrix_that_is_used_again_is_packed_once() -> None:
    w, x = data(40, 40), data(7, 40)
    for _ in range(3):
        x = F.linear(x, w)
    entries = [task.launch.entry for task in plan(x, x @ w).tasks]
    cpu = target(cn.device()).type == "cpu"
    assert entries.count("matmul_pack") == (1 if cpu else 0)
    assert len([entry for entry in entries if entry != "matmul_pack"]) == 4


@pytest.mark.parametrize("seed", range(40))
def test_units_of_random_graphs_depend_on_each_other_one_way(seed: int) -> None:
    """Elementwise groups around a unit that was formed before, of nodes that lie apart."""
    rng = random.Random(seed)
    made = [cn.ones(4).node, cn.full((4,), 2.0).node]
    nodes: list[Any] = []
    for _ in range(14):
        pair = tuple(rng.choices([*made, *nodes[-8:]], k=2))
        nodes.append(record(OPS["add"], pair, {}))
    held = [Tensor(n, view=False) for n in rng.sample(nodes, 5)]
    graph = Graph([t.node for t in held])
    consumers = consumers_of(graph)

    def after(position: int) -> set[int]:
        found: set[int] = set()
        for c in consumers[position]:
            found |= {c} | after(c)
        return found

    convex = [
        (m, r)
        for m in range(len(graph.nodes))
        for r in consumers[m]
        if graph.inputs[m] and not any(r in after(c) for c in consumers[m] if c != r)
    ]
    taken = [rng.choice(convex)]
    alone = [None] * len(graph.nodes)
    groups, _ = elementwise_groups(
        graph,
        consumers,
        taken,
        lambda p: bool(graph.inputs[p]) and p not in taken[0],
        alone,
    )
    units = [*taken, *(g.members for g in groups)]
    computed = sorted(m for unit in units for m in unit)
    assert computed == [p for p in range(len(graph.nodes)) if graph.inputs[p]]
    assert len(schedule(graph, units, lambda unit: False)) == len(units)
