"""
A logistic regression for each pixel
====================================

A fully visible sigmoid belief network writes the probability of an image as a product of logistic
regressions: each pixel is regressed on the pixels before it, here from left to right and from top
to bottom. The images are digits of 8 x 8 pixels, black or white.
"""

from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression

from fastar import FVSBN
from fastar.datasets import load_binary_digits
from fastar.plotting import SampleGridDisplay

digits = load_binary_digits()
model = FVSBN(learning_rate_init=0.01, random_state=0).fit(digits.train, X_val=digits.valid)
print(f"test log-likelihood {model.score(digits.test):.2f} nats")

# %%
# The weights of three pixels. The frame marks the pixel that is predicted: it has weights on the
# pixels before it alone. Red neighbours make the pixel more probable, blue ones less.

weights = model.params_["L"][:, 0]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
for ax, pixel in zip(axes, [19, 36, 53], strict=True):
    ax.imshow(weights[pixel].reshape(8, 8), cmap="RdBu_r", vmin=-2, vmax=2)
    row, column = divmod(pixel, 8)
    ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=2))
    ax.set(title=f"weights of pixel {pixel}", xticks=[], yticks=[])

# %%
# One factor is an ordinary logistic regression. scikit-learn's, fitted to the same pixel, gives
# nearly the same probabilities: the points lie about the diagonal.

pixel = 36
regression = LogisticRegression(C=10, max_iter=1000)
regression.fit(digits.train[:, :pixel], digits.train[:, pixel])
fig, ax = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
ax.plot(
    regression.predict_proba(digits.test[:, :pixel])[:, 1],
    model.conditionals(digits.test)[:, pixel],
    ".",
    alpha=0.6,
)
ax.set(xlabel="LogisticRegression", ylabel="factor of FVSBN", title=f"p(pixel {pixel} is white)")

# %%
# Samples beside data. The samples have strokes, and some are digits; the linear factors cannot
# keep a whole shape together.

fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
SampleGridDisplay(digits.test[:36].reshape(-1, 8, 8)).plot(axes[0])
SampleGridDisplay.from_estimator(model, n_samples=36, random_state=0, ax=axes[1])
axes[0].set_title("data")
axes[1].set_title("samples")
