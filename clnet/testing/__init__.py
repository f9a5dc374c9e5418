"""Public checks: records against NumPy, gradients against differences, by one table of tolerances.

>>> import clnet as cn
>>> from clnet.testing import gradcheck
>>> gradcheck(cn.sin, cn.tensor([0.5], dtype=cn.float64))
True
"""

from clnet.testing.forward import Case, check_op, failures, forward_cases
from clnet.testing.gradients import gradcheck, gradgradcheck, gradient_failures, has_float64
from clnet.testing.operands import LAYOUTS, laid_out
from clnet.testing.structure import record_failures
from clnet.testing.tolerance import TABLE, Tolerance, difference, kind_of

__all__ = [
    "LAYOUTS",
    "TABLE",
    "Case",
    "Tolerance",
    "check_op",
    "difference",
    "failures",
    "forward_cases",
    "gradcheck",
    "gradgradcheck",
    "gradient_failures",
    "has_float64",
    "kind_of",
    "laid_out",
    "record_failures",
]
