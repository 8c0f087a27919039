"""Least squares by normal equations: as accurate as orthogonal decompositions, or refused."""

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.data.rows import Rows
from gip_gpu.problem import normal_equations, ridge_query
from gip_gpu.problem.normal_equations import inverse_triangle, solve


@pytest.fixture
def decomposed(monkeypatch):
    """The query by an orthogonal decomposition."""

    def fit(rows, scores, epsilon):
        with monkeypatch.context() as only:
            only.setattr(normal_equations, "solve", lambda *_: None)
            return ridge_query.solve(rows, scores, epsilon)

    return fit


def problem(m, d, n=2, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    F = rng.standard_normal((m, d)) * np.geomspace(1, spread, d)
    return F @ np.linalg.qr(rng.standard_normal((d, d)))[0], rng.standard_normal((m, n))


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize(("m", "d"), [(300, 20), (300, 200), (20, 20), (20, 70), (1, 3)])
def test_as_an_orthogonal_decomposition(m, d, epsilon, decomposed):
    F, G = problem(m, d)
    rows = Rows(F)
    found, wanted = solve(rows, G, epsilon), decomposed(rows, G, epsilon)
    assert found is not None
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=0, atol=1e-9 * np.abs(wanted.weights).max())
    assert found.share == pytest.approx(wanted.share, abs=1e-12)
    assert found.rank == wanted.rank


@pytest.mark.parametrize("weak", [0.0, 1e-4, 1e-7, 1e-10, 1e-14])
def test_directions_that_rows_hardly_have(weak, decomposed):
    """The rows decide whether such directions are in the range of F, however small their part is."""
    F, G = problem(400, 12)
    F[:, 3:5] *= weak
    F = F @ np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    rows = Rows(F, normalize=False)
    found, wanted = solve(rows, G, 0.1), decomposed(rows, G, 0.1)
    assert found is not None
    assert (found.rank, wanted.rank) == (12 if weak > 1e-12 else 10,) * 2
    assert found.share == pytest.approx(wanted.share, abs=1e-9 if weak > 1e-9 else 1e-5)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=0, atol=5e-11 * np.abs(wanted.weights).max())


@pytest.mark.parametrize(("spread", "epsilon"), [(1e-6, 0.0), (1e-6, 1e-14), (1e-14, 1e-20)])
def test_ill_conditioned_rows_are_left_to_it(spread, epsilon):
    F, G = problem(300, 20, spread=spread)
    assert solve(Rows(F, normalize=False), G, epsilon) is None


def test_many_weak_directions_are_left_to_it():
    F, G = problem(300, 40)
    F[:, :20] = 0
    assert solve(Rows(F), G, 0.1) is None


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e100])
def test_extreme_rows_are_left_to_it(scale):
    F, G = problem(30, 4)
    assert solve(Rows(F * scale, normalize=False), G, 0.0) is None


def test_zero_scores():
    F, _ = problem(30, 4)
    found = solve(Rows(F), np.zeros((30, 2)), 0.1)
    assert (found.share, np.abs(found.weights).max()) == (1.0, 0.0)


def test_scores_in_the_range(decomposed):
    F, _ = problem(100, 10)
    found = solve(Rows(F), Rows(F).block(0, 100) @ np.ones((10, 1)), 0.0)
    assert found.share == 1.0
    np.testing.assert_allclose(found.weights, 1.0, rtol=1e-12)


def test_selections_do_not_depend_on_how_the_query_was_found(decomposed, monkeypatch):
    F, G = problem(500, 16, n=3)
    how = {"objective": "mi", "query": "ridge", "epsilon": 0.05, "device": "cpu"}
    quick = select(F, G, 40, **how)
    monkeypatch.setattr(normal_equations, "solve", lambda *_: None)
    slow = select(F, G, 40, **how)
    assert quick == slow
    assert quick.range_share == pytest.approx(slow.range_share, abs=1e-13)


@pytest.mark.parametrize("d", [1, 95, 96, 97, 250])
def test_inverse_of_a_triangle(d):
    lower = np.tril(np.random.default_rng(d).standard_normal((d, d))) + 20 * np.eye(d)
    inverse = inverse_triangle(lower)
    np.testing.assert_array_equal(inverse, np.tril(inverse))
    np.testing.assert_allclose(inverse @ lower, np.eye(d), rtol=0, atol=1e-12)
