"""Pool of the demo: handwritten digits, near-copies among them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Images kept out of the pool to test classifiers; images that are copied, and copies of each.
TESTED, COPIED, COPIES = 500, 50, 14
# Spread of a copy's pixels around the original's, which are from 0 to 1.
JITTER = 0.02
SHADES = " ░▒▓█"

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """A pool of handwritten digits, near-copies among them, and images to test a classifier on.

    Attributes:
        images: (m, 64) pixels from 0 to 1; the originals first, then the near-copies.
        labels: (m,) the digit of each.
        originals: number of originals.
        source: (m,) number of the original that an image is or copies.
        test_images, test_labels: 500 images and their digits.
    """

    images: Floats
    labels: Indices
    originals: int
    source: Indices
    test_images: Floats
    test_labels: Indices

    @property
    def embeddings(self) -> Floats:
        """(m, 64) images minus their mean: the paper-white that all share says nothing."""
        centred: Floats = self.images - self.images.mean(axis=0)
        return centred

    @property
    def scores(self) -> Floats:
        """(m, 10) one column a digit, 1 for its images and else 0."""
        return np.eye(10)[self.labels]


def digits(seed: int = 0) -> Digits:
    """Returns a pool of 1,297 scanned digits and 700 near-copies of 50 of them; 500 others are for the test.

    The images are those of `sklearn.datasets.load_digits`, 8 x 8 pixels.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(images))
    kept, test = order[TESTED:], order[:TESTED]
    source = np.concatenate([np.arange(len(kept)), np.repeat(np.arange(COPIED), COPIES)])
    pixels = images[kept][source] / 16
    copies = pixels[len(kept) :]
    copies += generator.normal(0, JITTER, copies.shape)
    return Digits(
        pixels.clip(0, 1), labels[kept][source].astype(np.int64), len(kept), source, images[test] / 16,
        labels[test].astype(np.int64),
    )  # fmt: skip


def picture(pool: Digits, i: int) -> str:
    """Returns an image as eight lines of shaded characters, with what it is."""
    kind = f"near-copy of row {pool.source[i]}" if i >= pool.originals else "original"
    lines = (pool.images[i].reshape(8, 8) * (len(SHADES) - 1)).round().astype(int)
    return f"digit {pool.labels[i]}, {kind}\n" + "\n".join("".join(2 * SHADES[value] for value in row) for row in lines)
