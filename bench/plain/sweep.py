"""The sweep: each objective by gip_gpu and by the plain loop, in one process, in turn."""

import statistics
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.family.textbook import greedy_map
from bench.plain import loops
from bench.runner import pools
from bench.runner.runs import first_difference

SIZES, LENGTHS = (1000, 7473, 52_002), (64, 384, 1024)
OBJECTIVES = ("mp", "mp, positive", "lr", "omp", "entropy", "mi")
# Shares of the pool, and one count: gip_gpu was once slower there.
BUDGETS: tuple[float, ...] = (0.01, 0.05, 370)
# From d picks on, the residuals of the rows are rounding errors unless there is a ridge; so near d one is added.
NEAR, RIDGE = 0.9, 0.01
SIGNALS = 3
# If the first run of both codes takes more seconds than this, it counts, and at most 3 runs are made.
SPARE = 0.5


@dataclass(frozen=True)
class Point:
    """One selection.

    Attributes:
        objective: one of `OBJECTIVES`.
        m, d, k: items, length of a row, picks.
    """

    objective: str
    m: int
    d: int
    k: int

    @property
    def epsilon(self) -> float:
        """The ridge of the objectives that project rows out; 0 for the others."""
        if self.objective.startswith("mp"):
            return 0.0
        return RIDGE if self.objective == "mi" or self.k >= NEAR * self.d else 0.0

    @property
    def signals(self) -> int:
        """Number of scores of an item."""
        return {"entropy": 0, "mi": SIGNALS}.get(self.objective, 1)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for `gip_gpu.select`, without epsilon."""
        objective, _, sign = self.objective.partition(", ")
        query = "ridge" if objective == "mi" else "direct"
        return {"objective": objective, "sign": sign or "any", "query": query}

    def scores(self) -> NDArray[np.float64]:
        """Draws (m, 1) or, for mi, (m, 3) random scores; their residual stays nonzero after any number of picks."""
        return np.random.default_rng(self.m + self.d).standard_normal((self.m, self.signals or 1))

    def ours(self, F: NDArray[Any], G: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns the picks of gip_gpu."""
        scores = G if self.signals else None
        return gip_gpu.select(F, scores, self.k, device="cpu", epsilon=self.epsilon, **self.options).indices

    def plain(self, F: NDArray[Any], G: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns the picks of the plain loop."""
        if not self.signals:
            return greedy_map(F, self.k, self.epsilon)
        if self.objective.startswith("mp"):
            return loops.mp(F, G, self.k, self.objective != "mp")
        if self.objective == "mi":
            return loops.mi(F, G, self.k, self.epsilon)
        return loops.regression(F, G, self.k, self.epsilon, self.objective == "lr")


@dataclass(frozen=True)
class Compared:
    """Median seconds of a point by either code, and the first pick in which they differ (None: none)."""

    point: Point
    ours: float
    plain: float
    parted: int | None

    @property
    def speed_up(self) -> float:
        """Seconds of the plain loop over those of gip_gpu."""
        return self.plain / self.ours


def points(quick: bool, only: tuple[str, ...] = OBJECTIVES) -> list[Point]:
    """Returns the selections to measure; the quick form omits the largest pools and the longest rows."""
    found = []
    for m in SIZES[:2] if quick else SIZES:
        for d in LENGTHS[:2] if quick else LENGTHS:
            for k in sorted({round(budget * m) if budget < 1 else int(budget) for budget in BUDGETS}):
                # Beyond this the plain loops take minutes, and show the same as fewer picks do.
                if k * m * d < 2e10 and k * m < 1e8:
                    found += [Point(name, m, d, k) for name in only]
    return found


@lru_cache(maxsize=1)
def pool(m: int, d: int) -> NDArray[np.float16]:
    """Returns embeddings of this shape: real ones if they are available, otherwise synthetic ones of their geometry."""
    for case in pools.CASES:
        if (case.m, case.d) == (m, d):
            return pools.load(case)[0]
    return pools.clustered(m, d)


def compare(point: Point, runs: int) -> Compared:
    """Measures a point: runs both codes in turn; the first run of each is a warm-up unless it takes over `SPARE` s."""
    F, G = pool(point.m, point.d), point.scores()
    seconds: tuple[list[float], list[float]] = ([], [])
    picks: list[NDArray[np.int64]] = []
    while len(seconds[0]) < runs:
        for code, spans in zip((point.ours, point.plain), seconds, strict=True):
            began = time.perf_counter()
            picks.append(code(F, G))
            spans.append(time.perf_counter() - began)
        if len(picks) == 2:
            if seconds[0][0] + seconds[1][0] > SPARE:
                runs = min(runs, 3)
            else:
                seconds = ([], [])
    return Compared(point, *map(statistics.median, seconds), first_difference(*picks[:2]))
