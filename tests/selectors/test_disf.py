"""DiSF: against greedy with d x d correlation matrices computed plainly; batches, shares, copies."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gip_gpu.selectors.disf import _correlations, disf

RNG = np.random.default_rng(17)


def off_diagonal(rows: NDArray[np.float64]) -> float:
    """Sum of the squared correlations of different dimensions, from the d x d matrix, in extended precision."""
    rows = rows.astype(np.longdouble)
    scaled = (rows - rows.mean(axis=0)) / np.sqrt(1e-8 + rows.var(axis=0, ddof=1))
    matrix = scaled.T @ scaled / (len(rows) - 1)
    return float((matrix**2).sum() - (np.diag(matrix) ** 2).sum())


def plain(rows: NDArray[np.float64], k: int, first: int) -> list[int]:
    """Greedy by the definition; ties go to the lowest row number."""
    chosen = [first]
    while len(chosen) < k:
        free = [row for row in range(len(rows)) if row not in chosen]
        chosen.append(min(free, key=lambda row: off_diagonal(rows[[*chosen, row]])))
    return chosen


# The form by pairs of rows serves n (n + 1) / 2 <= d, the form by pairs of dimensions the others.
@pytest.mark.parametrize(("n", "d"), [(1, 2), (1, 5), (2, 3), (2, 2), (3, 20), (9, 45), (9, 44), (10, 6), (40, 12)])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e6])
def test_the_n_by_n_form_equals_the_correlation_matrix(n: int, d: int, scale: float) -> None:
    rows = (RNG.normal(size=(n + 30, d)) * RNG.random(d) + 0.3) * scale
    rows[:, 0] = 1  # a dimension that does not vary
    found = _correlations(rows[:n], rows[n:])
    wanted = [off_diagonal(np.vstack([rows[:n], row])) for row in rows[n:]]
    # Correlations sum up to at most d * d, each with the rounding of a mean of n rows.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * n * d * d)


@pytest.mark.parametrize(("m", "d", "k"), [(30, 5, 12), (25, 40, 9), (40, 3, 40)])
def test_picks_are_those_of_the_plain_greedy(m: int, d: int, k: int) -> None:
    rows = RNG.normal(size=(m, d)) * RNG.random(d)
    found = disf(rows, k, seed=4)
    assert (found.dtype, found.shape) == (np.int64, (k,))
    assert found.tolist() == plain(rows, k, int(found[0]))


def test_candidates_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RNG.normal(size=(90, 7))
    wanted = disf(rows, 20)
    # The package holds the function under the module's name.
    monkeypatch.setattr(sys.modules["gip_gpu.selectors.disf"], "BLOCK_VALUES", 70)
    assert (disf(rows, 20) == wanted).all()


@pytest.mark.parametrize(("m", "k", "batch"), [(4096, 64, 1024), (100, 7, 30), (100, 100, 30), (10, 3, 1), (9, 2, 50)])
def test_each_batch_has_its_share(m: int, k: int, batch: int) -> None:
    rows = RNG.normal(size=(m, 4))
    found = disf(rows, k, batch=batch, seed=2)
    assert len(np.unique(found)) == k
    assert (np.diff(found // batch) >= 0).all()
    ends = [min(start + batch, m) for start in range(0, m, batch)]
    assert [(found < end).sum() for end in ends] == [k * end // m for end in ends]
    if (m, batch) == (4096, 1024):
        assert np.bincount(found // 1024).tolist() == [16] * 4


def test_batches_are_independent_and_seeded() -> None:
    rows = RNG.normal(size=(200, 6))
    found = disf(rows, 40, batch=50, seed=7)
    assert (disf(rows.tolist(), "20%", batch=50, seed=7) == found).all()
    assert (disf(rows, 40, batch=50, seed=8) != found).any()
    # Each batch is the plain greedy from its own first pick, whatever the other batches hold.
    for number in range(4):
        picks = found[10 * number : 10 * number + 10]
        assert (picks - 50 * number).tolist() == plain(rows[50 * number : 50 * number + 50], 10, picks[0] - 50 * number)
    other = rows.copy()
    other[:150] = RNG.normal(size=(150, 6))
    assert (disf(other, 40, batch=50, seed=7)[30:] == found[30:]).all()
    firsts = {int(disf(rows, 1, seed=seed)[0]) for seed in range(60)}
    assert len(firsts) > 30


def test_copies_tie_and_the_lowest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.tile(RNG.normal(size=(11, 8)), (20, 1))

    def rounded(chosen: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        # As a BLAS may, whose products of equal rows depend on their places.
        return _correlations(chosen, candidates) * (1 - 2.0**-52 * np.arange(len(candidates)))

    monkeypatch.setattr(sys.modules["gip_gpu.selectors.disf"], "_correlations", rounded)
    for seed in range(5):
        found = disf(rows, 30, seed=seed).tolist()
        # A copy of the first pick has correlations of 0.
        assert found[1] == next(row for row in range(found[0] % 11, len(rows), 11) if row != found[0])
        for place, row in enumerate(found[1:], 1):
            assert set(range(row % 11, row, 11)) <= set(found[:place])
    first, *others = disf(np.ones((20, 3)), 5, seed=0).tolist()
    assert others == [row for row in range(5) if row != first][:4]


def test_chosen_rows_are_less_correlated_than_random_ones() -> None:
    rows = RNG.normal(size=(600, 8)) @ RNG.normal(size=(8, 8))
    chosen = off_diagonal(rows[disf(rows, 40)])
    random = [off_diagonal(rows[RNG.permutation(600)[:40]]) for _ in range(20)]
    assert chosen < min(random) / 2


def test_float16_and_files_are_taken(tmp_path: Any) -> None:
    rows = RNG.normal(size=(300, 8)).astype(np.float16)
    np.save(tmp_path / "F.npy", rows)
    wanted = disf(rows.astype(np.float64), 30, batch=64)
    assert (disf(rows, 30, batch=64) == wanted).all()
    assert (disf(np.load(tmp_path / "F.npy", mmap_mode="r"), 30, batch=64) == wanted).all()
    assert (disf(tmp_path / "F.npy", 30, batch=64) == wanted).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([[1.0], [2.0]], 1), {}, ValueError, r"F has shape \(2, 1\); it must have at least two columns"),
        (([[1.0, np.nan]], 1), {}, ValueError, "F has a value that is not finite in row 0"),
        (([[1e80, 1.0]], 1), {}, ValueError, "F has a row with norm 1e[+]80; at most 1e[+]70"),
        (([[1.0, 2.0]], 2), {}, ValueError, "k is 2; k must be an int from 1 to m = 1"),
        (([[1.0, 2.0]], 1), {"batch": 0}, ValueError, "batch is 0; batch must be an int of at least 1"),
        (([[1.0, 2.0]], 1), {"batch": 2.5}, TypeError, "batch is 2.5, a float"),
        (([[1.0, 2.0]], 1), {"seed": -1}, ValueError, "seed is -1"),
        (([[1.0, 2.0]], 1), {"seed": True}, TypeError, "seed is True, a bool"),
    ],
)
def test_bad_input_is_named(arguments: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        disf(*arguments, **options)


def test_exact_ties_go_to_the_lowest_row():
    assert disf([[-1, 2], [0, -1], [0, 2]], 2).tolist() == [2, 0]
