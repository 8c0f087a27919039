"""The plan: its choices, the memory that a run really takes, and the batch size that the run chooses."""

import re
import subprocess
import sys

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.backends import devices
from gip_gpu.backends.cuda.backend import CupyBackend
from gip_gpu.gram.batch_size import BatchSize
from gip_gpu.planning.gpu_costs import GpuCosts, multiplied_as
from gip_gpu.reference import matching_pursuit
from gip_gpu.strategies.choose import make_plan
from gip_gpu.system.cpu import cores, processor


def plan(m, d, k, n=1, **options):
    return make_plan(m, d, n, k, device="cpu", **options)


def test_choice():
    assert plan(7473, 384, 3700, memory_limit="1GB").columns == "gram"
    assert plan(7473, 384, 10, memory_limit="1GB").columns == "lazy"
    assert plan(7473, 384, 3700, memory_limit="100MB").columns == "lazy"
    assert plan(1_000_000, 768, 500_000, memory_limit="20GB").columns == "lazy"
    assert plan(7473, 384, 10, columns="gram", memory_limit="1GB").precision == "fp32"
    assert plan(7473, 384, 10, columns="gram", memory_limit="190MB").precision == "fp16"
    assert plan(52002, 384, 5200, memory_limit="4GB").total < 500e6


def test_a_large_matrix_needs_more_picks_than_a_small_one():
    # A virtual machine may have to request its memory from a host; a run may still change to it if columns are slower.
    assert plan(7473, 384, 2242, memory_limit="20GB").columns == "gram"
    large = plan(52002, 384, 15_600, memory_limit="20GB")
    assert large.columns == "lazy"
    assert large.gram_seconds > 0
    assert plan(52002, 384, 39_000, memory_limit="20GB").columns == "gram"


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("limit", [25e6, 30e6, 40e6, 100e6, 200e6, 500e6])
def test_total_keeps_to_the_limit(n, limit):
    for precision in ("auto", "fp32", "fp16"):
        made = plan(7473, 384, 700, n=n, memory_limit=int(limit), precision=precision)
        assert made.total <= limit
        assert made.total == sum(made.memory.values())


@pytest.mark.parametrize("seed", range(30))
def test_the_minimum_that_is_named_is_enough(seed):
    m, d = np.random.default_rng(seed).integers((100, 2), (200_000, 800)).tolist()
    with pytest.raises(ValueError, match="at least") as caught:
        plan(m, d, 100, memory_limit=1000, columns="lazy")
    named = re.search(r"at least ([0-9.]+ [kMG]?B)", str(caught.value))[1]
    assert plan(m, d, 100, memory_limit=named, columns="lazy").cache >= 1


def test_the_fit_of_a_query_takes_time():
    fitted, direct = (plan(7473, 384, 10, objective="lr", query=query).seconds for query in ("ridge", "direct"))
    assert fitted > 2 * direct


def test_table_and_line():
    made = plan(7473, 384, 700, memory_limit="1GB", measure=True)
    table = dict(made.table())
    assert table["pool"] == "7,473 items of length 384, 1 signal"
    assert "limit: 1 GB" in table["memory in all"]
    assert "model" in table["predicted time"]
    speaks_for = f"{processor()}, {cores()} cores, as measured now, alone: products"
    assert speaks_for in table["predicted time"]
    assert "a CPU by assumption" in dict(plan(7473, 384, 700).table())["predicted time"]
    assert made.seconds > 0
    assert "\n" not in str(made)


def test_a_column_a_pick_foresees_nothing():
    """Whatever the layout of the embeddings has room for."""
    for options in ({"sign": "positive"}, {"objective": "lr"}, {"objective": "entropy"}):
        made = plan(20_000, 64, 100, **options)
        assert (made.columns, made.cache, made.lookahead) == ("none", 0, 0)


