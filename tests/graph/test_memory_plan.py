"""Temporaries share memory, what nobody else holds is overwritten, long training holds still."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn, optim
from clnet.engine.graph import Graph
from clnet.engine.memory import lay_out
from clnet.engine.plan import Plan
from clnet.engine.run import target
from clnet.engine.task import Task
from clnet.records import Launch


def tasks_of(*uses: tuple[set[int], set[int]]) -> list[Task]:
    launch = Launch("f", "e", (), (), (1,), (1,))
    return [Task("t", launch, (), reads=reads, writes=writes) for reads, writes in uses]


def test_values_that_do_not_live_at_once_share_bytes() -> None:
    tasks = tasks_of((set(), {0}), ({0}, {1}), ({1}, {2}), ({2}, {3}))
    memory = lay_out(tasks, {0: 640, 1: 640, 2: 640, 3: 640}, {3}, 4, 1 << 30)
    assert memory.inside[0] == memory.inside[2]
    assert memory.inside[0] != memory.inside[1]
    assert memory.buffers == {3: 640, 4: 1280}
    assert memory.live == 1280


def test_short_lived_values_lie_where_results_will_be() -> None:
    tasks = tasks_of((set(), {0}), ({0}, {1}), ({1}, {2}))
    memory = lay_out(tasks, {0: 8192, 1: 64, 2: 8192}, {2}, 3, 1 << 30)
    assert memory.inside[0] == (2, 0)
    assert memory.buffers == {2: 8192, 3: 64}


def test_arenas_keep_to_the_largest_allocation() -> None:
    tasks = tasks_of((set(), {0}), (set(), {1}), ({0, 1}, {2}))
    memory = lay_out(tasks, {0: 1024, 1: 1024, 2: 64}, {2}, 3, 1500)
    assert sorted(memory.buffers.values()) == [64, 1024, 1024]


def test_no_two_living_values_overlap() -> None:
    rng = np.random.default_rng(0)
    uses, alive = [], []
    for number in range(200):
        reads = {int(i) for i in rng.choice(alive, min(len(alive), 2))} if alive else set()
        uses.append((reads, {number}))
        alive = [*alive, number][-12:]
    sizes = {i: int(rng.integers(1, 10_000)) for i in range(200)}
    tasks = tasks_of(*uses)
    memory = lay_out(tasks, sizes, {199, 150}, 200, 1 << 40)
    first = {w: t for t, (_, writes) in enumerate(uses) for w in writes}
    last = dict(first)
    for t, (reads, _) in enumerate(uses):
        last.update(dict.fromkeys(reads, t))
    for a, (buffer, start) in memory.inside.items():
        if buffer in (199, 150):
            assert last[a] < first[buffer]
        for b, (other, begin) in memory.inside.items():
            together = first[a] <= last[b] and first[b] <= last[a]
            if a < b and other == buffer and together:
                assert start + sizes[a] <= begin or begin + sizes[b] <= start


def network(depth: int, width: int) -> tuple[nn.Module, optim.Optimizer]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Tanh()]
    net = nn.Sequential(*layers)
    return net, optim.SGD(net.parameters(), lr=0.01, momentum=0.9)


def test_peak_of_a_deep_step_is_near_what_must_live() -> None:
    net, _ = network(12, 128)
    x = cn.randn(64, 128)
    loss = net(x).square().mean()
    loss.backward()
    grads = [p.grad for p in net.parameters()]
    plan = Plan(
        Graph([loss.node, *(g.node for g in grads if g is not None)]).opened()[0],
        target(cn.device()),
    )
    held = 2 * sum(p.node.spec.size * 4 for p in net.parameters()) + x.node.spec.size * 4
    assert plan.memory.allocated + held <= 1.15 * (plan.memory.live + held)
    text = cn.explain(loss, *(g for g in grads if g is not None), source=False)
    assert f"of which {plan.memory.live:,} have to exist at once" in text


def test_parameters_are_updated_in_place() -> None:
    p = cn.tensor(np.ones(1000, np.float32), requires_grad=True)
    optimizer = optim.Adam([p], lr=0.1)
    buffers = []
    for _ in range(4):
        p.grad = cn.ones(1000)
        optimizer.step()
        buffers.append(p.node.buffer)
    state = optimizer.state[p]["exp_avg"].node.buffer
    del buffers[0]  # the list itself held it, so the second step had to leave it alone
    assert buffers[1] is not buffers[0]
    del buffers
    before = id(p.node.buffer)
    p.grad = cn.ones(1000)
    optimizer.step()
    assert id(p.node.buffer) == before
    assert optimizer.state[p]["exp_avg"].node.buffer is not state


@pytest.mark.parametrize("hold", ["alias", "view", "array", "graph"])
def test_what_others_hold_is_not_overwritten(hold: str) -> None:
    p = cn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0)
    for step in range(3):
        value = p.tolist()
        if hold == "alias":
            kept = p.detach()
        elif hold == "view":
            kept = p.detach()[:]
        elif hold == "array":
            kept = cn.tensor(p.detach().numpy())
        else:
            kept = p.detach() * 1
        exported = p.detach().numpy() if hold == "array" else None
        p.grad = cn.ones(3)
        optimizer.step()
        # As in PyTorch, what is detached, and a view of it, follow; values computed do not.
        follows = hold in ("alias", "view")
        assert kept.tolist() == ([v - 1 for v in value] if follows else value), (hold, step)
        assert exported is None or exported.tolist() == value
        assert p.tolist() == [v - 1 for v in value]


def test_training_holds_memory_flat() -> None:
    net, optimizer = network(2, 16)
    x = cn.randn(8, 16)
    gc.collect()  # what other tests left behind
    in_use = []
    for step in range(600):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), x)
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            loss.item()
            in_use.append(cn.memory_stats()["in_use"])
    assert max(in_use) == in_use[0]


@pytest.mark.slow
def test_ten_thousand_steps_hold_memory_flat() -> None:
    net, optimizer = network(2, 16)
    x = cn.randn(8, 16)
    gc.collect()  # what other tests left behind
    in_use = []
    for step in range(10_000):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), x)
        loss.backward()
        optimizer.step()
        if step % 1000 == 999:
            loss.item()
            in_use.append(cn.memory_stats()["in_use"])
    assert max(in_use) == in_use[0]
