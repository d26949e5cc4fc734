"""Constructors: each parameter is declared once, with its default, constraint and documentation."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, make_dataclass
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from fastar import conditionals, optimizers, schedules
from fastar._core.limits import MOST_LAYERS, MOST_MEMBERS, MOST_STEPS, MOST_UNITS
from fastar.conditionals import Conditional
from fastar.optimizers import Optimizer
from fastar.schedules import Schedule

Estimator = TypeVar("Estimator")

COUNT = [Interval(Integral, 1, None, closed="left")]
UNITS, LAYERS, MEMBERS, STEPS = (
    [Interval(Integral, 1, most, closed="both")]
    for most in (MOST_UNITS, MOST_LAYERS, MOST_MEMBERS, MOST_STEPS)
)
DISTRIBUTION = [StrOptions({"auto", *conditionals.BY_NAME}), Conditional, list, tuple]


def parameter(*, default: Any, constraint: list[Any], doc: str = "") -> Any:
    """Declare a parameter; its documentation begins with its type.

    A subclass that changes the default alone writes `name: type = default`.
    """
    return field(default=default, metadata={"constraint": constraint, "doc": doc})


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(parameter,))
def parameters(cls: type[Estimator]) -> type[Estimator]:
    """Give an estimator a keyword-only `__init__` that stores its parameters.

    Its own come first, then those of its bases in the order of method resolution.
    `{shared_parameters}` in its docstring is replaced by those that are documented where they are
    declared, `default={name}` by a default.
    """
    collect: Any = dataclass(init=False, kw_only=True, repr=False, eq=False, match_args=False)
    fields, declared = collect(cls).__dataclass_fields__, _declared(cls)
    made = make_dataclass(
        cls.__name__,
        [(name, fields[name].type, fields[name]) for name in declared],
        kw_only=True, repr=False, eq=False, namespace={"__module__": cls.__module__},
    )  # fmt: skip
    doc = inspect.cleandoc(cls.__doc__ or "")
    doc = doc.replace("{shared_parameters}", _documentation(declared))
    for name in declared:
        doc = doc.replace("default={" + name + "}", f"default={fields[name].default!r}")
    estimator: Any = cls
    estimator.__init__, estimator.__doc__ = vars(made)["__init__"], doc
    estimator._parameter_constraints = {name: each["constraint"] for name, each in declared.items()}
    return cls


def _declared(cls: type[Any]) -> dict[str, Any]:
    """Return what each parameter was declared with, in the order of the signature."""
    declared: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        fields = vars(base).get("__dataclass_fields__", {})
        names = inspect.get_annotations(base)
        own = {name: each.metadata for name, each in fields.items() if name in names}
        new = {name: each for name, each in own.items() if name not in declared}
        # a parameter that a subclass declares again keeps its place, and its rule unless it has one
        declared = {**new, **declared, **{name: each for name, each in own.items() if each}}
    return declared


def _documentation(declared: dict[str, Any]) -> str:
    texts = {name: inspect.cleandoc(each["doc"]) for name, each in declared.items() if each["doc"]}
    return "\n".join(f"{name} : " + text.replace("\n", "\n    ") for name, text in texts.items())


@parameters
class TrainingParameters:
    """Parameters of the training of every model."""

    solver: Any = parameter(
        default="adam",
        constraint=[StrOptions(set(optimizers.BY_NAME)), Optimizer],
        doc="""{"sgd", "adam", "adagrad", "adadelta", "rmsprop"} or Optimizer, default="adam\"""",
    )
    learning_rate_init: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc="""float or None, default=None
        First learning rate; None: the solver's own (adam and rmsprop 0.001, sgd and adagrad 0.01,
        adadelta 1).""",
    )
    learning_rate: Any = parameter(
        default="cooldown",
        constraint=[StrOptions(set(schedules.BY_NAME)), Schedule],
        doc="""Schedule or its name, default="cooldown"
        One of "constant", "invscaling", "linear", "cosine", "adaptive" and "cooldown": the same
        rate until training no longer improves, then, from the best parameters, a fall to zero
        over 30 % as many epochs as these had.""",
    )
    alpha: float = parameter(
        default=0.0,
        constraint=[Interval(Real, 0, None, closed="left")],
        doc="""float, default={alpha}
        Weight decay of the weights, not the biases (a Gaussian prior): each step multiplies them by
        1 - rate * alpha.""",
    )
    l1_ratio: float = parameter(
        default=0.0,
        constraint=[Interval(Real, 0, 1, closed="both")],
        doc="""float, default=0.0
        The share of `alpha` that is not weight decay but a penalty on the absolute values of the
        weights (a Laplace prior): ``alpha * l1_ratio * |w|`` is added to the mean negative
        log-likelihood of a row, by a proximal step, which leaves many weights at exactly zero.
        Good for few rows of many columns, with `solver="adagrad"` and a rate of about 0.5.""",
    )
    max_gradient_norm: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc="""float or None, default={max_gradient_norm}
        Longer gradients are shortened to this norm before a step.""",
    )
    batch_size: int = parameter(
        default=100,
        constraint=COUNT,
        doc="""int, default={batch_size}
        Rows of a minibatch.""",
    )
    max_iter: int = parameter(
        default=1000,
        constraint=COUNT,
        doc="""int, default=1000
        Most epochs.""",
    )
    tol: float = parameter(
        default=1e-4,
        constraint=[Interval(Real, 0, None, closed="left")],
        doc="""float, default=1e-4
        Nats by which an epoch must improve on the best one to count.""",
    )
    early_stopping: bool = parameter(
        default=True,
        constraint=["boolean"],
        doc="""bool, default=True
        Hold out `validation_fraction` of the rows, stop or cool down when their log-likelihood no
        longer improves, and keep the best parameters. Without it the training log-likelihood
        decides, and the last parameters stay.""",
    )
    validation_fraction: float = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 1, closed="neither")],
        doc="float, default=0.1",
    )
    n_iter_no_change: int = parameter(
        default=10,
        constraint=COUNT,
        doc="""int, default=10
        Epochs without improvement after which training stops or cools down; an epoch of fewer than
        20 minibatches counts for that share of 20.""",
    )
    warm_start: bool = parameter(
        default=False,
        constraint=["boolean"],
        doc="""bool, default=False
        Go on from the parameters of the last `fit`.""",
    )
    random_state: Any = parameter(
        default=None,
        constraint=["random_state"],
        doc="int, RandomState instance or None, default=None",
    )
    n_jobs: int | None = parameter(
        default=None,
        constraint=[Integral, None],
        doc="""int or None, default=None
        Threads; None and -1: all cores this process may use. The results are the same for any
        number. At most 256, or as many as there are cores, are started.""",
    )
    verbose: int = parameter(
        default=0,
        constraint=["verbose"],
        doc="""int, default=0
        1 shows a progress bar.""",
    )
    callbacks: Any = parameter(
        default=None,
        constraint=[list, tuple, HasMethods("on_epoch_end"), None],
        doc="""list of callbacks or None, default=None
        See `fastar.callbacks`.""",
    )
    dtype: Any = parameter(
        default="float32",
        constraint=[
            StrOptions({"float32", "float64"}),
            Options(type, {np.float32, np.float64}),
            Options(np.dtype, {np.dtype("float32"), np.dtype("float64")}),
        ],
        doc="""{"float32", "float64"}, default="float32"
        Type in which the parameters are kept and computed.""",
    )


