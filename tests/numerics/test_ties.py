"""The tie rule: what is mathematically equal counts as equal, on every route, and the lowest index wins."""

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.numerics import ties
from gip_gpu.reference import matching_pursuit

pytestmark = pytest.mark.usefixtures("all_threads")


def rescaled_copies(seed):
    """Rows, and three times and a seventh of the same rows: equal after normalisation except for the last bit."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((1500, 12))
    rows = np.vstack([rows, 3 * rows, rows / 7])[rng.permutation(4500)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, unit @ rng.standard_normal(12)


@pytest.mark.parametrize("seed", range(4))
def test_rescaled_copies_tie(seed):
    F, G = rescaled_copies(seed)
    chosen = select(F, G, 150)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 150, on_exhausted="restart"))
    assert chosen.certificate.tied > 20


def test_relative_rule_alone_is_not_enough(monkeypatch):
    """Once the residual is small, one rounding of the scores is more than a relative 1e-12 of it."""
    monkeypatch.setattr(ties, "ABSOLUTE", 0.0)
    differ = []
    for seed in range(4):
        F, G = rescaled_copies(seed)
        differ.append((select(F, G, 60).indices != matching_pursuit(F, G, 60)).any())
    assert any(differ)


@pytest.mark.parametrize("columns", ["gram", "lazy"])
def test_lowest_index_wins(columns):
    F = np.tile(np.eye(8), (300, 1))
    order = np.random.default_rng(0).permutation(len(F))
    chosen = select(F[order], np.ones(len(F)), 8, columns=columns)
    first = [int(np.flatnonzero(order % 8 == axis)[0]) for axis in range(8)]
    assert chosen.indices.tolist() == sorted(first)
    assert chosen.certificate.ties.tolist() == [2400 - 300 * t for t in range(8)]
    assert chosen.certificate.tied == 8


def test_first_best():
    assert ties.first_best(np.array([1.0, 2.0, 2.0 * (1 - 1e-13), 0.0]), 2.0) == (1, 2)
    assert ties.first_best(np.array([2.0 * (1 - 1e-13), 2.0]), 2.0) == (0, 2)
    assert ties.first_best(np.array([2.0 * (1 - 1e-11), 2.0]), 2.0) == (1, 1)
    assert ties.first_best(np.array([-np.inf, 0.0, 0.0]), 0.0) == (1, 2)
