"""scikit-learn's interface to a fitted model: scores, samples, completions, repairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array, Params
from fastar._core.random import generator
from fastar._core.sharpness import check_sharpness
from fastar._core.threads import effective_n_threads
from fastar._core.validation import (
    check_count,
    check_epsilon,
    check_threshold,
    mean_score,
)
from fastar._data.column_labels import ColumnLabels
from fastar._data.containers import Container
from fastar._data.context import Context, encode_context
from fastar._data.evidence import as_given, column_names, is_named, n_rows, read_query
from fastar._data.frames import Schema
from fastar._data.reading import dense, read_numbers, table_like
from fastar._data.regions import Regions
from fastar._data.table import Table
from fastar._engine import scores as scoring
from fastar._engine.bounds import bounds_of, check_no_cut
from fastar._engine.completions import PARTICLES, Part, impute, warn_of_few
from fastar._engine.marginals import marginals
from fastar._engine.model import Model
from fastar._engine.particles import is_exact
from fastar._engine.purification import purify
from fastar._engine.sampling import sample
from fastar._engine.support import check_evidence, check_known, impossible_rows
from fastar.conditionals import Conditional
from fastar.conditionals._auto import asked_of_columns
from fastar.models._documentation import documented
from fastar.models._exclusion import sample_outside
from fastar.models._streamed_answers import (
    impute_streamed,
    is_batched,
    mean_score_streamed,
    sample_streamed,
    score_streamed,
)
from fastar.networks import Network

BY_PARAMETER = "by `distribution`"
"""Why a column has its conditional, where the user has chosen it."""


class ScoreMixin:
    """Mixin of densities of rows, whose score is the mean of `score_samples`."""

    score_samples: Any

    def score(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> float:
        """Return the mean log p(x), or log p(x given context), in nats.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
        sample_weight : array-like of shape (n,), optional
            Where X is read batch by batch, this and `context` are names of its columns.

        Returns
        -------
        float
        """
        if is_batched(X, None):
            return mean_score_streamed(self, X, context, sample_weight)
        return mean_score(self.score_samples(X, context=context), sample_weight)


class FittedDensity(ScoreMixin):
    """Base of fitted models with a network, a distribution, an order and parameters."""

    network_: Network
    distribution_: Conditional
    order_: Array
    theta_: Array
    context_: Context | None
    n_features_in_: int
    n_jobs: int | None
    dtype: Any
    _container: Container | Schema

    def _model(self) -> Model:
        check_is_fitted(self, "theta_")
        return self._composed(self.theta_)

    def _composed(self, theta: Array) -> Model:
        """Return the composition with these parameters."""
        return Model(self.network_, self.distribution_, self.order_, theta, self._labels())

    @property
    def _fitted_context(self) -> Context | None:
        """The context as `fit` learnt it, if there was one."""
        return self.context_

    def _labels(self) -> ColumnLabels:
        """Return how errors call columns and values."""
        return ColumnLabels(self._container, getattr(self, "feature_names_in_", None))

    def _impossible(self, X: Any) -> Array:
        """Return which rows (n,) of X have values outside the support."""
        return impossible_rows(self.distribution_, Table(self._read_table(X), self.order_))

    @property
    def params_(self) -> Params:
        """Named views on `theta_`, in the letters of the papers."""
        model = self._model()
        return model.network.params_in_paper_layout(model.params)

    @property
    def output_offsets_(self) -> Array:
        """Where the outputs of each feature begin in `b` and `V`, and the end of the last (D + 1,).

        Features are in the order of `order_`; a column of very many levels is two.
        """
        return self._model().network.output_offsets

    @property
    def input_offsets_(self) -> Array:
        """Where the input weights of each feature begin, in rows, and the end (D + 1,)."""
        return self._model().network.inputs.offsets

    @property
    def schema_(self) -> list[dict[str, Any]]:
        """The decisions of `fit` on each column: a list of dicts, of which pandas makes a table.

        "column" is its name; "kind" the conditional; "map" the scale on which a `Number` is
        modelled; "atoms" the values that have a probability of their own; "levels" their number;
        "support" the values that have a probability, or beside atoms a density; "why" the rule by
        which the column got its kind.
        """
        check_is_fitted(self, "theta_")
        names = list(getattr(self, "feature_names_in_", range(self.n_features_in_)))
        container = self._container
        described = container.columns if isinstance(container, Schema) else [None] * len(names)
        is_category = [each is not None and each.type == "category" for each in described]
        asked = asked_of_columns(vars(self)["distribution"], names, is_category)
        found: list[dict[str, Any]] = [{} for _ in names]
        for place, column in enumerate(self.order_.tolist()):
            said = self.distribution_.decided(place, self._offsets()[column], described[column])
            found[column] = schema_entry(names[column], said, asked[column])
        return found

    @property
    def n_parameters_(self) -> int:
        """The number of parameters in use."""
        return self._model().n_parameters

    def _read_table(self, X: Any, **how: Any) -> Any:
        """Return X as `read_numbers` does."""
        return read_numbers(self, X, **how)

    def _offsets(self) -> list[int]:
        """Return what the columns' numbers are less than the user's."""
        container = self._container
        if isinstance(container, Schema):
            return [column.offset for column in container.columns]
        return list(container.offsets or [0] * self.n_features_in_)

    def _read_evidence(self, evidence: Any, n: int) -> tuple[Any, Regions | None]:
        """Return the evidence of n samples as `read_query` does."""
        return read_query(self, evidence, n)

    def _rows(self, X: Any, context: Any) -> tuple[Model, Table]:
        model = self._model()
        X = self._read_table(X)
        table = Table(X, model.order, context=self._encoded(context, X.shape[0]))
        check_known(model.conditional, X, model.order)
        return model, table

    def _encoded(self, context: Any, n: int, name: str = "context") -> Array | None:
        """Return the context of n rows as networks take it."""
        return encode_context(self.context_, context, n, self.dtype, name)

    @documented
    def score_samples(self, X: Any, *, context: Any = None, out: Any = None) -> Any:
        """Return log p(x) of each row, or log p(x given context).

        Parameters
        ----------
        {rows_to_score}

        Returns
        -------
        ndarray of shape (n,), float64; None with `out`
            Nats; densities of real columns are in the units of X. A row with missing values has the
            sum over its observed columns, and with missing="modelled" the log-probability of its
            gaps beside; a column may miss values if it did in `fit`.

        Raises
        ------
        NotFittedError, ValueError
            The model is not fitted; X has another shape, other names or values outside the support.
        """
        if is_batched(X, out):
            return score_streamed(self, X, context, out)
        return scoring.score_rows(*self._rows(X, context), effective_n_threads(self.n_jobs))

    @documented
    def log_marginal(
        self, X: Any, *, context: Any = None, n_particles: int = 64, random_state: Any = None
    ) -> Array:
        r"""Return log p(x_known) of each row: its missing values (NaN) are integrated out.

        Exact where the known columns come first in `order_`; `order` can put them there. Else the
        logarithm of an unbiased estimate of p(x_known), by sequential Monte Carlo: `n_particles`
        samples a row of what is missing, along the order, weighed by the probability that they give
        to what is known, and resampled where few of them have most of the weight [1]_.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            NaN (None in a DataFrame) where a value is to be integrated out. Here it is an unknown
            value, not the mark of a missing value that the model learns in `fit`; with
            missing="modelled" it may also be missing. A mapping goes
            from columns to the values of a row, here as in other methods.
        {rest_of_log_marginal}
        """
        model = self._model()
        n_particles = check_count("n_particles", n_particles, numbers=2 * model.n_features)
        array, missing, values, regions = self._gapped(X, model)
        encoded = self._encoded(context, len(array))
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        bounds = bounds_of(model, regions, len(array), "X", drawn=False)
        scores, self.marginal_ess_ = marginals(
            model, values, missing, n_particles, rng, n_threads, encoded, bounds
        )
        return scores

    def _gapped(self, X: Any, model: Model) -> tuple[Array, Array, Array, Regions | None]:
        """Return X as an array, where it is missing, with values in all gaps, and its regions."""
        regions = None
        if is_named(X):
            array, regions = read_query(self, X, n_rows(X, "X"), "X")
        else:
            table = self._read_table(X, gaps=True)
            check_known(model.conditional, table, model.order)
            array = dense(table)
        values, held = check_evidence(array, len(array), model, name="X")
        assert values is not None
        assert held is not None
        return array, ~held, values, regions

    def score_features(self, X: Any, *, context: Any = None) -> Array:
        """Return log p(x_d | those before it in `order_`), whose rows sum to `score_samples`.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray of shape (n, D), float64
            Nats, in the order of the columns of X. Where a value is missing 0, or the log of the
            probability of that, with missing="modelled".
        """
        model, table = self._rows(X, context)
        return scoring.score_features(model, table, effective_n_threads(self.n_jobs))

    def conditionals(self, X: Any, *, context: Any = None) -> Any:
        """Return the parameters of each p(x_d | those before it in `order_`).

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray or dict
            Bernoulli: probabilities of one (n, D). Categorical: probabilities (n, D, K) of the
            levels, in sorted order. Others: a dict of named arrays (n, D) or (n, D, K): mean and
            variance, the CDF at the values of X (NaN where missing), quantiles (5, 50 and 95 %),
            and of mixtures what their components are; of `Number` columns "atoms", a dict by column
            of the probabilities (n, A) of its atoms; of logistic levels no variance and quantiles;
            of the mean over several sets of masks the mean, variance and CDF alone. In the order of
            the columns of X. If columns have conditionals of their own, or differ in their number
            of levels, a dict with each column's, by name or place, without the axis of columns. A
            column of very many levels, which is two digits, has a dict: "first" (n, K'), the
            probabilities of the first digit, "second" (n, K''), those of the second one after the
            value's own first one (not of the mean over several sets of masks), and "probability"
            (n,) of the value, NaN where it is missing. A column of dates has a dict of its
            "probability", too, and of each part of the calendar, "weekday" (n, 7) and so on, given
            the value's own coarser parts (not of such a mean). With missing="modelled" each column
            has its entry, and one that had gaps in `fit` a dict: "missing" (n,), the probability of
            a gap, and "present", what is said above of a value that is there.
        """
        return by_name(self._described(X, context), column_names(self))

    def _described(self, X: Any, context: Any = None) -> Any:
        """Return what `conditionals` does, what is said of each column in a list."""
        said = scoring.describe(*self._rows(X, context), effective_n_threads(self.n_jobs))
        return _from_offsets(said, self._offsets())

    @documented
    def sample(
        self,
        n_samples: int = 1,
        *,
        context: Any = None,
        evidence: Any = None,
        temperature: float = 1.0,
        top_p: float | None = None,
        top_k: int | None = None,
        exclude: Any = None,
        unique: bool = False,
        random_state: Any = None,
        out: Any = None,
    ) -> Any:
        """Draw rows; a hidden unit is computed once, so that a sample costs one forward pass.

        Parameters
        ----------
        n_samples : int, default=1
        context : array-like or DataFrame of shape (n_samples, C) or (1, C), optional
        evidence : mapping, array-like of shape (D,) or (n_samples, D), or DataFrame, optional
            Values to hold, NaN (or None) where free; of a mapping also sets and half-open intervals
            (low, high), as in `log_probability`. Exact where the held columns come first in
            `order_`, and no more than one set or interval after them; else each row is drawn from
            64 particles, weighed by the probability that they give to what is held, as in `impute`,
            with a warning where few of them agree with it.
        temperature : float, default=1
            Each conditional is raised to the power 1 / temperature and normalised.
        {top_p_and_top_k}
        {exclude_and_unique}
        random_state : int, RandomState instance or None
        {out_of_sample}

        Returns
        -------
        ndarray, DataFrame or CSR matrix of shape (n_samples, D); None with `out`
            In the container that `fit` was given.

        Raises
        ------
        NotFittedError, ValueError
            The model is not fitted; an argument breaks a rule that the message names; or rows of
            `exclude` were drawn a hundred times in a row.
        """
        model = self._model()
        how = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        if out is not None:
            how |= {"evidence": evidence, "exclude": exclude}
            return sample_streamed(self, n_samples, context, out, unique, random_state, **how)
        n_samples = check_count("n_samples", n_samples, numbers=model.n_features)
        if exclude is not None or unique is not False:
            how |= {"context": context, "evidence": evidence, "random_state": random_state}
            return sample_outside(self, self._read_table, exclude, unique, n_samples, **how)
        sharpness = check_sharpness(temperature, top_p, top_k)
        evidence, regions = self._read_evidence(evidence, n_samples)
        values, held = check_evidence(evidence, n_samples, model)
        check_no_cut(sharpness, regions)
        bounds = bounds_of(model, regions, n_samples, "evidence", drawn=True)
        encoded = self._encoded(context, n_samples)
        n_threads = effective_n_threads(self.n_jobs)
        rng = generator(random_state)
        if values is None or held is None or (bounds is None and is_exact(model, held)):
            drawn = sample(model, n_samples, values, held, sharpness, rng, n_threads, encoded)
        else:
            shape = (n_samples, model.n_columns)
            values, held = np.broadcast_to(values, shape), np.broadcast_to(held, shape)
            n_particles = 1 if is_exact(model, held, bounds) else PARTICLES
            parts = [Part(0.0, model, encoded, bounds)]
            completed, ess = impute(
                parts, values, ~held, 1, n_particles, rng, n_threads, sharpness=sharpness
            )
            warn_of_few(ess, n_particles, None, stacklevel=2)
            drawn = completed[0]
        return self._container.wrap(drawn)

    @documented
    def impute(
        self,
        X: Any,
        *,
        context: Any = None,
        n_draws: int = 1,
        n_particles: int = 16,
        random_state: Any = None,
        out: Any = None,
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the observed values.

        The values of a row are drawn jointly, from the law of rows without gaps, also by a model of
        gaps (missing="modelled"). Evidence before a missing value in `order_` is exact.
        For evidence after it, each row's `n_particles` samples are weighed by the probability they
        give that evidence, and resampled along the order (sequential Monte Carlo [1]_);
        `impute_ess_` tells each row's effective number of samples at the end.

        Parameters
        ----------
        {rows_to_impute}
        n_particles : int, default=16
            Samples from which a row's completions are drawn; more are more exact.
        random_state : int, RandomState instance or None
        {out_of_impute}

        Returns
        -------
        {imputed}

        References
        ----------
        .. [1] A. Doucet, A. M. Johansen, "A tutorial on particle filtering and smoothing", Oxford
           Handbook of Nonlinear Filtering, 2011.
        """
        model = self._model()
        if out is not None:
            how = {"n_particles": n_particles}
            return impute_streamed(self, X, context, out, n_draws, random_state, **how)
        n_particles = check_count("n_particles", n_particles, numbers=2 * model.n_features)
        array, missing, values, regions = self._gapped(X, model)
        n_draws = check_count("n_draws", n_draws, numbers=array.size)
        encoded = self._encoded(context, len(array))
        bounds = bounds_of(model, regions, len(array), "X", drawn=True)
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        parts = [Part(0.0, model, encoded, bounds)]
        completed, self.impute_ess_ = impute(
            parts, values, missing, n_draws, n_particles, rng, n_threads, gapless=True
        )
        if n_draws > 1:
            return self._wrap_draws(completed)
        return as_given(X, self._container, completed[0], ~missing)

    def _wrap_draws(self, draws: Array) -> Array:
        """Return draws (n_draws, n, D) in the user's numbers, but of frames in their coding."""
        container = self._container
        if isinstance(container, Schema) or container.offsets is None:
            return draws
        return np.stack([container.wrap(draw) for draw in draws])

    def purify(
        self, X: Any, epsilon: Any, *, context: Any = None, threshold: float | None = None
    ) -> Any:
        """Return X repaired: each value becomes the most probable one within epsilon of it.

        In the order of the model, given the repaired values before: PixelDefend [1]_, one pass
        along the features. It undoes small changes that make a row improbable, such as noise and
        adversarial perturbations. It promises nothing against an attacker who knows of it, for what
        is repaired can be part of the attack [2]_, and no more accuracy on rows without changes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D)
            Values need not lie in the support, if something within epsilon does. Missing values
            stay missing.
        epsilon : float or array-like of shape (D,)
            In the units of the columns. Categories of a DataFrame have no distance: they stay, or
            become any other where it is infinite. A column of very many levels, which is two
            digits, keeps its values, and so do dates and times of day.
        context : array-like or DataFrame of shape (n, C), optional
        threshold : float or None, default=None
            Rows whose `score_samples` is this or more stay as they are; None repairs all.

        Returns
        -------
        ndarray or DataFrame of shape (n, D)
            In the container of X. For mixtures of Gaussians the result is the most probable value
            uphill from the best of both ends and the means.

        Raises
        ------
        ValueError
            epsilon is negative, or nothing of the support lies within epsilon of a value.

        References
        ----------
        .. [1] Y. Song, T. Kim, S. Nowozin, S. Ermon, N. Kushman, "PixelDefend: leveraging
           generative models to understand and defend against adversarial examples", ICLR 2018.
        .. [2] A. Athalye, N. Carlini, D. Wagner, "Obfuscated gradients give a false sense of
           security", ICML 2018.
        """
        model = self._model()
        given = self._read_table(X)
        check_known(model.conditional, given, model.order)
        table = Table(given, model.order, context=self._encoded(context, given.shape[0]))
        radius = check_epsilon(epsilon, model.n_columns)
        if isinstance(self._container, Schema):
            nominal = [each.type == "category" for each in self._container.columns]
            radius[nominal & (radius < np.inf)] = 0
        n_threads = effective_n_threads(self.n_jobs)
        threshold = None if threshold is None else check_threshold(threshold)
        if threshold is None:
            return table_like(X, self._container, purify(model, table, radius, n_threads))
        low = np.flatnonzero(self.score_samples(X, context=context) < threshold)
        values = dense(given).astype(np.float64)
        if len(low):
            values[low] = purify(model, table.subset(low), radius, n_threads)
        kept = np.ones(values.shape, bool)
        kept[low] = False
        return table_like(X, self._container, values, kept)


def schema_entry(name: Any, said: dict[str, Any], asked: Any) -> dict[str, Any]:
    """Return the entry of `schema_` on a column, for which `distribution` has `asked`."""
    if not (isinstance(asked, str) and asked == "auto"):
        said = {**said, "why": BY_PARAMETER}
    return {"column": name, **said}


def by_name(said: Any, names: list[Any]) -> Any:
    """Return a description with dicts by column where it has lists."""
    if isinstance(said, list):
        return dict(zip(names, said, strict=True))
    if isinstance(said, dict) and "atoms" in said:
        return said | {"atoms": dict(zip(names, said["atoms"], strict=True))}
    return said


_PLACES = ("mean", "means", "quantiles")
"""Entries of a description that move along with the values."""


def _from_offsets(said: Any, offsets: list[int]) -> Any:
    """Return what conditionals say in the user's numbers, which are more by the offsets."""
    if not any(offsets):
        return said
    if isinstance(said, list):
        pairs = zip(said, offsets, strict=True)
        return [_moved(each, float(k)) if isinstance(each, dict) else each for each, k in pairs]
    return _moved(said, np.array(offsets, float)) if isinstance(said, dict) else said


def _moved(said: dict[str, Any], by: Any) -> dict[str, Any]:
    """Return a description of which what moves along is more by a number, or by (D,) of them."""
    moved = dict(said)
    if isinstance(said.get("present"), dict):
        moved["present"] = _moved(said["present"], by)
    for key in said.keys() & {*_PLACES}:
        axes = said[key].ndim - 2 if np.ndim(by) else 0
        moved[key] = said[key] + np.reshape(by, np.shape(by) + (1,) * axes)
    return moved
