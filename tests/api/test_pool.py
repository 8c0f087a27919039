"""A pool is prepared once and selected from many times."""

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gip_gpu import Pool, select, signals
from gip_gpu.backends.numpy.backend import NumpyBackend
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import memory


@pytest.fixture
def counted(monkeypatch):
    """Counts preparations, Gram matrices and columns."""
    counts = {"prepared": 0, "gram": 0, "columns": 0}

    def count(name, method, size=lambda *_: 1):
        original = getattr(NumpyBackend, method)

        def wrapped(self, *args):
            counts[name] += size(*args)
            return original(self, *args)

        monkeypatch.setattr(NumpyBackend, method, wrapped)

    count("prepared", "__init__")
    count("gram", "gram")
    count("columns", "columns", lambda indices, out: len(indices))
    return counts


def test_many_budgets_and_scores_on_one_gram_matrix(cone, counted):
    pool = Pool(cone, columns="gram")
    for G in (signals.self_compression(cone), np.arange(len(cone)), np.random.default_rng(0).random((len(cone), 3))):
        for k in (10, 200):
            expected = matching_pursuit(cone, G, k, on_exhausted="restart")
            np.testing.assert_array_equal(pool.select(G, k), expected)
    assert counted == {"prepared": 1, "gram": 1, "columns": 0}


def test_lazy_columns_serve_later_selections(cone, counted):
    G = signals.self_compression(cone)
    pool = Pool(cone, columns="lazy")
    first = pool.select(G, 200)
    computed = counted["columns"]
    again = pool.select(G, 200)
    np.testing.assert_array_equal(first, again)
    assert counted["columns"] == computed
    longer = pool.select(G, 300)
    np.testing.assert_array_equal(longer.indices, select(cone, G, 300, columns="lazy").indices)
    assert counted["prepared"] == 2


def test_auto_goes_from_lazy_to_gram_and_stays(cone, counted):
    G = signals.self_compression(cone)
    pool = Pool(cone)
    strategies = [pool.select(G, k).plan.columns for k in (1, 1500, 1)]
    assert strategies == ["lazy", "gram", "gram"]
    assert counted["gram"] == 1


def test_plan_goes_to_the_log(cone, caplog):
    with caplog.at_level(logging.INFO, logger="gip_gpu"):
        select(cone, np.ones(len(cone)), 5, columns="lazy")
    (record,) = caplog.records
    assert "m=2000 d=48 n=1 k=5 on cpu (numpy): mp, lazy columns in fp32" in record.getMessage()


def test_progress_is_called_and_ends_at_k(cone, capsys):
    calls = []
    select(cone, signals.self_compression(cone), 500, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (500, 500)
    assert len(calls) > 50
    assert not capsys.readouterr().err
    select(cone, signals.self_compression(cone), 500, progress=True)
    assert "500/500" in capsys.readouterr().err


def test_interrupted_selection_leaves_the_pool_usable(cone):
    G = signals.self_compression(cone)

    def interrupt(done, total):
        if done > 50:
            raise KeyboardInterrupt

    for columns in ("gram", "lazy"):
        pool = Pool(cone, columns=columns)
        with pytest.raises(KeyboardInterrupt):
            pool.select(G, 200, progress=interrupt)
        np.testing.assert_array_equal(pool.select(G, 200), matching_pursuit(cone, G, 200))


def test_threads_take_turns(cone):
    pool = Pool(cone, columns="lazy")
    scores = [signals.self_compression(cone), np.arange(len(cone)) % 7, np.random.default_rng(1).random((len(cone), 3))]
    with ThreadPoolExecutor(3) as threads:
        chosen = list(threads.map(lambda G: pool.select(G, 150), scores * 3))
    for G, selection in zip(scores * 3, chosen, strict=True):
        np.testing.assert_array_equal(selection, matching_pursuit(cone, G, 150, on_exhausted="restart"))


def test_a_pool_does_not_call_itself(cone):
    pool = Pool(cone)
    G = signals.self_compression(cone)
    with pytest.raises(RuntimeError, match="in the middle of a selection"):
        pool.select(G, 100, progress=lambda *_: pool.select(G, 3))
    np.testing.assert_array_equal(pool.select(G, 100), matching_pursuit(cone, G, 100))


def test_pickled_pool(cone):
    G = signals.self_compression(cone)
    pool = Pool(cone)
    first = pool.select(G, 50)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pool)).select(G, 50), first)


def test_what_a_pool_holds_counts_as_free_for_it(cone, monkeypatch):
    """The Gram matrix takes more than half of the free memory; the second selection reuses it."""
    G = signals.self_compression(cone)
    free = 60_000_000
    monkeypatch.setattr(memory, "available", lambda: free)
    for options in ({"columns": "gram"}, {"columns": "gram", "memory_limit": 0.9}):
        pool = Pool(cone, **options)
        free = 60_000_000
        held = pool.select(G, 20).plan.total
        free -= held
        assert held > free / 2
        assert pool.select(G, 20).plan.columns == "gram"


def test_limit_holds_when_signals_grow(cone):
    limit = 13_000_000
    pool = Pool(cone, columns="lazy", memory_limit=limit)
    for n in (1, 2, 5, 20):
        G = np.random.default_rng(n).random((len(cone), n))
        chosen = pool.select(G, 100)
        assert chosen.plan.total <= limit
        np.testing.assert_array_equal(chosen, matching_pursuit(cone, G, 100))
