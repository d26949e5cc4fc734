"""Output distributions: what the raw outputs of a network mean for one feature.

A conditional translates between the user's values and *codes* (what networks see, in model order)
and owns the log-density. Networks know none of this. To add one: write a class in a module here,
put it into `BY_NAME` (`_names.py`), and give it a kernel in ``src/kernels/conditionals``.
"""

from fastar.conditionals._bernoulli import Bernoulli
from fastar.conditionals._calendar import Calendar
from fastar.conditionals._categorical import Categorical
from fastar.conditionals._conditional import Conditional
from fastar.conditionals._integer import LogisticMixture, NegativeBinomial, Poisson
from fastar.conditionals._mixed import Mixed
from fastar.conditionals._names import BY_NAME, from_name
from fastar.conditionals._number import Number
from fastar.conditionals._ordered import Integer
from fastar.conditionals._real import Gaussian, GaussianMixture, Laplace, LaplaceMixture

__all__ = [
    "BY_NAME",
    "Bernoulli",
    "Calendar",
    "Categorical",
    "Conditional",
    "Gaussian",
    "GaussianMixture",
    "Integer",
    "Laplace",
    "LaplaceMixture",
    "LogisticMixture",
    "Mixed",
    "NegativeBinomial",
    "Number",
    "Poisson",
    "from_name",
]
