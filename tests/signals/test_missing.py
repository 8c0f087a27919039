"""Missing scores and signals side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu.signals import combine, fill_missing

RNG = np.random.default_rng(3)


def seventy() -> np.ndarray:
    """Scores (1000, 3) of which 70 % of the rows are missing."""
    scores = RNG.uniform(0, 5, size=(1000, 3))
    scores[RNG.permutation(1000)[:700]] = np.nan
    return scores


def test_errors_count_and_place_the_gaps() -> None:
    with pytest.raises(ValueError, match=r"1 of 'b' are missing of 3 rows, the first in row 2; missing='drop'"):
        fill_missing([[1, 2], [3, 4], [5, np.nan]], names=["a", "b"])
    scores = RNG.normal(size=(5, 2))
    np.testing.assert_array_equal(fill_missing(scores), scores)


def test_the_mean_of_the_column_leaves_its_mean() -> None:
    scores = seventy()
    found = fill_missing(scores, "mean")
    gaps = np.isnan(scores)
    np.testing.assert_array_equal(found[~gaps], scores[~gaps])
    for j in range(3):
        assert (found[gaps[:, j], j] == scores[~gaps[:, j], j].mean()).all()
    assert np.isnan(scores).sum() == 2100
    with pytest.raises(ValueError, match="all scores of column 1 are missing"):
        fill_missing([[1, np.nan], [np.nan, np.nan]], "mean")


def test_dropped_rows_are_never_chosen() -> None:
    scores = seventy()
    F = RNG.normal(size=(1000, 16))
    chosen = gip_gpu.select(F, fill_missing(scores, "drop"), 100, on_nan="drop", device="cpu")
    assert not np.isnan(scores[chosen.indices]).any()
    kept = np.flatnonzero(~np.isnan(scores[:, 0]))
    alone = gip_gpu.select(F[kept], scores[kept], 100, device="cpu")
    np.testing.assert_array_equal(chosen.indices, kept[alone.indices])


def test_one_column_and_bad_arguments() -> None:
    assert fill_missing([1, np.nan, 3], "mean").tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="missing is 'zero'"):
        fill_missing([1.0], "zero")
    with pytest.raises(ValueError, match=r"scores has inf in row 1, column 0; scores must be finite"):
        fill_missing([1, np.inf], "drop")
    with pytest.raises(ValueError, match="2 names for 1 columns"):
        fill_missing([1.0], names=["a", "b"])


def test_signals_side_by_side() -> None:
    ratings = RNG.integers(0, 6, size=(7, 2))
    found = combine({"length": np.arange(7, 0, -1), ("a", "b"): ratings, "loss": [np.nan, 2, 2, 3, 1, 1, 1]})
    assert found.names == ("length", "a", "b", "loss")
    assert (found.scores.shape, found.scores.dtype, len(found)) == ((7, 4), np.float64, 7)
    np.testing.assert_array_equal(np.asarray(found)[:, 1:3], ratings)
    assert np.isnan(found.scores[0, 3])


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ({}, "signals is {}"),
        ({"a": [1, 2], "b": [1, 2, 3]}, r"signals\['b'\] has 3 rows and signals\['a'\] has 2"),
        ({("a", "b"): [1, 2]}, "has 1 columns for 2 names"),
        ({"a": [1, 2], ("b", "a"): [[1, 2], [3, 4]]}, "two columns have the name 'a'"),
    ],
)
def test_bad_signals_are_named(signals: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combine(signals)
