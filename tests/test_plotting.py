"""Pictures: that they show the images, each in its place."""

import warnings

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

matplotlib.use("Agg")

from matplotlib import pyplot

from fastar import (
    MADE,
    NADE,
    RNADE,
    AutoDensity,
    DensityOutlierDetector,
    PixelRNN,
    plotting,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def shown(ax):
    return ax.get_images()[0].get_array()


def test_images_stand_in_rows_with_lines_between():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    page = shown(plotting.image_grid(images, n_columns=2))
    assert page.shape == (3 * 3 - 1, 2 * 4 - 1)
    for n in range(5):
        top, left = n // 2 * 3, n % 2 * 4
        np.testing.assert_array_equal(page[top : top + 2, left : left + 3], images[n])
    assert (page[6:, 4:] == 0).all()
    assert page.mask[2].all()
    assert page.mask.sum() == 2 * 7 + 6


@pytest.mark.parametrize("channels", [(), (3,)])
def test_completions_stand_between_what_is_seen_and_the_image(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 3, *channels)).astype(np.uint8)
    drawn = rng.integers(0, 256, (2, 5, 4, 3, *channels)).astype(np.uint8)
    hidden = np.arange(4)[:, None] >= np.array([2] * 3)
    page = shown(plotting.completion_grid(images, hidden, drawn))
    assert page.shape[:2] == (2 * 5 - 1, 7 * 4 - 1)
    np.testing.assert_array_equal(page[5:7, :3], images[1, :2])
    behind = page[7:9, :3]
    assert (len(np.unique(behind)) == 1) if channels else behind.mask.all()
    np.testing.assert_array_equal(page[:4, 4:7], drawn[0, 0])
    np.testing.assert_array_equal(page[:4, 24:], images[0])


def test_other_axes_are_refused():
    with pytest.raises(ValueError, match="images must have"):
        plotting.image_grid(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="completions must have"):
        plotting.completion_grid(np.zeros((2, 3, 4)), np.zeros((3, 4)), np.zeros((2, 3, 4)))


# ---- displays: that they show what the model says

QUICK = {"max_iter": 3, "random_state": 0, "n_jobs": 1, "early_stopping": False}
BITS = (np.cumsum(np.random.default_rng(0).random((60, 9)) < 0.3, axis=1) % 2).astype(np.int64)
REAL = np.random.default_rng(1).normal(size=(80, 3)) * [1, 10, 100]


def fitted(model, X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **given)


def bits_model():
    return fitted(NADE(n_hidden=5, **QUICK), BITS)


def table(frame):
    """Return a frame of two columns, and a model of it; the string decides on the number."""
    kind = np.random.default_rng(0).choice(["low", "high"], 300)
    size = np.where(kind == "high", 50.0, 0.0) + np.random.default_rng(1).normal(size=300)
    X = frame({"kind": kind, "size": size})
    settings = {"activation": "relu", "learning_rate_init": 0.03, "max_iter": 30}
    return X, fitted(NADE(n_hidden=10, **QUICK | settings), X)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_the_loss_curves_are_those_of_the_model(early_stopping):
    model = fitted(NADE(n_hidden=5, **QUICK | {"early_stopping": early_stopping}), BITS)
    display = plotting.LossCurveDisplay.from_estimator(model, name="NADE", color="red")
    assert len(display.lines_) == 1 + early_stopping
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [1, 2, 3])
    assert display.lines_[0].get_color() == "red"
    if early_stopping:
        np.testing.assert_array_equal(display.lines_[1].get_ydata(), model.validation_curve_)
    labels = [each.get_text() for each in display.ax_.get_legend().get_texts()]
    assert labels == ["NADE, training", "NADE, held out"][: 1 + early_stopping]


def test_the_best_epoch_is_marked_on_the_curve_of_the_held_out_rows():
    display = plotting.LossCurveDisplay([3.0, 2.0, 1.0], [4.0, 2.5, 3.0], best_iter=2).plot()
    assert display.ax_.lines[-1].get_xydata().tolist() == [[2, 2.5]]


def test_samples_are_drawn_as_images():
    model = bits_model()
    display = plotting.SampleGridDisplay.from_estimator(
        model, n_samples=4, random_state=0, n_columns=4
    )
    drawn = model.sample(4, random_state=0).reshape(4, 3, 3)
    np.testing.assert_array_equal(display.images, drawn)
    np.testing.assert_array_equal(shown(display.ax_)[:, 4:7], drawn[1])
    wide = plotting.SampleGridDisplay.from_estimator(model, n_samples=2, image_shape=(1, 9))
    assert wide.images.shape == (2, 1, 9)


