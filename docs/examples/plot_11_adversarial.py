"""
Adversarial digits, found and repaired
======================================

Small changes of its pixels can make a classifier see another digit. A density model does not look
at classes: it notices that the changed image is improbable, and can move each pixel back to where
it is plausible (PixelDefend).
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from fastar import NADE, DensityOutlierDetector
from fastar.conditionals import LogisticMixture
from fastar.plotting import OutlierExplanationDisplay, PValueCalibrationDisplay, image_grid

X, y = load_digits(return_X_y=True)
X = X.astype(np.int64)  # grey levels 0 to 16
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=300, random_state=0)
classifier = LogisticRegression(max_iter=5000, C=0.01).fit(X_train, y_train)

# %%
# The attack takes one step of three grey levels in each pixel, in the direction in which the
# classifier's loss rises fastest (the fast gradient sign method).

epsilon = 3
wrong = classifier.predict_proba(X_test) - np.eye(10)[y_test]
attacked = np.clip(X_test + epsilon * np.sign(wrong @ classifier.coef_), 0, 16).astype(np.int64)

# %%
# The detector knows only the training digits. p-values compare the score of an image with those
# of digits that were held out.

density = NADE(
    n_hidden=100, activation="relu", distribution=LogisticMixture(n_components=5, low=0, high=16),
    learning_rate_init=0.003, learning_rate="cosine", max_iter=40, random_state=0,
)  # fmt: skip
detector = DensityOutlierDetector(density, statistic="likelihood", random_state=0).fit(X_train)
repaired = detector.density_.purify(attacked, epsilon=epsilon)

for name, images in {"clean": X_test, "attacked": attacked, "repaired": repaired}.items():
    accuracy, p = classifier.score(images, y_test), np.median(detector.p_values(images))
    print(f"{name:9} accuracy {accuracy:.2f}, median p-value {p:.3f}")

# %%
# Clean digits have p-values along the diagonal, as rows like those of ``fit`` must. Nearly all
# attacked ones have tiny p-values: their curve jumps to one at once. The repair takes each pixel
# to its most probable value, so that repaired digits are more probable than most clean ones, and
# their curve lies below the diagonal. The classifier recognises half of them again.

fig, ax = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
for name, images in {"clean": X_test, "attacked": attacked, "repaired": repaired}.items():
    PValueCalibrationDisplay.from_estimator(detector, images, name=name, ax=ax)

# %%
# Eight digits: clean, attacked, repaired. The attack looks like noise, and the repair removes
# most of it.

fig, axes = plt.subplots(3, 1, figsize=(7, 3.2), layout="constrained")
for ax, (name, images) in zip(
    axes, {"clean": X_test, "attacked": attacked, "repaired": repaired}.items(), strict=True
):
    image_grid(images[:8].reshape(-1, 8, 8), n_columns=8, ax=ax, vmin=0, vmax=16)
    ax.set_ylabel(name)

# %%
# What gives the first one away: the pixels whose values are the least expected ones, given those
# before them.

OutlierExplanationDisplay.from_estimator(detector, attacked[:1])
