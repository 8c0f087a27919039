"""Gram columns that the device computes by itself: batches, visits of the host, interrupts, pools."""

import numpy as np
import pytest

from gip_gpu import Pool, select, signals
from gip_gpu.backends.triton.backend import TritonBackend
from gip_gpu.gram import ring
from gip_gpu.gram.ring import RingColumns, RingSizes
from gip_gpu.reference import matching_pursuit

pytestmark = pytest.mark.usefixtures("triton_in_interpreter")

OPTIONS = {"device": "cpu", "backend": "triton", "precision": "fp32"}


@pytest.fixture(scope="module")
def pool():
    """(400, 24) rows in a cone, and two scores."""
    rng = np.random.default_rng(5)
    F = (rng.standard_normal((400, 24)) + 0.5).astype(np.float32)
    return F, np.column_stack([signals.self_compression(F), rng.integers(0, 6, 400)])


@pytest.fixture
def sizes(monkeypatch):
    """Makes all batches have 4 columns, so that many are needed."""
    monkeypatch.setattr(RingSizes, "choose", lambda self: min(4, self.sizes[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_the_host_is_away_for_many_batches(pool, sizes, monkeypatch, request, backend):
    if backend == "cupy":
        request.getfixturevalue("cupy_on_cpu")
    F, G = pool
    made = []
    begin = RingColumns.begin
    monkeypatch.setattr(RingColumns, "begin", lambda self: made.append(self) or begin(self))
    device = "cuda" if backend == "cupy" else "cpu"
    chosen = select(F, G, 60, backend=backend, device=device, precision="fp32", columns="lazy")
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 60, on_exhausted="restart"))
    columns = made[-1]
    assert columns.batches > 25
    assert columns.computed == chosen.computed <= 4 * columns.batches
    assert chosen.timings["host_visits"] <= columns.batches / 8 + 20


@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_a_gram_matrix_needs_hardly_any_visits(pool, request, backend):
    if backend == "cupy":
        request.getfixturevalue("cupy_on_cpu")
    F, G = pool
    device = "cuda" if backend == "cupy" else "cpu"
    chosen = select(F, G, 60, backend=backend, device=device, precision="fp32", columns="gram")
    assert chosen.timings["host_visits"] <= 20


def test_columns_serve_later_selections_of_a_pool(pool, sizes):
    F, G = pool
    held = Pool(F, columns="lazy", **OPTIONS)
    first = held.select(G, 10)
    again = held.select(G, 10)
    other = held.select(G[:, 1], 10)
    assert first.computed > 0 == again.computed
    np.testing.assert_array_equal(again.indices, first.indices)
    np.testing.assert_array_equal(other.indices, matching_pursuit(F, G[:, 1], 10, on_exhausted="restart"))


def test_a_device_that_does_nothing_is_an_error(pool, monkeypatch):
    """Launches without an effect, as of a graph that has captured none of them: the host must not wait for ever."""
    F, G = pool
    monkeypatch.setattr(TritonBackend, "run_batches", lambda self, *args, **options: None)
    with pytest.raises(RuntimeError, match="neither a pick nor a batch of columns"):
        select(F, G, 5, columns="lazy", **OPTIONS)


def test_an_interrupted_batch_is_not_used(pool, sizes, monkeypatch):
    """The columns are listed and not computed: they hold what memory held."""
    F, G = pool
    held = Pool(F, columns="lazy", **OPTIONS)
    products, calls = TritonBackend._listed_products, []

    def interrupted(self, *args):
        # Captures make the launches once with nothing to do.
        calls.append(self)
        if len(calls) == 4:
            raise KeyboardInterrupt
        products(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TritonBackend, "_listed_products", interrupted)
        with pytest.raises(KeyboardInterrupt):
            held.select(G, 30)
    chosen = held.select(G, 30)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 30, on_exhausted="restart"))
    assert chosen.computed >= 30


def test_the_matrix_replaces_columns_that_are_slow(pool, sizes, monkeypatch):
    F, G = pool
    monkeypatch.setattr(ring, "TRIAL_BATCHES", 3)
    build = RingColumns.__init__
    monkeypatch.setattr(RingColumns, "__init__", lambda self, *args: build(self, *args[:-1], 1e-9))
    chosen = select(F, G, 40, columns="lazy", **OPTIONS)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 40, on_exhausted="restart"))
    assert chosen.plan.columns == "gram"
    assert chosen.computed > 400


def test_without_memory_for_the_matrix_columns_go_on_in_a_later_call(pool, sizes, monkeypatch):
    F, G = pool
    held = Pool(F, columns="lazy", **OPTIONS)
    monkeypatch.setattr(ring, "TRIAL_BATCHES", 3)
    held.select(G, 2)
    columns = held._prepared.columns
    columns.gram_seconds = 1e-9
    with monkeypatch.context() as patch:
        patch.setattr(TritonBackend, "gram", lambda self: (_ for _ in ()).throw(MemoryError("full")))
        with pytest.raises(MemoryError, match="full"):
            held.select(G, 40)
    columns.gram_seconds = 0.0
    chosen = held.select(G, 20)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 20, on_exhausted="restart"))


def seconds(size, best):
    """Seconds of a pick with batches of this size; `best` is the fastest."""
    return 1 + abs(np.log2(size / best))


@pytest.mark.parametrize("best", [16, 48, 64, 128, 256])
def test_sizes_move_to_the_fastest(best):
    sizes = RingSizes(256)
    taken = []
    for _ in range(100):
        size = sizes.choose()
        taken.append(size)
        sizes.record(size, 10, 10 * seconds(size, best))
    # Neighbours get another trial now and then.
    assert np.mean(np.array(taken[30:]) == best) > 0.6
    assert set(taken) <= {16, 32, 48, 64, 96, 128, 192, 256}


def test_few_slots_have_one_size():
    sizes = RingSizes(3)
    assert sizes.choose() == 3
    sizes.record(3, 0, 1.0)
    sizes.record(3, 2, 1.0)
    assert sizes.choose() == 3
