"""What NADE decides by the table, where its parameters leave it to that."""

import numpy as np
import pytest
from common import assert_same_bits, bits, fit, reals
from sklearn.base import clone

import fastar
from fastar import NADE

QUICK = {"max_iter": 1, "early_stopping": False, "random_state": 0, "n_jobs": 1}
MIXED = np.column_stack([reals(40, 2), bits(40, 2)])

CHOSEN = {
    "binary, few rows": (bits(40, 3), "sigmoid", 500, False),
    "binary": (bits(1000, 3), "sigmoid", 500, False),
    "few rows": (reals(999, 3), "relu", 500, True),
    "mixed, few rows": (MIXED, "relu", 500, True),
    "many rows": (reals(1000, 3), "relu", 128, False),
}


class Watch:
    """Keeps the running training, and the parameters from which it starts."""

    def on_fit_begin(self, training):
        self.training = training
        self.start = {name: value.copy() for name, value in training.model.params.items()}


@pytest.mark.parametrize(("X", "activation", "n_hidden", "is_linear"), CHOSEN.values(), ids=CHOSEN)
def test_the_table_chooses_units_activation_and_start(X, activation, n_hidden, is_linear):
    watch = Watch()
    model = fit(NADE(**QUICK, callbacks=[watch]), X)
    assert (model.activation_, model.n_hidden_) == (activation, n_hidden)
    assert model.network_.activation == activation
    assert watch.start["c"].shape == (n_hidden,)
    assert (watch.start["c"] == is_linear).all()
    assert watch.training.learning_rate == (0.001 if is_linear else 0.002)
    assert model.get_params()["n_hidden"] is model.get_params()["activation"] is None


@pytest.mark.parametrize("n", [40, 1000])
def test_what_is_given_is_kept(n):
    watch = Watch()
    model = fit(
        NADE(
            n_hidden=3,
            activation="relu",
            alpha=0.7,
            learning_rate_init=0.3,
            callbacks=[watch],
            **QUICK,
        ),
        reals(n, 3),
    )
    assert (model.activation_, model.n_hidden_, watch.training.alpha) == ("relu", 3, 0.7)
    assert watch.training.learning_rate == 0.3
    assert (watch.start["c"] == 0).all()


@pytest.mark.parametrize(("n", "alpha"), [(10, 0.1), (5000, 0.1), (10_000, 0.05)])
def test_more_rows_need_less_weight_decay(n, alpha):
    watch = Watch()
    fit(NADE(n_hidden=2, callbacks=[watch], **QUICK), bits(n, 2))
    assert watch.training.alpha == pytest.approx(alpha)


def test_a_fitted_choice_outlives_other_tables(tmp_path):
    model = fit(NADE(**QUICK, warm_start=True), reals(40, 3))
    model.save(tmp_path / "model")
    loaded = fastar.load(tmp_path / "model")
    assert (loaded.activation_, loaded.n_hidden_) == ("relu", 500)
    for each in (model, loaded):
        fit(each, reals(1200, 3))
        assert each.n_hidden_ == 500
        each.partial_fit(reals(5, 3))
    assert_same_bits(model.theta_, loaded.theta_)
    with pytest.raises(ValueError, match="must stay as they were"):
        model.set_params(n_hidden=128).fit(reals(40, 3))
    assert fit(clone(model).set_params(n_hidden=None), reals(1200, 3)).n_hidden_ == 128
