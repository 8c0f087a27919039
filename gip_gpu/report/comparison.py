"""Comparison of the demo: choices of several methods, and what each is good for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gip_gpu.api.select import select
from gip_gpu.api.selection import Selection
from gip_gpu.report.digits import Digits, Floats, Indices, digits
from gip_gpu.signals import self_compression

# Pools, made by different random splits, and random choices from each: one split alone would be noise.
SPLITS, DRAWS = 5, 3
NEAR = 0.95
OURS, PLAIN, RANDOM, EVEN, KMEANS, TOP = (
    "gip_gpu, scored by label",
    "gip_gpu, without labels",
    "random",
    "random, evenly by label",
    "k-means, row at each centre",
    "top-k by self-compression",
)


@dataclass(frozen=True)
class Measured:
    """Measures of a choice, means over pools and draws.

    Attributes:
        accuracy: share of the test images that a classifier trained on the choice gets right.
        distance: mean of 1 - cosine of an original with its nearest pick.
        far: the same for the original at the 99th percentile.
        copies: share of the picks with another pick at a cosine of 0.95 or more.
    """

    accuracy: float
    distance: float
    far: float
    copies: float


def choose(pool: Digits, k: int) -> Selection:
    """Chooses k images by what they say of the ten digits: objective "lr", with the ridge fit of labels to images."""
    return select(pool.embeddings, pool.scores, k, objective="lr", query="ridge", epsilon=1.0, device="cpu")


def choices(pool: Digits, sizes: Sequence[int], seed: int) -> dict[str, dict[int, list[Indices]]]:
    """Returns the choices of each method by number of picks, several where the method is random."""
    m, most = len(pool.images), max(sizes)
    compression = self_compression(pool.images)
    generators = [np.random.default_rng((seed, draw)) for draw in range(DRAWS)]
    # Each of these orders begins with the choice of any smaller number.
    orders = {
        OURS: [choose(pool, most).indices],
        RANDOM: [generator.choice(m, most, replace=False) for generator in generators],
        EVEN: [_evenly(pool.labels, most, generator) for generator in generators],
        PLAIN: [select(pool.images, compression, most, device="cpu").indices],
        TOP: [np.argsort(-compression, kind="stable")[:most]],
    }
    made = {name: {k: [order[:k] for order in drawn] for k in sizes} for name, drawn in orders.items()}
    made[KMEANS] = {k: [_at_centres(_unit(pool.embeddings), k, seed)] for k in sizes}
    return made


def compare(sizes: Sequence[int], seed: int) -> dict[str, dict[int, Measured]]:
    """Returns the measures of each method for each number of picks, means over the pools and draws."""
    found: dict[str, dict[int, list[Measured]]] = {}
    with one_thread():
        for split in range(seed, seed + SPLITS):
            pool = digits(split)
            for name, by_size in choices(pool, sizes, split).items():
                for k, sets in by_size.items():
                    found.setdefault(name, {}).setdefault(k, []).extend(measure(pool, chosen) for chosen in sets)
    return {name: {k: _mean(all_of) for k, all_of in by_size.items()} for name, by_size in found.items()}


def measure(pool: Digits, chosen: Indices) -> Measured:
    """Measures a choice: trains a classifier on it, and looks for the nearest pick of each original."""
    unit = _unit(pool.embeddings)
    distance = 1 - (unit[: pool.originals] @ unit[chosen].T).max(axis=1)
    among = unit[chosen] @ unit[chosen].T
    np.fill_diagonal(among, -1)
    return Measured(
        accuracy(pool, chosen), float(distance.mean()), float(np.quantile(distance, 0.99)),
        float((among.max(axis=1) >= NEAR).mean()),
    )  # fmt: skip


def accuracy(pool: Digits, chosen: Indices) -> float:
    """Returns the share of the test images that logistic regression, trained on the choice, gets right."""
    from sklearn.linear_model import LogisticRegression

    if len(set(pool.labels[chosen].tolist())) == 1:
        return float((pool.test_labels == pool.labels[chosen[0]]).mean())
    with one_thread():
        model = LogisticRegression(C=10, max_iter=2000).fit(pool.images[chosen], pool.labels[chosen])
        return float(model.score(pool.test_images, pool.test_labels))


def _evenly(labels: Indices, k: int, generator: np.random.Generator) -> Indices:
    """Returns k random items, as many of each label as possible."""
    order = generator.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")[:k]]


def _at_centres(unit: Floats, k: int, seed: int) -> Indices:
    """Returns the rows nearest to k centres of k-means; fewer if centres share their row."""
    from sklearn.cluster import KMeans

    distances = KMeans(k, n_init=1, random_state=seed).fit(unit).transform(unit)
    return np.unique(distances.argmin(axis=0))


def one_thread() -> Any:
    """Returns a context of one BLAS thread: for small matrices more cost more than they give."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _unit(F: Floats) -> Floats:
    unit: Floats = F / np.linalg.norm(F, axis=1, keepdims=True)
    return unit


def _mean(measured: list[Measured]) -> Measured:
    rows = [(each.accuracy, each.distance, each.far, each.copies) for each in measured]
    return Measured(*np.mean(rows, axis=0).tolist())
