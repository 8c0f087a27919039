"""Mutual information, its path and the theorems, against the formulas of the paper taken literally."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gip_gpu import metrics
from gip_gpu.signals import self_compression

Matrix = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
EPSILONS = st.sampled_from([0.0, 1e-3, 1.0, 50.0])


def unit(F: Matrix) -> Matrix:
    return F / np.linalg.norm(F, axis=1, keepdims=True)


def log_det(matrix: Matrix) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def literal_information(rows: Matrix, Q: Matrix, epsilon: float) -> float:
    """Returns eq. 3.3 with the joint covariance of eq. 3.2; epsilon is the variance of noise on each row."""
    noisy = rows @ rows.T + epsilon * np.eye(len(rows))
    joint = np.block([[Q.T @ Q, Q.T @ rows.T], [rows @ Q, noisy]])
    return (log_det(Q.T @ Q) + log_det(noisy) - log_det(joint)) / 2


def literal_residual(rows: Matrix, Q: Matrix, epsilon: float) -> Matrix:
    """Returns Q'PQ by a solve with the Gram matrix of the chosen rows."""
    noisy = rows @ rows.T + epsilon * np.eye(len(rows))
    return Q.T @ Q - (rows @ Q).T @ np.linalg.solve(noisy, rows @ Q)


@st.composite
def problems(draw: st.DrawFn, few: bool) -> tuple[Matrix, Matrix, list[int], bool]:
    """Draws F, Q, indices, normalize; with `few` rows and columns together are at most d."""
    n = draw(st.integers(1, 4))
    d = draw(st.integers(n + 1, 12))
    rng = np.random.default_rng(draw(SEEDS))
    m = draw(st.integers(d, 20))
    k = draw(st.integers(0, d - n if few else m))
    F, Q = rng.normal(size=(m, d)), rng.normal(size=(d, n))
    return F, Q, rng.permutation(m)[:k].tolist(), draw(st.booleans())


@given(problems(few=True), EPSILONS)
def test_objectives_are_their_formulas(problem: tuple[Matrix, Matrix, list[int], bool], epsilon: float) -> None:
    F, Q, chosen, normalize = problem
    rows = (unit(F) if normalize else F)[chosen]
    options = {"epsilon": epsilon, "normalize": normalize}
    wanted = literal_information(rows, Q, epsilon)
    assert metrics.mutual_information(F, Q, chosen, **options) == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    residual = literal_residual(rows, Q, epsilon)
    assert metrics.log_determinant(F, Q, chosen, **options) == pytest.approx(log_det(residual), rel=1e-8, abs=1e-8)
    assert metrics.trace(F, Q, chosen, **options) == pytest.approx(np.trace(residual), rel=1e-8)
    wanted = log_det(rows @ rows.T + epsilon * np.eye(len(rows))) / 2
    assert metrics.entropy(F, chosen, **options) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(problems(few=False), EPSILONS.filter(bool))
def test_objectives_with_epsilon_for_any_number_of_rows(
    problem: tuple[Matrix, Matrix, list[int], bool], epsilon: float
) -> None:
    F, Q, chosen, normalize = problem
    rows = (unit(F) if normalize else F)[chosen]
    P = epsilon * np.linalg.inv(epsilon * np.eye(F.shape[1]) + rows.T @ rows)
    wanted = (log_det(Q.T @ Q) - log_det(Q.T @ P @ Q)) / 2
    options = {"epsilon": epsilon, "normalize": normalize}
    assert metrics.mutual_information(F, Q, chosen, **options) == pytest.approx(wanted, rel=1e-7, abs=1e-9)
    assert metrics.trace(F, Q, chosen, **options) == pytest.approx(np.trace(Q.T @ P @ Q), rel=1e-7)


def direct(F: Matrix, Q: Matrix, chosen: list[int], **options: object) -> tuple[float, float, float, float]:
    return (
        metrics.mutual_information(F, Q, chosen, **options),
        metrics.log_determinant(F, Q, chosen, **options),
        metrics.trace(F, Q, chosen, **options),
        metrics.entropy(F, chosen, **options),
    )


