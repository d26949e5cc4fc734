"""
A coin, and its closed form
===========================

The smallest density estimator is a coin: one column of bits, and one parameter. The
log-likelihood of n tosses with k heads is ``k log p + (n - k) log(1 - p)``, and its maximum has a
closed form, the share of heads k / n.

A model with one column has nothing to condition on, so that training has to find the same number.
"""

import numpy as np
from matplotlib import pyplot as plt

from fastar import NADE

rng = np.random.default_rng(0)
tosses = (rng.random((40, 1)) < 0.7).astype(np.uint8)
n, heads = len(tosses), int(tosses.sum())

model = NADE(n_hidden=1, early_stopping=False, random_state=0).fit(tosses)
learned = model.conditionals(tosses)[0, 0]
print(f"share of heads {heads / n:.4f}, learned {learned:.4f}")

# %%
# The curve is the log-likelihood of the 40 tosses for each p. The dot is the model: it is at the
# top of the curve, on the line of the closed form.

p = np.linspace(0.3, 0.95, 200)
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(p, heads * np.log(p) + (n - heads) * np.log(1 - p), label="log-likelihood")
ax.axvline(heads / n, color="grey", linestyle=":", label="k / n")
ax.plot(learned, model.score_samples(tosses).sum(), "o", label="model")
ax.set(xlabel="p, the probability of heads", ylabel="nats")
ax.legend(loc="lower center")

# %%
# How much do n tosses tell? The estimate of a larger sample is nearer to 0.7, from which the
# tosses were drawn.

sizes = [10, 40, 160, 640, 2560]
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for draw in range(15):
    rng = np.random.default_rng(draw)
    shares = [(rng.random(size) < 0.7).mean() for size in sizes]
    ax.semilogx(sizes, shares, color="tab:blue", alpha=0.4)
ax.axhline(0.7, color="grey", linestyle=":")
ax.set(xlabel="tosses", ylabel="estimate")
