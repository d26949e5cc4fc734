"""
A mixed table: sampled, imputed, asked
======================================

A table of patients with real columns, a whole number and a category, from scikit-learn's diabetes
data. A fifth of the values of bmi and a tenth of those of sex are removed.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.datasets import load_diabetes

from fastar import RNADE
from fastar.plotting import ConditionalDensityDisplay, PairPlotDisplay

frame = load_diabetes(as_frame=True, scaled=False).frame
table = pd.DataFrame(
    {
        "sex": frame["sex"].map({1.0: "f", 2.0: "m"}),
        "age": frame["age"].astype(int),
        "bmi": frame["bmi"],
        "pressure": frame["bp"],
        "progress": frame["target"],
    }
)
complete = table.copy()
rng = np.random.default_rng(0)
gaps = rng.random(len(table)) < 0.2
table.loc[gaps, "bmi"] = np.nan
table.loc[rng.random(len(table)) < 0.1, "sex"] = None

# whole numbers would have levels: a number has a density
kinds = {"sex": "auto", "age": "auto", "bmi": "auto", "pressure": "auto", "progress": "number"}
model = RNADE(n_hidden=20, distribution=kinds, learning_rate_init=0.002, random_state=0).fit(table)
print(model.sample(3, random_state=0))

# %%
# Below the diagonal the patients, above it as many samples. The upper triangle mirrors the lower
# one: age is whole, sex has two levels, and bmi, pressure and progress rise together. No sample
# of progress is below zero, as no patient is: its numbers are modelled on a scale that has none.

PairPlotDisplay.from_estimator(model, table, random_state=0)

# %%
# The gaps of bmi filled, fifty draws for each, against the values that were removed. The bars
# cover 80 % of the draws. They follow the truth only loosely: the other columns do not determine
# bmi, and the bars are as wide as that. Four in five of the removed values should lie within
# them. The share below is somewhat smaller: the bars are a little too narrow.

holes = table[gaps]
draws = np.stack([model.impute(holes, random_state=k)["bmi"].to_numpy() for k in range(50)])
low, middle, high = np.quantile(draws, [0.1, 0.5, 0.9], axis=0)
truth = complete.loc[gaps, "bmi"]
fig, ax = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
ax.errorbar(truth, middle, yerr=[middle - low, high - middle], fmt="o", markersize=4, alpha=0.7)
ax.axline((25, 25), slope=1, color="grey", linestyle=":")
ax.set(xlabel="removed bmi", ylabel="drawn bmi")
print(f"{((low <= truth) & (truth <= high)).mean():.0%} of the removed values are within the bars")

# %%
# What progress is to be expected? The density of the last column given the others, for a slim
# patient of low pressure and for a heavy one of high pressure: the second curve lies far to the
# right, and is wider.

asked = pd.DataFrame(
    {
        "sex": ["f", "m"],
        "age": [40, 55],
        "bmi": [21.0, 33.0],
        "pressure": [80.0, 110.0],
        "progress": 150.0,
    }
)
labels = ["bmi 21, pressure 80", "bmi 33, pressure 110"]
ConditionalDensityDisplay.from_estimator(model, asked, "progress", labels=labels, random_state=0)

# %%
# And the other way round: who has a progress above 250? Samples answer any question of this kind.
# Rows with a bmi above 30 are much more frequent among them than in the whole table.

drawn = model.sample(20_000, random_state=0)
fast = drawn[drawn["progress"] > 250]
for name, rows in {"all": drawn, "progress > 250": fast}.items():
    print(f"bmi > 30 among {name}: {(rows['bmi'] > 30).mean():.0%}")
