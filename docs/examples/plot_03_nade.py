"""
Samples of NADE, and the probabilities behind them
==================================================

`~fastar.NADE` replaces the logistic regressions by a hidden layer that grows from pixel to pixel.
A sample is drawn one pixel after the other. Each time, the model gives the probability that the
pixel is white, and a biased coin decides.
"""

from matplotlib import pyplot as plt

from fastar import FVSBN, NADE
from fastar.datasets import load_binary_digits
from fastar.plotting import SampleGridDisplay

digits = load_binary_digits()
settings = {"learning_rate_init": 0.01, "random_state": 0}
model = NADE(n_hidden=200, **settings).fit(digits.train, X_val=digits.valid)
linear = FVSBN(**settings).fit(digits.train, X_val=digits.valid)
for name, each in {"NADE": model, "FVSBN": linear}.items():
    print(f"test log-likelihood of {name}: {each.score(digits.test):.2f} nats")

# %%
# On the left, samples. On the right, for each of them, the probabilities from which its pixels
# were drawn: dark where the model was sure of black, bright where it was sure of white, grey
# where the coin decided. The shape of each sample shines through, since a pixel follows the
# strokes before it. The edges are left to chance.

drawn = model.sample(25, random_state=0)
fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
SampleGridDisplay(drawn.reshape(-1, 8, 8)).plot(axes[0])
SampleGridDisplay(model.conditionals(drawn).reshape(-1, 8, 8)).plot(axes[1], vmin=0, vmax=1)
axes[0].set_title("samples")
axes[1].set_title("p(pixel is white, given those before)")

# %%
# `temperature` below 1 sharpens every conditional: the samples are cleaner and more alike.

fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, temperature in zip(axes, [0.5, 0.8, 1.0], strict=True):
    SampleGridDisplay.from_estimator(model, temperature=temperature, random_state=1, ax=ax)
    ax.set_title(f"temperature {temperature}")
