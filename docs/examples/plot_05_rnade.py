"""
Conditional densities of real columns
=====================================

`~fastar.RNADE` gives each real column a mixture of Gaussians whose weights, means and widths
depend on the columns before it. Two moons show what that buys: for many x1 there are two places
where x2 may be.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_moons

from fastar import RNADE
from fastar.plotting import ConditionalDensityDisplay

X, _ = make_moons(3000, noise=0.08, random_state=0)
model = RNADE(n_hidden=100, n_components=8, learning_rate_init=0.005, random_state=0).fit(X)
print(f"log-likelihood {model.score(make_moons(3000, noise=0.08, random_state=1)[0]):.3f} nats")

# %%
# The joint density on a grid, p(x1) p(x2 given x1), and the data. The three lines are values of
# x1 that the next picture asks about.

asked, colors = np.array([-0.9, 0.5, 1.1]), ["tab:orange", "tab:green", "tab:red"]
x1, x2 = np.meshgrid(np.linspace(-1.6, 2.6, 150), np.linspace(-1, 1.5, 150))
density = np.exp(model.score_samples(np.column_stack([x1.ravel(), x2.ravel()])))
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.contourf(x1, x2, density.reshape(x1.shape), levels=20, cmap="Blues")
ax.plot(*X[:300].T, ".", color="black", markersize=2)
for k, value in enumerate(asked):
    ax.axvline(value, color=colors[k])
ax.set(xlabel="x1", ylabel="x2")

# %%
# p(x2 given x1) along each line. On the left there is one moon and one peak. In the middle the
# line crosses both moons, and the density has two peaks. No single Gaussian could say so: its
# mean would lie between the moons, where no point is. On the right the line passes the tip of the
# upper moon, and the second peak is low and wide.

fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.set_prop_cycle(color=colors)
rows = np.column_stack([asked, np.zeros(3)])
labels = [f"x1 = {value}" for value in asked]
ConditionalDensityDisplay.from_estimator(model, rows, 1, labels=labels, random_state=0, ax=ax)
