"""The fused step, refresh.cu and loop.cu, run on the CPU: against NumPy, and whole selections against the reference."""

from __future__ import annotations

import shutil
from itertools import cycle

import numpy as np
import pytest

from gip_gpu import signals
from gip_gpu.backends.gpu.layout import HeaderF64
from gip_gpu.kernels.loop import tuning
from gip_gpu.numerics import error_bounds
from gip_gpu.reference import matching_pursuit
from tests.support.cuda_loop import Host, compiled, pool, store
from tests.support.cuda_on_cpu.emulator import AVAILABLE, KERNELS, WHY_NOT
from tests.support.sanitized import assert_sanitized

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

ROWS, COLUMNS = ("fp16", "bf16", "fp32", "fp64"), ("fp32", "fp16", "bf16")


class Checked(Host):
    """Host that, after each launch, compares the residual and the bounds with those computed from the picks so far."""

    def advance(self, state, until):
        reason = super().advance(state, until)
        picks = slice(state.rounds[-1], state.t)
        rows = self.exact.block(0, self.m).astype(np.longdouble)
        A = rows[state.indices[picks]].T @ (state.weights[picks] / state.unit)
        off = np.sqrt((((state.scores / state.unit - rows @ A) - self.W.T)[state.left] ** 2).sum(axis=1))
        assert off.max(initial=0) <= state.error
        assert np.abs(A.T - self.A).max() * np.sqrt(self.square) <= state.drift
        squares = (self.W.astype(np.float64) ** 2).sum(axis=0)
        assert self.score == pytest.approx(np.where(state.left, squares, 0), rel=1e-5)
        above = self.header_f64[HeaderF64.ENERGY_A] - np.vdot(self.A, self.A)
        assert above >= 0
        # The bound assumes that the squared norm of each pick's row is `square`, which holds for unit rows.
        assert not self.normalize or above <= 1e-9 * np.vdot(A, A) + 1e-20
        return reason


def weights_of_all_kinds(rng, m):
    return rng.choice(np.array([1, 1, 0, -1, 0.5, 2.25], np.float32), m)


FUSED_STEP = """
#include "../step/step.cuh"
// The fused step by itself: an entry of `best` and `energy` for each block.
extern "C" __global__ void fused(long long m, float* W, const COLUMN* column, const float* w, const float* weight,
                                 float* score, float* best, double* energy) {
    SHARED(Best, scratch, WARPS);
    SHARED(float, factors, SIGNALS);
    for (int i = threadIdx.x; i < SIGNALS; i += THREADS) factors[i] = w[i];
    __syncthreads();
    const long long per = (m + gridDim.x - 1) / gridDim.x, first = min(blockIdx.x * per, m);
    const int count = (int)min(per, m - first);
    Best own = fused_step(count, W + first, m, column + first, factors, weight + first, score + first);
    own = block_reduce(scratch, own, nothing());
    if (threadIdx.x == 0) best[blockIdx.x] = own.score, energy[blockIdx.x] = own.energy;
}
"""


@pytest.fixture(scope="module")
def fused_step(tmp_path_factory):
    """Launches `fused` with 64 threads a block: (blocks, n, kind, arguments, seed)."""
    folder = tmp_path_factory.mktemp("fused_step") / "kernels"
    shutil.copytree(KERNELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "fused").mkdir()
    (folder / "fused" / "fused.cu").write_text(FUSED_STEP)

    def launch(blocks, n, kind, args, seed=0):
        compiled("fused", n, 64, columns=kind, folder=folder).launch("fused", blocks, 64, args, seed=seed)

    return launch