def test_samples_have_the_shape_of_the_images_of_fit():
    images = np.random.default_rng(0).integers(0, 2, (30, 2, 3))
    model = fitted(PixelRNN(n_hidden=4, **QUICK), images)
    display = plotting.SampleGridDisplay.from_estimator(model, n_samples=2, random_state=0)
    assert display.images.shape == (2, 2, 3)


def test_samples_that_are_no_square_want_a_shape():
    model = fitted(NADE(n_hidden=5, **QUICK), BITS[:, :5])
    with pytest.raises(ValueError, match="image_shape must be given: 5 values"):
        plotting.SampleGridDisplay.from_estimator(model)


@pytest.mark.parametrize("n_draws", [1, 3])
@pytest.mark.parametrize("kind", [NADE, PixelRNN])
def test_completions_keep_what_is_seen(kind, n_draws):
    images = BITS.reshape(-1, 3, 3)
    model = fitted(kind(n_hidden=4, **QUICK), images if kind is PixelRNN else BITS)
    hidden = np.arange(3)[:, None] >= np.array([1, 1, 1])
    given = images[:2] if kind is PixelRNN else BITS[:2]
    display = plotting.CompletionsDisplay.from_estimator(
        model, given, hidden, n_draws=n_draws, random_state=0
    )
    assert display.completions.shape == (2, n_draws, 3, 3)
    visible = np.broadcast_to(images[:2, None, ~hidden], (2, n_draws, 3))
    np.testing.assert_array_equal(display.completions[..., ~hidden], visible)
    assert shown(display.ax_).shape == (2 * 4 - 1, (n_draws + 2) * 4 - 1)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_conditional_density_is_that_of_the_model(column):
    model = fitted(RNADE(n_hidden=5, n_components=2, **QUICK), REAL)
    display = plotting.ConditionalDensityDisplay.from_estimator(
        model, REAL[:2], column, values=REAL[:50, column], labels=["first", "second"]
    )
    at_own = np.exp(model.score_features(REAL[:2])[:, column])
    np.testing.assert_allclose([display.density[0, 0], display.density[1, 1]], at_own, rtol=1e-6)
    np.testing.assert_array_equal(display.artists_[1].get_ydata(), display.density[1])
    assert display.ax_.get_xlabel() == f"x{column + 1}"


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_conditional_density_covers_the_range_of_samples(column):
    model = fitted(RNADE(n_hidden=5, n_components=2, **QUICK), REAL)
    display = plotting.ConditionalDensityDisplay.from_estimator(
        model, REAL[:3], column, random_state=0
    )
    area = (display.density[:, 1:] * np.diff(display.values)).sum(axis=1)
    np.testing.assert_allclose(area, 1, atol=0.05)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_levels_of_a_frame_s_column_have_bars(frame):
    X, model = table(frame)
    display = plotting.ConditionalDensityDisplay.from_estimator(
        model, X[:2], "kind", random_state=0
    )
    assert display.values.tolist() == ["high", "low"]
    assert len(display.artists_) == 2
    np.testing.assert_allclose(display.density.sum(axis=1), 1, atol=0.01)
    assert [each.get_text() for each in display.ax_.get_xticklabels()] == ["high", "low"]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_the_density_of_a_frame_s_column_depends_on_the_columns_before(frame):
    _, model = table(frame)
    rows = frame({"kind": ["high", "low"], "size": [0.0, 0.0]})
    display = plotting.ConditionalDensityDisplay.from_estimator(model, rows, "size", random_state=0)
    means = display.density @ display.values / display.density.sum(axis=1)
    assert means[0] > 40 > 10 > means[1]


def test_a_conditional_density_takes_a_context():
    context = BITS[:, :1].astype(object)
    model = fitted(NADE(n_hidden=5, **QUICK), BITS, context=context)
    display = plotting.ConditionalDensityDisplay.from_estimator(
        model, BITS[:2], 3, context=context[:2], random_state=0
    )
    one = model.conditionals(BITS[:2], context=context[:2])[:, 3]
    np.testing.assert_allclose(display.density[:, 1], one, rtol=1e-5)


