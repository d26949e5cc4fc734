"""
Digits drawn by class
=====================

With a context, the model is p(x given context). Here the context is the class of a digit, and the
model draws digits on demand.
"""

import numpy as np
from matplotlib import pyplot as plt

from fastar import NADE
from fastar.datasets import load_binary_digits
from fastar.plotting import SampleGridDisplay

digits = load_binary_digits()
labels = {split: digits.labels[split].astype(object) for split in ("train", "valid", "test")}
model = NADE(n_hidden=200, learning_rate_init=0.01, random_state=0)
model.fit(digits.train, context=labels["train"], X_val=digits.valid, context_val=labels["valid"])

# %%
# A row of samples for each class, 0 to 9. Most of them can be read as the digit that was asked
# for.

classes = np.repeat(np.arange(10), 12).astype(object)
fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
SampleGridDisplay.from_estimator(
    model, n_samples=120, context=classes, n_columns=12, random_state=0, ax=ax
)
ax.set(ylabel="class", yticks=np.arange(10) * 9 + 4, yticklabels=np.arange(10))

# %%
# Bayes' rule turns the same model round: p(class given x) is in proportion to p(x given class).
# The matrix counts the test digits by their class (rows) and by the class under which they are
# most probable (columns).

scores = np.column_stack(
    [model.score_samples(digits.test, context=np.full(250, k, object)) for k in range(10)]
)
found = scores.argmax(axis=1)
truth = digits.labels["test"]
print(f"accuracy {(found == truth).mean():.3f}")
counts = np.zeros((10, 10), int)
np.add.at(counts, (truth, found), 1)
fig, ax = plt.subplots(figsize=(4, 4), layout="constrained")
ax.imshow(counts, cmap="Blues")
ax.set(xlabel="most probable class", ylabel="class", xticks=range(10), yticks=range(10))
