"""Code that means the same in PyTorch and in clnet, and the inputs to run it on.

`pytorch.json` beside this file holds PyTorch's results. To write it again, with PyTorch installed:
`python tests/nn/cases.py`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SAVED = Path(__file__).with_name("pytorch.json")


@dataclass(frozen=True)
class Case:
    """An expression in F, nn, m (the module, if any) and the inputs.

    An input is a shape, filled with normal numbers, or values as they are: lists of ints or floats.
    `leaves` are the inputs whose gradients are compared, all of floats unless given.
    """

    code: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""
    leaves: tuple[str, ...] | None = None

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the inputs, the same in every run."""
        random = np.random.RandomState(zlib.crc32(name.encode()))
        return {
            k: random.randn(*v) if isinstance(v, tuple) else np.asarray(v)
            for k, v in self.inputs.items()
        }


# Where branches meet and functions saturate.
EDGES = [[-100.0, -6.5, -3.0, -1.0, -0.3], [0.0, 0.7, 1.0, 25.0, 100.0]]
_ACTIVATIONS = """
    relu(x); relu6(x); leaky_relu(x); leaky_relu(x, 0.2); elu(x); elu(x, 0.5); selu(x); celu(x, 2.0)
    gelu(x); gelu(x, approximate='tanh'); silu(x); mish(x); softplus(x); softplus(x, 2.0, 5.0)
    softsign(x); sigmoid(x); logsigmoid(x); tanh(x); hardtanh(x); hardtanh(x, -2.0, 0.5)
    hardsigmoid(x); hardswish(x)
"""
_SOFTMAXES = """
    softmax(x, 0); softmax(x, dim=-1); log_softmax(x, 1); softmin(x, 1); glu(x, 1); normalize(x)
    normalize(x, 1.0, 0); normalize(x, 3.0, 1); layer_norm(x, (4,)); layer_norm(x, [3, 4], w, b)
    rms_norm(x, (4,), v); cosine_similarity(x, w); cosine_similarity(x, w, dim=0)
    pairwise_distance(x, w)
"""
_NUMBERS = """
    mse_loss(x, t); mse_loss(x, t, reduction='sum'); l1_loss(x, t); smooth_l1_loss(x, t, beta=0.5)
    huber_loss(x, t, delta=0.7); binary_cross_entropy_with_logits(x, s)
    binary_cross_entropy_with_logits(x, s, weight=w, pos_weight=v, reduction='none')
    binary_cross_entropy(q, r); binary_cross_entropy(q, r, weight=w, reduction='sum')
    kl_div(x, s, reduction='sum'); kl_div(x, t, reduction='batchmean', log_target=True)
"""
_CLASSES = """
    cross_entropy(x, c); cross_entropy(x, c, w); cross_entropy(x, c, reduction='sum')
    cross_entropy(x, c, ignore_index=2); cross_entropy(x, p); cross_entropy(x[0], c[0])
    cross_entropy(x, c, w, reduction='none', label_smoothing=0.1)
    cross_entropy(x, c, w, ignore_index=2, label_smoothing=0.1)
    cross_entropy(x, p, w, label_smoothing=0.2); cross_entropy(x, p, reduction='none')
    cross_entropy(y, d, w); cross_entropy(y, d, reduction='none', ignore_index=1)
    nll_loss(x, c); nll_loss(x, c, w, ignore_index=0); nll_loss(y, d, reduction='sum')
"""


def _each(codes: str, leaves: tuple[str, ...] | None = None, **inputs: Any) -> dict[str, Case]:
    calls = [c.strip() for line in codes.strip().splitlines() for c in line.split(";")]
    return {call: Case(f"F.{call}", inputs, leaves=leaves) for call in calls}


