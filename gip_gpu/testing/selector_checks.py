"""The checks of `check_selector`, by name. Each raises an error if the selector fails it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gip_gpu.testing.pools import CheckPool
from gip_gpu.testing.trial import Ints, Trial

# Rows of the pool for the check of memory, whose matrix of bytes would be the limit.
LARGE = 4000
# Row that is not finite, or zero, in the checks of such rows.
BAD = 17


def _same(first: Ints, second: Ints, what: str) -> None:
    differ = np.flatnonzero(first != second)
    assert not len(differ), f"{what}: pick {differ[0]} is row {first[differ[0]]} and row {second[differ[0]]}"


def different_rows(trial: Trial) -> None:
    """k different rows in range, as int64."""
    for k in (1, 5, 23):
        trial.choose(trial.pool(), k)


def all_rows(trial: Trial) -> None:
    """With k = m every row is chosen once."""
    for m in (1, 2, 40):
        trial.choose(trial.pool(m), m)


def forms_of_k(trial: Trial) -> None:
    """k is an int, a NumPy int, or a share: 0.1 and "10%" are 4 of 40 rows."""
    pool = trial.pool()
    chosen = trial.choose(pool, 4)
    for k in (np.int64(4), 0.1, "10%"):
        found = trial.indices(pool, k)
        assert len(found) == 4, f"{len(found)} rows were chosen with k = {k!r} of m = 40"
        _same(chosen, found, f"k = 4 and k = {k!r}")


def k_out_of_range(trial: Trial) -> None:
    """A k out of range, or none, is a ValueError or TypeError that names k."""
    for k in (0, -1, 41, 1.5, "200%", True, "five"):
        error = trial.refusal(trial.pool(), k)
        assert error is not None, f"k = {k!r} of m = 40 raises no ValueError or TypeError"
        assert re.search(r"\bk\b", str(error)), f"the error for k = {k!r} does not name k: {error}"


def repeatable(trial: Trial) -> None:
    """Fresh selectors choose the same rows."""
    pool = trial.pool()
    _same(trial.choose(pool, 23), trial.choose(pool, 23), "two fresh selectors")


def reused(trial: Trial) -> None:
    """A selector chooses as a fresh one after calls for the same and another pool."""
    pool, selector = trial.pool(), trial.make()
    fresh = trial.choose(pool, 12)
    trial.choose(pool, 12, by=selector)
    _same(fresh, trial.choose(pool, 12, by=selector), "a fresh selector and a second call of one")
    trial.choose(trial.pool(25, 5, seed=1), 7, by=selector)
    _same(fresh, trial.choose(pool, 12, by=selector), "a fresh selector and one that chose from another pool")


def duplicates(trial: Trial) -> None:
    """Equal rows and scores are chosen once each, in the same order each time."""
    pool = trial.pool(10).reordered(np.arange(40) % 10)
    for k in (25, 40):
        _same(trial.choose(pool, k), trial.choose(pool, k), "two calls for a pool of duplicates")


def all_duplicates(trial: Trial) -> None:
    """The choice from a pool of equal rows ends."""
    pool = trial.pool(1).reordered(np.zeros(30, int))
    for k in (7, 30):
        trial.choose_in_time(pool, k)


def _kept_out(trial: Trial, pool: CheckPool, what: str) -> None:
    """Checks that a bad row is named in an error, or not chosen."""
    error = trial.refusal(pool, pool.m - 1)
    if error is None:
        assert BAD not in trial.indices(pool, pool.m - 1), f"row {BAD} has {what} and is chosen"
    else:
        assert re.search(rf"\b{BAD}\b", str(error)), f"the error for {what} in row {BAD} does not name it: {error}"


def rows_not_finite(trial: Trial) -> None:
    """Rows of F with NaN or infinity are named in an error, or never chosen."""
    for value in (np.nan, np.inf):
        _kept_out(trial, trial.pool().with_row(BAD, value), f"{value} in F")


def zero_rows(trial: Trial) -> None:
    """Zero rows of F, which have no direction, are named in an error, or never chosen."""
    _kept_out(trial, trial.pool().with_row(BAD, 0.0), "only zeros in F")


def missing_scores(trial: Trial) -> None:
    """Rows whose score is NaN are named in an error, or never chosen."""
    pool = trial.pool()
    if pool.G is None:
        return
    pool.G[BAD] = np.nan
    _kept_out(trial, pool, "the score NaN")


def inputs_unchanged(trial: Trial) -> None:
    """F and G are not modified."""
    for dtype in (np.float32, np.float64):
        pool = trial.pool()
        given = CheckPool(pool.F.astype(dtype), None if pool.G is None else pool.G.astype(dtype))
        trial.choose(given, 12, as_given=True)
        assert np.array_equal(given.F, pool.F), f"F, {np.dtype(dtype)}, is modified"
        assert pool.G is None or np.array_equal(given.G, pool.G), f"G, {np.dtype(dtype)}, is modified"


def dtypes(trial: Trial) -> None:
    """The same values in float16, float32 and float64 give the same rows."""
    pool = trial.pool()
    chosen = trial.choose(pool, pool.m)
    for dtype in (np.float16, np.float32):
        other = CheckPool(pool.F.astype(dtype), None if pool.G is None else pool.G.astype(dtype))
        _same(chosen, trial.choose(other, pool.m), f"float64 and {np.dtype(dtype)}")


def layouts(trial: Trial) -> None:
    """Fortran order, strides and read-only arrays give the same rows as a contiguous array."""
    pool = trial.pool()
    chosen = trial.choose(pool, pool.m)
    wide = np.full((2 * pool.m, 2 * pool.F.shape[1]), np.nan)
    wide[::2, 1::2] = pool.F
    read_only = pool.F.copy()
    read_only.flags.writeable = False
    F: Any
    for name, F in (
        ("in Fortran order", np.asfortranarray(pool.F)),
        ("with strides", wide[::2, 1::2]),
        ("with negative strides", pool.F[::-1].copy()[::-1]),
        ("read-only", read_only),
    ):
        found = trial.choose(CheckPool(F, pool.copied().G), pool.m, as_given=True)
        _same(chosen, found, f"an array in C order and one {name}")


def row_order(trial: Trial) -> None:
    """Where nothing ties, another order of the rows gives the same items.

    Some methods tie by nature: in facility location late picks do, where two rows are nearest to each other.
    """
    pool = trial.pool()
    order = np.random.default_rng(5).permutation(pool.m)
    _same(trial.choose(pool, 6), order[trial.choose(pool.reordered(order), 6)], "the pool and its rows reordered")


def exclude(trial: Trial) -> None:
    """Excluded rows are never chosen, and all others can be."""
    pool, left_out = trial.pool(), [0, BAD, 39]
    chosen = trial.choose(pool, 37, exclude=left_out)
    both = np.intersect1d(chosen, left_out)
    assert not len(both), f"row {both[0]} is in exclude and chosen"


def memory(trial: Trial) -> None:
    """No matrix of all pairs of rows is allocated, not even of bytes."""
    peak = trial.peak(trial.pool(LARGE), 5)
    assert peak < LARGE**2, f"{peak:,} bytes were allocated for {LARGE:,} rows of length 8"


CHECKS: dict[str, Callable[[Trial], None]] = {
    "different rows": different_rows,
    "all rows": all_rows,
    "forms of k": forms_of_k,
    "k out of range": k_out_of_range,
    "repeatable": repeatable,
    "reused": reused,
    "duplicates": duplicates,
    "all duplicates": all_duplicates,
    "rows not finite": rows_not_finite,
    "zero rows": zero_rows,
    "missing scores": missing_scores,
    "inputs unchanged": inputs_unchanged,
    "dtypes": dtypes,
    "layouts": layouts,
    "row order": row_order,
    "exclude": exclude,
    "memory": memory,
}