def check_path(F: Matrix, Q: Matrix, chosen: list[int], rel: float = 1e-9, **options: object) -> None:
    path = metrics.information_path(F, Q, chosen, **options)
    assert all(part.shape == (len(chosen),) and part.dtype == np.float64 for part in astuple(path))
    np.testing.assert_array_equal(metrics.entropy_path(F, chosen, **options), path.entropy)
    steps = np.unique(np.linspace(0, len(chosen) - 1, 12).astype(int)) if len(chosen) else []
    for t in steps:
        found = [part[t] for part in astuple(path)]
        # Rounding of the trace is relative to the energy of the whole query.
        floor = 1e-15 * float((Q**2).sum())
        assert found == pytest.approx(direct(F, Q, chosen[: t + 1], **options), rel=rel, abs=max(floor, 1e-12))


@given(problems(few=False), EPSILONS, st.booleans())
def test_path_is_the_objectives_one_by_one(
    problem: tuple[Matrix, Matrix, list[int], bool], epsilon: float, copies: bool
) -> None:
    F, Q, chosen, normalize = problem
    if copies:
        F[::2] = F[0] * np.arange(1, len(F[::2]) + 1)[:, None]
    check_path(F, Q, chosen, epsilon=epsilon, normalize=normalize)


@pytest.mark.parametrize("epsilon", [0.0, 1e-2])
def test_path_of_nearly_dependent_rows(epsilon: float) -> None:
    rng = np.random.default_rng(5)
    F = rng.normal(size=20) + 1e-5 * rng.normal(size=(300, 20))
    check_path(F, rng.normal(size=(20, 3)), list(range(300)), epsilon=epsilon, rel=1e-8)