FUNCTIONS = {
    **_each(_ACTIVATIONS, x=EDGES),
    **_each(_SOFTMAXES, x=(3, 4), w=(3, 4), b=(3, 4), v=(4,)),
    **_each(
        _NUMBERS,
        leaves=("x", "q"),
        x=(2, 3),
        t=(2, 3),
        s=[[0.2, 0.9, 0.5], [0.01, 0.3, 0.99]],
        q=[[0.2, 0.9, 0.5], [0.01, 0.3, 0.99]],
        r=[[0.0, 1.0, 0.5], [0.3, 0.2, 1.0]],
        w=[0.5, 1.0, 2.0],
        v=[3.0, 1.0, 0.25],
    ),
    **_each(
        _CLASSES,
        leaves=("x", "y"),
        x=(4, 3),
        y=(2, 3, 2),
        c=[0, 2, 1, 2],
        d=[[1, 0], [2, 1]],
        p=[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]],
        w=[0.5, 1.0, 2.0],
    ),
    "linear": Case("F.linear(x, w, b)", {"x": (2, 3, 4), "w": (5, 4), "b": (5,)}),
    "linear of vectors": Case("F.linear(x, w)", {"x": (4,), "w": (5, 4)}),
    "embedding": Case("F.embedding(i, w)", {"i": [[0, 3, 3], [1, 0, 3]], "w": (4, 2)}),
    "embedding, padding": Case(
        "F.embedding(i, w, padding_idx=3)", {"i": [[0, 3, 3], [1, 0, 3]], "w": (4, 2)}
    ),
}
_X = {"x": (3, 2, 3)}
# An LSTM returns its states as a tuple of their own.
_FLAT = "(lambda output, states: (output, *states))"
MODULES = {
    "Linear": Case("m(x)", {"x": (2, 4)}, "nn.Linear(4, 3)"),
    "Bilinear": Case("m(x, y)", {"x": (2, 3), "y": (2, 4)}, "nn.Bilinear(3, 4, 2)"),
    "LayerNorm": Case("m(x)", {"x": (2, 4)}, "nn.LayerNorm(4)"),
    "Embedding": Case("m(i)", {"i": [1, 2, 1]}, "nn.Embedding(4, 3, padding_idx=2)"),
    "RNNCell": Case("m(x, h)", {"x": (2, 3), "h": (2, 4)}, "nn.RNNCell(3, 4)"),
    "RNNCell, unbatched": Case("m(x)", {"x": (3,)}, "nn.RNNCell(3, 4, False, 'relu')"),
    "RNN": Case("m(x)", _X, "nn.RNN(3, 4)"),
    "RNN, state": Case("m(x, h)", {**_X, "h": (2, 2, 4)}, "nn.RNN(3, 4, 2, nonlinearity='relu')"),
    "RNN, both directions": Case(
        "m(x, h)", {**_X, "h": (4, 3, 4)},
        "nn.RNN(3, 4, num_layers=2, bidirectional=True, batch_first=True)",
    ),
    "RNN, unbatched": Case(
        "m(x, h)", {"x": (3, 3), "h": (2, 4)}, "nn.RNN(3, 4, bias=False, bidirectional=True)"
    ),
    "LSTMCell": Case("m(x, (h, c))", {"x": (2, 3), "h": (2, 4), "c": (2, 4)}, "nn.LSTMCell(3, 4)"),
    "LSTMCell, unbatched": Case("m(x)", {"x": (3,)}, "nn.LSTMCell(3, 4, bias=False)"),
    "GRUCell": Case("m(x, h)", {"x": (2, 3), "h": (2, 4)}, "nn.GRUCell(3, 4)"),
    "GRUCell, unbatched": Case("m(x)", {"x": (3,)}, "nn.GRUCell(3, 4, bias=False)"),
    "LSTM": Case(f"{_FLAT}(*m(x))", _X, "nn.LSTM(3, 4)"),
    "LSTM, both directions": Case(
        f"{_FLAT}(*m(x, (h, c)))", {**_X, "h": (4, 3, 4), "c": (4, 3, 4)},
        "nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)",
    ),
    "LSTM, projected": Case(
        f"{_FLAT}(*m(x, (h, c)))", {"x": (3, 3), "h": (4, 2), "c": (4, 4)},
        "nn.LSTM(3, 4, proj_size=2, num_layers=2, bias=False, bidirectional=True)",
    ),
    "GRU": Case("m(x)", _X, "nn.GRU(3, 4)"),
    "GRU, both directions": Case(
        "m(x, h)", {**_X, "h": (4, 3, 4)},
        "nn.GRU(3, 4, num_layers=2, batch_first=True, bidirectional=True)",
    ),
    "GRU, unbatched": Case(
        "m(x, h)", {"x": (3, 3), "h": (2, 4)}, "nn.GRU(3, 4, bias=False, bidirectional=True)"
    ),
}  # fmt: skip
CASES = {**FUNCTIONS, **MODULES}


def run(name: str, nn: Any, F: Any, tensor: Callable[..., Any], load: Any) -> dict[str, Any]:
    """Run a case in one of the libraries: its results, and gradients of a weighted sum of them."""
    case = CASES[name]
    random = np.random.RandomState(0)
    arrays = case.arrays(name)
    inputs = {k: tensor(v) for k, v in arrays.items()}
    scope: dict[str, Any] = {"F": F, "nn": nn, **inputs}
    leaves = {
        k: v for k, v in inputs.items() if arrays[k].dtype.kind == "f" and k in (case.leaves or k)
    }
    if case.module:
        scope["m"] = module = eval(case.module, scope).double()
        state = {k: tensor(random.randn(*v.shape)) for k, v in module.state_dict().items()}
        load(module, state)
        leaves.update(module.named_parameters())
    for leaf in leaves.values():
        leaf.requires_grad_()
    found = eval(case.code, scope)
    results = found if isinstance(found, tuple) else (found,)
    terms = [(y * tensor(np.asarray(random.randn(*tuple(y.shape))))).sum() for y in results]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    total.backward()
    kept = {f"result {i}": y.detach() for i, y in enumerate(results)}
    kept.update({f"gradient of {k}": v.grad for k, v in leaves.items() if v.grad is not None})
    return kept


def run_pytorch(name: str) -> dict[str, np.ndarray]:
    """Run a case in PyTorch, in float64."""
    import torch

    found = run(
        name,
        torch.nn,
        torch.nn.functional,
        torch.tensor,
        lambda module, state: module.load_state_dict(state),
    )
    return {k: v.numpy() for k, v in found.items()}


if __name__ == "__main__":
    table = {name: {k: v.tolist() for k, v in run_pytorch(name).items()} for name in CASES}
    lines = (f"{json.dumps(name)}: {json.dumps(values)}" for name, values in table.items())
    SAVED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(table)} cases, {SAVED.stat().st_size} bytes")
