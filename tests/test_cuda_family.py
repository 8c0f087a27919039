"""kernels/family/family.cu, run on the CPU: against the formulas of the step and the candidates in float64."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from cuda_loop import store
from cuda_on_cpu.emulator import AVAILABLE, WHY_NOT, build
from sanitized import assert_sanitized

from gip_gpu.backends.gpu import layout
from gip_gpu.backends.items import Rules
from gip_gpu.kernels.family import tuning
from gip_gpu.numerics import error_bounds
from gip_gpu.numerics.error_bounds import U32, U64

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

FAMILY = tuning.CUDA[80]
FEW = replace(FAMILY, threads=64)


# Rows as given that go with the format they are multiplied in, so that tests of both, and selections, share builds.
GIVEN = {"fp32": "fp32", "tf32": "fp64", "fp16": "fp16", "bf16": "bf16"}


def compiled(n, multiply="fp32", measure="ratio", positive=False, **how):
    macros = {**layout.macros(), **FEW.macros(n, GIVEN[multiply], multiply, measure, positive)}
    return build("family", macros, threads=how.get("sanitize") == "thread", **how)


def gaps(rng, m):
    """Weights: eligible, picked in this round, out of the pool."""
    return rng.choice(np.array([1, 1, 1, 0, -1], np.float32), m)


@dataclass
class Step:
    """The arrays of a launch of `step`, and the formulas of its results in float64."""

    m: int
    d: int
    n: int = 1
    measure: str = "ratio"
    multiply: str = "fp32"
    positive: bool = False
    metric: bool = False
    moves: bool = True
    first: int = 0
    count: int | None = None
    blocks: int = 3
    residual: float = 1e-3
    distance: float = 2e-3
    epsilon: float = 0.05
    shrink: float = 0.7
    how: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        rng = self.rng = np.random.default_rng(self.m + 10 * self.d + self.n)
        m, d, n = self.m, self.d, self.n
        self.count = m - self.first if self.count is None else self.count
        F = rng.standard_normal((m, d))
        # Rows as given, whose norms are divided out of the product; those rounded have unit norms.
        F /= np.linalg.norm(F, axis=1, keepdims=True) / (rng.uniform(0.5, 4, (m, 1)) if self.multiply != "tf32" else 1)
        self.rows, self.exact = store(F, "fp32" if self.multiply == "tf32" else self.multiply)
        self.inverse = (1 / np.linalg.norm(self.exact, axis=1)).astype(np.float32)
        self.h = (rng.standard_normal(d) / np.sqrt(d) / 2).astype(np.float32)
        self.weights = rng.standard_normal(n).astype(np.float32)
        self.M = rng.standard_normal((n, n)).astype(np.float32) if self.metric else None
        self.W = rng.standard_normal((n, m)).astype(np.float32)
        self.far = rng.uniform(0, 1, m).astype(np.float32)
        self.weight = gaps(rng, m)
        self.W[:, self.weight < 0] = 0
        self.upper = np.full(m, np.nan, np.float32)
        self.parts = np.full((self.blocks, 2), np.nan)
        self.before = self.W.copy(), self.far.copy()
        a, b = Rules(self.measure, True, self.positive, self.epsilon).share
        self.a, self.b, self.residual, self.distance, self.shrink = (
            float(np.float32(value)) for value in (a, b, self.residual, self.distance, self.shrink)
        )

    def launch(self, seed=1):
        program = compiled(self.n, self.multiply, self.measure, self.positive, **self.how)
        rows = self.rows[self.first : self.first + self.count] if self.moves else None
        args = [
            *(self.m, self.d, rows, self.inverse, self.h, self.weights, self.M, self.W, self.far, self.weight),
            *(
                self.upper,
                self.parts,
                self.first,
                self.count,
                self.residual,
                self.distance,
                self.a,
                self.b,
                self.shrink,
            ),
        ]
        program.launch("step", self.blocks, FEW.threads, args, seed=seed)
        return self

    def check(self):
        """Every array, within the rounding that `bounds` and the hosts' 32 units allow."""
        own = slice(self.first, self.first + self.count)
        (W, far), eligible = self.before, self.weight[own] > 0
        for array, old in ((self.W, W), (self.far, far)):
            outside = np.ones(self.m, bool)
            outside[own] = False
            np.testing.assert_array_equal(array[..., outside], old[..., outside])
        W, far = W[:, own].astype(float), far[own].astype(float)
        gamma = error_bounds.gram_entry_error(self.d, given=True)
        if self.moves:
            # ||h|| need not be 1 at most here, nor the moved item's distance below 1.
            gamma *= max(1, np.linalg.norm(self.h))
            c = self.exact[own] @ self.h.astype(float) * self.inverse[own]
            if self.measure != "distance":
                W = W - np.outer(self.weights.astype(float), c)
            reach = np.linalg.norm(self.before[0][:, own], axis=0).max(initial=0)
            allowed = error_bounds.step_error(0, gamma, reach, np.linalg.norm(self.weights))
            if self.measure == "distance":
                assert self.W.tobytes() == self.before[0].tobytes()
            assert np.linalg.norm(self.W[:, own] - W, axis=0).max(initial=0) <= allowed
            if self.measure != "norm":
                shrunk = far - c * c * self.shrink
                moved = (2 * np.abs(c) * gamma + gamma**2) * self.shrink
                assert (np.abs(self.far[own] - shrunk) <= moved + 6 * U32 * (far + c * c * self.shrink)).all()
        if not self.moves or self.measure == "norm":
            assert self.far.tobytes() == self.before[1].tobytes()
        if not self.moves:
            assert self.W.tobytes() == self.before[0].tobytes()
        # From here on from what was stored, so that only the rounding of the scores is left.
        W, far = self.W[:, own].astype(float), self.far[own].astype(float)
        y = np.maximum(W, 0) if self.positive else W
        y = y if self.M is None else self.M.T.astype(float) @ y
        norms = np.linalg.norm(y, axis=0)
        # Products with the metric are sums of n terms, squares again, as the host's bound has them.
        length = np.linalg.norm(W, axis=0) * (1 if self.M is None else np.linalg.norm(self.M))
        loose = (2 * self.n + 8) * U32 * length
        with np.errstate(divide="ignore", invalid="ignore"):
            most = np.sqrt(self.a + self.b * np.maximum(far + self.distance, 0))
            least = np.sqrt(self.a + self.b * np.maximum(far - self.distance, 0))
            if self.measure == "distance":
                lower, upper, loose = np.maximum(far - self.distance, 0), far + self.distance, U32
            elif self.measure == "norm":
                lower, upper = np.maximum(norms - self.residual, 0), norms + self.residual
            else:
                lower, upper = np.maximum(norms - self.residual, 0) / most, (norms + self.residual) / least
                loose = np.where(least > 0, loose / np.where(least > 0, least, 1), 0)
        lower = np.where(np.isnan(lower), np.inf, lower)
        found = self.upper[own].astype(float)
        assert (found[~eligible] == -1).all()
        infinite = np.isinf(upper) & eligible
        assert np.isposinf(found[infinite]).all()
        kept = eligible & ~infinite & ~np.isnan(norms)
        allowed = 32 * U32 * np.abs(upper) + loose
        assert (np.abs(found[kept] - upper[kept]) <= allowed[kept]).all()
        wanted = lower[eligible].max(initial=-1)
        best = self.parts[:, 0].max()
        slack = 32 * U32 * wanted + np.max(loose, initial=0) if wanted >= 0 else 0
        assert best == wanted or abs(best - wanted) <= slack
        assert not np.isnan(self.parts).any()
        counted = self.weight[own] >= 0
        energies = far if self.measure == "distance" else (W**2).sum(axis=0)
        assert self.parts[:, 1].sum() == pytest.approx(energies[counted].sum(), rel=(self.n + 2) * U32, nan_ok=True)


