"""Outliers by density, with p-values and explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import OutlierMixin, clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastar._core.estimators import BaseEstimator
from fastar._core.parameters import Array
from fastar._core.random import generator, set_random_states
from fastar._core.schema import OBJECT, ArrayOf, Number, OneOf, Record, Rule
from fastar._core.validation import unchanged_on_error, unwrap_frozen
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema
from fastar._data.reading import dense, read
from fastar._data.stores import HeldOut
from fastar._data.streams import Stream, is_stream, recut
from fastar.models import NADE
from fastar.models._fitting import fit_clone
from fastar.models._streamed import adopt_table, batches
from fastar.models._streamed_answers import answer_streamed, answers, is_batched
from fastar.tools._persistent import PersistentTool
from fastar.tools._streamed import check_reads_batches, n_rows_of, with_weights

__all__ = ["DensityOutlierDetector"]

_CENTRAL, _DEVIATIONS = (0.05, 0.95), 3.29
"""Quantiles that measure a feature's spread, and their distance in a standard normal density."""
_N_SPREAD = 10_000
"""Rows, at most, that measure the spread."""


class DensityOutlierDetector(PersistentTool, OutlierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Detector of rows that a density finds improbable.

    A part of the rows is held out from the density. New rows are compared with their scores.

    Parameters
    ----------
    density : density estimator or None, default=None
        `NADE()` by default; it is cloned, and gets a `random_state` where it has None.
    contamination : float, default=0.1
        Share of the rows of `fit` that `predict` calls outliers.
    statistic : str, default="standardised"
        What `score_samples` returns: "standardised" the sum over features of

            (log p(x_d | those before it) - its mean) / sqrt(1 + its spread ** 2),

        in which a feature that is hard to predict does not drown what the others say. The spread is
        that of the middle 90 % of the rows fitted to, as a normal deviation, and one below a nat
        hardly counts; "likelihood" log p(x), which "standardised" is, too, where the density does
        not score features; "typicality" -\|log p(x) - its mean over the rows fitted to\| [1]_, for
        an outlier may also be too probable; "likelihood_ratio" log p(x) - log p_background(x) [2]_,
        which subtracts the score that random rows would have.
    background : density estimator or None, default=None
        Denominator of the likelihood ratio, a clone of `density` by default. It is fitted to rows
        in which a share `mutation_rate` of the values comes from other rows of the same column.
    mutation_rate : float, default=0.2
    calibration_fraction : float, default=0.2
        Share of the rows that is kept from the density.
    random_state : int, RandomState instance or None, default=None
        Decides on the rows kept, the mutations and the densities.

    Attributes
    ----------
    density_, background_ : fitted estimators
        The latter for the likelihood ratio alone, None otherwise.
    calibration_scores_ : array (m,)
        `score_samples` of the rows kept, sorted.
    offset_ : float
        `predict` says outlier where `score_samples` is below it.
    n_features_in_, feature_names_in_ : as in scikit-learn

    References
    ----------
    .. [1] E. Nalisnick, A. Matsukawa, Y. W. Teh, B. Lakshminarayanan, "Detecting
       out-of-distribution inputs to deep generative models using typicality", arXiv:1906.02994,
       2019.
    .. [2] J. Ren, P. J. Liu, E. Fertig, et al., "Likelihood ratios for out-of-distribution
       detection", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, DensityOutlierDetector
    >>> x = np.random.default_rng(0).integers(0, 2, (1000, 1))
    >>> X = np.repeat(x, 6, axis=1)  # six copies
    >>> density = NADE(n_hidden=20, learning_rate_init=0.01, random_state=0)
    >>> detector = DensityOutlierDetector(density, contamination=0.01, random_state=0).fit(X)
    >>> detector.predict([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]])
    array([ 1, -1])
    >>> int(detector.explain([[1, 1, 1, 1, 1, 0]]).argmin())
    5
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "density": [HasMethods(["fit", "score_samples"]), None],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "statistic": [StrOptions({"standardised", "likelihood", "typicality", "likelihood_ratio"})],
        "background": [HasMethods(["fit", "score_samples"]), None],
        "mutation_rate": [Interval(Real, 0, 1, closed="right")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        density: Any = None,
        *,
        contamination: float = 0.1,
        statistic: str = "standardised",
        background: Any = None,
        mutation_rate: float = 0.2,
        calibration_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.contamination = contamination
        self.statistic = statistic
        self.background = background
        self.mutation_rate = mutation_rate
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    _densities = Record({"density_": OBJECT}, {"background_": OBJECT})

    @classmethod
    def _learnt_rules(cls, n_features: int) -> dict[str, Rule | ArrayOf]:
        """Return what its own attributes may be in a file."""
        return {
            "background_": OneOf((None,)),
            "_centre": Number(),
            "offset_": Number(),
            "_feature_centre": ArrayOf("f", (n_features,), finite=False),
            "_feature_weight": ArrayOf("f", (n_features,), finite=False),
            "calibration_scores_": ArrayOf("f", (None,), finite=False),
        }

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        name, centre = "own._feature_weight", arrays.get("own._feature_centre")
        parameters = header.get("parameters")
        weighs = isinstance(parameters, dict) and parameters.get("statistic") == "standardised"
        if name not in arrays and centre is not None and not weighs:  # of an earlier file
            arrays = {**arrays, name: np.full_like(centre, np.nan)}
        return super()._from_state(header, arrays)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the density to a part of the rows, and score the others.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
            Batch by batch is read what models of rows, and mixtures of them, read so: not for the
            likelihood ratio. The rows kept are then others than in memory.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            There is but one row, or the density refuses X.
        """
        self._validate_params()
        with unchanged_on_error(self):
            if is_stream(X):
                self._fit_streamed(Stream.of(X))
            else:
                self._fit_rows(as_frame(X))
        return self

    def _fit_rows(self, X: Any) -> None:
        """Fit to a table in memory, of which rows that are drawn are kept."""
        table = read(self, X, reset=True)
        X = table if frame_kind(X) is None else X  # of a kind that has rows
        n = table.shape[0]
        _check_n_rows(n)
        random_state = check_random_state(self.random_state)
        rng = generator(random_state)
        n_kept = min(max(1, round(self.calibration_fraction * n)), n - 1)
        kept, fitted = np.split(rng.permutation(n), [n_kept])
        own = np.ones(n, bool)
        own[kept] = False
        density = NADE() if self.density is None else self.density
        self.density_ = fit_clone(density, X, own, random_state=random_state)
        self.background_ = None
        if self.statistic == "likelihood_ratio":
            background = density if self.background is None else self.background
            mutants = _with_mutants(X, own, self.mutation_rate, rng)
            seen = np.concatenate([np.zeros(n, bool), own])
            self.background_ = fit_clone(
                background, mutants, seen, random_state=random_state, name="background"
            )
        self._learn_usual_scores([_safe_indexing(X, kept)])
        self._learn_weights([_safe_indexing(X, np.sort(fitted[:_N_SPREAD]))])
        self._calibrate(self._score(X), ~own)

    def _fit_streamed(self, stream: Stream) -> None:
        """Fit to a table that is read batch by batch; keep the rows with the lowest hashes."""
        if self.statistic == "likelihood_ratio":
            raise ValueError(
                "statistic='likelihood_ratio' must have X in memory, whose values it exchanges "
                f"between rows. Got {stream.name}, which is read batch by batch."
            )
        density = NADE() if self.density is None else self.density
        check_reads_batches(density, self)
        n = n_rows_of(stream)
        _check_n_rows(n)
        random_state = check_random_state(self.random_state)
        # spawned, so that the density, by the same seed, does not hold out the very rows kept
        seed = int(generator(random_state).spawn(1)[0].integers(2**63))
        is_kept = HeldOut(self.calibration_fraction, seed, n)
        weighted, name = with_weights(stream, is_kept)
        density = clone(density)
        set_random_states(density, random_state)
        self.density_, self.background_ = density.fit(weighted, sample_weight=name), None
        adopt_table(self, self.density_)
        is_any = HeldOut(min(1.0, _N_SPREAD / n), seed + 1, n)

        def rows_of(chosen: Callable[[Array], Array]) -> Iterator[Any]:
            for first, rows, _, _ in batches(self, recut(stream)):  # sums depend on the cut
                mine = np.flatnonzero(chosen(np.arange(first, first + len(rows))))
                if len(mine):
                    yield _safe_indexing(rows, mine)

        self._learn_usual_scores(rows_of(is_kept))
        self._learn_weights(rows_of(lambda numbers: is_any(numbers) & ~is_kept(numbers)))
        scores = np.concatenate([*answers(self, stream, self._score)])
        self._calibrate(scores, is_kept(np.arange(n)))

    def _learn_usual_scores(self, kept: Iterable[Any]) -> None:
        """Learn the mean score of each feature (D,) over the rows kept, which come in batches."""
        D = self.n_features_in_
        self._centre, self._feature_centre = 0.0, np.zeros(D)
        total, n = np.zeros(D), np.zeros(D)
        with suppress(AttributeError, ValueError):  # no features' scores: `explain` says so
            for rows in kept:
                scores, there = self._present_scores(rows)
                total += np.where(there, scores, 0).sum(axis=0)
                n += there.sum(axis=0)
            self._feature_centre = total / np.maximum(1, n)

    def _learn_weights(self, fitted: Iterable[Any]) -> None:
        """Learn the weight of each feature (D,), NaN where none has a score.

        Learnt from rows fitted to, in batches, and from no row kept, so that p-values stay exact.
        """
        D = self.n_features_in_
        self._feature_weight = np.full(D, np.nan)
        if self.statistic != "standardised":
            return
        low, high = np.zeros((2, D))
        with suppress(AttributeError, ValueError):
            found = [self._present_scores(rows) for rows in fitted]
            scores, there = (np.concatenate(each) for each in zip(*found, strict=True))
            for d in np.flatnonzero(there.any(axis=0)):
                low[d], high[d] = np.quantile(scores[there[:, d], d], _CENTRAL)
            self._feature_weight = 1 / np.sqrt(1 + ((high - low) / _DEVIATIONS) ** 2)

    def _calibrate(self, scores: Array, is_kept: Array) -> None:
        """Learn what is usual from scores (n,) and where rows were kept (n,)."""
        if self.statistic == "typicality":
            # of no row kept: these would lie nearer to a mean of their own than fresh ones
            self._centre = float(scores[~is_kept].mean())
            scores = -np.abs(scores - self._centre)
        self.calibration_scores_ = np.sort(scores[is_kept])
        self.offset_ = float(np.quantile(scores, self.contamination))

    def _present_scores(self, X: Any) -> tuple[Array, Array]:
        """Return the scores of features (n, D), and where there is a value and its score finite."""
        scores = self._feature_scores(X)
        return scores, ~self._missing(X) & np.isfinite(scores)

    def _answered(self, X: Any, out: Any, column: str, answer: Callable[[Any], Array]) -> Any:
        """Return what `answer` says of rows, or write it to a file."""
        check_is_fitted(self, "density_")
        if is_batched(X, out):
            return answer_streamed(self, X, out, column, answer)
        return answer(X)

    def score_samples(self, X: Any, *, out: Any = None) -> Any:
        """Return the statistic of each row: the lower, the less it belongs.

        All but "standardised" are in nats. A missing value counts as log p(x_d | those before it)
        does on average over the rows kept, so that rows with gaps can be compared with others, in
        any unit; where the density does not score features (a mixture over orders) it counts
        nothing. Where a DataFrame's column had none in `fit`, the score is -inf, as that of any
        value outside the support, and of a DataFrame's number that its column cannot have: an
        infinity, a fraction among whole numbers.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written batch by batch, as column `score`.

        Returns
        -------
        ndarray of shape (n,), float64; None with `out`
        """
        return self._answered(X, out, "score", self._statistic)

    def _statistic(self, X: Any) -> Array:
        scores = _where_possible(self._score, X, self._odd_rows)
        return -np.abs(scores - self._centre) if self.statistic == "typicality" else scores

    def _odd_rows(self, X: Any) -> Array:
        """Return which rows (n,) of a frame have a number that its column cannot have."""
        known = self._container
        if isinstance(known, Schema) and frame_kind(X) is not None:
            return known.odd_rows(X, "X")
        return np.zeros(0, bool)

    def _score(self, X: Any) -> Array:
        """Return the statistic, of typicality the log-density."""
        if np.isnan(self._feature_weight).any():
            return self._log_density(X)
        total: Array = (self._shares(X) * self._feature_weight).sum(axis=1)
        return total

    def _log_density(self, X: Any) -> Array:
        """Return log p(x), or the ratio, where a missing value counts as a usual one."""
        scores = _scores(self.density_, "score_samples", X)
        if self.background_ is not None:
            scores = _ratio(scores, _scores(self.background_, "score_samples", X))
        missing = self._missing(X)
        if missing.any():
            scores = scores + np.where(missing, self._feature_centre, 0).sum(axis=1)
        return scores

    def decision_function(self, X: Any, *, out: Any = None) -> Any:
        """Return `score_samples` less `offset_`: outliers are negative.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written batch by batch, as column `decision`.

        Returns
        -------
        ndarray of shape (n,), float64; None with `out`
        """
        return self._answered(X, out, "decision", lambda X: self._statistic(X) - self.offset_)

    def predict(self, X: Any, *, out: Any = None) -> Any:
        """Return 1 where a row belongs and -1 where it does not.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written batch by batch, as column `prediction`.

        Returns
        -------
        ndarray of shape (n,), int; None with `out`
        """
        return self._answered(
            X,
            out,
            "prediction",
            lambda X: np.where(self._statistic(X) - self.offset_ >= 0, 1, -1),
        )

    def p_values(self, X: Any, *, out: Any = None) -> Any:
        """Return the p-value of each row under "it is like those of `fit`".

        (1 + number of rows kept from the density with this score or less) / (1 + their number), as
        in PixelDefend [1]_. A fresh row like those of `fit` has p <= a with a probability of at
        most a, and of a where scores have no ties.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written batch by batch, as column `p_value`.

        Returns
        -------
        ndarray of shape (n,), float64; None with `out`
            From 1 / (m + 1) to 1 for m rows kept.

        References
        ----------
        .. [1] Y. Song, T. Kim, S. Nowozin, S. Ermon, N. Kushman, "PixelDefend: leveraging
           generative models to understand and defend against adversarial examples", ICLR 2018.
        """
        return self._answered(X, out, "p_value", self._p)

    def _p(self, X: Any) -> Array:
        scores = self._statistic(X)
        below = np.searchsorted(self.calibration_scores_, scores, side="right")
        p: Array = (1 + below) / (1 + len(self.calibration_scores_))
        return p

    def explain(self, X: Any) -> Any:
        """Return how much each feature adds to, or takes from, what a row is usually thought of.

        log p(x_d | those before it) less its mean over the rows kept, 0 where a value is missing;
        of the likelihood ratio, the same of both densities' difference. The most negative features
        make a row an outlier, each given the ones before it in the density's order.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

        Returns
        -------
        ndarray or DataFrame of shape (n, D), float64
            Nats; a DataFrame for a DataFrame.
        """
        check_is_fitted(self, "density_")
        shares = _where_possible(self._shares, X, self._odd_rows, (self.n_features_in_,))
        X = as_frame(X)
        kind = frame_kind(X)
        if kind is None:
            return shares
        frame = {name: shares[:, d] for d, name in enumerate(X.columns)}
        return type(X)(frame, index=X.index) if kind == "pandas" else type(X)(frame)

    def _shares(self, X: Any) -> Array:
        """Return how far each feature's score (n, D) is above its mean."""
        missing = self._missing(X)  # first, for it reads a table and refuses what is none
        shares = self._feature_scores(X) - self._feature_centre
        shares[missing & np.isfinite(shares)] = 0
        return shares

    def _feature_scores(self, X: Any) -> Array:
        scores: Array = _scores(self.density_, "score_features", X)
        if self.background_ is not None:
            scores = _ratio(scores, _scores(self.background_, "score_features", X))
        return scores

    def _missing(self, X: Any) -> Array:
        """Return where (n, D) values are missing."""
        values = dense(read(self, X))
        return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _scores(density: Any, method: str, X: Any) -> Array:
    """Return what a density says of rows; -inf of those with a value outside its support."""
    shape = (density.n_features_in_,) if method == "score_features" else ()
    return _where_possible(getattr(density, method), X, lambda X: _impossible(density, X), shape)


def _where_possible(
    answer: Callable[[Any], Array],
    X: Any,
    impossible: Callable[[Any], Array],
    shape: tuple[int, ...] = (),
) -> Array:
    """Return what is answered of rows, (n, *shape); -inf of impossible ones, which are an error."""
    X = as_frame(X)
    try:
        return answer(X)
    except ValueError:
        wrong = impossible(X)
        if not wrong.any():
            raise
    scores = np.full((len(wrong), *shape), -np.inf)
    rows = np.flatnonzero(~wrong)
    if len(rows):
        scores[rows] = answer(_safe_indexing(X, rows))
    return scores


def _impossible(density: Any, X: Any) -> Array:
    """Return which rows (n,) have a value outside the support of a density, if it tells."""
    tell = getattr(unwrap_frozen(density), "_impossible", None)
    found: Array = np.zeros(0, bool) if tell is None else tell(X)
    return found


def _ratio(scores: Array, background: Array) -> Array:
    """Return the difference; what the density makes impossible stays so under any background."""
    difference = np.full(scores.shape, -np.inf)
    np.subtract(scores, background, out=difference, where=np.isfinite(scores))
    return difference


def _check_n_rows(n: int) -> None:
    if n < 2:
        raise ValueError(
            f"X must have a row for the density and another one to judge by. Got n_samples={n}."
        )


def _with_mutants(X: Any, own: Array, rate: float, rng: np.random.Generator) -> Any:
    """Return X, and below it X with a share `rate` of its values from `own` rows of the column.

    The upper half is for rows without weight: a rare level may have no mutant.
    """

    def twice() -> Array:
        rows = np.arange(len(own))
        others = rng.choice(np.flatnonzero(own), len(own))
        return np.concatenate([rows, np.where(rng.random(len(own)) < rate, others, rows)])

    kind = frame_kind(X)
    if kind is None:
        table = X.toarray() if sparse.issparse(X) else X
        return np.column_stack([column[twice()] for column in table.T])
    if kind == "pandas":
        return type(X)({name: X[name].iloc[twice()].array for name in X.columns})
    return type(X)([X[name].gather(twice()) for name in X.columns])
