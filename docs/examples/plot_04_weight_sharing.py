"""
What sharing the weights saves
==============================

Give every column a network of its own, with H hidden units over the columns before it, and the
weights number about D² H / 2. NADE lets all columns share one matrix: the hidden layer of column
d is that of column d - 1 plus one row. Its parameters number about 2 D H.
"""

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.exceptions import ConvergenceWarning

from fastar import FVSBN, NADE

H = 100
sizes = np.array([10, 30, 100, 300, 1000])


def count(model, D):
    """Return the number of parameters of a model of D columns of bits."""
    X = np.eye(2, D, dtype=np.uint8)
    with warnings.catch_warnings():  # one epoch is enough to count
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(max_iter=1, early_stopping=False).fit(X).n_parameters_


shared = [count(NADE(n_hidden=H), D) for D in sizes]
linear = [count(FVSBN(), D) for D in sizes]

# column d: (d - 1) H weights in, H biases, H weights out, and a bias
separate = [sum((d - 1) * H + 2 * H + 1 for d in range(1, D + 1)) for D in sizes]

for D, own, alone in zip(sizes, shared, separate, strict=True):
    print(f"D = {D:4}: NADE {own:7,}, networks apart {alone:10,}, {alone / own:5.1f} times as many")

# %%
# Both axes are logarithmic. NADE's line rises by one decade a decade, those of the networks apart
# and of the linear FVSBN by two: with a thousand columns NADE has fewer parameters than the
# linear model.

fig, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.loglog(sizes, separate, "o-", label=f"a network of {H} units a column")
ax.loglog(sizes, linear, "o-", label="a logistic regression a column (FVSBN)")
ax.loglog(sizes, shared, "o-", label=f"NADE of {H} units")
ax.set(xlabel="columns D", ylabel="parameters")
ax.legend()
