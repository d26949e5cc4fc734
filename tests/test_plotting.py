"""Pictures: that they show the images, each in its place."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from matplotlib import pyplot

from fastar import plotting


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def shown(ax):
    return np.asarray(ax.get_images()[0].get_array())


def test_images_stand_in_rows_with_lines_between():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    page = shown(plotting.image_grid(images, n_columns=2))
    assert page.shape == (3 * 3 - 1, 2 * 4 - 1)
    for n in range(5):
        top, left = n // 2 * 3, n % 2 * 4
        np.testing.assert_array_equal(page[top : top + 2, left : left + 3], images[n])
    assert (page[6:, 4:] == 0).all()
    assert (page[2] == images.max()).all()


@pytest.mark.parametrize("channels", [(), (3,)])
def test_completions_stand_between_what_is_seen_and_the_image(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 3, *channels)).astype(np.uint8)
    drawn = rng.integers(0, 256, (2, 5, 4, 3, *channels)).astype(np.uint8)
    hidden = np.arange(4)[:, None] >= np.array([2] * 3)
    page = shown(plotting.completion_grid(images, hidden, drawn))
    assert page.shape[:2] == (2 * 5 - 1, 7 * 4 - 1)
    np.testing.assert_array_equal(page[5:7, :3], images[1, :2])
    assert len(np.unique(page[7:9, :3])) == 1
    np.testing.assert_array_equal(page[:4, 4:7], drawn[0, 0])
    np.testing.assert_array_equal(page[:4, 24:], images[0])


def test_other_axes_are_refused():
    with pytest.raises(ValueError, match="images must have"):
        plotting.image_grid(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="completions must have"):
        plotting.completion_grid(np.zeros((2, 3, 4)), np.zeros((3, 4)), np.zeros((2, 3, 4)))