def test_masks_are_drawn_with_units_after_as_rows():
    order = [1, 2, 0]
    made = MADE(hidden_layer_sizes=(4, 5), order=order, direct_connections=False, **QUICK)
    model = fitted(made, BITS[:, :3])
    display = plotting.MasksDisplay.from_estimator(model)
    assert [ax.get_title() for ax in display.axes_] == ["W0", "W1", "W2", "connectivity"]
    np.testing.assert_array_equal(shown(display.axes_[0]), model.masks_["W0"].T)
    np.testing.assert_array_equal(shown(display.axes_[2]), model.masks_["W2"][:, :, 0].T)
    names = [each.get_text() for each in display.axes_[0].get_xticklabels()]
    assert names == ["x2", "x3", "x1"]
    np.testing.assert_array_equal(display.connectivity_, np.tri(3, k=-1, dtype=bool))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_masks": 2},
        {"distribution": "categorical"},
        {"markov_order": 2},
        {"direct_connections": False},
    ],
)
def test_connectivity_is_what_the_order_and_its_window_allow(settings):
    levels = np.random.default_rng(0).integers(0, 3, (60, 5))
    X = levels if settings.get("distribution") else levels.astype(float)
    model = fitted(MADE(hidden_layer_sizes=(8,), **QUICK | settings), X)
    display = plotting.MasksDisplay.from_estimator(model, member=model.network_.n_members - 1)
    before = np.tri(5, k=-1, dtype=bool)
    window = before & ~np.tri(5, k=-1 - settings.get("markov_order", 5), dtype=bool)
    np.testing.assert_array_equal(display.connectivity_, window)


@pytest.mark.parametrize("direct_connections", [True, False])
def test_features_of_different_widths_have_a_cell_each(direct_connections):
    rng = np.random.default_rng(0)
    size = np.where(rng.random(80) < 0.4, 0, rng.gamma(2, 1, 80))
    table = pd.DataFrame({"colour": rng.choice(["a", "b", "c"], 80), "size": size})
    model = MADE(hidden_layer_sizes=(40,), direct_connections=direct_connections, **QUICK)
    display = plotting.MasksDisplay.from_estimator(fitted(model, table))
    assert display.names == ["colour", "size", "size, 2"]  # which atom, and the number
    np.testing.assert_array_equal(display.connectivity_, np.tri(3, k=-1, dtype=bool))
    assert shown(display.axes_[0]).shape == (40, 3)
    assert not display.axes_[0].yaxis.get_minorticklocs().size


def test_pairs_are_of_data_below_and_of_samples_above_the_diagonal():
    model = fitted(RNADE(n_hidden=5, n_components=2, **QUICK), REAL)
    display = plotting.PairPlotDisplay.from_estimator(model, REAL, columns=[2, 0], random_state=0)
    drawn = model.sample(80, random_state=0)
    below, above = (display.axes_[place].collections[0] for place in [(1, 0), (0, 1)])
    np.testing.assert_allclose(below.get_offsets(), REAL[:, [2, 0]])
    np.testing.assert_allclose(above.get_offsets(), drawn[:, [0, 2]], rtol=1e-6)
    assert display.axes_[1, 0].get_xlim() == display.axes_[0, 0].get_xlim()
    assert display.axes_[1, 0].get_xlabel() == "x3"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_pairs_of_a_mixed_frame_with_missing_values(frame):
    X = frame({"kind": ["a", "b", None, "a"] * 20, "size": [0.5, None, 1.5, 2.5] * 20})
    model = fitted(NADE(n_hidden=5, **QUICK), X)
    display = plotting.PairPlotDisplay.from_estimator(model, X, random_state=0)
    offsets = display.axes_[1, 0].collections[0].get_offsets()
    assert offsets.mask.any(axis=1).sum() == 40 or np.isnan(offsets).any(axis=1).sum() == 40
    kinds = [each.get_text() for each in display.axes_[1, 0].get_xticklabels()]
    assert kinds == ["a", "b"]


def detector():
    density = NADE(n_hidden=5, **QUICK)
    return fitted(DensityOutlierDetector(density, random_state=0), BITS)


def test_an_explanation_has_the_lowest_share_on_top():
    model, row = detector(), BITS[:1]
    display = plotting.OutlierExplanationDisplay.from_estimator(model, row, max_features=4)
    shares = model.explain(row)[0]
    widths = [bar.get_width() for bar in display.bars_]
    assert widths == sorted(widths)
    largest = np.sort(np.abs(shares))[-4:]
    np.testing.assert_allclose(np.sort(np.abs(widths)), largest)
    first = int(np.flatnonzero(shares == widths[0])[0])
    label = display.ax_.get_yticklabels()[0].get_text()
    assert label == f"x{first + 1} = {row[0, first]}"
    assert display.ax_.yaxis_inverted()


def test_an_explanation_is_of_one_row():
    with pytest.raises(ValueError, match=r"X must have one row\. Got 2 rows"):
        plotting.OutlierExplanationDisplay.from_estimator(detector(), BITS[:2])


