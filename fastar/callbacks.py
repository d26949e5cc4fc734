"""Callbacks that watch, record, save or stop training.

A callback is any object with some of the methods of `Callback`; each is given the running
`Training`.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from fastar._core.files import Contents, read_arrays, write_arrays
from fastar._core.parameters import Array
from fastar.networks._padding import is_padded

if TYPE_CHECKING:
    from fastar._engine.training import Training

__all__ = ["Callback", "Checkpoint", "History", "ProgressBar"]


class Callback:
    """Base class: every hook does nothing."""

    def on_fit_begin(self, training: Training) -> None:
        """Before the first epoch."""

    def on_epoch_end(self, training: Training) -> bool | None:
        """After each epoch; True stops training."""
        return None

    def on_fit_end(self, training: Training) -> None:
        """After the last epoch, also after an interruption or an error."""

    def on_alternative_begin(self, training: Training) -> None:
        """Before the first epoch of each alternative; these are trained before the fit begins."""

    def on_alternative_epoch_end(self, training: Training) -> bool | None:
        """After each epoch of an alternative; True ends it, and no other one is trained."""
        return None


def callbacks_of(given: Any) -> list[Any]:
    """Return the callbacks that the `callbacks` parameter holds; ValueError where one is none."""
    hooks = [name for name in vars(Callback) if name.startswith("on_")]
    listed = given if isinstance(given, list | tuple) else [given]
    found = [each for each in listed if each is not None]
    for each in found:
        if isinstance(each, type) or not any(hasattr(each, hook) for hook in hooks):
            raise ValueError(
                f"The 'callbacks' parameter must hold objects with {', '.join(hooks[:-1])} or "
                f"{hooks[-1]}. Got {each!r} instead."
            )
    return found


class History(Callback):
    """Keeps a record of every epoch.

    Attributes
    ----------
    records : list of dict
        One an epoch: epoch, loss, validation_loss (nats an example; None without held-out rows),
        learning_rate, seconds since training began.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> from fastar.callbacks import History
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 4))
    >>> history = History()
    >>> model = NADE(n_hidden=4, callbacks=[history], random_state=0).fit(X)
    >>> len(history.records) == model.n_iter_
    True
    >>> sorted(history.records[0])
    ['epoch', 'learning_rate', 'loss', 'seconds', 'validation_loss']
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def on_fit_begin(self, training: Training) -> None:
        """Start the clock and forget an earlier fit."""
        self.records.clear()
        self._start = time.perf_counter()

    def on_epoch_end(self, training: Training) -> None:
        """Add a record."""
        progress = training.progress
        self.records.append(
            {
                "epoch": progress.epoch,
                "loss": progress.loss_curve[-1],
                "validation_loss": progress.validation_curve[-1]
                if progress.validation_curve
                else None,
                "learning_rate": training.rate,
                "seconds": time.perf_counter() - self._start,
            }
        )


class ProgressBar(Callback):
    """A tqdm bar over epochs with nats an example and rows a second."""

    def on_fit_begin(self, training: Training) -> None:
        """Open the bar."""
        self._bar = tqdm(total=training.max_iter, initial=training.progress.epoch, unit="epoch")
        self._last = time.perf_counter()

    def on_epoch_end(self, training: Training) -> None:
        """Show the newest figures."""
        now, progress = time.perf_counter(), training.progress
        shown = {"train": f"{-progress.loss_curve[-1]:.3f}"}
        if progress.validation_curve:
            shown["valid"] = f"{-progress.validation_curve[-1]:.3f}"
        shown["rows/s"] = f"{len(training.table) / (now - self._last):.0f}"
        self._last = now
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def on_fit_end(self, training: Training) -> None:
        """Close the bar."""
        self._bar.close()


def _from_version_2(header: dict[str, Any], arrays: dict[str, Array]) -> Contents:
    """Count the outputs of all columns, where those of one were counted; remember the padding."""
    fit = header.get("fit")
    if isinstance(fit, dict):
        key = "parameters of the network"
        found = re.fullmatch(r"(\w+\()(\d+), (\d+)(, .*)", str(fit.get(key)), re.DOTALL)
        if found:
            kind, D, P, settings = found.groups()
            fit = {**fit, key: f"{kind}{D}, {int(D) * int(P)}{settings}"}
    return {**header, "fit": fit, "padded": True}, arrays


class Checkpoint(Callback):
    """Writes the state of training to a file every few epochs, and takes it up again from there.

    A fit that finds the file goes on where it stopped and ends with the same bits as one that was
    never interrupted; `max_iter` may be another, unless the learning rate depends on it. A file of
    other data, parameters or another `random_state` (which must be an int) is refused, and what
    differs is named. A warm start from what the file's fit ended with begins a new fit there. Each
    member of a `Mixture` has a file of its own, with its place after the path: "path.0", and within
    an inner mixture "path.0.1".

    Parameters
    ----------
    path : str or path
        Written whole or not at all. Where it cannot be written, a warning says so, and training
        goes on.
    every : int, default=1
        Epochs between two writes.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = os.fspath(path)
        self.every = every

    def of_member(self, places: tuple[int, ...]) -> Checkpoint:
        """Return the checkpoint of a member of a mixture, at these places from the outermost."""
        return Checkpoint(".".join([self.path, *map(str, places)]), self.every)

    def on_fit_begin(self, training: Training) -> None:
        """Take up the file's state, if there is a file."""
        self._identity = training.identity()
        if not os.path.exists(self.path):
            return
        header, arrays = read_arrays(self.path, "checkpoint", {2: _from_version_2})
        if header.pop("padded", False) and is_padded(training.model.network):
            raise ValueError(
                f"The checkpoint {self.path!r} was written by an early fastar, in which all "
                "columns had as many parameters as the widest one; this fit has others. Remove the "
                "file or give another path, to begin a new fit."
            )
        if training.goes_on_from(header, arrays):
            return
        remedy = (
            "Give back what it had, to go on with that fit; or remove the file or give another "
            "path, to begin a new one."
        )
        known = header.pop("fit", None)
        if not isinstance(known, dict):
            raise ValueError(
                f"The checkpoint {self.path!r} was written by an early fastar and does not tell of "
                f"which data it is. {remedy}"
            )
        different = [name for name, own in self._identity.items() if known.get(name) != own]
        if different:
            raise ValueError(
                f"The checkpoint {self.path!r} is of another fit: it has other "
                f"{', '.join(different)}. {remedy}"
            )
        try:
            training.check_snapshot(header, arrays)
        except ValueError as error:
            raise ValueError(f"The file {self.path!r} is damaged: {error}") from error
        training.restore(header, arrays)

    def on_epoch_end(self, training: Training) -> None:
        """Write the file when it is due."""
        if training.progress.epoch % self.every:
            return
        header, arrays = training.snapshot()
        try:
            write_arrays(self.path, "checkpoint", {**header, "fit": self._identity}, arrays)
        except OSError as error:
            warnings.warn(
                f"The checkpoint {self.path!r} could not be written ({error}); training goes on.",
                UserWarning,
                stacklevel=2,
            )
