"""Optimizers and learning-rate schedules, with PyTorch's names, arguments and semantics."""

from clnet.optim import lr_scheduler
from clnet.optim.optimizer import Optimizer
from clnet.optim.sgd import SGD

__all__ = ["SGD", "Optimizer", "lr_scheduler"]