def test_calibration_counts_p_values_up_to_a_level():
    display = plotting.PValueCalibrationDisplay([0.5, 0.1, 0.5, 0.9], name="rows").plot()
    x, y = display.line_.get_xdata(), display.line_.get_ydata()
    for level, share in [(0.05, 0), (0.1, 0.25), (0.3, 0.25), (0.5, 0.75), (0.95, 1), (1, 1)]:
        assert y[np.searchsorted(x, level, side="right") - 1] == share
    again = plotting.PValueCalibrationDisplay.from_estimator(detector(), BITS, ax=display.ax_)
    np.testing.assert_array_equal(again.p_values, detector().p_values(BITS))
    assert len(display.ax_.lines) == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.LossCurveDisplay([1.0]).plot(ax),
        lambda ax: plotting.SampleGridDisplay(np.zeros((1, 2, 2))).plot(ax),
        lambda ax: plotting.ConditionalDensityDisplay([0, 1], [[0.5, 0.5]], "x").plot(ax),
        lambda ax: plotting.OutlierExplanationDisplay([1.0], ["x"], [0]).plot(ax),
        lambda ax: plotting.PValueCalibrationDisplay([0.5]).plot(ax),
    ],
)
def test_displays_draw_on_given_axes(draw):
    _, ax = pyplot.subplots()
    display = draw(ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert len(pyplot.get_fignums()) == 1


def test_displays_of_several_axes_take_as_many():
    _, axes = pyplot.subplots(2, 2)
    display = plotting.PairPlotDisplay(REAL[:, :2], REAL[:, :2], ["a", "b"]).plot(axes)
    assert (display.axes_ == axes).all()
    with pytest.raises(ValueError, match=r"axes must have the shape \(3, 3\). Got \(2, 2\)"):
        plotting.PairPlotDisplay(REAL, REAL, ["a", "b", "c"]).plot(axes)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plotting.LossCurveDisplay.from_estimator(NADE()),
        lambda: plotting.SampleGridDisplay.from_estimator(NADE()),
        lambda: plotting.CompletionsDisplay.from_estimator(NADE(), BITS, BITS[0] > 0),
        lambda: plotting.ConditionalDensityDisplay.from_estimator(NADE(), BITS, 0),
        lambda: plotting.PairPlotDisplay.from_estimator(NADE(), BITS),
        lambda: plotting.MasksDisplay.from_estimator(MADE()),
        lambda: plotting.OutlierExplanationDisplay.from_estimator(
            DensityOutlierDetector(), BITS[:1]
        ),
        lambda: plotting.PValueCalibrationDisplay.from_estimator(DensityOutlierDetector(), BITS),
    ],
)
def test_displays_want_a_fitted_estimator(draw):
    with pytest.raises(NotFittedError):
        draw()


# ---- searches

LINES = [
    {"model": "MADE", "settings": {"hidden_layer_sizes": [50, 20], "activation": "relu"}},
    {"model": "NADE", "settings": {"n_hidden": 100, "activation": "sigmoid"}},
    {"model": "FVSBN", "settings": {}},
]
SHARES = [(-2.0, 0.75), (-2.5, 0.0), (-3.0, 0.25)]


def test_a_leaderboard_shows_scores_and_what_the_mixture_has():
    board = [
        line | {"score": score, "weight": weight}
        for line, (score, weight) in zip(LINES, SHARES, strict=True)
    ]
    display = plotting.LeaderboardDisplay(board, -1.9).plot()
    assert display.points_.get_offsets().tolist() == [[-2.0, 0], [-2.5, 1], [-3.0, 2]]
    is_filled = [len(face) > 0 and face[3] > 0 for face in display.points_.get_facecolors()]
    assert is_filled == [True, False, True]
    names = [each.get_text() for each in display.ax_.get_yticklabels()]
    assert names == ["MADE 50 20 relu", "NADE 100 sigmoid", "FVSBN"]
    assert [each.get_text() for each in display.ax_.texts] == ["0.75", "0.25"]
    assert display.ax_.lines[0].get_xdata() == [-1.9, -1.9]
    bottom, top = display.ax_.get_ylim()
    assert bottom > top
    few = display.plot(max_models=2)
    assert len(few.points_.get_offsets()) == 2


def test_a_leaderboard_is_that_of_the_search():
    search = AutoDensity(max_time=None, max_trials=4, max_iter=3, random_state=0)
    model = fitted(search, REAL)
    display = plotting.LeaderboardDisplay.from_estimator(model)
    scores = display.points_.get_offsets()[:, 0]
    np.testing.assert_allclose(scores, [line["score"] for line in model.leaderboard_])
    assert display.score >= scores[0]
    with pytest.raises(NotFittedError):
        plotting.LeaderboardDisplay.from_estimator(AutoDensity())
