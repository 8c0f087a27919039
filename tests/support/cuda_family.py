"""Launches of the kernels of family.cu on the CPU, and checks of their results against formulas in float64."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from gip_gpu.backends.gpu import layout
from gip_gpu.backends.items import Rules
from gip_gpu.kernels.family import tuning
from gip_gpu.numerics import error_bounds
from gip_gpu.numerics.error_bounds import U32, U64
from tests.support.cuda_loop import store
from tests.support.cuda_on_cpu.emulator import build

FAMILY = tuning.CUDA[80]
FEW = replace(FAMILY, threads=64)


# Input format for each format of the product, so that tests of both formats and of selections share builds.
GIVEN = {"fp32": "fp32", "tf32": "fp64", "fp16": "fp16", "bf16": "bf16"}


def compiled(n, multiply="fp32", measure="ratio", positive=False, **how):
    macros = {**layout.macros(), **FEW.macros(n, GIVEN[multiply], multiply, measure, positive)}
    return build("family", macros, threads=how.get("sanitize") == "thread", **how)


def gaps(rng, m):
    """Returns random weights: 1 eligible, 0 picked in this round, -1 out of the pool."""
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
        # Rows as given have any norm, which is divided out of the product; rows rounded to tf32 have unit norms.
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
        """Checks every array, within the rounding that `error_bounds` and the hosts' 32 units allow."""
        own = slice(self.first, self.first + self.count)
        (W, far), eligible = self.before, self.weight[own] > 0
        for array, old in ((self.W, W), (self.far, far)):
            outside = np.ones(self.m, bool)
            outside[own] = False
            np.testing.assert_array_equal(array[..., outside], old[..., outside])
        W, far = W[:, own].astype(float), far[own].astype(float)
        gamma = error_bounds.gram_entry_error(self.d, given=True)
        if self.moves:
            # ||h|| may exceed 1 here, and so may the distance of the moved item.
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
        # The checks below start from the stored arrays, so that only the rounding of the scores is left.
        W, far = self.W[:, own].astype(float), self.far[own].astype(float)
        y = np.maximum(W, 0) if self.positive else W
        y = y if self.M is None else self.M.T.astype(float) @ y
        norms = np.linalg.norm(y, axis=0)
        # Products with the metric are sums of n terms, and so are the squares; the host's bound counts both.
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
        """Returns the candidates, ascending, and their values."""
        self.count[:] = 0
        program = compiled(self.n, self.multiply, **self.how)
        args = [
            *(self.m, self.d, self.rows, self.norms, self.scores, self.A, self.weight, self.upper),
            *(self.candidate_index, self.candidate_value, self.count, floor, self.factor, int(self.identity)),
        ]
        program.launch("candidates", self.blocks, FEW.threads, args, seed=seed)
        if not self.identity:
            # S in the layout of cuBLAS; if S is the identity, it is not read.
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
        # Each phi is a sum of d terms, and so is the sum of their squares; the division of rows adds one rounding.
        size = np.abs(x) @ np.abs(self.S)
        error = (2 * error_bounds.dot_error(self.d + 4, U64) * size * size).sum(axis=1)
        assert (np.abs(value[:, 0] - (phi**2).sum(axis=1)) <= error + error_bounds.dot_error(self.d + 1, U64)).all()
        exact = self.scores[wanted] - x.astype(np.longdouble) @ self.A.T
        error = error_bounds.dot_error(self.d + 4, U64) * (np.abs(x) @ np.abs(self.A.T)) + 2 * U64 * np.abs(exact)
        assert (np.abs(value[:, 1:] - exact) <= error + U64 * np.abs(self.scores[wanted])).all()
        return found, value
