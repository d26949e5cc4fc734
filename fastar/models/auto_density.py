"""A density that is searched for within a budget of time."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from fastar._core.estimators import BaseEstimator, DensityMixin
from fastar._core.limits import MOST_MEMBERS
from fastar._core.schema import OBJECT, Listed, Maybe, Number, OneOf, Record, Rule, Whole
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_weight, unchanged_on_error
from fastar._data.frame_types import as_frame
from fastar._data.reading import read
from fastar.conditionals import Conditional, from_name
from fastar.models._base import FitData
from fastar.models._candidates import Candidate, first_candidates, narrow_candidate
from fastar.models._fitted_mixture import FittedMixture
from fastar.models._mixture_file import MixtureFile
from fastar.models._parameters import COUNT, DISTRIBUTION
from fastar.models._rows import Rows, held_out, member_arguments
from fastar.models._search import Clock, Search, Trial
from fastar.models.deep_nade import DeepNADE
from fastar.models.made import FVSBN, MADE
from fastar.models.nade import NADE, RNADE
from fastar.persistence import FrozenMembers, SavedState

_MODELS: dict[str, Any] = {each.__name__: each for each in (NADE, RNADE, MADE, FVSBN, DeepNADE)}
_USUAL = ("NADE", "RNADE", "MADE", "FVSBN")
_UNLIMITED = 2**31 - 1
_OF_WEIGHTS = 0.03
"""The share of the time that is kept for what follows the trainings."""

_REPLAY = Record(
    {
        "random_state": Whole(0, 2**32 - 1),
        "trials": Listed(
            Record(
                {
                    "model": OneOf(tuple(_MODELS)),
                    "settings": OBJECT,
                    "random_state": Whole(0, 2**32 - 1),
                    "trainings": Listed(Listed(Whole(1), 2), least=1),
                }
            ),
            least=1,
        ),
    },
    {"columns": Record({"min_count": Whole(1), "missing": OneOf(("error", "marked", "modelled"))})},
)
_LINE = Record(
    {
        "model": OneOf(tuple(_MODELS)),
        "settings": OBJECT,
        "score": Number(),
        "seconds": Number(),
        "epochs": Whole(1),
        "weight": Number(0, 1),
    }
)
"""Rules of the entries of the leaderboard."""


class AutoDensity(FittedMixture, MixtureFile, DensityMixin, BaseEstimator):
    r"""Mixture of the models that a search finds best, within a budget of time.

    .. math::
        p(x) = \sum_k w_k \, p_k(x), \quad w_k \ge 0, \quad \sum_k w_k = 1

    where the members p_k and their weights have a large likelihood on validation rows, which no
    member is trained on. The search has three stages:

    1. Successive halving [1]_: some settings that are good for many tables are trained for a ninth
       of a long training, the best half of them go on for a third of one, and the best for all of
       it. Each training has a learning rate that falls to zero, and begins with the parameters of
       the one before (warm restarts [2]_).
    2. Variations of a trial that is drawn by its weight in the mixture so far: all have a seed of
       their own, two of three another order of the columns, and half of them another setting.
       Orders are those of some dozens of random ones with which a narrow model of more than five
       columns is best after a short training.
    3. Selection [3]_: the mixture begins with the best models and takes others one by one, with
       repetition, up to where the validation likelihood is largest. On the validation rows it is
       never worse than its best member.

    Parameters
    ----------
    max_time : float or None, default=60
        Most seconds that `fit` may take. It takes longer only if a single epoch does, and less
        where `n_trials_no_change` ends it. None: no limit.
    max_trials : int or None, default=None
        Most models that are trained; half of them, at most, are the settings to begin with. None:
        no limit. Without `max_time`, the result depends on no clock.
    max_iter : int or None, default=None
        Most epochs of a training. None: as many as 6000 steps of minibatches take, 12 at least and
        1000 at most; four times as many for a model of all orders, and twice as many where that is
        the setting that was changed.
    n_trials_no_change : int or None, default=None
        `fit` ends before `max_time` when so many trials, one after the other, have together raised
        the mean log-likelihood of the validation rows by less than `tol`, 16 say. None: it goes on.
    tol : float, default=1e-3
        In nats a row.
    models : sequence of str or None, default=None
        Names of the models to try: "NADE", "RNADE", "MADE", "FVSBN", "DeepNADE". None: all but the
        last one, whose training for every order takes long.
    distribution : str, Conditional, list or dict, default="auto"
        f, as the models have it. Where it is "auto", or a mixture by name or as an object, numbers
        of components are tried as well, an object's own one first. The densities of all trials must
        have one unit: `distribution` is therefore for the user to choose.
    min_count : int, default=1
        Rows that a string of a DataFrame's column must have in `fit` to be a level of its own, as
        the models have it.
    missing : {"error", "marked", "modelled"}, default="error"
        Meaning of NaN in an array: an error, or a missing value, as it always is in a DataFrame.
        With "modelled" gaps have a probability, as the models have it.
    n_members : int, default=16
        Most members of the mixture.
    validation_fraction : float, default=0.1
        Rows that are held out from all trials when `fit` gets no X_val.
    replay : dict or None, default=None
        `replay_` of another fit: the same trials are trained for the same epochs, whatever the time
        and the other limits, with its `missing` and `min_count` in place of these parameters. With
        the same data, `n_members` and `validation_fraction` the result has the same bits.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int or None, default=None
        Threads, shared out among models that are trained side by side; None and -1: all cores this
        process may use. Trials and epochs being the same, so are the results for any number.
    verbose : int, default=0
        1 shows a line of progress.

    Attributes
    ----------
    estimators_ : list
        The members of the mixture, the best first.
    weights_ : array (n_members,), float64
    leaderboard_ : list of dict
        Models that were tried, the best first: "model"; "settings"; "score", the mean log p of the
        validation rows in nats; "seconds"; "epochs"; "weight" in the mixture, 0 outside of it.
    replay_ : dict
        The trials and their epochs, as `replay` takes them; JSON can hold it.
    validation_curve_ : list of float
        Mean negative log-likelihood of the validation rows in nats, an entry a member that the
        selection took: the first is of the best member alone, the last of the mixture.
    schema_ : list of dict
        Decisions of `fit` on each column, the same for all members.
    n_parameters_ : int
        Those of all members, and the free weights.
    n_features_in_, feature_names_in_ : as in scikit-learn
    impute_ess_ : array (n,)
        Effective sample sizes of the last `impute`.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
       optimization", AISTATS 2016.
    .. [2] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
       ICLR 2017.
    .. [3] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries of
       models", ICML 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import AutoDensity
    >>> bits = np.random.default_rng(0).integers(0, 2, (200, 3))
    >>> X = np.column_stack([bits, bits.sum(axis=1) % 2])  # the last one is the others' parity
    >>> model = AutoDensity(max_time=None, max_trials=8, max_iter=100, random_state=0).fit(X)
    >>> bool(model.score(X) > -2.2)  # at best -3 log 2 = -2.08; independent columns give -2.77
    True
    >>> len(model.leaderboard_)
    8
    >>> again = AutoDensity(replay=model.replay_).fit(X)
    >>> bool((again.score_samples(X) == model.score_samples(X)).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "max_trials": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "n_trials_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "models": [list, tuple, None],
        "distribution": [*DISTRIBUTION, dict],
        "min_count": COUNT,
        "missing": [StrOptions({"error", "marked", "modelled"})],
        "n_members": [Interval(Integral, 1, MOST_MEMBERS, closed="both")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "replay": [dict, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        max_time: float | None = 60,
        max_trials: int | None = None,
        max_iter: int | None = None,
        n_trials_no_change: int | None = None,
        tol: float = 1e-3,
        models: Any = None,
        distribution: Any = "auto",
        min_count: int = 1,
        missing: str = "error",
        n_members: int = 16,
        validation_fraction: float = 0.1,
        replay: Any = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.max_time = max_time
        self.max_trials = max_trials
        self.max_iter = max_iter
        self.n_trials_no_change = n_trials_no_change
        self.tol = tol
        self.models = models
        self.distribution = distribution
        self.min_count = min_count
        self.missing = missing
        self.n_members = n_members
        self.validation_fraction = validation_fraction
        self.replay = replay
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # ---- fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        context: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        context_val: Any = None,
    ) -> Self:
        """Search for models of the rows, and for the weights of their mixture.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            Context of each row; every member sees it.
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
        X_val : array-like of shape (m, D), optional
            Rows that judge the trials and stop their trainings, each as much as another; without
            them `validation_fraction` of X is held out.
        context_val : array-like or DataFrame of shape (m, C), optional
            The context of X_val.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or an argument breaks a rule that the message names.
        FloatingPointError
            No trial could be trained: in each the log-likelihood became NaN or infinite, or the
            model did not fit into memory.

        Warns
        -----
        ConvergenceWarning
            The search was interrupted by Ctrl-C; the mixture is of what was trained by then.
        """
        self._validate_params()
        clock = Clock(None if self.max_time is None else (1 - _OF_WEIGHTS) * self.max_time)
        with unchanged_on_error(self):
            self._fit(FitData(X, context, sample_weight, X_val, context_val), clock)
        return self

    def _fit(self, data: FitData, clock: Clock) -> None:
        models, replay = self._checked_models(), self._checked_replay()
        rng = check_random_state(self.random_state)
        X = as_frame(data.X)
        rows = Rows(X, read(self, X, reset=True), data.context)
        rows_val = None if data.X_val is None else self._rows(data.X_val, data.context_val)
        weight = check_weight(data.sample_weight, len(rows))
        seed = int(rng.randint(2**31 - 1)) if replay is None else replay[0]
        held = np.empty(0, np.intp)
        if rows_val is None:
            state = np.random.RandomState(seed)
            held = held_out(weight, self.validation_fraction, state, "AutoDensity")
            rows_val, judges_weight = rows.take(held), weight[held]
        else:
            judges_weight = np.ones(len(rows_val))
        n_rows = int(np.count_nonzero(weight)) - len(held)
        named = hasattr(self, "feature_names_in_")
        given_weight = None if data.sample_weight is None else weight
        search = Search(
            self._make,
            lambda model: member_arguments(model, rows, given_weight, rows_val, held, named),
            judges_weight,
            n_members=self.n_members,
            max_trials=self.max_trials or _UNLIMITED,
            max_iter=self.max_iter or _UNLIMITED,
            n_trials_no_change=self.n_trials_no_change or _UNLIMITED,
            tol=self.tol,
            clock=clock if replay is None else Clock(None),
            rng=rng,
            n_threads=effective_n_threads(self.n_jobs),
            verbose=bool(self.verbose),
        )
        if replay is None:
            n_columns = self.n_features_in_
            search.run(
                first_candidates(n_rows, n_columns, models, self.distribution),
                narrow_candidate(n_rows, n_columns),
            )
        else:
            search.replay(replay[1])
        self._take(search, seed)

    def _make(self, candidate: Candidate, seed: int) -> Any:
        """Return the unfitted model of a candidate."""
        kind, settings = _MODELS[candidate.model], dict(candidate.settings)
        settings |= self._of_columns
        given = self.distribution
        if isinstance(given, Conditional) and "n_components" in settings:
            own = given.settings() | {"n_components": settings.pop("n_components")}
            settings["distribution"] = type(given)(**own)
        elif "n_components" in settings and "n_components" not in kind._get_param_names():
            n_components = settings.pop("n_components")
            settings["distribution"] = from_name(given, n_components=n_components)
        return kind(**settings, random_state=seed, n_jobs=self.n_jobs)

    @property
    def _of_columns(self) -> dict[str, Any]:
        """The parameters that say what columns are, for every model; a replay has its own."""
        own = {name: getattr(self, name) for name in ("distribution", "min_count", "missing")}
        return own if self.replay is None else own | self.replay.get("columns", {})

    def _least_counts(self, names: list[Any]) -> dict[Any, int]:
        """Return how often a level must occur to be one of its own, by the columns' names."""
        counts: dict[Any, int] = NADE(**self._of_columns)._least_counts(names)
        return counts

    def _take(self, search: Search, seed: int) -> None:
        """Take up the mixture that the search ends with, and what it tells."""
        kept = search.kept
        if not kept:
            raise FloatingPointError(
                "No trial could be trained: in each the log-likelihood became NaN or infinite, or "
                "the model did not fit into memory. Other scales of the columns, another "
                "distribution, or fewer columns may help."
            )
        weights, self.validation_curve_ = search.weights()
        members = np.flatnonzero(weights)
        self.weights_ = weights[members]
        self.estimators_ = [kept[place].model.set_params(warm_start=False) for place in members]
        share = {id(trial): float(each) for trial, each in zip(kept, weights, strict=True)}
        tried = [trial for trial in search.trials if trial.trainings]
        self.leaderboard_ = [
            {
                "model": trial.candidate.model,
                "settings": trial.candidate.settings,
                "score": trial.score,
                "seconds": trial.seconds,
                "epochs": sum(n_done for _, n_done in trial.trainings),
                "weight": share.get(id(trial), 0.0),
            }
            for trial in sorted(tried, key=lambda trial: -trial.score)
        ]
        self.replay_ = {
            "random_state": seed,
            "columns": {
                "min_count": int(self._of_columns["min_count"]),
                "missing": self._of_columns["missing"],
            },
            "trials": [_recorded(trial) for trial in tried],
        }
        if search.is_interrupted:
            warnings.warn(
                f"The search was interrupted after {len(tried)} trials; the mixture has the best "
                "of them.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _checked_models(self) -> tuple[str, ...]:
        """Return the names of the models to try."""
        models = _USUAL if self.models is None else tuple(self.models)
        if not models or any(not isinstance(name, str) or name not in _MODELS for name in models):
            raise ValueError(
                "The 'models' parameter of AutoDensity must be None or at least one of "
                f"{', '.join(map(repr, _MODELS))}. Got {self.models!r} instead."
            )
        if self.max_time is None and self.max_trials is None and self.replay is None:
            raise ValueError(
                "The 'max_time' or the 'max_trials' parameter of AutoDensity must be a number, for "
                "the search to end. Got None for both instead."
            )
        return models

    def _checked_replay(self) -> tuple[int, list[tuple[Candidate, int, list[list[int]]]]] | None:
        """Return the seed of the held-out rows and the trials of `replay`, if there is one."""
        if self.replay is None:
            return None
        _REPLAY.check(self.replay, "The 'replay' parameter of AutoDensity")
        return self.replay["random_state"], [
            (Candidate(each["model"], each["settings"]), each["random_state"], each["trainings"])
            for each in self.replay["trials"]
        ]

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome, and NaN where it marks gaps."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._marks_missing
        return tags

    @property
    def _marks_missing(self) -> bool:
        return bool(self._of_columns["missing"] != "error")

    # ---- files

    _own_rules: ClassVar[dict[str, Rule]] = {"leaderboard": Listed(_LINE), "replay": _REPLAY}

    def _state(self) -> SavedState:
        """Return the header and the arrays of a file."""
        header, arrays = super()._state()
        return header | {"leaderboard": self.leaderboard_, "replay": self.replay_}, arrays

    def _restore_own(self, header: dict[str, Any]) -> None:
        """Take up what the search told."""
        self.leaderboard_, self.replay_ = header["leaderboard"], header["replay"]

    def _parameters_to_json(self, frozen: FrozenMembers) -> dict[str, Any]:
        """Return the parameters; a replay is JSON already."""
        return super()._parameters_to_json(frozen) | {"replay": self.replay}

    @classmethod
    def _parameters_from_json(cls, described: dict[str, Any], members: list[Any]) -> dict[str, Any]:
        """Return the parameters that `_parameters_to_json` described."""
        replay = described.get("replay")
        Maybe(_REPLAY).check(replay, "replay")
        rest = {name: value for name, value in described.items() if name != "replay"}
        return super()._parameters_from_json(rest, members) | {"replay": replay}


def _recorded(trial: Trial) -> dict[str, Any]:
    """Return what repeats a trial."""
    return {
        "model": trial.candidate.model,
        "settings": trial.candidate.settings,
        "random_state": trial.seed,
        "trainings": trial.trainings,
    }