SHAPES = [(1, 1, 1), (7, 33, 3), (33, 7, 8), (129, 129, 3), (255, 64, 1), (300, 384, 8), (70, 600, 20)]


@pytest.mark.parametrize(("m", "d", "n"), SHAPES)
def test_step_of_a_ratio(m, d, n):
    Step(m, d, n).launch().check()


@pytest.mark.parametrize(("measure", "n"), [("norm", 3), ("distance", 1)])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (7, 33), (33, 7), (129, 129), (300, 384)])
def test_step_of_a_norm_or_a_distance(m, d, n, measure):
    Step(m, d, n, measure).launch().check()


@pytest.mark.parametrize("multiply", ["fp16", "bf16", "fp32", "tf32"])
@pytest.mark.parametrize("d", [1, 129, 264])
def test_every_format_of_rows(multiply, d):
    Step(100, d, 3, multiply=multiply).launch().check()


@pytest.mark.parametrize(("measure", "n"), [("norm", 3), ("ratio", 8)])
def test_positive_residuals(measure, n):
    step = Step(129, 33, n, measure, positive=True).launch()
    step.check()
    other = Step(129, 33, n, measure).launch()
    assert (other.upper > step.upper).any()


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
    """What is not aligned to 16 bytes is read in pieces, and in another order."""
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


