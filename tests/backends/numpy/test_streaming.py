"""Rows in float32, products of streamed rows, and selections from pools larger than the memory limit."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.backends.numpy.backend import NumpyBackend
from gip_gpu.backends.numpy.products import Resident, Streamed
from gip_gpu.data.rows import Rows
from gip_gpu.data.single_rows import SingleRows
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import HostCosts
from gip_gpu.reference import greedy, matching_pursuit
from gip_gpu.validation.settings import as_bytes

pytestmark = pytest.mark.usefixtures("all_threads")


def every_half():
    """All finite float16 values, 2 a row."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return values[np.isfinite(values)].reshape(-1, 2)


def test_float16_is_widened_exactly():
    given = every_half()
    single = SingleRows(Rows(given, normalize=False), 0)
    assert single.quick
    out = np.full(given.shape, np.nan, np.float32)
    single.block(0, len(given), out)
    np.testing.assert_array_equal(out.view(np.int32), given.astype(np.float32).view(np.int32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, ">f2", ">f4"])
@pytest.mark.parametrize("normalize", [True, False])
def test_rows_in_float32(dtype, normalize):
    given = (np.random.default_rng(0).normal(size=(700, 33)) * 20).astype(dtype)
    given[(given == 0).all(axis=1)] = 1
    rows = Rows(given, normalize=normalize)
    single = SingleRows(rows, 0 if normalize else 9)
    exact = rows.take(np.arange(700)) * 2.0**-single.exponent
    out = np.full((650, 33), np.nan, np.float32)
    single.block(17, 667, out)
    off = np.abs(out - exact[17:667])
    assert (off <= ((1 + error_bounds.U32) ** single.roundings - 1) * np.abs(exact[17:667]) + error_bounds.TINY32).all()
    wanted = np.array([699, 0, 5, 5, 340])
    np.testing.assert_array_equal(single.take(wanted)[1:4], np.stack([single.take([i])[0] for i in (0, 5, 5)]))
    np.testing.assert_array_equal(single.take(np.arange(17, 667)), out)


@pytest.mark.parametrize("scale", [1e-7, 1e-30, 1e25])
def test_norms_out_of_range_go_by_way_of_float64(scale):
    dtype = np.float16 if scale == 1e-7 else np.float32
    given = (np.random.default_rng(0).uniform(1, 2, size=(50, 8)) * scale).astype(dtype)
    rows = Rows(given)
    single = SingleRows(rows, 0)
    exact = rows.take(np.arange(50))
    assert np.abs(single.take(np.arange(50)) - exact).max() <= single.roundings * error_bounds.U32 * 1.01
    assert single.quick == (dtype == np.float32 and scale == 1e25)


@pytest.mark.parametrize("kind", [Resident, Streamed])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_products_keep_to_their_bound(kind, dtype, monkeypatch):
    monkeypatch.setattr("gip_gpu.backends.numpy.products.CHUNK", 1 << 12)
    rows = Rows(np.random.default_rng(1).normal(size=(1000, 70)).astype(dtype))
    products = kind(SingleRows(rows, 0))
    exact = rows.take(np.arange(1000))
    wanted = exact[[5, 999, 0]]
    out = np.full((3, 1000), np.nan, np.float32)
    products.multiply(wanted.astype(np.float32), out)
    gamma = error_bounds.gram_entry_error(70, roundings=products.single.roundings if kind is Streamed else 2)
    assert np.abs(out - wanted @ exact.T).max() <= gamma
    half = np.full((3, 1000), np.nan, np.float16)
    products.multiply(wanted.astype(np.float32), half)
    np.testing.assert_array_equal(half, out.astype(np.float16))
    one = np.full((1, 1000), np.nan, np.float32)
    products.multiply(wanted[:1].astype(np.float32), one)
    assert np.abs(one - wanted[:1] @ exact.T).max() <= gamma
    column = np.full(1000, np.nan, np.float32)
    products.column(wanted[0].astype(np.float32), column)
    assert np.abs(column - exact @ wanted[0]).max() <= products.gamma


def test_an_error_in_a_reader_comes_through():
    class Broken(SingleRows):
        def block(self, start, stop, out):
            raise ValueError("the disk is gone")

    streamed = Streamed(Broken(Rows(np.eye(5)), 0))
    with pytest.raises(ValueError, match="the disk is gone"):
        streamed.multiply(np.eye(5, dtype=np.float32)[:2], np.empty((2, 5), np.float32))


def pool(m=3000, d=24, n=2, dtype=np.float16):
    random = np.random.default_rng(4)
    F = (random.normal(size=(m, d)) + 0.5).astype(dtype)
    F[1::50] = F[::50]
    return F, random.integers(0, 6, (m, n)).astype(float)


@pytest.fixture
def streaming(monkeypatch):
    """Plans without room for a copy of the rows in memory."""
    layouts = HostCosts.layouts
    monkeypatch.setattr(HostCosts, "layouts", lambda costs: [way for way in layouts(costs) if not way.resident])
    monkeypatch.setattr("gip_gpu.backends.numpy.products.CHUNK", 1 << 14)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_streamed_selections_equal_the_reference(precision, dtype, streaming):
    F, G = pool(dtype=dtype)
    chosen = select(F, G, 200, precision=precision, columns="lazy", device="cpu")
    assert not chosen.plan.resident
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, 200))


