"""Optimizers and learning-rate schedules, with PyTorch's names, arguments and semantics."""

from clnet.optim import lr_scheduler
from clnet.optim.adagrad import Adagrad
from clnet.optim.adam import Adam, AdamW
from clnet.optim.optimizer import Optimizer
from clnet.optim.rmsprop import RMSprop
from clnet.optim.sgd import SGD
from clnet.optim.sparse_adam import SparseAdam

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "SparseAdam", "lr_scheduler"]
