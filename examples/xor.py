#!/usr/bin/env python3
"""Exclusive or, learnt one example at a time: the smallest network that needs a hidden layer.

    .venv/bin/python examples/xor.py

The demonstration of DyNet and of its OpenCL port DeepRacket: 8 hidden tanh units, inputs and
answers -1 (false) or +1 (true), squared error, a step of plain gradient descent per example.
"""

from __future__ import annotations

import argparse

import clnet as cn
from clnet import functional as F
from clnet import nn, optim

# Two inputs, and what is wanted: true where exactly one of them is.
EXAMPLES = [
    ((-1.0, -1.0), -1.0),
    ((-1.0, +1.0), +1.0),
    ((+1.0, -1.0), +1.0),
    ((+1.0, +1.0), -1.0),
]


def main() -> None:
    """Train, print the loss of each epoch, then the truth table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=30, help="default: 30")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--device", help="fragment of a device's name, gpu, cpu, or indices as 0:0")
    parser.add_argument("--smoke", action="store_true", help="the shortest run through all parts")
    options = parser.parse_args()
    epochs = 2 if options.smoke else options.epochs
    cn.set_default_device(options.device)
    cn.manual_seed(options.seed)

    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    data = [(cn.tensor(x), cn.tensor([y])) for x, y in EXAMPLES]

    for epoch in range(1, epochs + 1):
        total = 0.0
        for x, y in data:
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch:2d}  mean squared error {total / len(data):.2e}")

    print("\n  a   b   a xor b   network")
    with cn.no_grad():
        for (a, b), wanted in EXAMPLES:
            answer = net(cn.tensor([a, b])).item()
            verdict = "right" if answer * wanted > 0 else "wrong"
            print(f"{a:+3.0f} {b:+3.0f} {wanted:+9.0f} {answer:+9.4f}  {verdict}")


if __name__ == "__main__":
    main()
