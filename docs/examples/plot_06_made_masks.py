"""
The masks of MADE
=================

`~fastar.MADE` computes all conditionals in one pass through an ordinary network, in which masks
hide the weights that would let an output see its own input. The textbook's example has three
inputs in the order x2, x3, x1. Every hidden unit has a degree: how many inputs of that order it
may see.
"""

import numpy as np

from fastar import MADE
from fastar.plotting import MasksDisplay

X = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(np.uint8)
settings = {"order": [1, 2, 0], "direct_connections": False, "random_state": 0}
made = MADE(hidden_layer_sizes=(4, 4), **settings).fit(X)

# %%
# A dark cell is a weight that the mask shows. W0 leads from the inputs, W1 from layer to layer,
# W2 to the outputs. With units sorted by degree every mask is a staircase, and the kernels never
# touch the white cells. The product of the three masks is the connectivity on the right: x2
# depends on nothing, x3 on x2, and x1 on both.

MasksDisplay.from_estimator(made)

# %%
# With ``markov_order=2`` a column sees only the two columns before it. The masks become bands. A
# hidden unit sees one column, and an output sees the units of two columns.

X = np.random.default_rng(0).integers(0, 2, (200, 8)).astype(np.uint8)
banded = MADE(hidden_layer_sizes=(14,), markov_order=2, direct_connections=False, random_state=0)
MasksDisplay.from_estimator(banded.fit(X))

# %%
# An order-agnostic MADE has several sets of masks over one set of weights, each with an order of
# its own. Each set allows another half of the connections between columns, so that the
# connectivity is a triangle in another order.

agnostic = MADE(
    hidden_layer_sizes=(8,),
    n_masks=2,
    order_agnostic=True,
    direct_connections=False,
    random_state=0,
).fit(X)
MasksDisplay.from_estimator(agnostic, member=0)
MasksDisplay.from_estimator(agnostic, member=1)
