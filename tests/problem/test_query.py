"""The query behind scores: against least squares and the dual formula, rank-deficient, scaled, with equal rows."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gip_gpu.data.rows import BLOCK_VALUES, Rows
from gip_gpu.problem.ridge_query import Query, fit
from gip_gpu.validation.settings import as_epsilon

RNG = np.random.default_rng(11)


def solve(F: NDArray[np.float64], G: NDArray[np.float64], epsilon: float = 0.0) -> Query:
    return fit(Rows(F, normalize=False), G, epsilon)


def share_in_range(F: NDArray[np.float64], G: NDArray[np.float64]) -> float:
    residual = G - F @ np.linalg.lstsq(F, G, rcond=1e-9)[0]
    return 1 - float((residual**2).sum() / (G**2).sum())


def with_condition(m: int, d: int, condition: float) -> NDArray[np.float64]:
    left = np.linalg.qr(RNG.normal(size=(m, d)))[0]
    right = np.linalg.qr(RNG.normal(size=(d, d)))[0]
    return left * np.geomspace(1, 1 / condition, d) @ right.T


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_without_regularisation_it_is_the_shortest_least_squares_solution(
    m: int, d: int, rank: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    F = (rng.integers(-4, 5, size=(m, rank)) @ rng.integers(-4, 5, size=(rank, d))).astype(float)  # the rank is exact
    G = rng.normal(size=(m, n))
    query = solve(F, G)
    wanted = np.linalg.lstsq(F, G, rcond=1e-9)[0]
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(query.weights, wanted, rtol=0, atol=1e-9 * scale + 1e-12)
    np.testing.assert_allclose(query.fitted, F @ wanted, rtol=0, atol=1e-10)
    assert query.rank == np.linalg.matrix_rank(F)
    assert query.range_share == pytest.approx(share_in_range(F, G), abs=1e-11)


@given(
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(1, 3),
    st.sampled_from([1e-4, 1e-2, 3.0, 1e9]),
    st.integers(0, 2**32 - 1),
)
def test_with_regularisation_it_is_the_dual_formula(m: int, d: int, n: int, epsilon: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    F, G = rng.normal(size=(m, d)), rng.normal(size=(m, n))
    F[: m // 3] = F[rng.integers(0, m, size=m // 3)]
    query = solve(F, G, epsilon)
    wanted = F.T @ np.linalg.solve(F @ F.T + epsilon * np.eye(m), G)
    # The residual, rounded, is divided by epsilon in directions that F does not reach, in either form.
    noise = 64 * 2.0**-52 * np.linalg.norm(F) * np.linalg.norm(G) / epsilon
    np.testing.assert_allclose(query.weights, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max() + noise)
    np.testing.assert_allclose(query.fitted, F @ wanted, rtol=0, atol=1e-10 + noise * np.linalg.norm(F))
    assert query.range_share == pytest.approx(share_in_range(F, G), abs=1e-11)


def test_shapes_and_types() -> None:
    query = solve(RNG.normal(size=(9, 4)), RNG.normal(size=(9, 3)), 0.5)
    assert (query.weights.shape, query.fitted.shape) == ((4, 3), (9, 3))
    assert query.weights.dtype == query.fitted.dtype == np.float64
    assert type(query.range_share) is float
    assert type(query.rank) is int


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e6, 1e10])
def test_error_grows_with_the_condition_of_f_and_not_with_its_square(condition: float) -> None:
    F, truth = with_condition(500, 12, condition), RNG.normal(size=(12, 2))
    query = solve(F, F @ truth)
    assert query.rank == 12
    assert np.abs(query.weights - truth).max() <= 100 * condition * 2.0**-52
    assert 1 - query.range_share <= 1e-12


def test_small_directions_count_and_rounding_does_not() -> None:
    G = RNG.normal(size=(300, 1))
    F = with_condition(300, 6, 1e9)
    assert solve(F, G).rank == 6
    for epsilon in (1e-20, 1e-16, 1e-6):
        stacked = np.vstack([F, math.sqrt(epsilon) * np.eye(6)])
        exact = np.linalg.lstsq(stacked, np.vstack([G, np.zeros((6, 1))]), rcond=None)[0]
        np.testing.assert_allclose(solve(F, G, epsilon).weights, exact, rtol=0, atol=1e-6 * np.abs(exact).max())
    query = solve(with_condition(300, 6, 1e16), G)
    assert query.rank == 5
    assert np.abs(query.weights).max() < 1e14


@pytest.mark.parametrize("m", [1000, 70_000])
@pytest.mark.parametrize("d", [2, 3, 40])
@pytest.mark.parametrize("normalize", [True, False])
def test_dependent_columns_are_seen_in_short_and_long_pools(m: int, d: int, normalize: bool) -> None:
    latent = RNG.integers(1, 90, size=(m, 1)) * RNG.choice([-1, 1], size=(m, 1))
    query = fit(Rows(latent * np.arange(1, d + 1), normalize=normalize), RNG.normal(size=(m, 1)), 0.0)
    assert query.rank == 1
    direction = np.arange(1, d + 1) / np.linalg.norm(np.arange(1, d + 1))
    across = query.weights - direction[:, None] * (direction @ query.weights)
    assert np.abs(across).max() <= 1e-12 * np.abs(query.weights).max()


def test_epsilon_zero_is_the_limit_of_small_epsilon() -> None:
    F = (RNG.integers(-4, 5, size=(40, 3)) @ RNG.integers(-4, 5, size=(3, 9))).astype(float)
    G = RNG.normal(size=(40, 2))
    limit = solve(F, G).weights
    for epsilon in (1e-300, 1e-30, 1e-14, 1e-10):
        np.testing.assert_allclose(solve(F, G, epsilon).weights, limit, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("n", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 64, 384])
def test_equal_rows_have_equal_values_wherever_they_stand(d: int, n: int) -> None:
    m = 2 * min(BLOCK_VALUES // max(d, 2 * n), 3000) + 1  # for wide rows: two whole blocks, and one of a single row
    F = RNG.normal(size=(m, d)).astype(np.float32)
    places = np.unique(np.r_[RNG.choice(m, 50, replace=False), 0, m // 2 - 1, m // 2, m - 1])
    F[places] = F[places[0]]
    for rows in (Rows(F), Rows(np.asfortranarray(F))):
        fitted = fit(rows, RNG.normal(size=(m, n)), 0.1).fitted
        assert (fitted[places] == fitted[places[0]]).all()
    # If equal rows swap places together with their scores, nothing else changes.
    G = RNG.normal(size=(m, n))
    order = np.arange(m)
    order[places] = np.roll(places, 1)
    np.testing.assert_allclose(fit(rows, G[order], 0.1).fitted, fit(rows, G, 0.1).fitted, rtol=0, atol=1e-11)


SCALES = [(-490, 0), (490, 0), (0, -498), (0, 495), (490, 495), (-490, -400)]


@pytest.mark.parametrize(
    ("of_rows", "of_scores", "epsilon"),
    [(*scales, epsilon) for scales in SCALES for epsilon in (0.0, 0.25)] + [(-900, -490, 0.0)],
)
def test_scale_changes_no_digit(of_rows: int, of_scores: int, epsilon: float) -> None:
    F, G = RNG.integers(-9, 10, size=(80, 6)).astype(float), RNG.normal(size=(80, 2))
    query = solve(F, G, epsilon)
    scaled = solve(np.ldexp(F, of_rows), np.ldexp(G, of_scores), math.ldexp(epsilon, 2 * of_rows))
    # Relative to the largest entry: a small one may be what is left of large terms.
    for found, wanted in (
        (scaled.weights, np.ldexp(query.weights, of_scores - of_rows)),
        (scaled.fitted, np.ldexp(query.fitted, of_scores)),
    ):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert scaled.range_share == pytest.approx(query.range_share, abs=1e-14)
    assert scaled.rank == query.rank


def test_columns_of_any_scale_are_solved_alike() -> None:
    F, G = RNG.normal(size=(60, 5)), RNG.normal(size=(60, 3))
    scales = np.array([1.0, 1e-60, 1e90])
    np.testing.assert_allclose(solve(F, G * scales, 0.3).weights / scales, solve(F, G, 0.3).weights, rtol=1e-12)


def test_huge_epsilon_over_small_rows_fits_nothing() -> None:
    F, G = RNG.normal(size=(20, 3)) * 1e-120, RNG.normal(size=(20, 1))
    query = solve(F, G, 1e120)
    np.testing.assert_allclose(query.weights, F.T @ G / 1e120, rtol=1e-12)
    assert query.range_share == pytest.approx(share_in_range(F * 1e120, G), abs=1e-12)


def test_no_scores_and_no_rows() -> None:
    F = RNG.normal(size=(12, 4))
    query = solve(F, np.zeros((12, 2)))
    assert not query.weights.any()
    assert not query.fitted.any()
    assert query.range_share == 1.0
    assert query.rank == 4
    for epsilon in (0.0, 1.0):
        query = solve(np.zeros((5, 3)), np.ones((5, 1)), epsilon)
        assert not query.weights.any()
        assert not query.fitted.any()
        assert query.range_share == 0.0
        assert query.rank == 0


def test_scores_within_and_outside_the_range() -> None:
    F = RNG.normal(size=(30, 8))
    inside = F @ RNG.normal(size=(8, 1))
    outside = RNG.normal(size=(30, 1))
    outside -= F @ np.linalg.lstsq(F, outside, rcond=None)[0]
    outside *= np.linalg.norm(inside) / np.linalg.norm(outside)
    for epsilon in (0.0, 5.0):
        assert solve(F, inside, epsilon).range_share == pytest.approx(1.0, abs=1e-12)
        assert solve(F, outside, epsilon).range_share == pytest.approx(0.0, abs=1e-12)
        assert solve(F, inside + outside, epsilon).range_share == pytest.approx(0.5, abs=1e-12)
        assert solve(F, np.hstack([inside, 2 * outside]), epsilon).range_share == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("name", ["alpaca52k_minilm_f16.npy", "bbh_wordllama_f16.npy"])
def test_real_embeddings(real, name) -> None:  # type: ignore[no-untyped-def]
    F = real(name)[:6000]
    rows = Rows(F)
    block = rows.block(0, len(F))
    # MiniLM's have zero columns, and one of the smallest float16 numbers: almost constant, and so important for a mean.
    G = block @ RNG.normal(size=(F.shape[1], 1)) + RNG.normal(size=(len(F), 1)) + 3
    query = fit(rows, G, 0.0)
    wanted, _, rank, singular = np.linalg.lstsq(block, G, rcond=None)
    assert query.rank == rank
    condition = singular[0] / singular[rank - 1]
    np.testing.assert_allclose(query.weights, wanted, rtol=0, atol=1e-14 * condition * np.abs(wanted).max())
    residual = G - block @ wanted
    assert query.range_share == pytest.approx(1 - (residual**2).sum() / (G**2).sum(), abs=1e-12)
    rounding = 2.0**-52 * singular[0] * np.linalg.norm(wanted)
    np.testing.assert_allclose(query.fitted, block @ wanted, rtol=0, atol=100 * rounding + 1e-12)


def test_the_pool_never_exists_whole_in_float64() -> None:
    m, d = 100_000, 64
    rows, G = Rows(RNG.normal(size=(m, d)).astype(np.float16)), RNG.normal(size=(m, 1))
    tracemalloc.start()
    fit(rows, G, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * m * d * 8, f"{peak / 1e6:.0f} MB"


def test_scales_beyond_float64_are_refused() -> None:
    assert solve(np.full((2, 1), 1e-150), np.full((2, 1), 1e150)).weights == pytest.approx(1e300)
    with pytest.raises(ValueError, match=r"G reaches 1e\+150 and F no norm beyond 1e-160: .* too large for float64"):
        solve(np.full((2, 1), 1e-160), np.full((2, 1), 1e150))


@pytest.mark.parametrize("value", [0, 1, 0.0, 1e-300, np.float32(0.5), np.int64(3), np.float64(2), Fraction(1, 4)])
def test_epsilon_is_taken(value: object) -> None:
    found = as_epsilon(value)
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (True, TypeError, r"epsilon is True, a bool; epsilon must be a number from 0 to"),
        (np.bool_(False), TypeError, r"epsilon is .*False.*, a bool"),
        ("0.1", TypeError, r"epsilon is '0.1', a str"),
        (None, TypeError, r"epsilon is None, a NoneType"),
        (1j, TypeError, r"epsilon is 1j, a complex"),
        (np.ones(1), TypeError, r"epsilon is array\(\[1.\]\), a ndarray"),
        (-1e-9, ValueError, r"epsilon is -1e-09; epsilon must be a number from 0 to"),
        (math.nan, ValueError, r"epsilon is nan"),
        (math.inf, ValueError, r"epsilon is inf"),
        (10**400, ValueError, r"epsilon is 1000"),
    ],
)
def test_bad_epsilon_is_named(value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_epsilon(value)
