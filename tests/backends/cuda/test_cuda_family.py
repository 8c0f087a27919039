"""kernels/family/family.cu, run on the CPU: against the formulas of the step and the candidates in float64."""

from __future__ import annotations

import numpy as np
import pytest

from gip_gpu.numerics.error_bounds import U64
from tests.support.cuda_family import FAMILY, Step, Window
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT
from tests.support.sanitized import assert_sanitized

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

SHAPES = [(1, 1, 1), (7, 33, 3), (33, 7, 8), (129, 129, 3), (255, 64, 1), (300, 384, 8), (70, 600, 20)]


@pytest.mark.slow
@pytest.mark.parametrize(("m", "d", "n"), SHAPES)
def test_step_of_a_ratio(m, d, n):
    Step(m, d, n).launch().check()


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "n"), [("norm", 3), ("distance", 1)])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (7, 33), (33, 7), (129, 129), (300, 384)])
def test_step_of_a_norm_or_a_distance(m, d, n, measure):
    Step(m, d, n, measure).launch().check()


@pytest.mark.slow
@pytest.mark.parametrize("multiply", ["fp16", "bf16", "fp32", "tf32"])
@pytest.mark.parametrize("d", [1, 129, 264])
def test_every_format_of_rows(multiply, d):
    Step(100, d, 3, multiply=multiply).launch().check()


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "n"), [("norm", 3), ("ratio", 8)])
def test_positive_residuals(measure, n):
    step = Step(129, 33, n, measure, positive=True).launch()
    step.check()
    other = Step(129, 33, n, measure).launch()
    assert (other.upper > step.upper).any()


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3, 8, 20])
def test_a_metric(n):
    Step(129, 33, n, metric=True).launch().check()


@pytest.mark.parametrize("measure", ["norm", "ratio", "distance"])
def test_without_a_pick_rows_are_not_read(measure):
    step = Step(129, 33, 1 if measure == "distance" else 3, measure, moves=False)
    step.h[:] = np.nan
    step.launch().check()


@pytest.mark.parametrize("measure", ["norm", "ratio", "distance"])
def test_chunks_make_up_the_whole(measure):
    whole = Step(200, 40, 1 if measure == "distance" else 3, measure).launch()
    chunks = Step(200, 40, 1 if measure == "distance" else 3, measure, blocks=2)
    chunks.weight[:], parts = whole.weight, []
    for first, count in ((0, 96), (96, 96), (192, 8)):
        before = chunks.W.copy(), chunks.far.copy()
        chunks.first, chunks.count, chunks.before = first, count, before
        chunks.launch().check()
        parts.append(chunks.parts.copy())
    for name in ("W", "far", "upper"):
        assert getattr(chunks, name).tobytes() == getattr(whole, name).tobytes()
    assert max(part[:, 0].max() for part in parts) == whole.parts[:, 0].max()
    assert sum(part[:, 1].sum() for part in parts) == pytest.approx(whole.parts[:, 1].sum(), rel=1e-12)


def test_rows_that_begin_anywhere():
    """Rows that are not aligned to 16 bytes are read in pieces, and in another order."""
    aligned, odd = Step(100, 64, 3, multiply="fp16"), Step(100, 64, 3, multiply="fp16")
    memory = np.empty(odd.rows.size + 1, np.float16)
    place = memory[1:] if memory.ctypes.data % 16 == 0 else memory[:-1]
    place[:] = odd.rows.ravel()
    odd.rows = place.reshape(odd.rows.shape)
    assert odd.rows.ctypes.data % 16
    aligned.launch().check()
    odd.launch().check()


def test_nothing_is_eligible():
    for weights in (0, -1):
        step = Step(70, 16, 3)
        step.weight[:] = weights
        step.launch().check()
        assert (step.parts[:, 0] == -1).all()
        assert (step.upper == -1).all()
        assert step.parts[:, 1].sum() == pytest.approx((step.W.astype(float) ** 2).sum() if weights == 0 else 0)


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["norm", "ratio", "distance"])
@pytest.mark.parametrize("place", [0, 64, 128])
def test_what_is_not_a_number_is_the_largest(measure, place):
    step = Step(129, 16, 1, measure, moves=False)
    (step.far if measure == "distance" else step.W[0])[place] = np.nan
    step.weight[place] = 1
    step.launch()
    assert step.parts[:, 0].max() == np.inf
    step.weight[place] = 0
    step.launch()
    assert step.parts[:, 0].max() < np.inf


def test_a_denominator_of_zero_makes_a_candidate():
    step = Step(129, 16, 3, epsilon=0.0, moves=False)
    step.far[:] = 0.5
    step.far[[3, 77]] = 1e-3, -1e-4
    step.weight[[3, 77]] = 1
    step.before = step.W.copy(), step.far.copy()
    step.launch().check()
    assert np.isposinf(step.upper[[3, 77]]).all()
    step.W[:, 3], step.residual = 0, 0.0
    assert np.isposinf(step.launch().upper[3])


