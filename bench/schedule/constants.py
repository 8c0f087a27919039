"""Constants of this machine for the model, fitted to measurements: cost of a row and of a message."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from subprocess import PIPE, Popen

import numpy as np

from bench.runner import pools
from bench.schedule import local
from bench.schedule.exchange import BURST
from bench.schedule.local import Times
from gip_gpu.planning.hardware import Link

# Pool, and divisors of its number of rows.
POOL, PARTS = "alpaca-520", (6, 2, 1)
RANKS = (2, 3, 4)
# Bytes a second of loopback, the rate of memory copies; the size of a step's messages does not affect their time.
LOOPBACK = 1e10
# Steps beyond this quantile were delayed by other processes and are excluded.
HELD_UP = 0.95
# In at least this share of the exchanges both processes have their own core.
UNDISTURBED = 0.1


@dataclass(frozen=True)
class Line:
    """A line, fixed + each * x, with non-negative parts."""

    fixed: float
    each: float

    def __call__(self, x: float) -> float:
        return self.fixed + self.each * x

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> "Line":
        """Fits a line to (x, y) by least relative squares, with non-negative parts.

        >>> Line.through([(1, 3), (2, 5), (4, 9)])
        Line(fixed=1.0, each=2.0)
        """
        x, y = np.array(points, float).T
        design = np.stack([1 / y, x / y], axis=1)
        fixed, each = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)[0]
        if fixed < 0:
            fixed, each = 0.0, (x / y).sum() / ((x / y) ** 2).sum()
        elif each < 0:
            fixed, each = (1 / y).sum() / (1 / y**2).sum(), 0.0
        return cls(round(float(fixed), 12), round(float(each), 18))


@dataclass(frozen=True)
class Constants:
    """Constants measured on this machine."""

    # Rows of the largest pool, and their length.
    m: int
    d: int
    step: Line  # seconds of a step, by rows
    column: Line  # seconds of a column in a batch, by rows
    refresh: Line  # seconds of a refresh, by rows
    lookahead: float  # seconds of a look ahead, for each column wanted and item of the working set
    batch: int  # mean number of columns of a batch
    served: float  # mean number of picks that a batch served
    spread: tuple[float, ...]  # step times of the smallest pool, as multiples of their mean, without delayed steps
    held_up: float  # share of the time of all steps that the delayed ones took
    link: Link  # costs of a message between two processes
    star: dict[int, float]  # median seconds of an exchange, by number of ranks
    pools: dict[int, float]  # median seconds of a step, by rows of the pool


def measure(quick: bool, done: Callable[[str], None] = lambda piece: None) -> Constants:
    """Measures all constants; calls `done` after each piece."""
    case, rounds = pools.find(POOL, quick), 60 if quick else 1000
    F, _ = pools.load(case)
    k, timed, told = min(case.k, case.m // 10), [], {}
    for parts in PARTS:
        timed.append(local.measure(F[: case.m // parts], k))
        done(f"pool of {len(F) // parts:,}")
    for ranks in RANKS:
        told[ranks] = exchange(ranks, rounds)
        done(f"{ranks} ranks")
    return constants(timed, told, k)


def constants(timed: Sequence[Times], told: dict[int, dict[str, list[float]]], k: int) -> Constants:
    """Computes the constants from the times of selections of k picks, and of exchanges by number of ranks."""
    round_trip, burst = (float(np.quantile(told[2][name], UNDISTURBED)) for name in ("star", "burst"))
    # A burst is a round trip and further messages in a row, which delay each other if cores are few. A round trip has
    # two messages with two ends each.
    overhead = min(max(burst - round_trip, 0.0) / (BURST - 1), round_trip / 4)
    link = Link("loopback", LOOPBACK, max(round_trip / 2 - 2 * overhead, 0.0), overhead)
    largest, smallest = timed[-1], timed[0]
    wanted = [count for count, _, _ in largest.batches]
    ordered = np.sort(smallest.steps)
    kept = ordered[: max(1, round(HELD_UP * len(ordered)))]
    return Constants(
        m=largest.m, d=largest.d,
        step=Line.through([(pool.m, median(pool.steps)) for pool in timed]),
        column=Line.through([(pool.m, median(spent / n for n, spent, _ in pool.batches)) for pool in timed]),
        refresh=Line.through([(pool.m, median(pool.refreshes)) for pool in timed]),
        lookahead=sum(looked for _, _, looked in largest.batches) / sum(wanted) / largest.working,
        batch=max(1, round(mean(wanted))), served=k / len(largest.batches),
        spread=tuple((kept / kept.mean()).tolist()), held_up=1 - float(kept.sum() / ordered.sum()), link=link,
        star={ranks: median(times["star"]) for ranks, times in told.items()},
        pools={pool.m: median(pool.steps) for pool in timed},
    )  # fmt: skip


def exchange(ranks: int, rounds: int) -> dict[str, list[float]]:
    """Measures the seconds of exchanges between `ranks` real processes; raises RuntimeError if one of them fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.runner.child", "bench.schedule.exchange", "run"]
        rest = (ranks, str(Path(folder) / "store"), rounds)
        processes = [
            Popen([*command, json.dumps([rank, *rest])], cwd=pools.ROOT, stdout=PIPE, stderr=PIPE, text=True)
            for rank in range(ranks)
        ]
        try:
            results = [process.communicate(timeout=240) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    for process, (_, error) in zip(processes, results, strict=True):
        if process.returncode:
            raise RuntimeError(f"an exchange of {ranks} ranks failed: {error.strip().splitlines()[-1:]}")
    return dict(json.loads(results[0][0].splitlines()[-1]))