@dataclass
class Window:
    """The arrays of the launches that list the candidates."""

    m: int
    d: int
    n: int = 1
    multiply: str = "fp32"
    identity: bool = False
    room: int = 1 << 10
    blocks: int = 3
    factor: float = 0.5
    how: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        rng = np.random.default_rng(self.m + 10 * self.d + self.n)
        m, d, n = self.m, self.d, self.n
        self.rows, self.exact = store(rng.standard_normal((m, d)), GIVEN[self.multiply])
        self.norms = np.linalg.norm(self.exact, axis=1)
        self.scores, self.A = rng.standard_normal((m, n)), rng.standard_normal((n, d))
        self.S = np.eye(d) if self.identity else rng.standard_normal((d, d)) / np.sqrt(d)
        self.weight, self.upper = gaps(rng, m), rng.uniform(0, 1, m).astype(np.float32)
        self.upper[self.weight <= 0] = 1
        self.candidate_index, self.candidate_value = np.full(m, -7), np.full((m, 1 + n), np.nan)
        self.count, self.ticket = np.zeros(1, np.int64), np.zeros(1, np.uint64)
        self.partial = np.full(self.room, np.nan)

    def launch(self, floor, seed=1):
        """Ascending candidates and their values."""
        self.count[:] = 0
        program = compiled(self.n, self.multiply, **self.how)
        args = [
            *(self.m, self.d, self.rows, self.norms, self.scores, self.A, self.weight, self.upper),
            *(self.candidate_index, self.candidate_value, self.count, floor, self.factor, int(self.identity)),
        ]
        program.launch("candidates", self.blocks, FEW.threads, args, seed=seed)
        if not self.identity:
            # As cuBLAS leaves it: where it is the identity, S is not read.
            args = [self.d, self.rows, self.norms, self.S, self.candidate_index, self.candidate_value, self.count]
            args += [self.partial, self.room, self.ticket, self.factor]
            program.launch("distances", self.blocks, FEW.threads, args, seed=seed + 1)
            assert self.ticket[0] == 0
        count = int(self.count[0])
        order = np.argsort(self.candidate_index[:count])
        return self.candidate_index[:count][order], self.candidate_value[:count][order]

    def check(self, floor, seed=1):
        found, value = self.launch(floor, seed)
        wanted = np.flatnonzero((self.weight > 0) & (self.upper.astype(float) >= floor))
        assert found.tolist() == wanted.tolist()
        x = self.exact[wanted] / self.norms[wanted, None] * self.factor
        phi = (x.astype(np.longdouble) @ self.S).astype(np.longdouble)
        # Each phi is a sum of d terms, and so is the sum of their squares; rows are divided, with another rounding.
        size = np.abs(x) @ np.abs(self.S)
        error = (2 * error_bounds.dot_error(self.d + 4, U64) * size * size).sum(axis=1)
        assert (np.abs(value[:, 0] - (phi**2).sum(axis=1)) <= error + error_bounds.dot_error(self.d + 1, U64)).all()
        exact = self.scores[wanted] - x.astype(np.longdouble) @ self.A.T
        error = error_bounds.dot_error(self.d + 4, U64) * (np.abs(x) @ np.abs(self.A.T)) + 2 * U64 * np.abs(exact)
        assert (np.abs(value[:, 1:] - exact) <= error + U64 * np.abs(self.scores[wanted])).all()
        return found, value


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
    """Wherever they stand, whoever sums them, and however many there are."""
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
from test_cuda_family import Step, Window
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
    """Nothing is found, and what is broken on purpose is."""
    assert_sanitized(tmp_path, SANITIZED, sanitize, "family/family.cu" if old else "", old, new, report)
