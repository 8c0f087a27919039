"""When the residual reaches the float64 floor: a second round, fewer picks, or the paper's literal loop."""

import numpy as np
import pytest

from gip_gpu import select, signals
from gip_gpu.data.rows import Rows
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.state import Reason
from gip_gpu.numerics import ties
from gip_gpu.reference import matching_pursuit


@pytest.fixture(scope="module")
def pool():
    """(20000, 64) rows and one signal in their range, so that the residual falls without end."""
    rng = np.random.default_rng(0)
    F = rng.standard_normal((20_000, 64))
    return F, Rows(F).block(0, len(F)) @ rng.standard_normal(64)


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["gram", "lazy"])
def test_restart(pool, columns):
    F, G = pool
    chosen = select(F, G, 1000, columns=columns)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 1000, on_exhausted="restart"))
    assert len(set(chosen)) == 1000
    assert len(chosen.rounds) > 3
    assert chosen.rounds[0] == 0
    for before, start in zip(chosen.rounds, chosen.rounds[1:], strict=False):
        # The last pick of a round is just above the floor, the first has its original score.
        assert ties.FLOOR < np.sqrt(chosen.gains[start - 1] / chosen.gains[before]) < 100 * ties.FLOOR
        assert chosen.gains[start] == pytest.approx(G[chosen.indices[start]] ** 2, rel=1e-12)
    assert f"rounds began after picks {chosen.rounds[1]}, " in repr(chosen)


def test_stop(pool):
    F, G = pool
    chosen = select(F, G, 1000, on_exhausted="stop")
    whole = select(F, G, 1000)
    assert len(chosen) == whole.rounds[1]
    np.testing.assert_array_equal(chosen.indices, whole.indices[: len(chosen)])
    assert chosen.rounds == (0,)
    assert len(chosen.gains) == len(chosen.explained) == len(chosen.weights) == len(chosen)


@pytest.mark.slow
def test_continue_is_the_literal_loop(pool):
    F, G = pool
    seen = []
    chosen = select(F, G, 1000, on_exhausted="continue", progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 1000, on_exhausted="continue"))
    assert len(set(chosen)) == 1000
    assert np.sqrt(chosen.gains[-1] / chosen.gains[0]) < 1e-13
    assert seen == sorted(seen)
    assert seen[-1] == (1000, 1000)


@pytest.mark.parametrize("on_exhausted", ["restart", "continue", "stop"])
@pytest.mark.parametrize("columns", ["gram", "lazy"])
def test_scores_that_are_all_zero(on_exhausted, columns):
    F = np.random.default_rng(0).standard_normal((50, 4))
    chosen = select(F, np.zeros((50, 2)), 20, on_exhausted=on_exhausted, columns=columns)
    expected = [] if on_exhausted == "stop" else list(range(20))
    assert chosen.indices.tolist() == expected
    assert not chosen.gains.any()
    assert chosen.certificate.tied == len(expected)


def test_zero_scores_come_last():
    F, G = np.eye(30), np.zeros(30)
    G[[7, 3]] = 1, 2
    chosen = select(F, G, 30)
    assert chosen.indices[:2].tolist() == [3, 7]
    assert chosen.indices[2:].tolist() == [i for i in range(30) if i not in (3, 7)]
    assert chosen.rounds == (0, 2)


def test_below_the_floor_two_float64_evaluations_differ(pool):
    """The floor is needed: far below it, the order in which float64 sums are taken decides the picks."""
    F, G = pool
    rows = Rows(F).block(0, len(F))
    literal = matching_pursuit(F, G, 400)
    left, A, picks, levels = np.ones(len(F), bool), np.zeros(64), [], []
    for _ in range(400):
        W = np.where(left, np.abs(G - rows @ A), -1)
        s = int(W.argmax())
        picks.append(s)
        levels.append(W[s] / np.abs(G).max())
        left[s] = False
        A += rows[s] * (G[s] - rows[s] @ A)
    first = int(np.flatnonzero(np.array(picks) != literal)[0])
    assert levels[first] < ties.FLOOR / 10


@pytest.mark.parametrize("columns", ["gram", "lazy"])
def test_next_round_has_scores_of_another_size(columns):
    """Scores of items taken before would overflow float32 in the unit of the second round."""
    chosen = select(np.eye(5), [1e20, 1, 2, 3, 1e-20], 5, columns=columns)
    assert chosen.indices.tolist() == [0, 3, 2, 1, 4]
    np.testing.assert_allclose(chosen.gains, [1e40, 9, 4, 1, 1e-40])
    assert chosen.rounds == (0, 1, 4)
    np.testing.assert_allclose(chosen.explained, [1, 9 / 14, 13 / 14, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("d", [3, 4, 16])
def test_many_rounds(d, seed):
    F = np.random.default_rng(seed).standard_normal((2000, d))
    G = signals.self_compression(F)
    chosen = select(F, G, 1000)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 1000, on_exhausted="restart"))
    assert len(chosen.rounds) > 3


def test_a_round_without_a_pick_is_an_error(monkeypatch):
    """A backend that finds nothing at once would restart for ever."""
    monkeypatch.setattr(MatchingPursuit, "advance", lambda *_: Reason.EXHAUSTED)
    with pytest.raises(RuntimeError, match="numpy: a round ended without a pick, after 0 picks"):
        select(np.eye(3), np.ones(3), 2, device="cpu", columns="lazy")
