"""`nn.Module`: what it finds by attribute, saves, loads, converts, refuses and prints."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2, bias=False)
        self.register_buffer("steps", cn.tensor([1, 2]))
        self.register_buffer("scratch", cn.zeros(2), persistent=False)
        self.scale = nn.Parameter(cn.ones(2))
        self.plain = cn.ones(2)

    def forward(self, x: cn.Tensor) -> cn.Tensor:
        return self.head(self.body(x)) * self.scale


NAMES = ["scale", "body.0.weight", "body.0.bias", "head.weight"]


def test_found_by_attribute() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert [name for name, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert [name for name, _ in net.named_buffers()] == ["steps", "scratch"]
    assert [name for name, _ in net.named_children()] == ["body", "head"]
    assert [name for name, _ in net.named_modules()] == [
        "", "body", "body.0", "body.1", "body.2", "head",
    ]  # fmt: skip
    assert net.get_parameter("body.0.weight") is net.body[0].weight
    assert net.get_submodule("body.1") is net.body[1]
    assert "scale" in dir(net)
    assert list(net.state_dict()) == ["scale", "steps", *NAMES[1:]]


def test_shared_parameter_counts_once_but_is_saved_twice() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3
    assert len(net.state_dict()) == 4
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4


def test_attributes_replace_each_other() -> None:
    net = Net()
    del net.head
    assert not hasattr(net, "head")
    net.head = nn.Identity()
    net.scale = None
    assert "scale" not in dict(net.named_parameters())
    net.scale = nn.Parameter(cn.zeros(1))
    assert "scale" in dict(net.named_parameters())
    net.plain = nn.Parameter(cn.zeros(1))
    assert "plain" in dict(net.named_parameters())
    net.steps = cn.tensor([5])
    assert net.state_dict()["steps"].shape == (1,)


def test_load_state_dict_copies_from_tensors_and_arrays() -> None:
    net, other = Net(), Net()
    result = other.load_state_dict(net.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())
        assert b.requires_grad
        assert b.is_leaf
    weight = other.head.weight
    state = {k: v.numpy() + 1 for k, v in net.state_dict().items()}
    other.load_state_dict(state)
    assert other.head.weight is weight
    np.testing.assert_array_equal(weight.detach().numpy(), state["head.weight"])


def test_load_state_dict_says_what_does_not_fit_and_changes_nothing() -> None:
    net = Net()
    state = {**net.state_dict(), "extra": cn.zeros(1), "head.weight": cn.zeros(2, 5)}
    state["scale"] = cn.zeros(2)
    del state["body.0.bias"]
    with pytest.raises(cn.CheckpointError) as caught:
        net.load_state_dict(state)
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tUnexpected key(s) in state_dict: "extra". \n'
        '\tMissing key(s) in state_dict: "body.0.bias". \n'
        "\tsize mismatch for head.weight: copying a param with shape [2, 5] from checkpoint, "
        "the shape in current model is [2, 4]."
    )
    assert net.scale.tolist() == [1.0, 1.0]
    del state["head.weight"]
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["body.0.bias", "head.weight"], ["extra"])
    assert net.scale.tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])  # type: ignore[arg-type]
    with pytest.raises(cn.CheckpointError, match="expected a tensor or an array"):
        net.load_state_dict({"scale": "one"}, strict=False)


def test_modes_and_gradients() -> None:
    net = Net().eval()
    assert not any(m.training for m in net.modules())
    assert net.train().body[2].training
    with pytest.raises(ValueError, match="boolean"):
        net.train("yes")  # type: ignore[arg-type]
    net.requires_grad_(False)
    assert not net(cn.ones(1, 3)).requires_grad
    net.requires_grad_()
    net(cn.ones(1, 3)).sum().backward()
    assert net.head.weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert not np.any(net.head.weight.grad.numpy())
    net.zero_grad()
    assert net.head.weight.grad is None


def test_conversion_keeps_the_parameters() -> None:
    net = Net()
    before = list(net.parameters())
    values = [p.detach().numpy() for p in before]
    net(cn.ones(1, 3)).sum().backward()
    assert net.to(cn.float64) is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {cn.float64}
    assert net.scale.grad is not None
    assert net.scale.grad.dtype is cn.float64
    assert net.steps.dtype is cn.int64
    assert net.scratch.dtype is cn.float64
    assert all(p.requires_grad and p.is_leaf for p in before)
    net.float()
    for p, value in zip(before, values, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), value)
    with pytest.raises(cn.DTypeError, match="needs a floating-point dtype"):
        net.to(cn.int32)
    with pytest.raises(TypeError, match="takes device and dtype"):
        net.to(memory_format=1)


def test_copies_are_independent() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    assert isinstance(twin.scale, nn.Parameter)
    with cn.no_grad():
        net.scale.zero_()
    assert twin.scale.tolist() == [1.0, 1.0]
    assert twin.scale.requires_grad


def test_state_follows_the_parameters_and_its_copy_does_not() -> None:
    net = nn.Linear(2, 2)
    state = net.state_dict()
    before = state["weight"].tolist()
    best = copy.deepcopy(state)
    optimizer = cn.optim.SGD(net.parameters(), lr=0.5)
    net(cn.ones(1, 2)).sum().backward()
    optimizer.step()
    assert state["weight"].tolist() == net.weight.tolist() != before
    assert best["weight"].tolist() == before
    net.load_state_dict(best)
    assert net.weight.tolist() == before


def test_hooks_see_and_replace() -> None:
    layer = nn.Identity()
    seen: list[Any] = []
    before = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    with layer.register_forward_hook(lambda m, args, out: seen.append(out.item())):
        layer(cn.tensor(3.0))
    before.remove()
    assert layer(cn.tensor(3.0)).item() == 3.0
    assert seen == [6.0]
    layer.register_forward_hook(lambda m, args, out: out + 1)
    assert layer(cn.tensor(3.0)).item() == 4.0


def test_apply_goes_bottom_up() -> None:
    order: list[str] = []
    Net().apply(lambda m: order.append(type(m).__name__))
    assert order == ["Linear", "ReLU", "Dropout", "Sequential", "Linear", "Net"]


def test_text() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Dropout(p=0.5, inplace=False)\n"
        "  )\n"
        "  (head): Linear(in_features=4, out_features=2, bias=False)\n"
        ")"
    )
    assert repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"
    assert repr(nn.LeakyReLU(inplace=True)) == "LeakyReLU(negative_slope=0.01, inplace=True)"
    assert repr(nn.Parameter(cn.zeros(1))).startswith("Parameter containing:\ntensor([0.]")


class Forgetful(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (Forgetful, AttributeError, r"cannot assign modules before Module.__init__\(\) call"),
        (lambda: nn.Module()(1), NotImplementedError, 'missing the required "forward"'),
        (lambda: Net().missing, AttributeError, "'Net' object has no attribute 'missing'"),
        (lambda: setattr(Net(), "scale", 3), TypeError, "Parameter or None expected"),
        (lambda: setattr(Net(), "head", 3), TypeError, "Module or None expected"),
        (lambda: setattr(Net(), "steps", 3), TypeError, "Tensor or None expected"),
        (lambda: Net().register_buffer("a.b", None), KeyError, "has no '.'"),
        (lambda: Net().register_buffer("head", None), KeyError, "has an attribute of that name"),
        (lambda: Net().register_buffer("b", 3), TypeError, "needs a Tensor or None"),
        (lambda: Net().get_submodule("body.7"), AttributeError, "has no submodule '7'"),
        (lambda: Net().get_parameter("bias"), AttributeError, "has no parameter 'bias'"),
        (lambda: nn.Parameter(cn.tensor([1])), cn.GradientError, "floating-point"),
    ],
)
def test_refused(wrong: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


# --- containers ----------------------------------------------------------------------------------


def test_sequential_is_a_list_of_layers() -> None:
    a, b, c = nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)
    net = nn.Sequential(a, b)
    assert net.append(c) is net
    assert len(net) == 3
    assert net[-1] is c
    assert list(net[:2]) == [a, b]
    assert isinstance(net[1:], nn.Sequential)
    net.insert(0, nn.Identity())
    assert list(dict(net.named_children())) == ["0", "1", "2", "3"]
    assert net.pop(0) is not a
    del net[1]
    assert list(net) == [a, c]
    net[1] = b
    assert net[1] is b
    with pytest.raises(IndexError, match="index 5 of 2 modules"):
        net[5]
    named = nn.Sequential({"first": a, "last": c})
    assert list(named.state_dict())[:2] == ["first.weight", "first.bias"]
    assert named.last is c


def test_list_and_dict_hold_modules() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2)]).extend([nn.Linear(2, 2)])
    assert len(list(layers.parameters())) == 4
    table = nn.ModuleDict({"a": nn.Tanh()})
    table["b"] = nn.Linear(2, 2)
    assert list(table) == ["a", "b"]
    assert "b" in table
    assert len(list(table.parameters())) == 2
    assert dict(table.items())["a"] is table["a"]
    table.pop("a")
    assert list(table.keys()) == ["b"]
    table.clear()
    assert not len(table)
