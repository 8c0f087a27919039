"""Measures of a choice, against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gip_gpu import metrics, select
from gip_gpu.data.rows import BLOCK_VALUES

RNG = np.random.default_rng(3)


def unit(F: NDArray[np.float64]) -> NDArray[np.float64]:
    return F / np.linalg.norm(F, axis=1, keepdims=True)


def share_by_gram_columns(F: NDArray[np.float64], G: NDArray[np.float64], chosen: list[int]) -> float:
    """Returns the share by its definition: least squares on the chosen columns of the whole Gram matrix."""
    columns = (F @ F.T)[:, chosen]
    residual = G - columns @ np.linalg.lstsq(columns, G, rcond=None)[0]
    return 1 - float((residual**2).sum() / (G**2).sum())


@given(st.integers(2, 30), st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1), st.data())
def test_explained_share_is_its_definition(
    m: int, d: int, n: int, normalize: bool, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    F, G = rng.normal(size=(m, d)), rng.normal(size=(m, n))
    copies = rng.integers(0, m, size=m // 3)
    F[: len(copies)] = F[copies]  # equal rows: the chosen columns are then linearly dependent
    chosen = rng.permutation(m)[: data.draw(st.integers(1, m))].tolist()
    curve = metrics.explained_curve(F, G, chosen, normalize=normalize)
    rows = unit(F) if normalize else F
    wanted = [share_by_gram_columns(rows, G, chosen[: t + 1]) for t in range(len(chosen))]
    np.testing.assert_allclose(curve, wanted, rtol=0, atol=1e-9)
    assert metrics.explained_share(F, G, chosen, normalize=normalize) == curve[-1]


def test_explained_share_over_many_blocks() -> None:
    d = 96
    m = 2 * (BLOCK_VALUES // d) + 5
    F, G = RNG.normal(size=(m, d)), RNG.normal(size=(m, 2)) + 1
    chosen = RNG.choice(m, 40, replace=False)
    rows = unit(F)
    basis = rows @ np.linalg.qr(rows[chosen].T)[0]
    fitted = basis @ np.linalg.lstsq(basis, G, rcond=None)[0]
    wanted = 1 - ((G - fitted) ** 2).sum() / (G**2).sum()
    assert metrics.explained_share(F, G, chosen) == pytest.approx(wanted, abs=1e-12)


def test_almost_equal_rows_span_all_dimensions() -> None:
    d = 6
    spread, close = np.eye(d), np.eye(d)[0] + 1e-7 * RNG.normal(size=(d, d))
    F, G = np.vstack([spread, close, RNG.normal(size=(20, d))]), RNG.normal(size=20 + 2 * d)
    wanted = metrics.explained_share(F, G, np.arange(d))
    assert 0.01 < wanted < 0.99
    assert metrics.explained_share(F, G, np.arange(d, 2 * d)) == pytest.approx(wanted, abs=1e-9)


def test_scale_of_the_scores_does_not_matter() -> None:
    F, G = RNG.normal(size=(20, 5)), RNG.normal(size=20)
    share = metrics.explained_share(F, G, [1, 2, 3])
    assert 0 < share < 1
    for scale in (1e-149, 1e149):
        assert metrics.explained_share(F, G * scale, [1, 2, 3]) == pytest.approx(share, abs=1e-13)


def test_first_pick_explains_what_the_selection_says() -> None:
    F = RNG.normal(size=(60, 12))
    G = RNG.normal(size=(60, 3))
    chosen = select(F, G, 5, device="cpu")
    # Matching pursuit subtracts a fixed multiple of the column, the measure the best multiple.
    assert metrics.explained_share(F, G, chosen.indices[:1]) >= chosen.explained[0] - 1e-6


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_range_share_is_that_of_least_squares(m: int, d: int, n: int, normalize: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = rng.integers(1, d + 1)
    F = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, d)) * 10.0 ** rng.integers(-2, 3, size=(m, 1))
    G = rng.normal(size=(m, n))
    rows = unit(F) if normalize else F
    fitted = rows @ np.linalg.lstsq(rows, G, rcond=1e-11)[0]
    wanted = 1 - ((G - fitted) ** 2).sum() / (G**2).sum()
    assert metrics.range_share(F, G, normalize=normalize) == pytest.approx(wanted, abs=1e-9)
    expressible = rows @ rng.normal(size=(d, n))
    assert 1 - 1e-12 <= metrics.range_share(F, expressible, normalize=normalize) <= 1


@pytest.mark.parametrize("d", [7, 700])
def test_range_share_over_many_blocks(d: int) -> None:
    m = 2 * max(BLOCK_VALUES // d, d) + 5
    F, G = RNG.normal(size=(m, d)), RNG.normal(size=(m, 2)) + 1
    fitted = F @ np.linalg.lstsq(F, G, rcond=None)[0]
    wanted = 1 - ((G - fitted) ** 2).sum() / (G**2).sum()
    assert metrics.range_share(F, G, normalize=False) == pytest.approx(wanted, abs=1e-12)


def test_range_share_bounds_what_any_choice_explains() -> None:
    F, G = RNG.normal(size=(40, 6)), RNG.normal(size=40)
    share = metrics.range_share(F, G)
    assert metrics.explained_share(F, G, [3, 1, 4]) < share < 1
    assert metrics.explained_share(F, G, np.arange(40)) == pytest.approx(share, abs=1e-12)
    for scale in (1e-149, 1e149):
        assert metrics.range_share(F, G * scale) == pytest.approx(share, abs=1e-13)


def test_nothing_explains_nothing() -> None:
    assert metrics.explained_share(np.eye(3), [1, 2, 3], []) == 0.0


@given(st.integers(2, 25), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_mean_pairwise_cosine_is_the_mean_over_pairs(k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(k + 3, d)) * 10.0 ** rng.integers(-3, 4, size=(k + 3, 1))
    chosen = rng.permutation(k + 3)[:k]
    rows = unit(F)
    wanted = np.mean([rows[i] @ rows[j] for i, j in combinations(chosen, 2)])
    assert metrics.mean_pairwise_cosine(F, chosen) == pytest.approx(wanted, abs=1e-13)


def test_mean_pairwise_cosine_reads_only_the_chosen_rows() -> None:
    F = np.eye(4)
    F[2] = np.nan
    assert metrics.mean_pairwise_cosine(F, [0, 1, 3]) == 0.0
    with pytest.raises(ValueError, match="not finite"):
        metrics.mean_pairwise_cosine(F, [1, 2])


@given(st.lists(st.integers(0, 12)), st.lists(st.integers(0, 12)))
def test_iou_is_that_of_sets(a: list[int], b: list[int]) -> None:
    wanted = len({*a} & {*b}) / len({*a} | {*b}) if a or b else 1.0
    assert metrics.iou(a, b) == wanted


def test_coverage_counts_labels() -> None:
    labels = ["a", "b", "a", "c", "b"]
    assert metrics.coverage(labels, [0, 2]) == 1
    assert metrics.coverage(np.array(labels), np.array([0, 1, 3])) == 3
    assert metrics.coverage(labels, []) == 0
    assert metrics.coverage([("a", 1), ("a", 2), ("a", 1)], [0, 2]) == 1
    for bad in (None, {0: "a"}, iter(labels), np.array([labels])):
        with pytest.raises(TypeError, match=r"labels is a \w+; it must be a sequence of m labels"):
            metrics.coverage(bad, [0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0.5, 1.0], TypeError, "indices must be integers, got dtype float64"),
        ([True, False], TypeError, "indices must be integers, got dtype bool"),
        ([[0, 1]], ValueError, r"indices must be one-dimensional, got shape \(1, 2\)"),
        ([0, -1], ValueError, "indices must not be negative, got -1"),
        (np.array([2**63 + 5], np.uint64), ValueError, r"indices must be below 2\^63, got 9223372036854775813"),
        ([[0], [1, 2]], TypeError, "indices must be integers, got a list that is no array"),
        ([0, 3], ValueError, "indices must be below the number of rows 3, got 3"),
        ([1, 1], ValueError, "indices must be distinct"),
    ],
)
def test_bad_indices_are_named(indices: object, error: type[Exception], message: str) -> None:
    for call in (
        lambda: metrics.explained_share(np.eye(3), [1, 2, 3], indices),  # type: ignore[arg-type]
        lambda: metrics.mean_pairwise_cosine(np.eye(3), indices),  # type: ignore[arg-type]
        lambda: metrics.coverage("abc", indices),  # type: ignore[arg-type]
    ):
        with pytest.raises(error, match=message):
            call()


def test_bad_scores_and_too_few_rows_are_named() -> None:
    with pytest.raises(ValueError, match="G has 2 rows and F has 3"):
        metrics.explained_share(np.eye(3), [1, 2], [0])
    with pytest.raises(ValueError, match="G is all zeros"):
        metrics.explained_share(np.eye(3), [0, 0, 0], [0])
    with pytest.raises(ValueError, match="G is all zeros"):
        metrics.range_share(np.eye(3), [0, 0, 0])
    with pytest.raises(ValueError, match="at least 2 items to form a pair, got 1"):
        metrics.mean_pairwise_cosine(np.eye(3), [0])
