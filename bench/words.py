"""
Fit a table whose columns are words, of some 12,000 levels, and score the words it holds out.

`python bench/words.py` makes a table from the text of tiny_shakespeare, a row a word: the word
before, the word, and the letter that the next word begins with. Printed are the mean
log-likelihoods a row, in nats, of the words of the held-out part given the column before; beside
them those of add-one n-grams of the same columns. A word that the training part lacks has what the
model leaves for other values: add-one n-grams give it one count.
"""

import argparse
import re
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from machine import cores, peak_memory
from settings import add_settings, literal
from sklearn.exceptions import ConvergenceWarning
from tables import table

from fastar.datasets import load_dataset
from fastar.models import BY_NAME

SETTINGS = {
    "n_hidden": 128,
    "activation": "relu",
    "batch_size": 500,
    "learning_rate": "linear",
    "learning_rate_init": 0.002,
    "alpha": 0.02,
    "max_iter": 10,
    "early_stopping": False,
}


def words_of(characters: np.ndarray, vocabulary: Any) -> list[str]:
    """Return the words of a text in lower case, and the marks between them."""
    text = "".join(np.asarray(vocabulary)[characters]).lower()
    return re.findall(r"[a-z']+|[.,;:!?]", text)


def rows_of(words: list[str]) -> pd.DataFrame:
    """Return a table with a row for each word that has one before and one behind it."""
    return pd.DataFrame(
        {
            "before": words[:-2],
            "word": words[1:-1],
            "letter": [word[0] for word in words[2:]],
        }
    )


def add_one(train: pd.DataFrame, test: pd.DataFrame, given: list[str]) -> float:
    """Return the mean log-likelihood of "word" given columns, by counts plus one."""
    n_words = train["word"].nunique() + 1  # one for all others
    key = [*given, "word"]
    seen = test[key].merge(train.groupby(key).size().rename("joint").reset_index(), "left", key)
    of: Any = len(train)
    if given:
        before = train.groupby(given).size().rename("of").reset_index()
        of = test[given].merge(before, "left", given)["of"].fillna(0).to_numpy()
    return float(np.log((seen["joint"].fillna(0).to_numpy() + 1) / (of + n_words)).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="NADE", choices=sorted(BY_NAME))
    add_settings(parser, "settings in place of those written here")
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--rows", type=literal, help="training rows; all by default")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    data = load_dataset("tiny_shakespeare", arguments.data)
    train, test = (rows_of(words_of(part, data.vocabulary)) for part in (data.train, data.test))
    train = train[: arguments.rows]
    model = BY_NAME[arguments.model](random_state=0, **SETTINGS | dict(arguments.changes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start, cpu = time.perf_counter(), time.process_time()
        model.fit(train)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    terms = model.score_features(test)[:, 1].mean()
    rows = [
        [arguments.model, f"{terms:.3f}"],
        ["add-one pairs of words", f"{add_one(train, test, ['before']):.3f}"],
        ["add-one words", f"{add_one(train, test, []):.3f}"],
    ]
    print(table(["model", "log p(word | before)"], rows, arguments.markdown))
    print(
        f"{len(train)} rows, {train['word'].nunique()} words, {model.n_parameters_} parameters; "
        f"fit in {seconds:.1f} s ({cpu:.1f} CPU), {cores()} cores, peak {peak_memory():.0f} MB"
    )


if __name__ == "__main__":
    main()