def test_no_order_of_threads_changes_the_step():
    found = [Step(300, 40, 3, blocks=blocks).launch(seed) for blocks, seed in ((1, 0), (4, 5), (9, 6))]
    for name in ("W", "far", "upper"):
        assert len({getattr(step, name).tobytes() for step in found}) == 1
    assert len({step.parts[:, 0].max() for step in found}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize(
    ("m", "d", "n", "multiply"),
    [(1, 1, 1, "fp32"), (7, 33, 3, "tf32"), (33, 7, 8, "fp32"), (300, 129, 3, "bf16"), (100, 64, 20, "fp32")],
)
def test_candidates(m, d, n, multiply, identity):
    window = Window(m, d, n, multiply, identity)
    window.weight[0] = 1
    for floor in (0.0, 0.5, 0.97):
        window.check(floor, seed=m)


def test_rows_longer_than_shared_memory_holds():
    for room in (0, 1 << 10):
        window = Window(2, 2100, 3, "fp16", room=room)
        window.weight[:] = 1
        assert len(window.check(0.0)[0]) == 2


def test_nothing_reaches_the_floor():
    for identity in (False, True):
        window = Window(200, 16, 3, identity=identity)
        assert len(window.check(1.5)[0]) == 0
        window.weight[:] = 0
        assert len(window.check(0.0)[0]) == 0


def test_infinite_bounds_are_candidates():
    window = Window(50, 16)
    window.weight[:], window.upper[7] = 1, np.inf
    assert window.check(2.0)[0].tolist() == [7]


def test_a_floor_between_two_float32_values():
    window = Window(50, 16)
    window.weight[:], window.upper[:] = 1, np.linspace(0.1, 0.9, 50, dtype=np.float32)
    edge = window.upper[25]
    assert len(window.check(float(edge))[0]) == 25
    assert len(window.check(float(edge) * (1 + U64 * 2))[0]) == 24


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("room", [0, 1 << 12])
def test_identical_rows_have_identical_values(identity, room):
    """Identical in every position, for every block that sums them, and for any number of candidates."""
    window = Window(300, 40, 3, "fp16", identity, room)
    same = np.arange(0, 300, 7)
    for array in (window.rows, window.exact, window.norms, window.scores):
        array[same] = array[0]
    window.weight[same], window.upper[same] = 1, 1
    found, value = window.check(0.0)
    assert len({row.tobytes() for row in value[np.isin(found, same)]}) == 1
    other, fewer = window.check(0.9, seed=9)
    assert value[np.isin(found, other)].tobytes() == fewer.tobytes()
    window.room, window.partial = 1 << 12, np.full(1 << 12, np.nan)
    assert window.check(0.0, seed=3)[1].tobytes() == value.tobytes()


@pytest.mark.parametrize("identity", [False, True])
def test_thousands_of_candidates(identity):
    window = Window(3000, 8, identity=identity)
    assert len(window.check(0.0)[0]) > window.room


def test_blocks_of_a_launch():
    assert (FAMILY.blocks(1, 108), FAMILY.blocks(52002, 108), FAMILY.blocks(10**6, 108)) == (1, 204, 216)
    assert FAMILY.most_blocks(132) == 264


SANITIZED = """
import sys
from pathlib import Path
from tests.support.cuda_family import FAMILY, Step, Window
how = {"sanitize": sys.argv[1], "folder": Path(sys.argv[2])}
# One build for all.
for d in (40, 33):
    Step(75, d, 3, multiply="fp16", metric=d == 33, first=32, count=43, blocks=2, how=how).launch().check()
for room, identity in ((0, False), (100, False), (0, True)):
    Window(40, 70, 3, "fp16", identity, room, blocks=2, how=how).check(0.6)
"""
SUMS, BARRIER = "    sums[threadIdx.x] = phi;\n", "    __syncthreads();\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitize", "old", "new", "report"),
    [
        ("thread", "", "", None),
        ("thread", SUMS + BARRIER, SUMS, "data race"),
        ("thread", "add_acq_rel(ticket, 1)", "atomicAdd(ticket, 1ull)", "data race"),
        ("address", "", "", None),
        ("address", "min(first + group + r, count - 1)", "(first + group + r)", "heap-buffer-overflow"),
    ],
)
def test_sanitizers(tmp_path, sanitize, old, new, report):
    """The sanitizers find nothing, and do find faults added on purpose."""
    assert_sanitized(tmp_path, SANITIZED, sanitize, "family/family.cu" if old else "", old, new, report)
