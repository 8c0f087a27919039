"""Rows in memory as float32: batches of columns against one matrix-vector product a pick, in the same engine."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from bench.runner.report import Section, kept, listed, table
from bench.runner.runs import Runs, in_turn, parted, ratio
from bench.scale import inputs
from bench.scale.inputs import Done, Input, Sizes

# Batches must be faster by this factor if k is this share of m; they must never be slower.
SHARE, FASTER = 0.05, 1.5
OURS, SINGLE = "gip_gpu", "a product a pick"
HEADER = (
    *("pool", "k", "of m", "gip_gpu, s, median (min to max)", "a product a pick, s", "ratio", "within the spread"),
    *("of the picks", "columns", "computed", "used", "a pick, ms", "a product a pick, ms", "peak memory"),
)
NOTES = """\
Both variants are gip_gpu.select on rows that were loaded and cast to float32 before the clock starts: with default
settings, and with the plan for too little memory for a batch, which takes the same steps with the same certificate but
computes each column by one matrix-vector product. A ratio is shown only if the picks of all runs are equal. "Within the
spread" is the smallest and the largest ratio of any two runs, if there are several. Times are those of whole calls; "of
the picks" is the ratio without the preparation, in which only gip_gpu allocates columns and gathers the rows of its
look ahead."""


@dataclass(frozen=True)
class Measured:
    """A pool, k, and the runs of both variants."""

    pool: Input
    k: int
    found: dict[str, Runs]

    @property
    def wrong(self) -> str:
        """Reason to withhold the ratio, or ""."""
        return parted(self.found[SINGLE], self.found[OURS])

    @property
    def ratio(self) -> float:
        """Speed-up of batches over a product a pick."""
        return ratio(self.found[SINGLE], self.found[OURS])

    @property
    def ratios(self) -> tuple[float, float]:
        """Smallest and largest ratio of any two runs."""
        ours, single = self.found[OURS].figures(), self.found[SINGLE].figures()
        return min(single) / max(ours), max(single) / min(ours)

    @property
    def of_picks(self) -> float:
        """Ratio without the preparation."""
        both = (self.found[name].runs for name in (SINGLE, OURS))
        single, ours = (statistics.median(run.seconds - run.figure("prepare") for run in runs) for runs in both)
        return single / ours

    def __str__(self) -> str:
        return f"{self.pool}, k = {self.k:,}"


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures the section of rows in memory."""
    wanted = [(inputs.alpaca(folder, sizes.quick), k, count) for k, count in sizes.shares]
    wanted += [(inputs.synthetic(folder, m, sizes.d), k, count) for m, k, count in sizes.synthetic]
    measured = []
    for pool, k, count in wanted:
        jobs = {OURS: pool.job(k, "float32"), SINGLE: pool.job(k, "float32", single=True)}
        measured.append(Measured(pool, k, in_turn(jobs, count, done, strict=True)))
    return section(measured)


def section(measured: list[Measured]) -> Section:
    """Returns the section with the measured figures."""
    return Section(
        title="Rows in memory",
        verdict=verdict(measured),
        basis="One signal: self-compression of Alpaca, ratings of synthetic pools.",
        body=(table([row(found) for found in measured], HEADER), NOTES),
        failures=[f"{found}: {found.wrong}" for found in measured if found.wrong],
    )


def verdict(measured: list[Measured]) -> str:
    """States whether the claims hold."""
    counted = [found for found in measured if not found.wrong]
    at_share = [found for found in counted if abs(found.k / found.pool.m - SHARE) < SHARE / 100]

    def told(chosen: list[Measured]) -> list[str]:
        return [f"{found.ratio:.2f} ({found})" for found in chosen]

    slower = [found for found in counted if found.ratio < 1]
    # A ratio below 1 counts as noise if two of the runs have a ratio of at least 1.
    noise = [found for found in slower if found.ratios[1] >= 1]
    beyond = told([found for found in slower if found not in noise])
    never = kept("never slower than a matrix-vector product a pick.", beyond, told(counted))
    unsure = f" Within the spread of the runs are {listed(told(noise))}." if noise else ""
    short = told([found for found in at_share if found.ratio < FASTER])
    faster = kept(f"at least {FASTER} times as fast at {SHARE:.0%} of the pool.", short, told(at_share))
    return f"{never}{unsure} {faster}"


def row(found: Measured) -> list[str]:
    """Returns a table row: times, ratio and columns."""
    ours, single = found.found[OURS], found.found[SINGLE]
    first = [str(found.pool), f"{found.k:,}", f"{found.k / found.pool.m:.3g}"]
    if found.wrong:
        return [*first, f"withheld: {found.wrong}"]
    computed, (least, most) = ours.notes["computed"], found.ratios
    several = f"{least:.2f} to {most:.2f}" if len(ours.runs) > 1 else ""
    # The plain float64 loop of small pools stores no columns.
    used = f"{found.k / computed:.0%}" if computed else ""
    each = (f"{1e3 * runs.median() / found.k:.3g}" for runs in (ours, single))
    times = (ours.spread(), single.spread(), f"{found.ratio:.2f}", several, f"{found.of_picks:.2f}")
    return [*first, *times, ours.notes["columns"], f"{computed:,}", used, *each, ours.size]
