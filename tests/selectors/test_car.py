"""CaR: against the authors' procedure written plainly, for every k and n1; clusters; real data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gip_gpu.selectors.car import car, car_clusters

pytest.importorskip("sklearn", reason="CaR needs scikit-learn")

RNG = np.random.default_rng(3)
M = 120
# Groups of different sizes, and scores with ties.
F = RNG.normal(size=(M, 6)) + 20 * RNG.normal(size=(9, 6))[RNG.integers(0, 9, M) ** 2 // 9]
SCORES = RNG.integers(0, 30, M) / 10


def official(labels: NDArray[np.int64], scores: NDArray[np.float64], n1: int, n2: int) -> set[int]:
    """The n1 best rows, and the n2 best of each cluster, as sets."""
    ranked = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    chosen = set(ranked[:n1])
    for label in set(labels.tolist()):
        chosen |= set([row for row in ranked if labels[row] == label][:n2])
    return chosen


@pytest.mark.parametrize("seed", [0, 42])
def test_the_choice_is_that_of_the_authors(seed: int) -> None:
    labels = car_clusters(F, seed=seed)
    for n1 in (0, 1, 17, 60, M):
        for n2 in (1, 2, 5):
            wanted = official(labels, SCORES, n1, n2)
            assert set(car(F, SCORES, len(wanted), best=n1, seed=seed).tolist()) == wanted
            if n2 == 1:
                # Then n1 follows from k.
                assert set(car(F, SCORES, len(wanted), seed=seed).tolist()) == wanted


def test_every_k_gives_k_rows_between_two_n2() -> None:
    labels = car_clusters(F)
    for best in (None, 0, 9):
        for k in range(max(1, best or 0), M + 1):
            chosen = car(F, SCORES, k, best=best).tolist()
            assert len(set(chosen)) == len(chosen) == k
            if best is None:
                assert len(set(labels[chosen])) == min(k, len(set(labels)))
                continue
            n2 = next(n2 for n2 in range(M + 1) if len(official(labels, SCORES, best, n2)) >= k)
            assert official(labels, SCORES, best, n2 - 1 if n2 else 0) <= set(chosen)
            assert set(chosen) <= official(labels, SCORES, best, n2)
            # The last places go to the best rows of this level.
            left = official(labels, SCORES, best, n2) - set(chosen)
            last = set(chosen) - official(labels, SCORES, best, max(n2 - 1, 0))
            assert not left or not last or max((SCORES[i], -i) for i in left) < min((SCORES[i], -i) for i in last)


def test_fewer_rows_than_clusters_are_the_best_of_the_clusters() -> None:
    labels = car_clusters(F)
    tops = sorted(official(labels, SCORES, 0, 1), key=lambda row: (-SCORES[row], row))
    assert car(F, SCORES, 3).tolist() == tops[:3]
    assert len(tops) == math.isqrt(M // 2)


def test_rows_come_best_first_and_ties_to_the_lowest() -> None:
    chosen = car(F, SCORES, 40, best=40).tolist()
    assert chosen == sorted(range(M), key=lambda row: (-SCORES[row], row))[:40]
    assert car(F, np.zeros(M), 5, best=5).tolist() == list(range(5))


@pytest.mark.usefixtures("all_threads")
def test_a_seed_decides_the_clusters() -> None:
    rows = RNG.normal(size=(3000, 24)).astype(np.float32)
    first = car_clusters(rows, seed=1)
    assert (first.dtype, first.shape, len(np.unique(first))) == (np.int64, (3000,), math.isqrt(1500))
    for _ in range(3):
        assert (car_clusters(rows, seed=1) == first).all()
    assert (car_clusters(rows, seed=2) != first).any()
    assert (car_clusters(rows.tolist(), seed=1) == first).all()


def test_clusters_are_of_the_principal_components() -> None:
    """The authors' calls, on rows that k-means adds up in one piece, so that threads do not matter."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    rows = RNG.normal(size=(200, 24))
    reduced = PCA(n_components=0.95, random_state=42).fit_transform(rows)
    assert reduced.shape[1] < 24
    wanted, without = (KMeans(10, n_init=1, random_state=42).fit_predict(each) for each in (reduced, rows))
    assert (car_clusters(rows, seed=42) == wanted).all()
    assert (wanted != without).any()


@pytest.mark.parametrize("m", [1, 2, 7, 8, 30])
def test_small_pools_and_equal_rows(m: int) -> None:
    scores = np.arange(m, dtype=float)
    assert car(np.ones((m, 3)), scores, 1).tolist() == [m - 1]
    assert sorted(car(RNG.normal(size=(m, 3)), scores, m).tolist()) == list(range(m))
    two = np.repeat([[0.0, 0.0], [1.0, 1.0]], [m - m // 2, m // 2], axis=0)
    assert len(car(two, scores, max(1, m // 2))) == max(1, m // 2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((F, SCORES[:-1], 5), {}, ValueError, "scores has 119 rows and F has 120"),
        ((F, np.column_stack([SCORES, SCORES]), 5), {}, ValueError, "scores has 2 columns; it must be one"),
        ((F, np.where(SCORES > 1, np.nan, SCORES), 5), {}, ValueError, "scores has a value that is not finite"),
        ((F, SCORES, 0), {}, ValueError, "k is 0; k must be an int from 1 to m = 120"),
        ((F, SCORES, 5), {"best": 6}, ValueError, "best is 6; best must be an int from 0 to 5"),
        ((F, SCORES, 5), {"best": -1}, ValueError, "best is -1"),
        ((F, SCORES, 5), {"best": 2.0}, TypeError, "best is 2.0, a float"),
        ((F, SCORES, 5), {"seed": -1}, ValueError, "seed is -1"),
        ((F, SCORES, 5), {"seed": None}, TypeError, "seed is None"),
        ((F[0], SCORES, 5), {}, ValueError, "F has shape"),
    ],
)
def test_bad_input_is_named(arguments: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        car(*arguments, **options)


@pytest.mark.slow
def test_alpaca_has_161_clusters(real: Any) -> None:
    rows, judges = real("alpaca52k_minilm_f16.npy"), real("alpaca52k_judges.npy")
    labels = car_clusters(rows, seed=42)
    assert len(np.unique(labels)) == 161
    scores = judges.sum(axis=1).astype(float)
    wanted = official(labels, scores, 1000, 1)
    assert set(car(rows, scores, len(wanted), best=1000, seed=42).tolist()) == wanted
