"""Signals: against their definitions, equal for equal rows, without F in float64, bad input named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gip_gpu import select
from gip_gpu.data.rows import BLOCK_VALUES
from gip_gpu.signals import from_query, multi_attribute, ridge_query, self_compression

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
@pytest.mark.parametrize("normalize", [True, False])
def test_is_the_row_sums_of_the_gram_matrix(dtype: type, normalize: bool) -> None:
    F = (RNG.normal(size=(300, 17)) * 20).astype(dtype)
    F[~F.any(axis=1), 0] = 1
    # Extended precision, so that the difference is the float64 rounding of the code under test.
    rows = F.astype(np.longdouble)
    if normalize:
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    wanted = (rows @ rows.T).sum(axis=1)
    scale = np.abs(rows @ rows.T).sum(axis=1).max()
    found = self_compression(F, normalize=normalize)
    assert found.dtype == np.float64
    assert found.shape == (300,)
    assert np.abs(found - wanted).max() <= 300 * 2.0**-53 * scale


def test_sums_over_many_blocks() -> None:
    F = RNG.normal(size=(2 * (BLOCK_VALUES // 512) + 3, 512))
    np.testing.assert_allclose(self_compression(F, normalize=False), (F @ F.T).sum(axis=1), rtol=0, atol=1e-8)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("d", [1, 2, 3, 7, 64, 384])
def test_equal_rows_have_equal_scores_wherever_they_stand(d: int) -> None:
    step = BLOCK_VALUES // d
    m = 2 * min(step, 20_000) + 1  # for wide rows: two whole blocks, and one of a single row
    F = RNG.normal(size=(m, d)).astype(np.float32)
    places = np.unique(np.r_[RNG.choice(m, 50, replace=False), 0, m // 2 - 1, m // 2, m - 1])
    F[places] = F[places[0]]
    assert len(np.unique(self_compression(F)[places])) == 1
    assert len(np.unique(self_compression(np.asfortranarray(F))[places])) == 1


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_scores_follow_a_permutation(m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    F = rng.integers(-3, 4, size=(m, d)) + 0.5  # sums of halves are exact in any order
    order = rng.permutation(m)
    assert (self_compression(F[order], normalize=False) == self_compression(F, normalize=False)[order]).all()


def test_a_memory_mapped_file_never_exists_whole_in_float64(tmp_path: Path) -> None:
    m, d = 120_000, 64
    np.save(tmp_path / "F.npy", RNG.normal(size=(m, d)).astype(np.float16))
    F = np.load(tmp_path / "F.npy", mmap_mode="r")
    tracemalloc.start()
    scores = self_compression(F)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scores) == m
    assert peak < 0.3 * m * d * 8, f"{peak / 1e6:.0f} MB"


def test_input_stays_as_it_was() -> None:
    F = RNG.normal(size=(50, 4))
    before = F.copy()
    self_compression(F)
    assert (before == F).all()


@pytest.mark.parametrize(
    ("F", "message"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], "F has a zero row, row 1"),
        ([[1.0, np.nan]], "F has a value that is not finite in row 0"),
        ([1.0, 2.0], "F has shape"),
    ],
)
def test_bad_input_is_named(F: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_compression(F)  # type: ignore[arg-type]


RATINGS = RNG.integers(0, 6, size=(40, 4))
NAMES = ["coherence", "correctness", "helpfulness", "difficulty"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64])
def test_ratings_of_any_type_are_summed_or_kept(dtype: type) -> None:
    ratings = RATINGS.astype(dtype)
    wanted = [sum(int(value) for value in row) for row in RATINGS]
    for given_as in (ratings, np.asfortranarray(ratings), ratings.tolist(), dict(zip(NAMES, ratings.T, strict=True))):
        total = multi_attribute(given_as)
        assert (total.shape, total.dtype) == ((40,), np.float64)
        assert total.tolist() == wanted
        columns = multi_attribute(given_as, combine="columns")
        assert columns.dtype == np.float64
        np.testing.assert_array_equal(columns, RATINGS)


def test_ratings_keep_the_order_of_the_mapping() -> None:
    columns = {name: RATINGS[:, i].tolist() for i, name in reversed(list(enumerate(NAMES)))}
    np.testing.assert_array_equal(multi_attribute(columns, combine="columns"), RATINGS[:, ::-1])


def test_one_attribute() -> None:
    for given_as in (RATINGS[:, 0], RATINGS[:, 0].tolist(), RATINGS[:, :1], {"only": RATINGS[:, 0]}):
        np.testing.assert_array_equal(multi_attribute(given_as), RATINGS[:, 0])
        np.testing.assert_array_equal(multi_attribute(given_as, combine="columns"), RATINGS[:, :1])


def test_equal_ratings_have_equal_sums() -> None:
    ratings = RNG.random(size=(1001, 9))
    ratings[[0, 500, 1000]] = ratings[1]
    for array in (ratings, np.asfortranarray(ratings)):
        assert len(np.unique(multi_attribute(array)[[0, 1, 500, 1000]])) == 1


def test_bounds_include_their_ends_and_can_be_lifted() -> None:
    assert multi_attribute([[0, 5]]) == 5
    assert multi_attribute([[-7.5, 2]], low=-7.5) == -5.5
    assert multi_attribute([[-1e9, 1e9]], low=None, high=None) == 0
    assert multi_attribute([[1, 1e100]], high=None) == 1e100


def with_rating(row: int, column: int, value: float) -> dict[str, list[float]]:
    ratings = RATINGS.astype(float)
    ratings[row, column] = value
    ratings[row + 1 :, 0] = value  # later rows do not matter
    return dict(zip(NAMES, ratings.T.tolist(), strict=True))


@pytest.mark.parametrize(
    ("scores", "options", "error", "message"),
    [
        (with_rating(7, 2, 5.5), {}, ValueError, r"scores has 5.5 in row 7, column 'helpfulness', 33 such in all; .*"
         r"from 0 to 5; low and high"),
        (with_rating(3, 1, -1), {}, ValueError, r"scores has -1 in row 3, column 'correctness'"),
        (with_rating(0, 3, np.nan), {"low": None, "high": None}, ValueError, r"has nan in row 0, column 'difficulty'"),
        ([[1, 2], [3, np.inf]], {"high": None}, ValueError, r"has inf in row 1, column 1, 1 such .*from 0 to 1e"),
        ([1, 2, 9], {}, ValueError, r"scores has 9 in row 2, column 0"),
        ([[1, 1e200]], {"high": None}, ValueError, r"scores has 1e\+200 in row 0, column 1"),
        ({}, {}, ValueError, r"scores is an empty mapping"),
        ({"a": [1, 2], "b": [1, 2, 3]}, {}, ValueError, r"scores\['b'\] has 3 rows and scores\['a'\] has 2"),
        ({"a": [[1, 2]]}, {}, ValueError, r"scores\['a'\] has shape \(1, 2\); it must be one column"),
        ({"a": ["x"]}, {}, TypeError, r"scores\['a'\] has dtype <U1"),
        ([[1, 2], [3]], {}, TypeError, r"scores is a list that is no array of numbers"),
        (np.ones((2, 2, 2)), {}, ValueError, r"scores has shape \(2, 2, 2\)"),
        (np.ones((0, 2)), {}, ValueError, r"scores has shape \(0, 2\)"),
        (3.0, {}, ValueError, r"scores has shape \(\)"),
        (None, {}, TypeError, r"scores has dtype object"),
        ([[1j]], {}, TypeError, r"scores has dtype complex128"),
        ([[1]], {"combine": "mean"}, ValueError, r"combine is 'mean'; combine must be one of 'sum', 'columns'"),
        ([[1]], {"combine": None}, TypeError, r"combine is None"),
        ([[1]], {"low": 5}, ValueError, r"low is 5 and high is 5; low must be below high"),
        ([[1]], {"low": 9.0}, ValueError, r"low is 9 and high is 5"),
        ([[1]], {"low": np.nan}, ValueError, r"low is nan; low must be a number within 1e\+150 of 0, or None"),
        ([[1]], {"high": np.inf}, ValueError, r"high is inf"),
        ([[1]], {"high": 10**400}, ValueError, r"high is 1000"),
        ([[1]], {"high": True}, TypeError, r"high is True, a bool"),
        ([[1]], {"high": "5"}, TypeError, r"high is '5', a str"),
    ],
)  # fmt: skip
def test_bad_ratings_are_named(scores: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        multi_attribute(scores, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n", [None, 1, 5])
def test_scores_of_a_query_are_its_products_with_the_rows(dtype: type, normalize: bool, n: int | None) -> None:
    F = (RNG.normal(size=(300, 17)) * 20).astype(dtype)
    F[~F.any(axis=1), 0] = 1
    Q = (RNG.normal(size=(17,) if n is None else (17, n)) * 9).astype(dtype)
    rows = F.astype(np.longdouble)
    if normalize:
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    wanted, scale = rows @ Q.astype(np.longdouble), np.abs(rows) @ np.abs(Q.astype(np.longdouble))
    found = from_query(F, Q, normalize=normalize)
    assert found.dtype == np.float64
    assert found.shape == wanted.shape
    assert (np.abs(found - wanted) <= 20 * 2.0**-53 * scale).all()
    assert (from_query(F.tolist(), Q.tolist(), normalize=normalize) == found).all()


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("d", [1, 2, 3, 64, 384])
def test_equal_rows_say_the_same_of_a_query_wherever_they_stand(d: int, n: int) -> None:
    m = 2 * min(BLOCK_VALUES // max(d, n), 20_000) + 1  # for wide rows: two whole blocks, and one of a single row
    F, Q = RNG.normal(size=(m, d)).astype(np.float32), RNG.normal(size=(d, n))
    places = np.unique(np.r_[RNG.choice(m, 50, replace=False), 0, m // 2 - 1, m // 2, m - 1])
    F[places] = F[places[0]]
    for scores in (from_query(F, Q), from_query(np.asfortranarray(F), Q)):
        assert (scores[places] == scores[places[0]]).all()


@pytest.mark.parametrize("epsilon", [0, 0.5])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n", [None, 1, 3])
def test_ridge_query_is_least_squares(epsilon: float, normalize: bool, n: int | None) -> None:
    F, G = RNG.normal(size=(60, 7)), RNG.normal(size=(60,) if n is None else (60, n))
    Q = ridge_query(F, G, epsilon, normalize=normalize)
    assert (Q.shape, Q.dtype) == ((7, *G.shape[1:]), np.float64)
    rows = F / np.linalg.norm(F, axis=1, keepdims=True) if normalize else F
    np.testing.assert_allclose(Q, np.linalg.solve(rows.T @ rows + epsilon * np.eye(7), rows.T @ G), rtol=1e-10)
    np.testing.assert_allclose(from_query(F, Q, normalize=normalize), rows @ Q, rtol=1e-10)
    # A fit to the scores of a query gives that query.
    again = ridge_query(F, from_query(F, Q, normalize=normalize), 0, normalize=normalize)
    np.testing.assert_allclose(again, Q, rtol=1e-10)


def test_signals_stack_and_select() -> None:
    F = RNG.normal(size=(40, 6))
    judged = multi_attribute(RATINGS)
    G = np.column_stack(
        [
            self_compression(F),
            judged,
            multi_attribute(RATINGS, combine="columns"),
            from_query(F, F[0]),
            from_query(F, ridge_query(F, judged, 0.1)),
        ]
    )
    assert G.shape == (40, 8)
    assert len(select(F, G, 5, device="cpu")) == 5


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    F, G = torch.randn(20, 4, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    Q = ridge_query(F, G, 0.1)
    assert (ridge_query(F.numpy(), G.numpy(), 0.1) == Q).all()
    assert (from_query(F, torch.tensor(Q, requires_grad=True)) == from_query(F.numpy(), Q)).all()
    rounded = torch.tensor(Q).bfloat16()
    assert (from_query(F, rounded) == from_query(F.numpy(), rounded.double().numpy())).all()
    assert (multi_attribute(torch.tensor(RATINGS)) == RATINGS.sum(axis=1)).all()
    assert (multi_attribute(torch.tensor(RATINGS)[:, 0]) == RATINGS[:, 0]).all()


@pytest.mark.parametrize(
    ("Q", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, r"Q has shape \(2, 3\) and F has 3 columns; .*"
         r"Q looks transposed: give Q.T"),
        (np.ones(5), ValueError, r"Q has shape \(5, 1\).*F looks transposed, or Q holds scores, .*ridge_query"),
        (np.ones(4), ValueError, r"a query is \(d,\) or \(d, n\)$"),
        (np.ones((3, 0)), ValueError, r"Q has shape \(3, 0\)"),
        (np.ones((3, 1, 1)), ValueError, r"Q has shape \(3, 1, 1\)"),
        ([1, np.nan, 0], ValueError, r"Q has a value that is not finite in column 0"),
        ([1, 0, 1e200], ValueError, r"Q has norm 1e\+200 in column 0"),
        ([1, 2j, 0], TypeError, r"Q has dtype complex128"),
        (None, TypeError, r"Q is None"),
        ([[1], [2, 3], [4]], TypeError, r"Q is a list that is no array of numbers"),
    ],
)  # fmt: skip
def test_bad_query_is_named(Q: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_query(np.ones((5, 3)), Q)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"F": [[1.0, 0.0], [0.0, 0.0]]}, ValueError, "F has a zero row, row 1"),
        ({"F": [[1.0], [np.nan]]}, ValueError, "F has a value that is not finite in row 1"),
        ({"F": [1.0, 2.0]}, ValueError, "F has shape"),
        ({"normalize": 1}, TypeError, "normalize is 1, a int; it must be True or False"),
        ({"G": [1.0]}, ValueError, "G has 1 rows and F has 2"),
        ({"G": [1.0, np.inf]}, ValueError, "G has a value that is not finite in row 1"),
        ({"epsilon": -1}, ValueError, "epsilon is -1; epsilon must be a number from 0 to"),
        ({"epsilon": True}, TypeError, "epsilon is True, a bool"),
    ],
)
def test_bad_input_of_a_ridge_query_is_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ridge_query(**{"F": np.eye(2), "G": [1.0, 2.0], "epsilon": 0.1} | arguments)
    if {"F", "normalize"} & set(arguments):
        with pytest.raises(error, match=message):
            from_query(**{"F": np.eye(2), "Q": [1.0, 2.0]} | arguments)
