"""
Occluded digits completed
=========================

`~fastar.PixelRNN` is a recurrence through the pixels of an image. It can draw the pixels that a
mask hides, given those that are seen.
"""

import numpy as np

from fastar import PixelRNN
from fastar.datasets import load_binary_digits
from fastar.plotting import CompletionsDisplay

digits = load_binary_digits()
images = {split: getattr(digits, split).reshape(-1, 8, 8) for split in ("train", "valid", "test")}
model = PixelRNN(
    network="row_lstm",
    n_hidden=32,
    learning_rate_init=0.005,
    learning_rate="cosine",
    max_iter=25,
    random_state=0,
)
model.fit(images["train"], X_val=images["valid"])
print(f"test log-likelihood {model.score(images['test']):.2f} nats")

# %%
# From left to right: what the model sees, with the hidden half in blue; six completions; the
# image itself. Where the upper half leaves no doubt, the completions agree. Where it does, they
# are different digits, each in one stroke with what is seen.

examples = images["test"][[0, 3, 7, 11, 15, 22]]
lower = np.arange(8)[:, None] >= np.full(8, 4)
CompletionsDisplay.from_estimator(model, examples, lower, n_draws=6, random_state=0)

# %%
# The right half is harder: most rows have hidden pixels before seen ones. Samples are weighed by
# the probability that they give to the pixels that are seen later, and those that contradict them
# die out.

right = np.full((8, 1), True) & (np.arange(8) >= 4)
CompletionsDisplay.from_estimator(model, examples, right, n_draws=6, n_particles=64, random_state=0)