@pytest.mark.parametrize("objective", ["lr", "omp", "mi", "entropy"])
def test_streamed_objectives_equal_the_reference(objective, streaming, float32_loop):
    F, G = pool()
    G = None if objective == "entropy" else F.astype(float) @ np.random.default_rng(0).normal(size=(24, 2))
    chosen = select(F, G, 20, objective=objective, epsilon=0.1, device="cpu", normalize=False)
    assert not chosen.plan.resident
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, 20, objective=objective, epsilon=0.1, normalize=False))


LARGER = """
import json, sys
import numpy as np
import gip_gpu
from gip_gpu.system import memory
path, limit, k = sys.argv[1], sys.argv[2], int(sys.argv[3])
G = np.load(sys.argv[4])
gip_gpu.select(np.eye(3), np.ones(3), 2, device="cpu")
before = memory.peak()
chosen = gip_gpu.select(path, G, k, device="cpu", memory_limit=limit)
print(json.dumps([chosen.indices.tolist(), memory.peak() - before, chosen.plan.total, chosen.plan.resident]))
"""


@pytest.mark.slow
def test_a_file_larger_than_the_memory_limit(tmp_path):
    m, d, k = 240_000, 256, 40
    random = np.random.default_rng(0)
    F = np.lib.format.open_memmap(tmp_path / "pool.npy", "w+", np.float16, (m, d))
    for start in range(0, m, 20_000):
        F[start : start + 20_000] = random.normal(size=(20_000, d)) + 0.3
    G = random.integers(0, 6, m).astype(float)
    F.flush()
    np.save(tmp_path / "scores.npy", G)
    limit = "100MB"
    assert (tmp_path / "pool.npy").stat().st_size > as_bytes(limit, 0)
    arguments = [str(tmp_path / "pool.npy"), limit, str(k), str(tmp_path / "scores.npy")]
    done = subprocess.run([sys.executable, "-c", LARGER, *arguments], capture_output=True, text=True, check=True)
    indices, taken, planned, resident = json.loads(done.stdout)
    assert not resident
    assert taken <= planned + 8e6
    assert planned <= as_bytes(limit, 0)
    np.testing.assert_array_equal(select(np.asarray(F), G, k, device="cpu").indices, indices)


def test_the_whole_matrix_after_all(monkeypatch, float32_loop):
    """If columns on demand serve fewer picks than the model predicts, the Gram matrix replaces them."""
    F = np.random.default_rng(5).normal(size=(2500, 40)).astype(np.float32)
    G = np.random.default_rng(6).normal(size=(2500, 2))
    monkeypatch.setattr("gip_gpu.planning.cpu_costs.FORESEEN", 10_000)
    monkeypatch.setattr(HostCosts, "gram_seconds", lambda costs, k, *_: 1e-3 if k == 0 else 1e9)
    # Measured times decide: only products advance this clock, each by a pass over the rows and by its columns.
    clock = [0.0]

    def product(b, indices, out, columns=NumpyBackend.columns):
        clock[0] += 1e-4 * (30 + len(indices))
        return columns(b, indices, out)

    monkeypatch.setattr("gip_gpu.backends.numpy.backend.NumpyBackend.columns", product)
    monkeypatch.setattr("gip_gpu.gram.columns.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    # Nothing is foreseen: every batch serves a single pick.
    monkeypatch.setattr(
        "gip_gpu.backends.numpy.residual.NumpyResidual.speculate",
        lambda b, pick, known, count, most: [
            pick.index,
            *[i for i in range(2500) if i not in known and i != pick.index][: count - 1],
        ],
    )
    held = Pool(F, device="cpu")
    chosen = held.select(G, 900)
    assert (chosen.plan.columns, chosen.plan.memory["Gram matrix"]) == ("gram", 4 * 2500**2)
    assert chosen.used_share is None
    assert chosen.computed > 2500
    expected = matching_pursuit(F, G, 1000)
    np.testing.assert_array_equal(chosen.indices, expected[:900])
    again = held.select(G, 1000)
    assert (again.plan.columns, again.computed) == ("gram", 0)
    np.testing.assert_array_equal(again.indices, expected)
    # Not if it was not asked for, and not if there is no room.
    for options in ({"columns": "lazy"}, {"memory_limit": "24MB"}):
        assert select(F, G, 300, device="cpu", **options).plan.columns == "lazy"


def test_used_share():
    F, G = pool()
    chosen = select(F, G, 100, columns="lazy", device="cpu")
    assert chosen.used_share == min(1.0, 100 / chosen.computed)
    assert f"{chosen.computed:,} columns used" in repr(chosen)
    assert "ms a pick" in repr(chosen)
    assert select(F, G, 100, columns="gram", device="cpu").used_share is None
