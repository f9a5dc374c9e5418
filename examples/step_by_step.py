#!/usr/bin/env python3
"""A recurrent network by hand: one formula, one Python loop, and a gradient through all of it.

    .venv/bin/python examples/step_by_step.py

The network reads bits one at a time and says after each how many ones it has seen so far, odd (1)
or even (0). It can only know by remembering, and its whole memory is the vector h.
"""

from __future__ import annotations

import argparse

import clnet as cn
from clnet import functional as F

TIME, BATCH, HIDDEN = 8, 32, 32
RATE = 1.0

parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
parser.add_argument("--steps", type=int, default=300, help="default: 300")
parser.add_argument("--smoke", action="store_true", help="the shortest run through all parts")
options = parser.parse_args()
steps = 3 if options.smoke else options.steps

# All that is learnt. W brings in the new bit, U carries the memory on, V reads the answer out.
cn.manual_seed(0)
W = (cn.randn(1, HIDDEN) * 0.5).requires_grad_()
U = (cn.randn(HIDDEN, HIDDEN) / HIDDEN**0.5).requires_grad_()
b = cn.zeros(HIDDEN, requires_grad=True)
V = (cn.randn(HIDDEN, 1) / HIDDEN**0.5).requires_grad_()
c = cn.zeros(1, requires_grad=True)
weights = [W, U, b, V, c]


def read(bits: cn.Tensor) -> cn.Tensor:
    """Return a number per step, above 0 for "odd"; bits and result are [time, batch, 1]."""
    h = cn.zeros(bits.shape[1], HIDDEN)
    answers = []
    for x in bits:  # an ordinary Python loop over time
        h = cn.tanh(x @ W + h @ U + b)
        answers.append(h @ V + c)
    return cn.stack(answers)


def draw_examples(time: int) -> tuple[cn.Tensor, cn.Tensor]:
    """Return random bits, and after each of them whether the ones so far are odd."""
    bits = cn.randint(0, 2, (time, BATCH, 1)).float()
    return bits, bits.cumsum(0) % 2


for step in range(1, steps + 1):
    bits, odd = draw_examples(TIME)
    loss = F.binary_cross_entropy_with_logits(read(bits), odd)
    loss.backward()  # through the loop, from the last bit back to the first
    with cn.no_grad():
        for w in weights:
            assert w.grad is not None
            w -= RATE * w.grad
            w.grad = None
    cn.eval(*weights)  # start computing this step; does not wait
    if step % 25 == 0 or step == steps:
        print(f"step {step:4d}  loss {loss.item():.4f}")

bits, odd = draw_examples(3 * TIME)  # longer than any it was trained on
with cn.no_grad():
    says = (read(bits) > 0).float()
print(f"right on sequences three times as long: {(says == odd).float().mean().item():.1%}")
for name, value in ("bits", bits), ("odd ", odd), ("says", says):
    print(name, *value[:, 0, 0].int().tolist())