@parameters
class DistributionParameter(TrainingParameters):
    """Which conditional a density has."""

    distribution: Any = parameter(
        default="auto",
        constraint=[*DISTRIBUTION, dict],
        doc="""str, Conditional, list or dict, default={distribution}
        f: "bernoulli", "categorical", "gaussian", "laplace", "gaussian_mixture", "laplace_mixture",
        "logistic_mixture", "poisson", "negative_binomial", "integer", "number", an object of
        `fastar.conditionals`, or "auto", which judges each column for itself: Bernoulli for bools,
        and where all of X is 0 and 1, categorical for strings and categories, and for whole
        numbers of few levels or of few common ones, `Integer` for other whole numbers, and
        `Number` for real ones; `schema_` says what was decided. A list has one of these for each
        column, a dict has them by column; what it leaves out is "auto". One for all columns is that
        of the numbers; categories keep their levels.""",
    )


@parameters
class LevelsParameter(TrainingParameters):
    """Which levels are levels of their own."""

    min_count: int = parameter(
        default=1,
        constraint=COUNT,
        doc="""int, default=1
        Strings of a DataFrame's column that fewer rows of `fit` have become one level, "other", and
        so does any string that `fit` has not seen: such a value has the probability of them all
        together. Samples show it as "other"; `impute` keeps the cells that are there. It holds for
        columns that `distribution` leaves to "auto" or calls "categorical"; columns of numbers
        keep all their levels.""",
    )


@parameters
class MissingParameter(TrainingParameters):
    """What NaN in an array means."""

    missing: str = parameter(
        default="error",
        constraint=[StrOptions({"error", "marked", "modelled"})],
        doc="""{"error", "marked", "modelled"}, default="error"
        Meaning of NaN in an array: an error, or a missing value, as it always is in a DataFrame.
        A missing value has no density, and the features after it see that it is missing. With
        "modelled" a gap in a column that has some in `fit` has a probability, given what is before
        it, so that scores count gaps and samples have some.""",
    )


@parameters
class OrderParameter(TrainingParameters):
    """In which order a density takes the columns."""

    order: Any = parameter(
        default="natural",
        constraint=[StrOptions({"natural", "random"}), "array-like"],
        doc="""{"natural", "random"} or permutation of the columns, default="natural"
        The order of the features in the product.""",
    )


@parameters
class MarkovOrderParameter(TrainingParameters):
    """How many features before it a feature sees."""

    markov_order: int | None = parameter(
        default=None,
        constraint=[*COUNT, None],
        doc="""int or None, default=None
        x_d sees only so many features before it, all of them by default.""",
    )


@parameters
class LongFrameParameters(TrainingParameters):
    """How the rows of a long frame are sequences."""

    groups: Any = parameter(
        default=None,
        constraint=[str, Integral, None],
        doc="""str, int or None, default=None
        The column of a long DataFrame that says which sequence a row belongs to.""",
    )
    order_by: Any = parameter(
        default=None,
        constraint=[str, Integral, None],
        doc="""str, int or None, default=None
        The column of numbers, dates or times by which the rows of a group are sorted; None: they
        are in their order. A step has two values of it, before all others: where the sequence
        begins, in its first step, and how much it rises since the step before, in later ones. So
        samples are in order.""",
    )