def test_a_path_stays_exact_over_many_more_picks_than_dimensions() -> None:
    rng = np.random.default_rng(6)
    F, Q = rng.normal(size=(4000, 8)) + 2, rng.normal(size=(8, 2))
    check_path(F, Q, list(range(4000)), epsilon=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_path_on_real_data(real, epsilon: float) -> None:  # type: ignore[no-untyped-def]
    F = real("gsm8k_minilm_f16.npy").astype(np.float64)
    rng = np.random.default_rng(8)
    G = np.column_stack([self_compression(F), F @ F[rng.choice(len(F), 3)].T])
    Q = np.linalg.solve(F.T @ F + 1e-3 * np.eye(F.shape[1]), F.T @ G)
    check_path(F, Q, rng.choice(len(F), 430, replace=False).tolist(), epsilon=epsilon)


def test_path_on_real_duplicates(real) -> None:  # type: ignore[no-untyped-def]
    F = real("bbh_wordllama_f16.npy").astype(np.float64)
    _, first, which = np.unique(F, axis=0, return_index=True, return_inverse=True)
    twin = next(j for j in range(len(F)) if first[which.ravel()[j]] != j)
    chosen = [0, int(first[which.ravel()[twin]]), twin, 7]
    check_path(F, np.random.default_rng(2).normal(size=(F.shape[1], 4)), list(dict.fromkeys(chosen)))
    assert metrics.entropy(F, [chosen[1], twin]) == -np.inf


def test_spanned_queries_are_known_for_certain() -> None:
    rng = np.random.default_rng(11)
    F = rng.normal(size=(9, 6))
    Q = np.column_stack([F[0] - 3 * F[4], rng.normal(size=6)])
    assert metrics.mutual_information(F, Q, [0, 2]) < np.inf
    path = metrics.information_path(F, Q, [0, 2, 4, 5])
    np.testing.assert_array_equal(path.mutual_information == np.inf, [False, False, True, True])
    np.testing.assert_array_equal(path.log_determinant == -np.inf, [False, False, True, True])
    assert path.trace[2] > 0.01
    assert metrics.mutual_information(F, Q, [4, 0, 2]) == np.inf
    assert metrics.log_determinant(F, Q, [4, 0, 2]) == -np.inf
    assert metrics.mutual_information(F, Q, range(9)) == np.inf
    assert metrics.trace(F, Q, range(9)) < 1e-28
    assert metrics.mutual_information(F, Q, range(9), epsilon=1e-6) < np.inf


def test_nearly_spanned_queries_are_not_spanned() -> None:
    F, Q = np.eye(3), np.array([1.0, 1e-10, 0.0])
    assert metrics.mutual_information(F, Q, [0]) == pytest.approx(10 * np.log(10), rel=1e-9)
    assert metrics.information_path(F, Q, [0]).mutual_information[0] == pytest.approx(10 * np.log(10), rel=1e-9)
    assert metrics.mutual_information(F, Q * [1, 1e-3, 1], [0]) == np.inf


def test_a_repeated_row_tells_nothing_new() -> None:
    rng = np.random.default_rng(12)
    F, Q = rng.normal(size=(5, 7)), rng.normal(size=(7, 2))
    F[3] = -2 * F[1]
    path = metrics.information_path(F, Q, [0, 1, 3, 4])
    assert path.mutual_information[2] == path.mutual_information[1]
    assert path.mutual_information[3] > path.mutual_information[2]
    assert path.entropy[1] > path.entropy[2] == path.entropy[3] == -np.inf
    assert metrics.mutual_information(F, Q, [0, 1, 3]) == pytest.approx(metrics.mutual_information(F, Q, [0, 1]))


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_an_empty_choice_tells_nothing(epsilon: float) -> None:
    F, Q = np.eye(3), np.array([[1.0, 2.0, 3.0]]).T
    assert metrics.mutual_information(F, Q, [], epsilon=epsilon) == 0
    assert metrics.entropy(F, [], epsilon=epsilon) == 0
    assert metrics.trace(F, Q, [], epsilon=epsilon) == pytest.approx(14)
    assert metrics.log_determinant(F, Q, [], epsilon=epsilon) == pytest.approx(np.log(14))
    assert [len(part) for part in astuple(metrics.information_path(F, Q, [], epsilon=epsilon))] == [0] * 4
    assert metrics.projection_bound(F, Q, []) == (0, 0)
    assert metrics.gram_bound(F, []) == (0, 0)


def test_one_dimension() -> None:
    F, Q = np.array([[2.0], [-3.0]]), [5.0]
    assert metrics.mutual_information(F, Q, [0]) == np.inf
    assert metrics.mutual_information(F, Q, [0, 1], epsilon=0.5) == pytest.approx(np.log(5) / 2)
    path = metrics.information_path(F, Q, [1, 0], normalize=False, epsilon=2.0)
    np.testing.assert_allclose(path.mutual_information, np.log([11 / 2, 15 / 2]) / 2)
    np.testing.assert_allclose(path.entropy, np.log([11, 30]) / 2)
    np.testing.assert_allclose(path.trace, [25 * 2 / 11, 25 * 2 / 15])


def test_scales_of_rows_and_queries() -> None:
    rng = np.random.default_rng(13)
    F, Q = rng.normal(size=(6, 8)), rng.normal(size=(8, 2))
    wanted = direct(F, Q, [1, 2, 3])
    scales = 10.0 ** np.array([0, 140, -140, 0, 10, 0])[:, None]
    F = unit(F) * scales
    found = metrics.information_path(F, Q * [1e-70, 1e70], [1, 2, 3], normalize=False)
    assert found.mutual_information[-1] == pytest.approx(wanted[0], rel=1e-12)
    assert found.log_determinant[-1] == pytest.approx(wanted[1], rel=1e-12)
    assert found.entropy[-1] == pytest.approx(wanted[3], rel=1e-12)
    assert metrics.mutual_information(F, Q * [1e-70, 1e70], [1, 2, 3], normalize=False) == pytest.approx(wanted[0])
    assert metrics.entropy(F, [1, 2, 3], normalize=False) == pytest.approx(wanted[3], rel=1e-12)


def test_only_the_chosen_rows_are_read() -> None:
    F, Q = np.eye(4), np.ones(4)
    F[2] = np.nan
    assert metrics.mutual_information(F, Q, [0, 3]) == pytest.approx(np.log(2) / 2)
    with pytest.raises(ValueError, match="F has a value that is not finite in row 2 "):
        metrics.mutual_information(F, Q, [0, 2])


def test_a_zero_row_spans_nothing() -> None:
    F = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert metrics.mutual_information(F, [1, 1], [0], normalize=False) == 0
    path = metrics.information_path(F, [1, 1], [1, 0], normalize=False)
    np.testing.assert_allclose(path.mutual_information, [np.log(2) / 2] * 2)
    np.testing.assert_array_equal(path.entropy, [0, -np.inf])
    with pytest.raises(ValueError, match="F has a zero row, row 0 "):
        metrics.mutual_information(F, [1, 1], [0])


def test_dependent_columns_of_a_query() -> None:
    rng = np.random.default_rng(14)
    F, Q = rng.normal(size=(5, 4)), rng.normal(size=(4, 6))
    residual = literal_residual(unit(F)[:2], Q, 0.0)
    assert metrics.trace(F, Q, [0, 1]) == pytest.approx(np.trace(residual))
    assert metrics.log_determinant(F, Q, [0, 1]) == -np.inf
    Q[:, 1] = 1e5 * Q[:, 0]
    for bad, column in ((Q[:, :2], 1), (Q[:, [0, 2, 3, 4, 5]], 4), (Q * [1, 0, 1, 1, 1, 1], 1)):
        for measure in (metrics.mutual_information, metrics.information_path, metrics.projection_bound):
            with pytest.raises(ValueError, match=f"Q has linearly dependent columns: column {column} is zero or"):
                measure(F, bad, [0])


@pytest.mark.parametrize(
    ("Q", "epsilon", "error", "message"),
    [
        ([1.0, 2.0], 0.0, ValueError, r"Q has shape \(2, 1\) and F has 3 columns; a query is \(d,\) or \(d, n\)$"),
        (np.ones((2, 3)), 0.0, ValueError, r"Q looks transposed: give Q.T"),
        ([1.0, np.nan, 2.0], 0.0, ValueError, "Q has a value that is not finite in column 0"),
        (np.diag([1.0, 1e151, 1.0]), 0.0, ValueError, r"Q has norm 1e\+151 in column 1; at most 1e\+150"),
        (["a", "b", "c"], 0.0, TypeError, "Q has dtype <U1"),
        ([[1.0], [2.0, 3.0], [1.0]], 0.0, TypeError, "Q is a list that is no array of numbers"),
        (None, 0.0, TypeError, "Q is None; it must be a query"),
        (np.ones(3), -1.0, ValueError, "epsilon is -1.0; epsilon must be a number from 0 to"),
        (np.ones(3), np.inf, ValueError, "epsilon is inf"),
        (np.ones(3), True, TypeError, "epsilon is True, a bool"),
        (np.ones(3), "0.1", TypeError, "epsilon is '0.1', a str"),
    ],
)
def test_bad_arguments_are_named(Q: object, epsilon: object, error: type[Exception], message: str) -> None:
    for measure in (
        metrics.mutual_information,
        metrics.log_determinant,
        metrics.trace,
        metrics.information_path,
        metrics.determinant_bound,
    ):
        with pytest.raises(error, match=message):
            measure(np.eye(3), Q, [0], epsilon=epsilon)  # type: ignore[arg-type]


def test_flags_and_indices_are_checked() -> None:
    with pytest.raises(TypeError, match="normalize is 'no', a str"):
        metrics.entropy(np.eye(3), [0], normalize="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="indices must be distinct"):
        metrics.information_path(np.eye(3), np.ones(3), [0, 0])
    with pytest.raises(ValueError, match="indices must be below the number of rows 3, got 3"):
        metrics.gram_bound(np.eye(3), [3])


@given(problems(few=False))
def test_theorem_2_is_its_formula_and_holds(problem: tuple[Matrix, Matrix, list[int], bool]) -> None:
    F, Q, chosen, normalize = problem
    rows = (unit(F) if normalize else F)[chosen]
    lefts, rights = metrics.projection_bounds(F, Q, chosen, normalize=normalize)
    for t in range(1, len(chosen) + 1):
        left, right = metrics.projection_bound(F, Q, chosen[:t], normalize=normalize)
        assert left == pytest.approx(np.linalg.norm(rows[:t] @ Q, 2), rel=1e-12)
        basis = np.linalg.svd(rows[:t], full_matrices=False)[2].T
        outside = Q - basis @ (basis.T @ Q)
        # Random subspaces whose dimensions add up to more than d intersect: the determinant is zero up to rounding.
        eta = np.linalg.det(outside.T @ outside) if t + Q.shape[1] <= F.shape[1] else 0.0
        ratio = eta / np.linalg.det(Q.T @ Q)
        least = np.linalg.svd(rows[:t], compute_uv=False)[-1] * np.linalg.svd(Q, compute_uv=False)[-1]
        wanted = least * np.sqrt(1 - ratio ** (1 / Q.shape[1]))
        assert right == pytest.approx(wanted, rel=1e-6)
        assert (lefts[t - 1], rights[t - 1]) == pytest.approx((left, right), rel=1e-9)
        assert left >= right * (1 - 1e-9)


def test_theorem_2_is_an_equality_for_one_row_and_one_column() -> None:
    rng = np.random.default_rng(15)
    left, right = metrics.projection_bound(rng.normal(size=(1, 5)), rng.normal(size=5), [0], normalize=False)
    assert left == pytest.approx(right, rel=1e-12)


def test_theorem_2_along_dependent_rows() -> None:
    rng = np.random.default_rng(16)
    F, Q = rng.normal(size=(6, 3)), rng.normal(size=(3, 2))
    F[1] = F[0]
    lefts, rights = metrics.projection_bounds(F, Q, range(6))
    assert rights[0] > 0.01
    np.testing.assert_allclose(rights[1:3], 0, atol=1e-12)
    assert (rights[3:] > 0.01).all()
    assert (lefts >= rights).all()


@given(problems(few=False), EPSILONS)
def test_theorem_3_is_its_formula_and_holds(problem: tuple[Matrix, Matrix, list[int], bool], epsilon: float) -> None:
    F, Q, chosen, normalize = problem
    options = {"epsilon": epsilon, "normalize": normalize}
    left, right = metrics.determinant_bound(F, Q, chosen, **options)
    n = Q.shape[1]
    assert left == metrics.log_determinant(F, Q, chosen, **options)
    with np.errstate(divide="ignore"):
        assert right == pytest.approx(n * np.log(metrics.trace(F, Q, chosen, **options) / n))
    assert left <= right + 1e-9


@given(problems(few=True))
def test_theorem_6_is_its_formula_and_holds(problem: tuple[Matrix, Matrix, list[int], bool]) -> None:
    F, _, chosen, normalize = problem
    rows = (unit(F) if normalize else F)[chosen]
    left, right = metrics.gram_bound(F, chosen, normalize=normalize)
    gram = rows @ rows.T
    assert left == pytest.approx(log_det(gram), rel=1e-8, abs=1e-9)
    k = len(chosen)
    wanted = k * np.log(k / np.trace(np.linalg.inv(gram))) if k else 0
    assert right == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    assert left >= right - 1e-9


def test_theorem_6_of_dependent_rows() -> None:
    assert metrics.gram_bound([[1, 0], [2, 0], [0, 1]], [0, 1]) == (-np.inf, -np.inf)
    assert metrics.gram_bound(np.ones((3, 2)), [0, 1, 2]) == (-np.inf, -np.inf)
