"""The models in float64 NumPy, written like the papers: slow, plain, and the judge of all kernels.

Arrays are in model order. codes (n, D). Networks give raw (n, sum P), the outputs of one feature
after the other; conditionals take raw (n, D, the largest P), see `padded`. The parameters of a
network are where it begins. All but gradients and samples also takes complex parameters, for
derivatives by complex steps.
"""

from reference.conditionals import CONDITIONALS, conditional_of
from reference.networks import (
    ACTIVATIONS,
    Masked,
    SharedHidden,
    as_double,
    by_feature,
    entered,
    padded,
    without_padding,
)

__all__ = [
    "ACTIVATIONS",
    "CONDITIONALS",
    "Masked",
    "SharedHidden",
    "as_double",
    "by_feature",
    "conditional_of",
    "entered",
    "padded",
    "without_padding",
]