MEASURE = """
import sys
import numpy as np
from gip_gpu import select
from gip_gpu.backends import devices
from gip_gpu.backends.cuda.backend import CupyBackend
from gip_gpu.system.memory import peak
rng = np.random.default_rng(0)
F = rng.standard_normal((30000, 128), dtype=np.float32)
G = rng.standard_normal((30000, 2))
select(F[:64], G[:64], 4)
before = peak()
chosen = select(F, G, 300, memory_limit=sys.argv[1], columns=sys.argv[2])
print(peak() - before, chosen.plan.total)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident size is read from Linux's accounting")
@pytest.mark.parametrize(("limit", "columns"), [("30MB", "lazy"), ("45MB", "lazy"), ("150MB", "lazy"), ("2GB", "gram")])
def test_memory_that_is_really_used(limit, columns):
    script = MEASURE.replace("30000", "9000") if columns == "gram" else MEASURE
    run = subprocess.run([sys.executable, "-c", script, limit, columns], capture_output=True, text=True, check=True)
    used, planned = map(int, run.stdout.split())
    # BLAS keeps a few megabytes of work space of its own.
    assert used <= planned + 8e6
    assert used >= planned / 3


@pytest.mark.slow
def test_tight_memory_gives_the_same_indices():
    rng = np.random.default_rng(2)
    F, G = rng.standard_normal((16_000, 256)).astype(np.float32), rng.integers(0, 6, (16_000, 2))
    expected = matching_pursuit(F, G, 300)
    caches = set()
    for limit in ("27MB", "30MB", "33MB", "39MB", "57MB"):
        chosen = select(F, G, 300, memory_limit=limit, columns="lazy")
        np.testing.assert_array_equal(chosen.indices, expected)
        caches.add(chosen.plan.cache)
    assert len(caches) > 3


def simulate(hazard, picks, fixed, each, single, largest=256):
    """Runs the batch size against a machine with these costs; returns seconds and the sizes it chose."""
    rng = np.random.default_rng(0)
    batch, t, seconds, sizes = BatchSize(largest), 0, 0.0, []
    while t < picks:
        size = batch.choose(t, picks - t)
        cost = single if size == 1 else fixed + size * each
        batch.record(size, cost)
        seconds += cost
        sizes.append(size)
        misses = np.flatnonzero(rng.random(size - 1) < hazard)
        t += 1 + (int(misses[0]) if len(misses) else size - 1)
    return seconds, sizes


def test_batch_size_follows_the_costs():
    alone, sizes = simulate(hazard=0.9, picks=2000, fixed=4.0, each=0.1, single=1.0)
    assert np.median(sizes) == 1
    assert alone < 1.15 * 2000
    best = min(2000 * (4.0 + size * 0.1) / ((1 - 0.97**size) / 0.03) for size in (8, 16, 32, 48, 64, 96, 128))
    speculating, sizes = simulate(hazard=0.03, picks=2000, fixed=4.0, each=0.1, single=1.0)
    assert speculating < 1.15 * best
    _, sizes = simulate(hazard=0.0005, picks=20000, fixed=4.0, each=0.1, single=1.0)
    assert max(sizes) >= 192
    _, sizes = simulate(hazard=0.03, picks=200, fixed=4.0, each=0.1, single=1.0, largest=1)
    assert set(sizes) == {1}


def test_batch_size_ignores_one_batch_that_was_held_up():
    batch = BatchSize(256)
    batch.record(1, 1.0)
    for _ in range(10):
        batch.record(16, 5.0)
    batch.record(16, 500.0)
    assert batch.expected(16) < 6


@pytest.fixture
def gpu(monkeypatch):
    """Plans for an imaginary GPU of 80 GB: nothing is allocated."""
    monkeypatch.setattr(devices, "_driver_devices", lambda: 1)
    monkeypatch.setattr(CupyBackend, "missing", classmethod(lambda cls, device: ""))
    monkeypatch.setattr(CupyBackend, "available", classmethod(lambda cls, device: 80_000_000_000))

    def plan(m, d, k, n=1, **options):
        return make_plan(m, d, n, k, device="cuda", backend="cupy", **options)

    return plan


def test_choice_on_a_gpu(gpu):
    assert gpu(52_002, 768, 26_001).columns == "gram"
    assert gpu(52_002, 768, 26_001).precision == "tf32"
    # 4 bytes an entry do not fit, 2 do.
    assert (gpu(150_000, 768, 75_000).columns, gpu(150_000, 768, 75_000).precision) == ("gram", "fp16")
    million = gpu(1_000_000, 768, 50_000)
    assert (million.columns, million.resident) == ("lazy", True)
    huge = gpu(20_000_000, 1024, 1000, given="fp32")
    assert (huge.columns, huge.resident) == ("lazy", False)
    assert huge.total < 25e9
    assert dict(huge.table())["embeddings"] == "streamed from the host's pinned memory"
    assert gpu(52_002, 768, 100, memory_limit="1GB").columns == "lazy"
    with pytest.raises(ValueError, match="5 MB is what memory_limit allows"):
        gpu(52_002, 768, 100, memory_limit="5MB")


@pytest.mark.parametrize("limit", [60e6, 100e6, 300e6, 1e9, 12e9])
@pytest.mark.parametrize("given", ["fp16", "fp32", "fp64"])
def test_total_keeps_to_the_limit_on_a_gpu(gpu, limit, given):
    least = 200e6 if given == "fp64" else 150e6
    for precision in ("auto", "fp32", "tf32", "fp16", "bf16"):
        options = {"precision": precision, "given": given}
        assert gpu(52_002, 384, 700, memory_limit=int(max(limit, least)), **options).total <= max(limit, least)


def test_what_rows_are_multiplied_as():
    assert multiplied_as("tf32", "fp16") == ("fp16", True)
    assert multiplied_as("fp32", "bf16") == ("bf16", True)
    assert multiplied_as("fp32", "fp32") == ("fp32", True)
    assert multiplied_as("tf32", "fp32") == ("tf32", False)
    assert multiplied_as("fp16", "bf16") == ("fp16", False)
    assert multiplied_as("bf16", "fp64") == ("bf16", False)
    assert multiplied_as("tf32", "fp16", sane=False) == ("tf32", False)


def test_model_of_a_step_and_a_selection():
    """Predictions of the cost model for an A100, not measurements."""
    costs = GpuCosts(52_002, 768, 1, "fp32")
    assert costs.loop_step_seconds("tf32") < 8e-6
    assert costs.gram_seconds(26_001, "tf32") < 1
    assert costs.step_bytes("tf32") == 4 * 52_002
    assert costs.loop_step_seconds("fp16") < costs.loop_step_seconds("tf32")
    assert costs.columns_seconds(256, "tf32") > costs.columns_seconds(64, "tf32")
    assert costs.columns_seconds(64, "tf32", resident=False) > costs.columns_seconds(64, "tf32")