@pytest.mark.slow
@pytest.mark.parametrize("m", [1, 7, 255, 1000, 4099])
@pytest.mark.parametrize(("n", "kind"), [(1, "fp32"), (3, "fp16"), (8, "bf16")])
def test_step(fused_step, m, n, kind):
    rng = np.random.default_rng(m + n)
    W, w = rng.standard_normal((n, m), np.float32), rng.standard_normal(n, np.float32)
    weight = weights_of_all_kinds(rng, m)
    column, entries = store(rng.uniform(-1, 1, m), kind)
    # Items m / 4 apart tie; a large item among them decides.
    for array in (W.T, weight, column, entries):
        array[3 * m // 4] = array[m // 4]
    before, blocks = W.copy(), 5
    score, best, energy = np.empty(m, np.float32), np.empty(blocks, np.float32), np.empty(blocks)
    fused_step(blocks, n, kind, [m, W, column, w, weight, score, best, energy], seed=m)
    exact = before - np.outer(w.astype(np.float64), entries)
    assert (np.abs(W - exact) <= error_bounds.U32 * np.abs(exact) * (1 + 1e-6)).all()
    squares = (W.astype(np.float64) ** 2).sum(axis=0)
    wanted = np.where(weight > 0, squares * weight, 0)
    assert (np.abs(score - wanted) <= (n + 1) * error_bounds.U32 * wanted).all()
    eligible, counted = np.where(weight > 0, score, -1), np.where(weight >= 0, squares, 0)
    per = -(-m // blocks)
    parts = [slice(b * per, (b + 1) * per) for b in range(blocks)]
    assert best.tolist() == [eligible[part].max(initial=-1) for part in parts]
    assert energy == pytest.approx([counted[part].sum() for part in parts], rel=(n + 1) * error_bounds.U32)


def test_step_takes_no_nan_for_small(fused_step):
    W, weight, score = np.ones((1, 500), np.float32), np.ones(500, np.float32), np.empty(500, np.float32)
    W[0, [170, 333, 499]] = -7
    weight[170] = 0
    best, energy = np.empty(4, np.float32), np.empty(4)
    args = [500, W, np.zeros(500, np.float32), np.ones(1, np.float32), weight, score, best, energy]
    for seed in range(5):
        fused_step(4, 1, "fp32", args, seed=seed)
        assert best.tolist() == [1, 1, 49, 49]
    for place in (3, 250, 499):
        W[0, place] = np.nan
        fused_step(4, 1, "fp32", args, seed=place)
        assert np.isnan(best).tolist() == [block == place // 125 for block in range(4)]
        W[0, place] = 1
    weight[:] = -1
    fused_step(4, 1, "fp32", args)
    assert (best.tolist(), energy.tolist()) == ([-1] * 4, [0] * 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "d", "n", "kind"),
    [(1, 1, 1, "fp64"), (7, 3, 3, "fp32"), (255, 64, 8, "bf16"), (1000, 384, 3, "fp16"), (4099, 64, 1, "fp32")],
)
def test_refresh(m, d, n, kind):
    rng = np.random.default_rng(m)
    stored, values = store(rng.standard_normal((m, d)), kind)
    stored[m // 2], values[m // 2] = stored[m // 3], values[m // 3]
    norms, scores = np.linalg.norm(values, axis=1), rng.standard_normal((m, n))
    scores[m // 2], norms[m // 2] = scores[m // 3], norms[m // 3]
    A, weight = rng.standard_normal((n, d)), weights_of_all_kinds(rng, m)
    weight[[m // 2, m // 3]] = 1
    # Ineligible items do not count, however large their score.
    if m > 1:
        scores[0], weight[0], scores[m - 1], weight[m - 1] = 1e3, 0, 1e3, -1
    W, largest = np.empty((n, m), np.float32), np.zeros(4)
    for first in range(0, m, 300):
        rows = stored[first : first + 300]
        args = [m, d, rows, norms, scores, A, W, weight, largest, first, len(rows)]
        compiled("refresh", n, 64, rows=kind).launch("refresh", 4, 64, args, seed=first)
    exact = scores - values / norms[:, None] @ A.T
    error = error_bounds.float64_error(d, np.linalg.norm(A), np.abs(scores).max()) * 2
    held = weight >= 0
    assert (np.abs(W.T - exact)[held] <= error_bounds.U32 * np.abs(exact)[held] + error).all()
    assert not W[:, ~held].any()
    assert W[:, m // 2].tobytes() == W[:, m // 3].tobytes()
    assert largest.max() == pytest.approx(np.linalg.norm(exact, axis=1)[weight > 0].max(), rel=1e-12)


# All types of rows and of columns occur, and blocks without any item.
SIZES = [(1, 1, 1), (7, 3, 3), (255, 64, 3), (255, 3, 8), (1000, 3, 1), (1000, 384, 1), (4099, 64, 1)]
CASES = [(*size, rows, columns) for size, rows, columns in zip(cycle(SIZES), ROWS * 3, cycle(COLUMNS), strict=False)]
# More signals than a warp sums at once, and a remainder of them.
CASES += [(255, 16, 64, "fp16", "fp32"), (100, 9, 12, "fp32", "fp16")]


@pytest.mark.slow
@pytest.mark.parametrize(("m", "d", "n", "rows", "columns"), CASES)
def test_selections_equal_the_reference(m, d, n, rows, columns):
    F, G = pool(m, d, n)
    in_shared = rows in ("fp16", "fp32")
    host = Checked(F, rows=rows, columns=columns, in_shared=in_shared, blocks=4 if m < 1000 else 2, threads=64)
    k = min(m, 60)
    assert host.select(G, k).indices.tolist() == matching_pursuit(host.values, G, k, on_exhausted="restart").tolist()


@pytest.mark.slow
@pytest.mark.parametrize("in_shared", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_threads_changes_anything(seed, in_shared):
    F, G = pool(300, 16, 3)
    F[150:180] = F[:30]
    G[150:180] = G[:30]
    states = [
        Host(F, in_shared=in_shared, blocks=blocks, threads=threads, seed=start).select(G, 40)
        for blocks, threads, start in ((1, 96, 0), (5, 64, 1000 * seed), (2, 96, seed))
    ]
    assert states[0].indices.tolist() == matching_pursuit(F.astype(np.float32), G, 40).tolist()
    for state in states[1:]:
        for name in ("indices", "gains", "weights", "margins", "candidates", "ties"):
            assert getattr(state, name).tobytes() == getattr(states[0], name).tobytes(), name


def test_ties_and_duplicates():
    """Twenty rows, each repeated many times: the window never narrows, and the lowest index wins."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 20, 600)
    F, G = rng.standard_normal((20, 24))[which], rng.standard_normal((20, 2))[which]
    host = Host(F, columns="fp16", threads=64)
    state = host.select(G, 50)
    assert state.indices.tolist() == matching_pursuit(host.values, G, 50).tolist()
    assert state.ties[0] == state.candidates[0] == (which == which[state.indices[0]]).sum()
    assert state.margins[0] == 0


def test_a_refresh_that_cannot_help_is_not_asked_for():
    host = Host(np.ones((300, 2)))
    state = host.select(np.ones(300), 3)
    assert state.indices.tolist() == [0, 1, 2]
    assert state.candidates[0] == state.ties[0] == 300


def test_what_is_recorded():
    F, G = pool(500, 32, 3)
    host = Host(F, steps=4, slots=200, batch=100)
    state = host.select(G, 60)
    rows, W = host.exact.block(0, 500), G.copy()
    left = np.ones(500, bool)
    for t, s in enumerate(state.indices):
        gains = np.where(left, (W**2).sum(axis=1), 0)
        second = np.partition(gains, -2)[-2]
        assert state.gains[t] == pytest.approx(gains[s], rel=1e-10)
        assert state.weights[t] == pytest.approx(W[s], rel=1e-9, abs=1e-12)
        assert 0 <= state.margins[t] <= 1 - second / gains[s]
        assert 1 <= state.ties[t] <= state.candidates[t] <= 500 - t
        left[s] = False
        W -= np.outer(rows @ rows[s], W[s])
        assert state.explained[t] == pytest.approx(1 - (W**2).sum() / (G**2).sum(), abs=1e-5)
    assert (state.margins > 0).mean() > 0.9
    assert host.reasons["DONE"] > 5
    assert host.reasons["NEED_COLUMN"] > 1


@pytest.mark.slow
def test_the_bound_grows_and_shrinks_as_in_the_step_on_the_cpu():
    """bf16 columns need refreshes; between them error and drift follow `matching_pursuit` to the last few bits."""
    F, G = pool(400, 32, 1)
    host = Host(F, columns="bf16", steps=1)
    before = []

    def advance(state, until, inherited=host.advance):
        began = state.t, state.error, state.drift
        reason = inherited(state, until)
        if state.t > began[0]:
            norm = np.linalg.norm(state.weights[began[0]]) / state.unit
            error = error_bounds.step_error(began[1], host.gamma, norm, norm)
            drift = began[2] + error_bounds.U64 * (state.projected(1.0) + 2 * norm)
            before.append((state.error / error, state.drift / drift))
        return reason

    host.advance = advance
    state = host.select(G, 120)
    assert state.indices.tolist() == matching_pursuit(host.values, G, 120, on_exhausted="restart").tolist()
    assert host.reasons["NEED_REFRESH"] == state.refreshes > 0
    assert len(before) == 120
    assert np.array(before) == pytest.approx(1.0, rel=1e-9)


def test_a_second_round_begins_on_the_items_left():
    rng = np.random.default_rng(2)
    host = Checked(rng.standard_normal((64, 2)), in_shared=True)
    G = host.exact.block(0, 64) @ [3.0, -1.0]
    state = host.select(G, 64)
    assert state.indices.tolist() == matching_pursuit(host.values, G, 64, on_exhausted="restart").tolist()
    assert len(state.rounds) > 2
    assert host.reasons["EXHAUSTED"] == len(state.rounds) - 1
    assert sorted(state.indices) == list(range(64))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.3, 1e-3, 1.2])
def test_rows_of_other_lengths(factor):
    F, G = pool(200, 8, 2)
    F *= factor / np.linalg.norm(F, axis=1).max()
    host = Checked(F, rows="fp64", normalize=False)
    wanted = matching_pursuit(F, G, 30, normalize=False, on_exhausted="restart")
    assert host.select(G, 30).indices.tolist() == wanted.tolist()


@pytest.mark.slow
def test_a_residual_that_grows_without_end_is_seen():
    F, G = pool(200, 8, 2)
    with pytest.raises(OverflowError):
        Host(F * 40, normalize=False).select(G, 200)


@pytest.mark.slow
def test_columns_lie_beyond_2_31_entries():
    F, G = pool(4099, 4, 1)
    host = Host(F, columns="fp16", slots=3, batch=2)
    offset = 2**31 // 4099 + 1
    # Fresh zeros take address space, but memory only where they are written.
    table = np.zeros((offset + 3, 4099), np.float16)
    provide = host.columns.provide

    def far(pick):
        host.columns.table = near
        held = host.slots >= 0
        host.slots[held] -= offset
        provide(pick)
        held = host.slots >= 0
        host.slots[held] += offset
        table[offset:] = near
        host.columns.table = table

    near, host.columns.table, host.columns.provide = host.columns.table, table, far
    assert host.select(G, 12).indices.tolist() == matching_pursuit(host.values, G, 12).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["fp32", "bf16"])
def test_real_embeddings(real, columns):
    F = real("gsm8k_minilm_f16.npy")
    G = signals.self_compression(F)
    host = Host(F, rows="fp16", columns=columns, blocks=2, threads=128, in_shared=True)
    assert host.select(G, 100).indices.tolist() == matching_pursuit(F, G, 100).tolist()


def test_launches_are_cut_to_the_pool_and_the_chip():
    a100, loop = 163 << 10, tuning.CUDA[80]
    assert (loop.blocks(1, 108), loop.blocks(52002, 108), loop.blocks(10**6, 108)) == (1, 102, 108)
    assert loop.shared_bytes(52002, 1, 102, a100) == 510 * 3 * 4
    assert loop.shared_bytes(52002, 64, 102, a100) == 510 * 66 * 4
    assert loop.shared_bytes(10**6, 4, 108, a100) == 0


SANITIZED = """
import sys
from pathlib import Path
from tests.support.cuda_loop import Host, pool
from gip_gpu.reference import matching_pursuit
sanitize, in_shared, folder = sys.argv[1], sys.argv[2] == "True", Path(sys.argv[3])
F, G = pool(90, 5, 2)
F[60:70] = F[:10]
G[60:70] = G[:10]
host = Host(
    F, blocks=2, threads=64, slots=5, batch=3, columns="bf16", in_shared=in_shared, sanitize=sanitize, folder=folder
)
state = host.select(G, 25)
assert state.indices.tolist() == matching_pursuit(host.values, G, 25, on_exhausted="restart").tolist()
"""
GRID, LOOP_CU = "grid.cuh", "loop/loop.cu"
BARRIER = "        barrier.sync();\n        choose("
RELEASE, RELAXED = "add_release(arrived_, 1)", "atomicAdd(reinterpret_cast<unsigned long long*>(arrived_), 1ull)"
FIRST_SYNC = "        __syncthreads();\n        if (threadIdx.x == 0) {\n            goal_"
LAST_SYNC = "            }\n        }\n        __syncthreads();\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitize", "in_shared", "file", "old", "new", "report"),
    [
        ("thread", False, None, "", "", None),
        ("thread", True, None, "", "", None),
        ("thread", True, LOOP_CU, BARRIER, "        choose(", "data race"),
        ("thread", False, GRID, RELEASE, RELAXED, "data race"),
        ("thread", False, GRID, "load_acquire(arrived_)", "load_strong(arrived_)", "data race"),
        ("thread", False, GRID, FIRST_SYNC, FIRST_SYNC.replace("        __syncthreads();\n", ""), "data race"),
        ("thread", False, GRID, LAST_SYNC, LAST_SYNC.replace("        __syncthreads();\n", ""), "data race"),
        ("thread", True, "reduce.cuh", "    __syncthreads();\n", "", "data race"),
        ("address", False, None, "", "", None),
        ("address", True, None, "", "", None),
        ("address", True, LOOP_CU, "= own.score + per;", "= own.score + 2 * per;", "heap-buffer-overflow"),
    ],
)
def test_sanitizers(tmp_path, sanitize, in_shared, file, old, new, report):
    """The sanitizers find nothing, and do find faults added on purpose."""
    assert_sanitized(tmp_path, SANITIZED, sanitize, file, old, new, report, str(in_shared))
