"""Activations as modules; each is the function of `clnet.functional` that its `forward` names."""

from __future__ import annotations

from clnet import functional as F
from clnet.core import Tensor
from clnet.nn.module import Module


class _Activation(Module):
    """A module whose text is its settings."""

    settings: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        """Return the settings, but a flag only where it is set."""
        values = [(name, getattr(self, name)) for name in self.settings]
        return ", ".join(f"{name}={value!r}" for name, value in values if value is not False)


class ReLU(_Activation):
    """max(x, 0)."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.relu(input, self.inplace)


class ReLU6(_Activation):
    """min(max(x, 0), 6)."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.relu6(input, self.inplace)


class LeakyReLU(_Activation):
    """x where x > 0, else negative_slope * x."""

    settings = ("negative_slope", "inplace")

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class ELU(_Activation):
    """x where x > 0, else alpha * (e^x - 1)."""

    settings = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.elu(input, self.alpha, self.inplace)


class SELU(_Activation):
    """Scaled elu that keeps mean 0 and variance 1."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.selu(input, self.inplace)


class CELU(_Activation):
    """x where x > 0, else alpha * (e^(x / alpha) - 1)."""

    settings = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.celu(input, self.alpha, self.inplace)


class GELU(_Activation):
    """x times the normal distribution function at x; approximate is 'none' or 'tanh'."""

    settings = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.gelu(input, self.approximate)


class SiLU(_Activation):
    """x * sigmoid(x)."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.silu(input, self.inplace)


class Mish(_Activation):
    """x * tanh(softplus(x))."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.mish(input, self.inplace)


class Softplus(_Activation):
    """log(1 + e^(beta x)) / beta; x itself where beta * x > threshold."""

    settings = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.softplus(input, self.beta, self.threshold)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.softsign(input)


class Sigmoid(_Activation):
    """1 / (1 + e^-x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.sigmoid(input)


class LogSigmoid(_Activation):
    """log(sigmoid(x)), without underflow."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.logsigmoid(input)


class Tanh(_Activation):
    """Hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.tanh(input)


class Hardtanh(_Activation):
    """Limited to [min_val, max_val]."""

    settings = ("min_val", "max_val", "inplace")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class Hardsigmoid(_Activation):
    """The line (x + 3) / 6, limited to [0, 1]."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_Activation):
    """x * hardsigmoid(x)."""

    settings = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input, elementwise."""
        return F.hardswish(input, self.inplace)


class GLU(_Activation):
    """First half of `dim` times the sigmoid of the second half."""

    settings = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input."""
        return F.glu(input, self.dim)


class Softmax(_Activation):
    """e^x divided by its sum along `dim`."""

    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input."""
        return F.softmax(input, self.dim)


class LogSoftmax(_Activation):
    """log(softmax(x)) along `dim`, without underflow."""

    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input."""
        return F.log_softmax(input, self.dim)


class Softmin(_Activation):
    """softmax(-x) along `dim`."""

    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation of the input."""
        return F.softmin(input, self.dim)
