"""Table 6: time and memory of a whole selection on a CPU, at the sizes of GSM8K and Alpaca."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.paper.data import load
from bench.runner import child, pools
from bench.runner.report import PAPER, Line, Section, plot, table
from bench.runner.runs import Job, Runs, in_turn
from gip_gpu.reference import matching_pursuit
from gip_gpu.signals import self_compression
from gip_gpu.system import memory

RUNS, QUICK_RUNS = 3, 1
SHARES = (0.1, 0.2, 0.5)
# The whole Gram matrix, as in the paper, and gip_gpu's own choice.
COLUMNS = {"gram": "gip_gpu, whole Gram matrix", "auto": "gip_gpu, its own plan"}
HEADER = ("pool", "picks", "who", "Gram matrix, s", "selection, s", "whole process, s", "peak memory")


@dataclass(frozen=True)
class Entry:
    """A pool, and the figures of arXiv 2603.13790, table 6, for a pool of its size."""

    title: str
    embeddings: str
    # Published seconds of the Gram matrix and of the picks, by share, and peak bytes.
    gram: float
    selection: dict[float, float]
    peak: float | None
    # Share of the pool that the float64 reference picks.
    verified: float


POOLS = (
    Entry("GSM8K", pools.GSM8K, 7.01, {0.1: 0.86}, None, 0.5),
    Entry("Alpaca", pools.ALPACA, 214.11, {0.1: 25.12, 0.2: 49.67, 0.5: 123.62}, 10.8e9, 0.02),
)


@dataclass
class Timed:
    """The runs of one selection: a share of the m items of a pool, with the requested kind of columns."""

    pool: Entry
    m: int
    share: float
    columns: str
    found: Runs = field(default_factory=Runs)

    @property
    def k(self) -> int:
        """Number of picks."""
        return int(self.share * self.m)

    def __str__(self) -> str:
        return f"{self.pool.title}, k = {self.k:,}, {COLUMNS[self.columns]}"

    @property
    def whole(self) -> bool:
        """Whether the whole Gram matrix was computed before the first pick."""
        return bool(self.found.notes["columns"] == "gram")

    @property
    def selection(self) -> float:
        """Median seconds of the selection, columns on demand included."""
        return self.found.median("picking" if self.whole else "total")

    def job(self, quick: bool) -> Job:
        """Returns the job of one run."""
        arguments = (self.pool.embeddings, self.k, self.columns, quick)
        return Job(run, arguments, 4 * self.m**2 if self.columns == "gram" else 0)


def run(pool: str, k: int, columns: str, quick: bool) -> dict[str, Any]:
    """Runs one selection, in its own process; adds "picking", its seconds without the work before the first pick."""
    F = load(pool, quick)
    told = child.selection(F, self_compression(F), k, columns=columns, device="cpu")
    return {**told, "picking": told["timings"]["total"] - told["timings"]["prepare"]}


def measure(quick: bool) -> Section:
    """Times every pool, share and kind of columns, each run in its own process."""
    rows = [load(pool.embeddings, quick) for pool in POOLS]
    count = QUICK_RUNS if quick else RUNS
    timed, verified, failures = [], [], []
    for pool, F in zip(POOLS, rows, strict=True):
        found = [Timed(pool, len(F), share, columns) for share in SHARES for columns in COLUMNS]
        in_turn({str(one): one.job(quick) for one in found}, count, str, {str(one): one.found for one in found})
        told, wrong = verify(found, F, int(pool.verified * len(F)))
        timed += found
        verified.append(told)
        failures += wrong
    return section(timed, verified, failures, count)


def verify(timed: list[Timed], F: NDArray[Any], count: int) -> tuple[str, list[str]]:
    """Compares the runs of a pool with `count` picks of the float64 reference and with each other; returns a sentence
    about the verified picks, and the failures."""
    reference = matching_pursuit(F, self_compression(F), count, on_exhausted="restart")
    failures = [f"{one}: {one.found.trouble}" for one in timed if one.found.failed]
    runs = [run for one in timed for run in one.found.runs]
    longest = max((run.indices for run in runs), key=len, default=reference.tolist())
    for one in timed:
        # The greedy picks of a smaller budget are the first picks of a larger one.
        expected = np.array([*reference.tolist(), *longest[len(reference) :]][: one.k])
        if (first := one.found.first(expected)) is not None:
            source = "the float64 reference" if first < count else "the other runs"
            failures.append(f"{one}: pick {first} is not that of {source}")
    title = timed[0].pool.title
    kinds = " and ".join(sorted({run.notes["columns"] for run in runs}))
    told = (
        f"{title}: the first {count:,} picks of every run are those of the float64 reference, and all {len(longest):,} "
        f"are the same in every run (columns: {kinds})"
    )
    return f"{title}: not so, see the failures" if failures else told, failures


def section(timed: list[Timed], verified: list[str], failures: list[str], count: int) -> Section:
    """Returns the section for these runs."""
    restarts = [
        f"{one}: the scores are exhausted after {', '.join(f'{start:,}' for start in one.found.notes['rounds'][1:])} "
        "picks. There another round begins on the original scores; the paper's loop continues with rounding errors."
        for one in timed
        if one.found.runs and len(one.found.notes["rounds"]) > 1
    ]
    return Section(
        f"Time and memory on a CPU (table 6 of {PAPER})",
        _verdict(timed, failures),
        f"Medians of {count} runs, and their largest peak, each in a separate process, one at a time.",
        [
            table([row for pool in POOLS for share in SHARES for row in _rows(_find(timed, pool, share))], HEADER),
            "The paper's figures are from one AMD CPU and another encoder's embeddings; here rows have 384 entries, on "
            "the machine named above. So seconds compare only in their order of magnitude, and ratios compare better. "
            "Self-compression scores. 'Gram matrix' is the time before the first pick, 'selection' the rest; with "
            "columns on demand all of the time is selection. 'Whole process' adds Python's start, loading and scoring.",
            table(_ratios(timed), ("ratio", "paper", *COLUMNS.values())),
            f"Verified: {'; '.join(verified)}.",
            *restarts,
        ],
        {"table6.png": _plot(timed)},
        failures,
    )


def _find(timed: list[Timed], pool: Entry, share: float) -> list[Timed]:
    return [one for one in timed if one.pool is pool and one.share == share]


def _rows(found: list[Timed]) -> list[list[str]]:
    """Returns the paper's row, if it has one, and a row for each kind of columns."""
    pool, m, share = found[0].pool, found[0].m, found[0].share
    start = [f"{pool.title}: {m:,}", f"{found[0].k:,} ({share:.0%})"]
    rows = []
    if share in pool.selection:
        peak = "" if pool.peak is None else memory.readable(pool.peak)
        rows.append([*start, "paper", f"{pool.gram:.2f}", f"{pool.selection[share]:.2f}", "", peak])
    for one in found:
        who, runs = COLUMNS[one.columns], one.found
        if runs.trouble:
            rows.append([*start, who, f"not run: {runs.trouble.removeprefix('not run: ')}"])
            continue
        gram = f"{runs.median('prepare'):.3g}" if one.whole else "none"
        rows.append([*start, who, gram, f"{one.selection:.3g}", f"{runs.median('process'):.3g}", runs.size])
    return rows


