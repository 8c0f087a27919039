"""Table 6: time and memory of a whole selection on a CPU, at the sizes of GSM8K and Alpaca."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import cases, runs
from bench.paper.data import load
from bench.paper.figures import chart, legend
from bench.paper.section import PAPER, Section, table
from bench.runs import first_difference
from gip_gpu.reference import matching_pursuit
from gip_gpu.signals import self_compression
from gip_gpu.system import memory

RUNS, QUICK_RUNS = 3, 1
SHARES = (0.1, 0.2, 0.5)
# The whole Gram matrix first, as in the paper; then what gip_gpu decides itself.
COLUMNS = {"gram": "gip_gpu, whole Gram matrix", "auto": "gip_gpu, its own plan"}


@dataclass(frozen=True)
class Published:
    """Figures of a pool in arXiv 2603.13790, table 6: seconds, seconds by share, bytes where given."""

    gram: float
    selection: dict[float, float]
    peak: float | None = None


@dataclass(frozen=True)
class Entry:
    """A pool, what the paper measured on one of that size, and the share of it that the reference is asked to pick."""

    title: str
    embeddings: str
    published: Published
    verified: float


POOLS = (
    Entry("GSM8K", cases.GSM8K, Published(7.01, {0.1: 0.86}), 0.5),
    Entry("Alpaca", cases.ALPACA, Published(214.11, {0.1: 25.12, 0.2: 49.67, 0.5: 123.62}, 10.8e9), 0.02),
)


@dataclass(frozen=True)
class Run:
    """What one process told.

    Attributes:
        prepare: seconds before the first pick: the Gram matrix, where it is made whole.
        picking: seconds of the rest of `select`; columns on demand are part of it.
        process: seconds from the start of Python to its end, loading and scoring included.
        peak: largest resident bytes of the process.
        columns: kind of columns that were used.
        rounds: picks made before each round.
        indices: the picks.
    """

    prepare: float
    picking: float
    process: float
    peak: int
    columns: str
    rounds: tuple[int, ...]
    indices: NDArray[np.int64]

    @property
    def total(self) -> float:
        """Seconds of `select`."""
        return self.prepare + self.picking


@dataclass
class Timed:
    """The runs of one selection, or why there are none.

    Attributes:
        pool, m, share: of what m items which share was chosen.
        columns: the kind of columns that was asked for.
        trouble: why there are no runs; `failed` unless only the memory was missing.
    """

    pool: Entry
    m: int
    share: float
    columns: str
    runs: list[Run] = field(default_factory=list)
    trouble: str = ""
    failed: bool = False

    @property
    def k(self) -> int:
        """Picks."""
        return int(self.share * self.m)

    def __str__(self) -> str:
        return f"{self.pool.title}, k = {self.k:,}, {COLUMNS[self.columns]}"

    def median(self, part: str) -> float:
        """Median of an attribute of the runs."""
        return float(statistics.median(getattr(run, part) for run in self.runs))

    @property
    def whole(self) -> bool:
        """Whether the Gram matrix was made whole, before the first pick."""
        return self.runs[0].columns == "gram"

    @property
    def selection(self) -> float:
        """Median seconds of the selection; columns on demand are part of it."""
        return self.median("picking" if self.whole else "total")

    def run(self, quick: bool) -> None:
        """Adds a run in a process of its own, or the reason why there can be none; then it is not tried again."""
        if self.trouble:
            return
        needed, free = 4 * self.m**2, memory.available()
        if self.columns == "gram" and needed > free:
            self.trouble = f"needs {memory.readable(needed)}, {memory.readable(free)} free"
            return
        arguments = (self.pool.embeddings, str(self.k), self.columns, *(("--quick",) if quick else ()))
        began = time.perf_counter()
        try:
            told = runs.child_output("bench.paper.child", *arguments)
        except RuntimeError as error:
            self.trouble, self.failed = str(error), True
            return
        process = time.perf_counter() - began
        prepare, total = told["timings"]["prepare"], told["timings"]["total"]
        rounds, indices = tuple(told["rounds"]), np.array(told["indices"], dtype=np.int64)
        self.runs.append(Run(prepare, total - prepare, process, told["peak"], told["columns"], rounds, indices))


def measure(quick: bool) -> Section:
    """Times every pool, share and kind of columns, each run in a process of its own."""
    F = {pool.title: load(pool.embeddings, quick) for pool in POOLS}
    count = QUICK_RUNS if quick else RUNS
    timed, verified, failures = [], [], []
    for pool in POOLS:
        m = len(F[pool.title])
        found = [Timed(pool, m, share, columns) for share in SHARES for columns in COLUMNS]
        # One after the other, so that drift hits all alike.
        for _ in range(count):
            for one in found:
                one.run(quick)
        told, wrong = verify(found, F[pool.title], int(pool.verified * m))
        timed += found
        verified.append(told)
        failures += wrong
    return section(timed, verified, failures, count)


def verify(timed: list[Timed], F: NDArray[Any], count: int) -> tuple[str, list[str]]:
    """Compares the runs of a pool with `count` picks of the float64 reference and with each other.

    Returns:
        What was verified, and what is wrong.
    """
    reference = matching_pursuit(F, self_compression(F), count, on_exhausted="restart")
    failures = [f"{one}: {one.trouble}" for one in timed if one.failed]
    longest = max((run.indices for one in timed for run in one.runs), key=len, default=reference)
    for one in timed:
        # Greedy picks of a smaller budget are the first of a larger one.
        expected = np.concatenate([reference, longest[len(reference) :]])[: one.k]
        for run in one.runs:
            first = first_difference(run.indices.tolist(), expected)
            if first is not None:
                source = "the float64 reference" if first < count else "the other runs"
                failures.append(f"{one}: pick {first} is not that of {source}")
    title = timed[0].pool.title
    kinds = " and ".join(sorted({run.columns for one in timed for run in one.runs}))
    told = (
        f"{title}: the first {count:,} picks of every run are those of the float64 reference, and all {len(longest):,} "
        f"are the same in every run (columns: {kinds})"
    )
    return f"{title}: not so, see the failures" if failures else told, failures


def section(timed: list[Timed], verified: list[str], failures: list[str], count: int) -> Section:
    """The section for these runs."""
    rows = [row for pool in POOLS for share in SHARES for row in _rows(_find(timed, pool, share))]
    restarts = [
        f"{one}: the scores are exhausted after {', '.join(f'{start:,}' for start in one.runs[0].rounds[1:])} picks. "
        "There another round begins on the original scores; the paper's loop goes on in its rounding."
        for one in timed
        if one.runs and len(one.runs[0].rounds) > 1
    ]
    return Section(
        f"Time and memory on a CPU (table 6 of {PAPER})",
        _verdict(timed, failures),
        f"Medians of {count} runs, each in a process of its own, one at a time.",
        [
            table(rows, ("pool", "picks", "who", "Gram matrix, s", "selection, s", "whole process, s", "peak memory")),
            "The paper's figures are of one AMD CPU and of another encoder's embeddings; here rows have 384 "
            "entries, on the machine named above. So seconds compare in their order only, and ratios compare "
            "better. Self-compression scores. 'Gram matrix' is what is done before the first pick, 'selection' the "
            "rest; where columns are computed on demand all is selection. 'Whole process' adds Python's start, "
            "loading and scoring.",
            table(_ratios(timed), ("ratio", "paper", *COLUMNS.values())),
            f"Verified: {'; '.join(verified)}.",
            *restarts,
        ],
        {"table6.png": _plot(timed)},
        failures,
    )


def _find(timed: list[Timed], pool: Entry, share: float) -> list[Timed]:
    """The selections of a share of a pool, one for each kind of columns."""
    return [one for one in timed if one.pool is pool and one.share == share]


def _rows(found: list[Timed]) -> list[list[str]]:
    """The paper's row, where it has one, and those of all kinds of columns."""
    pool, m, share = found[0].pool, found[0].m, found[0].share
    start = [f"{pool.title}: {m:,}", f"{found[0].k:,} ({share:.0%})"]
    rows = []
    if share in pool.published.selection:
        peak = "" if pool.published.peak is None else memory.readable(pool.published.peak)
        rows.append([*start, "paper", f"{pool.published.gram:.2f}", f"{pool.published.selection[share]:.2f}", "", peak])
    for one in found:
        if one.trouble:
            rows.append([*start, COLUMNS[one.columns], f"not run: {one.trouble}", "", "", ""])
            continue
        gram = f"{one.median('prepare'):.3g}" if one.whole else "none"
        rest = (f"{one.selection:.3g}", f"{one.median('process'):.3g}", memory.readable(one.median("peak")))
        rows.append([*start, COLUMNS[one.columns], gram, *rest])
    return rows


