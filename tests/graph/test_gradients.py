"""Reverse mode as PyTorch's and JAX's users know it."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn


def leaf(*values: float) -> cn.Tensor:
    return cn.tensor(list(values), requires_grad=True)


def grad_of(x: cn.Tensor) -> list[float]:
    assert x.grad is not None
    return x.grad.tolist()


def test_gradients_accumulate_in_place() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert x.grad is first
    assert grad_of(x) == [5.0, 7.0]


def test_leaves_do_not_share_one_gradient() -> None:
    x, y = leaf(1.0), leaf(2.0)
    (x + y).sum().backward()
    assert x.grad is not None
    x.grad.add_(5)
    assert grad_of(x) == [6.0]
    assert grad_of(y) == [1.0]


def test_no_grad_and_enable_grad() -> None:
    x = leaf(1.0)
    with cn.no_grad():
        assert not (x * 2).requires_grad
        with cn.enable_grad():
            assert (x * 2).requires_grad
    assert cn.is_grad_enabled()

    @cn.no_grad()
    def f(x: cn.Tensor) -> cn.Tensor:
        return x * 2

    assert not f(x).requires_grad


def test_retain_grad_and_hooks() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    seen: list[list[float]] = []
    y.register_hook(lambda d: seen.append(d.tolist()))
    remove = x.register_hook(lambda d: d * 10)
    (y * y).sum().backward()
    assert seen == [[6.0, 12.0]]
    assert grad_of(y) == [6.0, 12.0]
    assert grad_of(x) == [180.0, 360.0]
    remove()
    x.grad = None
    (x * 3).sum().backward()
    assert grad_of(x) == [3.0, 3.0]


def test_a_graph_is_given_up_unless_retained() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert grad_of(x) == [8.0]
    with pytest.raises(cn.GradientError, match="retain_graph"):
        y.backward()


def test_backward_needs_a_scalar_or_a_gradient() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    with pytest.raises(cn.GradientError, match=r"scalar, this is float32\[2\]"):
        y.backward()
    with pytest.raises(cn.GradientError, match=r"needs float32\[2\]"):
        y.backward(cn.ones(3))
    y.backward(cn.tensor([1.0, 10.0]))
    assert grad_of(x) == [2.0, 40.0]
    with pytest.raises(cn.GradientError, match="does not require grad"):
        cn.ones(1).backward()


def test_backward_to_chosen_inputs() -> None:
    x, w = leaf(2.0), leaf(3.0)
    (x * w).sum().backward(inputs=[w])
    assert x.grad is None
    assert grad_of(w) == [2.0]


def test_create_graph_differentiates_again() -> None:
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first is not None
    x.grad = None
    first.sum().backward()
    assert grad_of(x) == [12.0]


def test_gradient_penalty() -> None:
    w = cn.tensor([[1.0, -2.0]], requires_grad=True)
    x = cn.tensor([[0.5], [0.25]])
    penalty = (cn.grad(lambda x: (w @ x).tanh().sum())(x) ** 2).sum()
    penalty.backward()

    def value(w: np.ndarray) -> float:
        u = np.tanh(w @ np.array([[0.5], [0.25]]))
        return float((((1 - u * u) * w) ** 2).sum())

    eps = 1e-5
    base = np.array([[1.0, -2.0]])
    want = [(value(base + d) - value(base - d)) / (2 * eps) for d in np.eye(2) * eps]
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.numpy()[0], want, rtol=1e-4)


def test_hessian_vector_product() -> None:
    a = cn.tensor([[2.0, 1.0], [1.0, 3.0]])
    v = cn.tensor([1.0, -1.0])

    def f(x: cn.Tensor) -> cn.Tensor:
        return (x @ a @ x) / 2 + (x**4).sum()

    x = cn.tensor([1.0, 2.0])
    product = cn.grad(lambda x: cn.grad(f)(x) @ v)(x)
    want = np.array([[2.0 + 12, 1.0], [1.0, 3.0 + 48]]) @ [1.0, -1.0]
    np.testing.assert_allclose(product.numpy(), want, rtol=1e-6)


def test_grad_of_trees_and_aux() -> None:
    params = {"w": cn.tensor([2.0]), "b": [cn.tensor([1.0])]}

    def f(p: dict, x: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        y = p["w"] * x + p["b"][0]
        return (y * y).sum(), y

    (value, aux), g = cn.value_and_grad(f, has_aux=True)(params, cn.tensor([3.0]))
    assert value.item() == 49.0
    assert aux.tolist() == [7.0]
    assert g["w"].tolist() == [42.0]
    assert g["b"][0].tolist() == [14.0]
    assert not g["w"].requires_grad  # nothing outside asked for a graph
    by_both = cn.grad(lambda x, y: x * y, argnums=(0, 1))(2.0, 5.0)
    assert [t.item() for t in by_both] == [5.0, 2.0]


def test_grad_refuses_what_it_cannot_do() -> None:
    with pytest.raises(cn.GradientError, match="int64"):
        cn.grad(lambda x: x.sum())(cn.tensor([1, 2]))
    with pytest.raises(cn.GradientError, match="scalar"):
        cn.grad(lambda x: x * 2)(cn.ones(3))
    with pytest.raises(cn.GradientError, match="argnums 1"):
        cn.grad(lambda x: x, argnums=1)(1.0)


def test_an_argument_that_is_not_used_has_gradient_zero() -> None:
    assert cn.grad(lambda x, y: y * y)(cn.tensor(3.0), cn.tensor(2.0)).item() == 0.0


def test_vjp() -> None:
    (s, p), back = cn.vjp(lambda x, y: (x + y, x * y), cn.tensor([2.0]), cn.tensor([5.0]))
    assert (s.item(), p.item()) == (7.0, 10.0)
    dx, dy = back((cn.tensor([1.0]), cn.tensor([10.0])))
    assert (dx.item(), dy.item()) == (51.0, 21.0)
    with pytest.raises(cn.GradientError, match="1 cotangents for 2"):
        back((cn.tensor([1.0]),))


def test_custom_vjp_is_used_at_every_order() -> None:
    @cn.custom_vjp
    def cube(x: cn.Tensor) -> cn.Tensor:
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, d: (d * 3 * x * x,))
    assert cube(cn.tensor(2.0)).item() == 8.0
    assert cn.grad(cube)(2.0).item() == 12.0
    assert cn.grad(cn.grad(cube))(2.0).item() == 12.0
    x = leaf(2.0)
    cube(x).sum().backward()
    assert grad_of(x) == [12.0]

    @cn.custom_vjp
    def halves(x: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        return x[:1], x[1:]

    halves.defvjp(lambda x: ((x[:1], x[1:]), None), lambda _, d: (cn.cat([d[0] * 10, d[1]]),))
    assert cn.grad(lambda x: halves(x)[0].sum() + halves(x)[1].sum())(cn.ones(2)).tolist() == [
        10.0,
        1.0,
    ]

    with pytest.raises(cn.GradientError, match="defvjp"):
        cn.custom_vjp(lambda x: x)(x)


def test_broadcast_and_cast_are_undone() -> None:
    bias = cn.zeros(3, requires_grad=True)
    scale = cn.ones((), requires_grad=True)
    half = cn.ones(2, 1, dtype=cn.float16, requires_grad=True)
    ((cn.ones(2, 3) + bias) * scale * half).sum().backward()
    for t, want in ((bias, [2.0] * 3), (scale, 6.0), (half, [[3.0], [3.0]])):
        assert t.grad is not None
        assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype)
        assert t.grad.tolist() == want


def test_anomaly_mode_names_the_op_and_the_line() -> None:
    with cn.detect_anomaly(), pytest.raises(cn.AnomalyError, match=r"log\(float32\[1\]\)") as e:
        cn.log(cn.tensor([-1.0]))
    assert "test_gradients.py" in str(e.value)
    with cn.detect_anomaly():
        y = (leaf(0.0).sqrt() * 0).sum()
        with pytest.raises(cn.AnomalyError, match="gradient of sqrt"):
            y.backward()
    with cn.detect_anomaly():
        assert (leaf(4.0).sqrt() + 1).tolist() == [3.0]