def _ratios(timed: list[Timed]) -> list[list[str]]:
    """Returns table rows for the growth of selection time with the picks and with the pool, where the paper has it."""
    (small, large), first = POOLS, SHARES[0]
    pairs = [(f"{large.title}, {share:.0%} / {first:.0%}", (large, share), (large, first)) for share in SHARES[1:]]
    pairs.append((f"{first:.0%}, {large.title} / {small.title}", (large, first), (small, first)))
    rows = []
    for name, above, below in pairs:
        published = above[0].selection[above[1]] / below[0].selection[below[1]]
        cells = [_ratio(*pair) for pair in zip(_find(timed, *above), _find(timed, *below), strict=True)]
        rows.append([f"seconds of selection: {name}", f"{published:.3g}", *cells])
    return rows


def _ratio(above: Timed, below: Timed) -> str:
    if not (above.found.runs and below.found.runs):
        return "not run"
    return f"{above.selection / below.selection:.3g}" if above.whole == below.whole else "other columns"


def _verdict(timed: list[Timed], failures: list[str]) -> str:
    if failures:
        return "Does not hold: see the failures."
    large = POOLS[-1]
    spent = ", ".join(
        f"{one.found.median('total'):.3g} s and {one.found.size} for {one.share:.0%} "
        f"(paper: {large.gram + large.selection[one.share]:.4g} s, {memory.readable(large.peak or 0)})"
        for one in timed
        if one.pool is large and one.columns == "auto"
    )
    return (
        "Another machine and another encoder, so only orders and ratios compare. "
        f"{large.title}, Gram columns and selection: {spent}."
    )


def _plot(timed: list[Timed]) -> Any:
    lines: list[Line] = []
    for pool in POOLS:
        m = next(one.m for one in timed if one.pool is pool)
        picks, seconds = [int(share * m) for share in pool.selection], [pool.gram + s for s in pool.selection.values()]
        style = {"color": "k", "linestyle": "--", "marker": "s"}
        lines.append((picks, seconds, {**style, "label": f"paper, {pool.title}"}))
        for columns, name in COLUMNS.items():
            found = [one for one in timed if one.pool is pool and one.columns == columns and one.found.runs]
            totals = [one.found.median("total") for one in found]
            lines.append(([one.k for one in found], totals, {"marker": "o", "label": f"{name}, {pool.title}"}))
    return plot("Gram columns and selection", "picks", "seconds", lines, xscale="log", yscale="log")
