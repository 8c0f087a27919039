"""Selections against the greedy loop in 300-bit arithmetic: thousands of random problems, and past float64 failures."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.reference import brute_force, greedy
from tests.support.random_problems import problem

exact_loop = pytest.importorskip("tests.support.exact_loop", reason="gmpy2 is not installed")

# Problems that one test tries.
PROBLEMS = 500
REFUSED = ("Q'Q is singular", "the residual diverges", "of its energy in the range of F")


def solve(seed):
    """A selection and its problem; None if the selection is refused."""
    F, G, k, objective, options = problem(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            chosen = select(F, G, k, objective=objective, device="cpu", **options)
        except ValueError as error:
            if not any(why in str(error) for why in REFUSED):
                raise
            return None
    asked = {name: value for name, value in options.items() if name not in ("columns", "precision")}
    return chosen, (F, G, objective), asked


def check(seeds):
    tried = 0
    for seed in seeds:
        solved = solve(seed)
        if solved is None:
            continue
        chosen, given, asked = solved
        tried += 1
        wrong = [doubt for doubt in exact_loop.doubted(chosen, *given, **asked) if doubt.wrong]
        assert not wrong, f"seed {seed}, {given[2]}, {asked}: {wrong}"
    return tried


@pytest.mark.slow
def test_random_problems():
    assert check(range(PROBLEMS)) > 0.9 * PROBLEMS


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 10))
def test_more_random_problems(part):
    assert check(range(part * PROBLEMS, (part + 1) * PROBLEMS)) > 0.9 * PROBLEMS


@pytest.mark.parametrize("objective", ["mp", "lr", "mi", "omp", "entropy"])
def test_a_wrong_pick_is_found(objective):
    """The check fails if the first two picks are swapped, or margins are changed."""
    found = 0
    for seed in range(200):
        solved = solve(seed)
        if solved is None or solved[1][2] != objective or len(solved[0]) < 4 or "initial" in solved[2]:
            continue
        chosen, given, asked = solved
        proof = chosen.certificate
        if (proof.ties[:2] > 1).any() or (proof.margins[:2] == 0).any() or 1 in chosen.rounds:
            continue
        indices = chosen.indices.copy()
        indices[:2] = indices[1::-1]
        doubts = exact_loop.doubted(replace(chosen, indices=indices), *given, **asked)
        assert any(doubt.wrong and doubt.step == 0 for doubt in doubts)
        sure = replace(proof, margins=np.ones(len(chosen)))
        doubts = exact_loop.doubted(replace(chosen, certificate=sure), *given, **asked)
        assert any(doubt.wrong and doubt.step == 0 for doubt in doubts)
        found += 1
    assert found > 3


def ridge_problem(d, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((40, d)), rng.standard_normal((40, n))


@pytest.mark.parametrize("epsilon", [1e-6, 1e-8, 1e-10])
def test_a_tiny_ridge_does_not_make_ties(epsilon):
    """Any two rows determine a query up to epsilon: information distinguishes them, a ratio near 1 does not.

    All items tie for the first pick: with as many columns as dimensions each gives log(1 + 1 / epsilon) / 2 nats.
    """
    F, G = ridge_problem(2, 2)
    how = {"objective": "mi", "query": "ridge", "epsilon": epsilon}
    chosen = select(F, G, 4, device="cpu", **how)
    assert chosen.indices.tolist() == [0, 33, 35, 5]
    assert greedy(F, G, 4, **how).tolist() == brute_force(F, G, 4, **how).tolist() == [0, 33, 35, 5]
    assert chosen.certificate.ties.tolist() == [40, 1, 1, 1]
    assert chosen.certificate.within_rounding == 0
    assert not exact_loop.doubted(chosen, F, G, **how)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3, 4, 8, 16])
def test_mutual_information_by_its_definition(d):
    for n in (n for n in (1, 2, 4, 8, 16) if n <= d):
        for epsilon in (1e-10, 1e-8, 1e-6, 1e-3, 1.0):
            F, G = ridge_problem(d, n, seed=n)
            how = {"objective": "mi", "query": "ridge", "epsilon": epsilon}
            k = min(2 * d + 2, 12)
            chosen = select(F, G, k, device="cpu", **how)
            np.testing.assert_array_equal(chosen.indices, greedy(F, G, k, **how), err_msg=f"{n} {epsilon}")
            # A round of lr, for a single column, ends when its scores are exhausted; brute force has no such end.
            own = chosen.rounds[1] if len(chosen.rounds) > 1 else k
            np.testing.assert_array_equal(chosen.indices[:own], brute_force(F, G, own, **how), err_msg=f"{n} {epsilon}")


def test_reference_of_many_picks_beyond_the_rank():
    """More picks than dimensions at epsilon 1e-10, in more dimensions than 300-bit arithmetic can handle quickly."""
    rng = np.random.default_rng(5)
    F, G = rng.standard_normal((300, 24)), rng.standard_normal((300, 24))
    how = {"objective": "mi", "query": "ridge", "epsilon": 1e-10}
    chosen = select(F, G, 60, device="cpu", **how)
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, 60, **how))
    assert chosen.certificate.tied == 1
    assert (chosen.certificate.margins[1:] > 0).all()


ROW = np.array([0.7583158229918718, 0.5636195521419912, 0.3275516952229396])


@pytest.mark.parametrize("objective", ["mp", "omp", "lr"])
@pytest.mark.parametrize("initial", [None, [0]])
def test_rounding_of_a_negative_score_is_not_picked(objective, initial):
    F = np.tile(ROW, (3, 1))
    how = {"objective": objective, "sign": "positive", "on_exhausted": "stop", "initial": initial}
    for score in (-1.0000000000000002, -3.3, -1e10):
        assert len(select(F, np.full(3, score), 2, device="cpu", **how)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["mp", "omp", "lr"])
def test_rounding_is_not_picked_from_rows_of_one_line(objective):
    """The floor is that of the round's largest score, with initial items and without."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        m, d = int(rng.integers(2, 8)), int(rng.integers(1, 6))
        base = rng.standard_normal(d)
        F = np.outer(rng.choice([1.0, 3.0, 1 / 7, -1.0, 0.1], m), base)
        side = np.sign(F @ base) if rng.random() < 0.7 else np.ones(m)
        G = rng.choice([-1, 1]) * np.outer(side, rng.uniform(0.5, 2, rng.integers(1, 4)))
        initial = rng.permutation(m)[: rng.integers(0, m)].tolist()
        for sign in ("any", "positive"):
            how = {"objective": objective, "sign": sign, "on_exhausted": "stop", "initial": initial}
            chosen = select(F, G, m - len(initial), device="cpu", **how)
            # Squares of 1e-7 of the scores' scale; rounding would give 1e-32.
            assert (chosen.gains > 1e-14).all(), f"seed {seed}"


@pytest.mark.parametrize("initial", [(), (0,), (1, 0)])
def test_duplicates_tell_less_and_less(initial):
    """Entropy: epsilon / (t + epsilon) is left of a row that was picked t times."""
    F, epsilon = np.tile(ROW, (5, 1)), 1e-6
    chosen = select(F, None, 5 - len(initial), epsilon=epsilon, initial=initial, on_exhausted="stop", device="cpu")
    before = np.arange(len(initial), 5)
    np.testing.assert_allclose(chosen.gains, epsilon / (before + epsilon), rtol=1e-9)
    assert chosen.indices.tolist() == [j for j in range(5) if j not in initial]


def test_the_first_pick_may_be_small():
    """Given scores are exact until something is projected out: a billionth of the largest score is not rounding."""
    F = np.eye(3)
    for objective in ("mp", "omp", "lr"):
        how = {"objective": objective, "sign": "positive", "on_exhausted": "stop"}
        assert select(F, [-1.0, 1e-9, -1.0], 3, device="cpu", **how).indices.tolist() == [1]
