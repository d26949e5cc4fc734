"""
The best published test log-likelihoods of exact models, in nats: `python bench/published.py`.

It prints the table of docs/guide/how_good.md.
"""

from typing import NamedTuple

from tables import table

__all__ = ["BEST", "Best"]


class Best(NamedTuple):
    """A figure, and a better one that nobody could trace or trust, which is named but not counted.

    checked: whether the figure was read in its source; else it is as remembered.
    """

    nats: float
    source: str
    aside: str = ""
    checked: bool = False


_NADE = "NADE: Larochelle, Murray 2011"
_EONADE = "ensemble of orders of NADE: Uria, Murray, Larochelle 2014"
_MADE = "MADE: Germain et al. 2015"
_RNADE = "RNADE: Uria, Murray, Larochelle 2013"
_RNADES = "deep or ensembled RNADE: Uria, Murray, Larochelle 2014"
_TRACTABLE = "the best of several papers on tractable models"

BEST: dict[str, Best] = {
    "nltcs": Best(-5.99, _TRACTABLE),
    "msnbc": Best(-6.03, _TRACTABLE),
    "kdd": Best(-2.12, _TRACTABLE, "untraced: -2.07"),
    "baudio": Best(-38.95, _TRACTABLE),
    "jester": Best(-51.65, _TRACTABLE, "doubtful: -51.07"),
    "bnetflix": Best(-55.16, _TRACTABLE),
    "accidents": Best(-26.32, _TRACTABLE),
    "tretail": Best(-10.81, _TRACTABLE, "untraced: -10.72"),
    "pumsb_star": Best(-21.72, _TRACTABLE),
    "dna": Best(-79.05, _TRACTABLE),
    "kosarek": Best(-10.55, _TRACTABLE, "untraced: -10.52"),
    "book": Best(-33.46, _TRACTABLE),
    "tmovie": Best(-48.69, _TRACTABLE),
    "cwebkb": Best(-147.70, _TRACTABLE),
    "c20ng": Best(-148.17, _TRACTABLE),
    "bbc": Best(-240.19, _TRACTABLE, "untraced: -229.21"),
    "ad": Best(-13.65, _TRACTABLE),
    "adult": Best(-13.12, _MADE),
    "connect4": Best(-11.90, _MADE),
    "ocr_letters": Best(-27.22, _NADE),
    "nips": Best(-272.39, _EONADE),
    "dna_nade": Best(-79.66, _MADE),
    # of rows scaled by the training folds, mean of ten folds
    "red_wine": Best(-8.30, _RNADES),
    "parkinsons": Best(-0.71, _RNADES),
    "ionosphere": Best(-2.50, _RNADE),
    "boston_housing": Best(-0.64, _RNADE),
}


def printed() -> str:
    """Return the table in Markdown."""
    rows = [
        [
            name,
            f"{best.nats:.2f}" + ("" if best.checked else " ?"),
            best.aside,
            best.source,
        ]
        for name, best in BEST.items()
    ]
    return table(["set", "best published", "not counted", "source"], rows, markdown=True)


if __name__ == "__main__":
    print(printed())
