"""
A sequence labelled step by step
================================

A dealer throws a fair die, and now and then changes to a loaded one, which shows a six half of
the time. `~fastar.SequenceLabeller` learns from games in which the die is known. Then it watches
a game and says after each throw which die it thinks is in use, given the throws so far.
"""

import numpy as np
from matplotlib import pyplot as plt

from fastar import SequenceLabeller


def game(rng, n=150):
    """Return the throws of a game, and the die of each."""
    loaded = np.cumsum(rng.random(n) < 0.04) % 2
    fair_throw = rng.integers(1, 7, n)
    loaded_throw = np.where(rng.random(n) < 0.5, 6, rng.integers(1, 6, n))
    return np.where(loaded, loaded_throw, fair_throw), np.array(["fair", "loaded"])[loaded]


rng = np.random.default_rng(0)
throws, dice = zip(*[game(rng) for _ in range(300)], strict=True)
labeller = SequenceLabeller(
    cell="gru", n_hidden=24, learning_rate_init=0.01, max_iter=60, random_state=0
)
labeller.fit(list(throws), list(dice))

new_throws, new_dice = game(np.random.default_rng(3))
probability = labeller.predict_proba([new_throws])[0][:, 1]
correct = labeller.predict([new_throws])[0] == new_dice
print(f"classes {labeller.classes_}, accuracy on the new game {correct.mean():.2f}")

# %%
# The dots are the throws, the shade is the truth, and the line is the probability of the loaded
# die. It rises after a few sixes and falls after a while without any. It is always late: it knows
# only the past.

fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
steps = np.arange(len(new_throws))
ax.fill_between(
    steps,
    0,
    6.5,
    where=new_dice == "loaded",
    color="tab:red",
    alpha=0.15,
    step="mid",
    label="loaded die",
)
ax.plot(steps, new_throws, ".", color="grey", label="throw")
ax.set(xlabel="throw", ylabel="points", ylim=(0, 6.5))
ax.legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1))
right = ax.twinx()
right.plot(steps, probability, color="tab:red")
right.set(ylabel="p(loaded, given the throws so far)", ylim=(0, 1.08))