def _ratios(timed: list[Timed]) -> list[list[str]]:
    """How the time of the selection grows with the picks and with the pool, where the paper says it."""
    small, large = POOLS
    first = SHARES[0]
    pairs = [(f"{large.title}, {share:.0%} / {first:.0%}", (large, share), (large, first)) for share in SHARES[1:]]
    pairs.append((f"{first:.0%}, {large.title} / {small.title}", (large, first), (small, first)))
    rows = []
    for name, above, below in pairs:
        published = above[0].published.selection[above[1]] / below[0].published.selection[below[1]]
        cells = [_ratio(*pair) for pair in zip(_find(timed, *above), _find(timed, *below), strict=True)]
        rows.append([f"seconds of selection: {name}", f"{published:.3g}", *cells])
    return rows


def _ratio(above: Timed, below: Timed) -> str:
    if not (above.runs and below.runs):
        return "not run"
    return f"{above.selection / below.selection:.3g}" if above.whole == below.whole else "other columns"


def _verdict(timed: list[Timed], failures: list[str]) -> str:
    if failures:
        return "Does not hold: see the failures."
    large = POOLS[-1]
    paper = large.published
    spent = ", ".join(
        f"{one.median('total'):.3g} s and {memory.readable(one.median('peak'))} for {one.share:.0%} "
        f"(paper: {paper.gram + paper.selection[one.share]:.4g} s, {memory.readable(paper.peak or 0)})"
        for one in timed
        if one.pool is large and one.columns == "auto"
    )
    return (
        "Another machine and another encoder, so only orders and ratios compare. "
        f"{large.title}, Gram columns and selection: {spent}."
    )


def _plot(timed: list[Timed]) -> Any:
    figure, axes = chart("Gram columns and selection", "picks", "seconds", xscale="log", yscale="log")
    for pool in POOLS:
        published = pool.published
        m = next(one.m for one in timed if one.pool is pool)
        picks = [int(share * m) for share in published.selection]
        seconds = [published.gram + selection for selection in published.selection.values()]
        axes.plot(picks, seconds, "k--", marker="s", label=f"paper, {pool.title}")
        for columns, name in COLUMNS.items():
            found = [one for one in timed if one.pool is pool and one.columns == columns and one.runs]
            axes.plot(
                [one.k for one in found], [one.median("total") for one in found], "o-", label=f"{name}, {pool.title}"
            )
    return legend(figure)
