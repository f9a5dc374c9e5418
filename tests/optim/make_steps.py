"""Write steps.json: what PyTorch's optimizers make of the same parameters and gradients.

python tests/optim/make_steps.py        with PyTorch installed
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

START = [[1.0, -2.0, 0.5], [0.25, 3.0, -1.5]]
GRADIENTS = [
    [[0.5, -1.0, 2.0], [0.0, 0.1, -0.2]],
    [[-0.25, 3.0, 1.0], [1.0, -2.0, 0.3]],
    [[1.5, 0.0, -2.0], [0.5, 0.5, 0.5]],
    [[0.1, 0.2, 0.3], [-0.4, -0.5, -0.6]],
    [[2.0, -0.2, 0.7], [0.9, 0.8, -0.7]],
]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam, decay": ("Adam", {"lr": 0.1, "weight_decay": 0.1, "betas": [0.8, 0.9]}),
    "Adam, amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True, "eps": 1e-3}),
    "Adam, maximize": ("Adam", {"lr": 0.1, "maximize": True}),
    "AdamW": ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
    "AdamW, amsgrad": ("AdamW", {"lr": 0.05, "amsgrad": True, "maximize": True}),
    "RMSprop": ("RMSprop", {"lr": 0.05}),
    "RMSprop, all": (
        "RMSprop",
        {"lr": 0.05, "alpha": 0.9, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
    ),
    "Adagrad": ("Adagrad", {"lr": 0.1}),
    "Adagrad, all": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2},
    ),
}


def main() -> None:
    """Run every case in float64; save values after each step, and the state after the third."""
    import torch

    found = {}
    for name, (kind, settings) in CASES.items():
        p = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        optimizer = getattr(torch.optim, kind)([p], **settings)
        values = []
        for step, g in enumerate(GRADIENTS):
            p.grad = torch.tensor(g, dtype=torch.float64)
            optimizer.step()
            values.append(p.detach().tolist())
            if step == 2:
                state = {k: v.tolist() for k, v in optimizer.state[p].items()}
        found[name] = {"values": values, "state": state}
    path = Path(__file__).with_name("steps.json")
    path.write_text(json.dumps({"torch": torch.__version__, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
