"""Shapes, order, parts, joins and padding, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_shape_and_order(same) -> None:
    x = cn.tensor(A)
    same(
        {
            "reshape": (x.reshape(4, -1), A.reshape(4, -1)),
            "reshape tuple": (cn.reshape(x, (6, 4)), A.reshape(6, 4)),
            "reshape of transposed": (x.T.reshape(-1), A.T.reshape(-1)),
            "view": (x.view(2, 12), A.reshape(2, 12)),
            "reshape_as": (x.reshape_as(cn.zeros(4, 6)), A.reshape(4, 6)),
            "flatten": (x.flatten(), A.ravel()),
            "flatten 1": (x.flatten(1), A.reshape(2, 12)),
            "flatten 0-d": (cn.tensor(1).flatten(), np.array([1])),
            "ravel": (x.mT.ravel(), A.transpose(0, 2, 1).ravel()),
            "unflatten": (x.unflatten(2, (2, -1)), A.reshape(2, 3, 2, 2)),
            "unsqueeze": (x.unsqueeze(-1), A[..., None]),
            "unsqueeze 0": (x.unsqueeze(0), A[None]),
            "squeeze": (x[:1, :, :1].squeeze(), A[0, :, 0]),
            "squeeze dim": (x[:1, :, :1].squeeze(0), A[0, :, :1]),
            "squeeze dims": (x[:1, :, :1].squeeze((0, 1)), A[0, :, :1]),
            "permute": (x.permute(2, 0, 1), A.transpose(2, 0, 1)),
            "permute tuple": (cn.permute(x, (-1, 0, 1)), A.transpose(2, 0, 1)),
            "transpose": (x.transpose(0, -1), A.swapaxes(0, 2)),
            "swapaxes": (cn.swapaxes(x, 0, 1), A.swapaxes(0, 1)),
            "T": (x.T, A.T),
            "mT": (x.mT, A.swapaxes(1, 2)),
            "t": (x[0].t(), A[0].T),
            "t vector": (x[0, 0].t(), A[0, 0]),
            "movedim": (x.movedim(0, 2), np.moveaxis(A, 0, 2)),
            "movedim many": (x.movedim((0, 1), (-1, 0)), np.moveaxis(A, (0, 1), (-1, 0))),
            "expand": (x[:, :1].expand(2, 5, -1), np.broadcast_to(A[:, :1], (2, 5, 4))),
            "expand new": (x[0, 0].expand(3, 4), np.broadcast_to(A[0, 0], (3, 4))),
            "expand_as": (x[:1].expand_as(x), np.broadcast_to(A[:1], (2, 3, 4))),
            "broadcast_to": (x[0].broadcast_to((2, 3, 4)), np.broadcast_to(A[0], (2, 3, 4))),
            "repeat": (x[0].repeat(2, 1, 2), np.tile(A[0], (2, 1, 2))),
            "repeat 0": (x[0].repeat(0, 2), np.tile(A[0], (0, 2))),
            "tile": (x.tile(2), np.tile(A, 2)),
            "tile more": (x[0].tile((2, 1, 3)), np.tile(A[0], (2, 1, 3))),
            "repeat_interleave": (x.repeat_interleave(2, 1), A.repeat(2, 1)),
            "repeat_interleave all": (x[0].repeat_interleave(3), A[0].repeat(3)),
            "flip": (x.flip(0, 2), A[::-1, :, ::-1]),
            "flip tuple": (cn.flip(x, (1,)), A[:, ::-1]),
            "flip empty": (cn.zeros(0, 2).flip(0), np.zeros((0, 2), np.float32)),
            "empty reshape": (cn.zeros(0, 4).reshape(2, 0), np.zeros((2, 0), np.float32)),
            "0-d reshape": (cn.tensor(5.0).reshape(1, 1), np.float32([[5]])),
            "broadcast_tensors": (
                cn.broadcast_tensors(x[0, :, :1], x[0, 0])[1],
                np.broadcast_to(A[0, 0], (3, 4)),
            ),
        }
    )


def test_parts(same) -> None:
    x = cn.tensor(A)
    cases = {
        "narrow": (x.narrow(1, 1, 2), A[:, 1:3]),
        "narrow -": (x.narrow(2, -2, 1), A[:, :, 2:3]),
        "select": (x.select(1, -1), A[:, -1]),
        "diagonal": (x.diagonal(), np.diagonal(A)),
        "diagonal last": (x.diagonal(1, -2, -1), np.diagonal(A, 1, -2, -1)),
        "diagonal below": (x.diagonal(-1, 1, 2), np.diagonal(A, -1, 1, 2)),
        "diagonal none": (x[0].diagonal(7), np.diagonal(A[0], 7)),
        "diag": (cn.diag(x[0]), np.diag(A[0])),
        "diag vector": (cn.diag(x[0, 0]), np.diag(A[0, 0])),
        "diag above": (x[0, 0].diag(2), np.diag(A[0, 0], 2)),
        "diag below": (x[0, 0].diag(-1), np.diag(A[0, 0], -1)),
        "diag empty": (cn.zeros(0).diag(), np.zeros((0, 0), np.float32)),
        "tril": (x.tril(), np.tril(A)),
        "tril 1": (x.tril(1), np.tril(A, 1)),
        "triu": (cn.triu(x), np.triu(A)),
        "triu -1": (x.triu(-1), np.triu(A, -1)),
        "triu int": (cn.ones(2, 2, dtype=cn.int64).triu(), np.triu(np.ones((2, 2), int))),
    }
    for name, got, wanted in (
        ("split", x.split(3, 2), np.split(A, [3], 2)),
        ("split sizes", cn.split(x, [1, 0, 2], 1), np.split(A, [1, 1], 1)),
        ("chunk", x.chunk(3, 2), (A[:, :, :2], A[:, :, 2:])),
        ("chunk empty", cn.zeros(0).chunk(2), (np.zeros(0, np.float32),) * 2),
        ("unbind", x.unbind(1), A.swapaxes(0, 1)),
        ("iteration", tuple(x), A),
        (
            "meshgrid",
            cn.meshgrid(x[0, 0], x[0, :, 0]),
            np.meshgrid(A[0, 0], A[0, :, 0], indexing="ij"),
        ),
        (
            "meshgrid xy",
            cn.meshgrid(x[0, 0], x[0, :, 0], indexing="xy"),
            np.meshgrid(A[0, 0], A[0, :, 0]),
        ),
    ):
        assert len(got) == len(wanted), name
        cases |= {f"{name} {i}": pair for i, pair in enumerate(zip(got, wanted, strict=True))}
    same(cases)


def test_joins(same) -> None:
    x, y = cn.tensor(A), cn.tensor(A[:, :1]) + 100
    b = A[:, :1] + 100
    i = cn.arange(3)
    same(
        {
            "cat": (cn.cat([x, y, x], 1), np.concatenate([A, b, A], 1)),
            "cat last": (cn.concat((x, x), -1), np.concatenate([A, A], -1)),
            "cat of views": (
                cn.cat([x.mT, x.flip(2).mT], 0),
                np.concatenate([A, A[:, :, ::-1]]).swapaxes(1, 2),
            ),
            "cat dtypes": (cn.cat([i, x[0, 0]]), np.float32([0, 1, 2, 0, 1, 2, 3])),
            "cat with empty": (cn.cat([cn.zeros(0), x[0]]), A[0]),
            "cat one": (cn.cat([x]), A),
            "cat empties": (cn.cat([cn.zeros(0), cn.zeros(0)]), np.zeros(0, np.float32)),
            "cat a tensor": (cn.cat(x), A.reshape(6, 4)),
            "stack": (cn.stack([x, x + 1], 1), np.stack([A, A + 1], 1)),
            "stack last": (cn.stack([i, i], -1), np.stack([np.arange(3)] * 2, -1)),
            "stack numbers": (cn.stack([cn.tensor(1), cn.tensor(2)]), np.array([1, 2])),
            "hstack": (
                cn.hstack([x, y.expand(2, 2, 4)]),
                np.hstack([A, np.broadcast_to(b, (2, 2, 4))]),
            ),
            "hstack vectors": (cn.hstack([i, cn.tensor(7)]), np.array([0, 1, 2, 7])),
            "vstack": (cn.vstack([i, i]), np.vstack([np.arange(3)] * 2)),
            "roll": (x.roll(1, 2), np.roll(A, 1, 2)),
            "roll many": (cn.roll(x, (1, -2), (0, 1)), np.roll(A, (1, -2), (0, 1))),
            "roll flat": (x.roll(5), np.roll(A, 5)),
            "roll 0": (x.roll(0, 1), A),
            "pad": (cn.functional.pad(x, (1, 2)), np.pad(A, ((0, 0), (0, 0), (1, 2)))),
            "pad value": (
                cn.functional.pad(x, (0, 1, 2, 0), value=-1),
                np.pad(A, ((0, 0), (2, 0), (0, 1)), constant_values=-1),
            ),
            "pad cuts": (
                cn.functional.pad(x, (-1, 1, 0, -1)),
                np.pad(A[:, :2, 1:], ((0, 0), (0, 0), (0, 1))),
            ),
            "pad nothing": (cn.functional.pad(x, ()), A),
            "pad empty": (cn.functional.pad(cn.zeros(0), (1, 1), value=3), np.float32([3, 3])),
        }
        | {
            f"pad {mode}": (
                cn.functional.pad(x, (2, 3, 1, 2), mode),
                np.pad(A, ((0, 0), (1, 2), (2, 3)), numpy_mode),
            )
            for mode, numpy_mode in (
                ("reflect", "reflect"),
                ("replicate", "edge"),
                ("circular", "wrap"),
            )
        }
    )


def test_gradients() -> None:
    """Each gradient is the transposed movement: a sum of results counts how often each is read."""
    x = cn.tensor(A, requires_grad=True)
    weights = cn.arange(10, dtype=cn.float32)
    parts = (
        cn.cat([x[0], x[0] * 2]).sum()
        + (cn.functional.pad(x[0, 0], (1, 1)) * weights[:6]).sum()
        + cn.functional.pad(x[1, 0], (2, 2), "reflect").sum()
        + x[1].tril().sum()
        + x[1, 1].repeat(3).sum()
        + cn.stack([x[0, 1], x[0, 2]]).sum()
        + x[1].diagonal().sum()
        + x[0, 1].roll(1)[0]
    )
    parts.backward()
    n = np.zeros_like(A)
    n[0] += 3
    n[0, 0] += [1, 2, 3, 4]
    n[1, 0] += [1, 3, 3, 1]  # reflected: 2 1 0 1 2 3 2 1
    n[1] += np.tril(np.ones((3, 4)))
    n[1, 1] += 3
    n[0, 1:] += 1
    n[1, range(3), range(3)] += 1
    n[0, 1, 3] += 1
    np.testing.assert_array_equal(x.grad.numpy(), n)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.reshape(5, 5), cn.ShapeError, r"cannot give float32\[2, 3, 4\] the shape"),
        (lambda x: x.reshape(-1, -1), cn.ShapeError, "at most one -1"),
        (lambda x: x.view(-1, 7), cn.ShapeError, "view: cannot give"),
        (lambda x: x.reshape(-2), cn.ShapeError, "none below -1"),
        (lambda x: x.permute(0, 1), cn.ShapeError, "needs each of 0 to 2 once"),
        (lambda x: x.permute(0, 1, 3), cn.IndexOutOfRange, "permute: dimension 3"),
        (lambda x: x.transpose(0, 3), cn.IndexOutOfRange, "dimension 3 of a tensor with 3"),
        (lambda x: x.flatten(2, 1), cn.ShapeError, "start_dim 2 lies after"),
        (lambda x: x.unflatten(2, (3, 2)), cn.ShapeError, "product is 4"),
        (lambda x: x.t(), cn.ShapeError, "at most 2 dimensions"),
        (lambda x: x[0, 0].mT, cn.ShapeError, "2 dimensions or more"),
        (lambda x: x.expand(2, 5, 4), cn.ShapeError, "cannot expand"),
        (lambda x: x.expand(-1, 2, 3, 4), cn.ShapeError, "stands for no dimension"),
        (lambda x: x.repeat(2), cn.ShapeError, "a count for each dimension"),
        (lambda x: x.flip(0, 0), cn.ShapeError, "name one twice"),
        (lambda x: x.narrow(1, 2, 2), cn.IndexOutOfRange, "narrow: 2 elements from 2"),
        (lambda x: x.select(0, 2), cn.IndexOutOfRange, "select: index 2"),
        (lambda x: x.split([1, 1], 1), cn.ShapeError, "add up to 3"),
        (lambda x: x.split(0), cn.ShapeError, "above 0"),
        (lambda x: x.chunk(0), cn.ShapeError, "1 or more"),
        (lambda x: x[0, 0, 0].unbind(), cn.ShapeError, "needs a dimension"),
        (lambda x: cn.cat([]), cn.ShapeError, "got no tensors"),
        (lambda x: cn.cat([x, x[0]]), cn.ShapeError, "equal sizes in all others"),
        (lambda x: cn.cat([x, x[:, :2]]), cn.ShapeError, r"float32\[2, 2, 4\] .tensor 2."),
        (lambda x: cn.cat([x[0, 0, 0]]), cn.ShapeError, "use cn.stack"),
        (lambda x: cn.cat([x, 1]), TypeError, "got a int among"),
        (lambda x: cn.stack([x, x[0]]), cn.ShapeError, "needs equal shapes"),
        (lambda x: cn.functional.pad(x, (1,)), cn.ShapeError, "needs pairs"),
        (lambda x: cn.functional.pad(x, (4, 0), "reflect"), cn.ShapeError, "at most 3"),
        (lambda x: cn.functional.pad(x, (1, 1), "mirror"), ValueError, "mode is 'mirror'"),
        (lambda x: x.roll((1, 2), 0), cn.ShapeError, "as many of each"),
        (lambda x: x.diag(), cn.ShapeError, "vector or a matrix"),
        (lambda x: x[0, 0].tril(), cn.ShapeError, "2 dimensions or more"),
        (lambda x: cn.meshgrid(x), cn.ShapeError, "needs vectors"),
        (lambda x: x.diagonal(0, 1, 1), cn.ShapeError, "needs two"),
    ],
)
def test_what_is_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(cn.tensor(A))


def test_properties() -> None:
    x = cn.tensor(A)
    assert (x.numel(), x.size(), x.size(-1), x.dim()) == (24, (2, 3, 4), 4, 3)
    assert (x.element_size(), x.nbytes) == (4, 96)
    assert x.is_floating_point() and not x.int().is_floating_point()
