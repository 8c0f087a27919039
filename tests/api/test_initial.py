"""Initial items: the result is as if they had been the first picks."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gip_gpu import Pool, select
from gip_gpu.reference import greedy, matching_pursuit
from tests.support.emulated import device_options
from tests.support.initial_items import KINDS, assert_rest, expect, problem


@pytest.mark.parametrize(("objective", "options"), KINDS)
@pytest.mark.parametrize("first", [1, 7, 20])
def test_the_rest_of_an_unbroken_selection(objective, options, first):
    F, G = problem(objective)
    whole = select(F, G, 22, objective=objective, **options)
    part = select(F, G, 22 - first, objective=objective, initial=whole.indices[:first], **options)
    assert_rest(whole, part, first)
    assert part.rounds == (0,)


@pytest.mark.parametrize(("objective", "options"), KINDS)
def test_any_items_in_any_order(objective, options):
    F, G = problem(objective)
    # Row 151 equals row 1: it adds nothing to objectives that project rows out.
    initial = [200, 3, 1, 151, 99]
    chosen = select(F, G, 15, objective=objective, initial=initial, **options)
    np.testing.assert_array_equal(chosen.indices, expect(F, G, 15, objective, options, initial))
    assert not set(chosen) & set(initial)
    if objective == "lr":
        # The initial items change the picks after them.
        assert list(chosen) != [i for i in select(F, G, 20, objective=objective, **options) if i not in initial][:15]


# Triton's interpreter is slow.
BACKENDS = [("cupy", objective) for objective, _ in KINDS[::2]] + [("triton", o) for o in ("mp", "mi", "entropy")]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "objective"), BACKENDS)
def test_backends(backend, objective, request):
    run = device_options(backend, request)
    F, G = problem(objective, m=40)
    options = dict(KINDS[::2])[objective]
    initial = [30, 3, 1, 21]
    chosen = select(F, G, 4, objective=objective, initial=initial, **run, **options)
    np.testing.assert_array_equal(chosen.indices, expect(F, G, 4, objective, options, initial))


@pytest.mark.parametrize("how", ["restart", "stop", "continue"])
@pytest.mark.parametrize("first", [2, 5, 30])
def test_exhaustion(how, first):
    """In two dimensions about five picks exhaust the scores; `initial` ends before, at and after exhaustion."""
    F = np.random.default_rng(1).standard_normal((40, 2))
    G = F / np.linalg.norm(F, axis=1, keepdims=True) @ [3.0, -1.0]
    initial = np.random.default_rng(first).permutation(40)[:first]
    chosen = select(F, G, 10, on_exhausted=how, initial=initial)
    expected = matching_pursuit(F, G, 10, on_exhausted=how, initial=initial)
    np.testing.assert_array_equal(chosen.indices, expected)
    assert all(start < len(chosen) for start in chosen.rounds)


@pytest.mark.parametrize("objective", ["lr", "omp", "entropy"])
@pytest.mark.parametrize("how", ["restart", "stop"])
def test_initial_items_that_span_everything(objective, how):
    rng = np.random.default_rng(2)
    F = rng.standard_normal((60, 3))
    G = None if objective == "entropy" else rng.standard_normal(60)
    for initial in (range(10, 20), [4, 5]):
        chosen = select(F, G, 12, objective=objective, on_exhausted=how, initial=initial)
        expected = greedy(F, G, 12, objective=objective, on_exhausted=how, initial=initial)
        np.testing.assert_array_equal(chosen.indices, expected)
        assert len(chosen) == {"restart": 12, "stop": 0 if len(initial) > 3 else 1}[how]


def test_scores_that_are_all_zero():
    F = np.random.default_rng(0).standard_normal((9, 4))
    chosen = select(F, np.zeros(9), 4, initial=[2, 0])
    assert chosen.indices.tolist() == [1, 3, 4, 5]
    assert chosen.certificate.candidates.tolist() == [7, 6, 5, 4]
    assert len(select(F, np.zeros(9), 4, initial=[2, 0], on_exhausted="stop")) == 0


def test_all_of_the_pool():
    F, G = problem("mp", m=40)
    chosen = select(F, G, 10, initial=range(30))
    assert sorted(chosen) == list(range(30, 40))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS), normalize=st.booleans())
def test_random_pools(seed, kind, normalize):
    """Duplicates, few dimensions, rows of any length, more picks than dimensions."""
    objective, options = kind
    if objective == "mi":
        options = {"query": "ridge", "epsilon": 0.3}
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(4, 30)), int(rng.integers(2, 8))
    F = rng.standard_normal((m, d))[rng.integers(0, m, m)]
    if not normalize:
        F *= rng.uniform(0.1, 1) / np.linalg.norm(F, axis=1).max()
    # Two signals have two queries only where rows span a plane.
    assume(objective != "mi" or np.linalg.matrix_rank(F) > 1)
    G = None if objective == "entropy" else rng.integers(-2, 3, (m, 2))[:, : 1 + (objective == "mi")] + rng.random()
    if objective == "mi":
        G = rng.standard_normal((m, 2))
    first = int(rng.integers(0, m))
    initial, k = rng.permutation(m)[:first], int(rng.integers(1, m - first + 1))
    chosen = select(F, G, k, objective=objective, normalize=normalize, initial=initial, **options)
    expected = expect(F, G, k, objective, {**options, "normalize": normalize}, initial)
    np.testing.assert_array_equal(chosen.indices, expected)


def test_progress_and_pools():
    F, G = problem("mp")
    seen = []
    chosen = Pool(F).select(G, 12, initial=np.arange(5, dtype=np.uint8), progress=lambda *so_far: seen.append(so_far))
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)
    assert (chosen.plan.k, len(chosen)) == (12, 12)
    more = Pool(F).select(G, 3, initial=select(F, G, 5))
    np.testing.assert_array_equal(more.indices, select(F, G, 8).indices[5:])
    np.testing.assert_array_equal(select(F, G, 5, initial=[]).indices, select(F, G, 5).indices)


@pytest.mark.parametrize(
    ("initial", "error", "message"),
    [
        ([0, 1, 0], ValueError, "initial has 0 at place 2 for the second time"),
        ([0, 10], ValueError, "initial has 10 at place 1; .* from 0 to 9"),
        ([-1], ValueError, "initial has -1 at place 0"),
        ([[0, 1]], ValueError, r"initial has shape \(1, 2\)"),
        (np.ones(10, bool), TypeError, "initial has dtype bool"),
        ([0.0, 1.0], TypeError, "initial has dtype float64"),
        (["a"], TypeError, "initial has dtype <U1.*; initial must be a 1-d sequence of indices"),
        ("ab", TypeError, r"initial is 'ab' \(str\); initial must be a 1-d sequence of indices of rows, all different"),
        ({1, 2}, TypeError, r"initial is {1, 2} \(set\); initial must be a 1-d sequence of indices"),
        ({1: 2}, TypeError, r"initial is {1: 2} \(dict\); initial must be a 1-d sequence of indices"),
        ([None], TypeError, "initial has dtype object.*; initial must be a 1-d sequence of indices"),
        (range(8), ValueError, "k is 3 and initial has 8; together they must be at most m = 10"),
    ],
)
def test_bad_indices(initial, error, message):
    F = np.random.default_rng(0).standard_normal((10, 3))
    for call in (lambda: select(F, F[:, 0], 3, initial=initial), lambda: Pool(F).select(F[:, 0], 3, initial=initial)):
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(error, match=message):
        matching_pursuit(F, F[:, 0], 3, initial=initial)


def test_items_that_diverge():
    with pytest.raises(ValueError, match=r"the residual diverges after \d+ picks"):
        select(np.eye(2)[np.arange(60) % 2] * 40, np.arange(60.0) + 1, 2, normalize=False, initial=range(40))


@pytest.mark.parametrize("objective", ["mp", "lr", "omp"])
def test_exhaustion_is_measured_by_the_largest_score(objective):
    """Scores a billionth of the largest count as its rounding, whether the largest is an initial item or not."""
    F, G = np.eye(6), np.array([1.0, *[1e-9] * 5])
    assert len(select(F, G, 3, objective=objective, initial=[0], on_exhausted="stop")) == 0
    chosen = select(F, G, 3, objective=objective, initial=[2], on_exhausted="stop")
    assert chosen.indices.tolist() == expect(F, G, 3, objective, {"on_exhausted": "stop"}, [2]).tolist()
    assert chosen.indices.tolist() == [0]
