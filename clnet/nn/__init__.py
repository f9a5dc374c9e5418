"""Modules: layers, models, losses, with PyTorch's names, arguments and semantics.

`clip_grad_norm_` and `clip_grad_value_` are here, not in a `utils` below; `functional` is
`clnet.functional`.
"""

from clnet import functional
from clnet.nn import init
from clnet.nn.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softsign,
    Tanh,
)
from clnet.nn.cell import (
    GRUCell,
    LSTMCell,
    RNNCell,
    RNNCellBase,
)
from clnet.nn.clip import (
    clip_grad_norm_,
    clip_grad_value_,
)
from clnet.nn.container import (
    ModuleDict,
    ModuleList,
    Sequential,
)
from clnet.nn.layer import (
    Bilinear,
    Dropout,
    Dropout1d,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    RMSNorm,
    Unflatten,
)
from clnet.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from clnet.nn.lstm_cell import (
    CoupledLSTMCell,
    LayerNormLSTMCell,
    PeepholeLSTMCell,
    VariationalDropout,
    VariationalDropoutCell,
    WeightNoise,
)
from clnet.nn.module import (
    Module,
)
from clnet.nn.parameter import (
    Parameter,
)
from clnet.nn.recurrent import (
    GRU,
    LSTM,
    RNN,
)

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Bilinear",
    "CoupledLSTMCell",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LayerNormLSTMCell",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "PeepholeLSTMCell",
    "RMSNorm",
    "RNNCell",
    "RNNCellBase",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softsign",
    "Tanh",
    "Unflatten",
    "VariationalDropout",
    "VariationalDropoutCell",
    "WeightNoise",
    "clip_grad_norm_",
    "clip_grad_value_",
    "functional",
    "init",
]
