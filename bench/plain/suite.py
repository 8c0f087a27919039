"""`python -m bench plain`: each objective by gip_gpu and by the plainest float64 code for it, in one process."""

import statistics
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.plain import loops
from bench.runner import pools
from bench.runner.command import Request, suite
from bench.runner.report import Report, heading, paragraphs, table
from bench.runner.runs import first_difference
from gip_gpu.planning.cluster import duration

SIZES, LENGTHS = (1000, 7473, 52_002), (64, 384, 1024)
OBJECTIVES = ("mp", "mp, positive", "lr", "omp", "entropy", "mi")
# Shares of the pool, and one count: gip_gpu was once slower there.
BUDGETS: tuple[float, ...] = (0.01, 0.05, 370)
# From d picks on, the residuals of the rows are rounding errors unless there is a ridge; so near d one is added.
NEAR, RIDGE = 0.9, 0.01
SIGNALS = 3
# If the first run of both codes takes more seconds than this, it counts, and at most 3 runs are made.
SPARE = 0.5
# Repeated runs of one or two milliseconds differ by this factor.
EQUAL = 0.95
HEADER = ("objective", "m", "d", "k", "epsilon", "gip_gpu", "plain float64", "speed-up")
NOTES = """\
Both codes run in one process, in turn, from the same float16 rows in memory to indices, preparation included. Times are
medians. The plain loops (`bench/plain/loops.py`) check nothing, ignore ties and return no certificate. The table shows
a speed-up if all indices are equal, otherwise the first pick in which the plain loop, whose rounding decides there,
differs from the selection."""


@dataclass(frozen=True)
class Point:
    """One selection: k of m rows of length d by one of `OBJECTIVES`."""

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
        if self.objective.startswith("mp"):
            return loops.mp(F, G, self.k, self.objective != "mp")
        return loops.projecting(F, G, self.k, self.objective, self.epsilon)


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
    case = next((case for case in pools.CASES if (case.m, case.d) == (m, d)), None)
    return pools.clustered(m, d) if case is None else pools.load(case)[0]


def compare(point: Point, runs: int) -> tuple[float, float, int | None]:
    """Returns the median seconds of gip_gpu and of the plain loop, and the first pick in which they differ.

    Both run in turn; the first run of each is a warm-up unless they take over `SPARE` seconds.
    """
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
    return statistics.median(seconds[0]), statistics.median(seconds[1]), first_difference(*picks[:2])


@suite("plain", "plain.md", names=OBJECTIVES, runs=(7, 3), quick="Pools of up to 7,473 rows of up to 384 values.")
def main(request: Request) -> Report:
    """Compare each objective with the plainest float64 code for it, over m, d and k; failure: it was faster."""
    rows, ratios = [], []
    for point in points(request.quick, request.names):
        ours, plain, parted = compare(point, request.runs)
        ratios += [plain / ours] * (parted is None)
        shown = f"{plain / ours:.2f} x" if parted is None else f"parts at pick {parted:,}"
        sizes = (point.objective, f"{point.m:,}", f"{point.d:,}", f"{point.k:,}", f"{point.epsilon:g}")
        rows.append([*sizes, duration(ours), duration(plain), shown])
        request.done(f"{point.objective}, {point.m:,} x {point.d}, k = {point.k:,}")
    slower = sum(ratio < EQUAL for ratio in ratios)
    verdict = f"Of {len(rows)} selections, {len(ratios)} have equal indices throughout."
    if ratios:
        verdict += (
            f" Of these gip_gpu is slower than the plain loop in {slower}; speed-ups {min(ratios):.2f} to "
            f"{max(ratios):.2f}, median {statistics.median(ratios):.2f}."
        )
    basis = f"Runs: {request.runs} each, 3 where both together take more than half a second."
    title = heading("gip_gpu and the plainest float64 code", request.quick, basis)
    failures = [f"slower than the plain loop: {slower} of {len(rows)}"] if slower else []
    return Report(paragraphs(title, verdict, table(rows, HEADER), NOTES), failures)
