"""The picks that the lookahead foresees, the rows that it keeps, and the reuse of the slots of columns."""

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.backends.numpy.lookahead import RENEWED, Lookahead
from gip_gpu.backends.numpy.products import Resident
from gip_gpu.backends.numpy.simulation import highest
from gip_gpu.data.rows import Rows
from gip_gpu.data.single_rows import SingleRows
from gip_gpu.gram import columns
from gip_gpu.gram.columns import LazyColumns
from gip_gpu.greedy.state import Pick, State
from gip_gpu.planning.cpu_costs import HostCosts
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.reference import matching_pursuit


def at_a_pick(F, G, made, square=1.0):
    """A selection after some picks, the next one pending, with its exact residual in float32."""
    rows = Rows(F)
    state = State(G, len(G), F.shape[1], OBJECTIVES["mp"])
    exact = rows.take(np.arange(len(G)))
    picks = matching_pursuit(F, G, made + 40)
    W = G.copy()
    for index in picks[:made]:
        W -= np.outer(exact @ exact[index], W[index])
        state.left[index] = False
    state.t = made
    index = int(picks[made])
    state.pending = Pick(index, exact[index], W[index].copy(), float(W[index] @ W[index]), 0.0, 1, 1)
    score = (np.einsum("jn,jn->j", W, W) * state.left).astype(np.float32)
    return SingleRows(rows, 0), state, np.ascontiguousarray(W.T, np.float32), score, picks[made:]


@pytest.fixture
def cone_pool(cone):
    return cone, np.random.default_rng(3).normal(size=(len(cone), 2))


@pytest.mark.parametrize("made", [0, 25])
def test_the_whole_pool_foresees_all(cone_pool, made):
    single, state, residual, score, picks = at_a_pick(*cone_pool, made)
    ahead = Lookahead(single, Resident(single), len(score))
    ahead.settle(score)
    assert ahead.picks(state.pending, (), residual, score, 1.0, 40, state.k - state.t) == picks.tolist()
    known = set(picks[5:10].tolist())
    others = [i for i in picks.tolist() if i not in known][:20]
    assert ahead.picks(state.pending, known, residual, score, 1.0, 20, state.k - state.t) == others


def test_a_common_shift_is_foreseen(cone):
    """In a cone the first pick moves all scores, and the next pick is far down in the ranking."""
    F, G = cone, np.abs(np.random.default_rng(0).normal(size=(len(cone), 1))) * 0.02 + 1
    single, state, residual, score, picks = at_a_pick(F, G, 0)
    rank = int((score > score[picks[1]]).sum())
    size = 400
    assert rank > size
    ahead = Lookahead(single, Resident(single), size)
    ahead.settle(score)
    foreseen = ahead.picks(state.pending, (), residual, score, 1.0, 8, state.k - state.t)
    assert foreseen[:2] == picks[:2].tolist()


def test_the_working_set_is_renewed_in_part(cone_pool):
    single, state, residual, score, _ = at_a_pick(*cone_pool, 0)
    ahead = Lookahead(single, Resident(single), 200)
    random = np.random.default_rng(1)
    ahead.settle(score)
    for _ in range(6):
        before = set(ahead.items.tolist())
        ahead.picks(state.pending, (), residual, score, 1.0, 8, state.k - state.t)
        after = set(ahead.items.tolist())
        assert len(after) == 200
        assert len(after - before) <= 200 // RENEWED
        np.testing.assert_array_equal(ahead.rows, single.take(ahead.items))
        np.testing.assert_array_equal(ahead.slots[ahead.items], np.arange(200))
        assert (ahead.slots >= 0).sum() == 200
        score = random.permutation(score)


def test_taken_items_are_not_foreseen(cone_pool):
    single, state, residual, score, _ = at_a_pick(*cone_pool, 30)
    ahead = Lookahead(single, Resident(single), 500)
    ahead.settle(score)
    foreseen = ahead.picks(state.pending, (), residual, score, 1.0, 30, state.k - state.t)
    assert len(set(foreseen)) == len(foreseen) == 30
    assert state.left[foreseen].all()


def test_highest():
    score = np.random.default_rng(0).permutation(np.arange(10_000)).astype(np.float32)
    found = highest(score, 1000)
    assert 800 < len(found) < 1250
    assert (np.diff(found) > 0).all()
    assert score[found].min() > np.delete(score, found).max()
    assert not len(highest(np.zeros(50, np.float32), 10))


def test_slots_that_were_touched_go_round(cone_pool, monkeypatch):
    F, G = cone_pool
    made, touched = [], []
    fill, layouts = LazyColumns._fill, HostCosts.layouts
    monkeypatch.setattr(HostCosts, "layouts", lambda costs: [way for way in layouts(costs) if way.lookahead])
    monkeypatch.setattr(columns.BatchSize, "choose", lambda batch, t, remaining: min(16, remaining))
    monkeypatch.setattr(columns.BatchSize, "record", lambda batch, size, seconds: None)

    def watched(self, indices, first, pick):
        made.append((self, first, len(indices)))
        touched.append(self.touched)
        fill(self, indices, first, pick)

    monkeypatch.setattr(LazyColumns, "_fill", watched)
    chosen = select(F, G, 300, columns="lazy", device="cpu")
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 300))
    assert max(first + count for _, first, count in made) <= max(columns.LEAST, columns.BATCHES * 16)
    assert touched[-1] <= max(columns.LEAST, columns.BATCHES * 16)


def test_each_selection_of_a_pool_begins_with_a_working_set_of_its_own(cone_pool, monkeypatch):
    F, G = cone_pool
    settled, layouts, settle = [], HostCosts.layouts, Lookahead.settle
    monkeypatch.setattr(HostCosts, "layouts", lambda costs: [way for way in layouts(costs) if way.lookahead])
    monkeypatch.setattr(Lookahead, "settle", lambda ahead, score: (settled.append(score.copy()), settle(ahead, score)))
    monkeypatch.setattr(columns.BatchSize, "choose", lambda batch, t, remaining: min(8, remaining))
    monkeypatch.setattr(columns.BatchSize, "record", lambda batch, size, seconds: None)
    pool = Pool(F, columns="lazy", device="cpu")
    for scores in (G, -(G[::-1] ** 3)):
        np.testing.assert_array_equal(pool.select(scores, 60).indices, matching_pursuit(F, scores, 60))
    assert len(settled) == 2
    assert (settled[0] != settled[1]).any()
