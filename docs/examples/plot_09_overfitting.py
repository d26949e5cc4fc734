"""
Learning curves, and what helps against overfitting
===================================================

Two hundred digits are few for the 64 conditionals of a network. Trained without a brake, the
model learns the training rows by heart. The held-out rows tell when.
"""

from matplotlib import pyplot as plt

from fastar import MADE
from fastar.datasets import load_binary_digits
from fastar.plotting import LossCurveDisplay

digits = load_binary_digits()
few = digits.train[:200]


def fitted(**brake):
    """Return a model that was trained for 60 epochs; the held-out rows choose its parameters."""
    model = MADE(
        hidden_layer_sizes=(300,),
        learning_rate_init=0.005,
        batch_size=20,
        max_iter=60,
        n_iter_no_change=60,
        random_state=0,
        **brake,
    )
    return model.fit(few, X_val=digits.valid)


plain = fitted()

# %%
# The full line is the loss of the rows in training, the dashed one that of held-out rows. Both
# fall at first. Then the training loss goes on falling, while the other one turns: from there on
# the model gets worse. The dot is the epoch whose parameters are kept, which is what early
# stopping does.

LossCurveDisplay.from_estimator(plain)

# %%
# Three brakes. Weight decay (``alpha``) shrinks the weights, a Markov order lets a pixel see only
# the last 18 pixels, and dropout hides a part of the hidden units in each step. With each of them
# the lines are closer to each other, and the dashed line rises later and less, or not at all.

brakes = {
    "weight decay": fitted(alpha=1),
    "Markov order 18": fitted(markov_order=18),
    "dropout": fitted(dropout=0.7),
}
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, brakes.items(), strict=True):
    LossCurveDisplay.from_estimator(plain, ax=ax, color="lightgrey", name="plain")
    LossCurveDisplay.from_estimator(model, ax=ax, color="tab:blue", name="braked")
    ax.set(title=name, ylim=(10, 30))
    ax.label_outer()

# %%
# The test rows, which no choice has seen, agree on weight decay and dropout. The Markov order
# makes the model forgiving, but it also hides pixels that matter: with early stopping it gains
# nothing here.

for name, model in {"plain": plain, **brakes}.items():
    print(f"{name:16} {model.score(digits.test):.2f} nats")
