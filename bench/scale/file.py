"""Rows in a file, within a memory limit, against a pass over the file for each pick."""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.paper.section import Section, table
from bench.runs import Run, child_output, first_difference
from bench.scale import inputs, runs
from bench.scale.child import Job
from bench.scale.inputs import Input
from bench.scale.runs import Done
from bench.scale.sizes import Sizes
from gip_gpu.strategies.choose import make_plan
from gip_gpu.system import memory
from gip_gpu.validation.settings import as_bytes

# What is claimed of the time against the baseline's, the aim beyond, and the peak.
FASTER, AIM, PEAK = 4, 8, 2.5e9
# Limits that are tried, where the first is too small, are multiples of this.
ROUND = 10**8
IN_MEMORY = "in memory, no limit"
CONVERTED, MAPPED = "converted", "mapped"
BASELINES = {CONVERTED: "gip_gpu's reading and conversion", MAPPED: "a memory map in plain NumPy"}

HEADER = (
    *("n", "variant", "rows", "seconds, median (min to max)", "peak memory", "planned", "passes over the file"),
    *("columns computed", "used", "preparation, s", "columns, s", "steps, s", "against a pass a pick"),
)
BASELINE_HEADER = ("n", "a pass a pick by", "a pick, ms, median (min to max)", "{k:,} picks, s, extrapolated",
                   "peak memory", "equal to gip_gpu's picks")  # fmt: skip
LIMIT_HEADER = (
    *("n", "variant", "one pass and the used columns, s", "select / that"),
    *("its passes and the computed columns, s", "select / that"),
)
NOTES = """\
Every run is a process of its own, one at a time, in turn. Select is given the path of the file; "in memory" has the
float16 rows loaded before the clock starts, and its picks are what the others' are compared with, element by element.
Peak memory is the largest resident size of the process, Python and NumPy included; planned is what the plan says of the
run alone. Passes are the bytes that the process read against those of the file, which lies in the system's cache."""
BASELINE_NOTES = """\
The baseline is a greedy loop in float32, without certificate, that reads and converts the whole file for each pick. Its
first {warm} picks are not counted; the median of the next {timed}, in a run before the selections and another behind
them, times {k:,}, is what it is taken to need, which is an extrapolation. The second baseline, for information, is run
once."""
LIMIT_NOTES = """\
Reading and converting the file alone, by the threads that do it, takes {passes:.3g} s ({rate} a second); a large
float32 product runs at {flops:.0f} GFLOP/s. Below one pass and the products of the {k:,} columns that are used, nothing
that needs them all can come; a run whose rows stream reads them again for each batch of columns."""


@dataclass
class Measured:
    """Of one number of signals: the runs by variant, and what the baselines told."""

    pool: Input
    found: dict[str, list[Run]]
    baselines: dict[str, dict[str, Any]]
    k: int

    def wrong(self, name: str) -> str | None:
        """Why a variant's times do not count."""
        return runs.wrong(self.found[name], self.found[IN_MEMORY])

    def baseline(self, way: str) -> float:
        """Seconds that k picks of a baseline are taken to need."""
        return self.k * statistics.median(self.baselines[way]["each"])

    def ratio(self, name: str) -> float:
        """How often a variant's time goes into the baseline's."""
        return self.baseline(CONVERTED) / runs.seconds(self.found[name])

    def passes(self, name: str) -> float | None:
        """How often a variant read the file."""
        read = self.found[name][0].notes["read"]
        return None if read is None else read / (2 * self.pool.m * self.pool.d)


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """The section of rows in files."""
    measured = [_signals(sizes, folder, n, count, done) for n, count in sizes.signals]
    ceiling = child_output("bench.ceiling", "1000", str(sizes.d), *(("--size", "1024") if sizes.quick else ()))
    return section(measured, sizes, ceiling["flops"])


def section(measured: list[Measured], sizes: Sizes, flops: float) -> Section:
    """What was measured, told."""
    k, pool = sizes.large_k, measured[0].pool
    passes = statistics.median(seconds for found in measured for seconds in found.baselines[CONVERTED]["passes"])
    size = 2 * pool.m * pool.d
    header = [cell.format(k=k) for cell in BASELINE_HEADER]
    limited = [(found, name) for found in measured for name in found.found if name != IN_MEMORY]
    return Section(
        title="Rows in a file",
        verdict=verdict(limited),
        basis=f"{pool}, float16, {memory.readable(size)} in a .npy file, ratings 0 to 5, k = {k:,}.",
        body=(
            table([row for found in measured for row in rows(found)], HEADER),
            NOTES,
            table([row for found in measured for row in baseline_rows(found)], header),
            BASELINE_NOTES.format(warm=sizes.warm, timed=sizes.timed, k=k),
            table([row for found in measured for row in limit_rows(found, passes, flops)], LIMIT_HEADER),
            LIMIT_NOTES.format(passes=passes, rate=memory.readable(size / passes), flops=flops / 1e9, k=k),
        ),
        failures=[f"n = {found.pool.n}, {name}: {why}" for found, name in limited if (why := found.wrong(name))],
    )


def verdict(limited: list[tuple[Measured, str]]) -> str:
    """Whether the claims hold."""
    ratios, peaks, slow, large = [], [], [], []
    for found, name in limited:
        if found.wrong(name):
            continue
        ratio, peak, what = found.ratio(name), runs.peak(found.found[name]), f"n = {found.pool.n}, {name}"
        ratios.append(f"{ratio:.1f} x ({what})")
        peaks.append(f"{memory.readable(peak)} ({what})")
        slow += ratios[-1:] * (ratio < FASTER)
        large += peaks[-1:] * (peak >= PEAK)
    reached = sum(found.ratio(name) >= AIM for found, name in limited if not found.wrong(name))
    return (
        runs.kept(f"at least {FASTER} times as fast as a pass over the file for each pick.", slow, ratios)
        + f" The aim of {AIM} times is reached by {reached} of {len(limited)}. "
        + runs.kept(f"a peak below {memory.readable(PEAK)}.", large, peaks)
    )


def rows(found: Measured) -> list[list[str]]:
    """By variant: time, memory, passes, columns."""
    lines = []
    for name, of_name in found.found.items():
        first = [str(found.pool.n), name, "in float32" if of_name[0].notes["resident"] else "stream"]
        if reason := found.wrong(name):
            lines.append([*first, f"withheld: {reason}", *[""] * (len(HEADER) - len(first) - 1)])
            continue
        notes, passes = of_name[0].notes, found.passes(name)
        lines.append(
            [
                *(*first, runs.spread(of_name), runs.size(of_name), memory.readable(notes["planned"])),
                *("" if passes is None or name == IN_MEMORY else f"{passes:.1f}", f"{notes['computed']:,}"),
                f"{found.k / notes['computed']:.0%}" if notes["computed"] else "",
                *(_part(of_name, part) for part in ("prepare", "columns", "steps")),
                f"{found.ratio(name):.1f} x",
            ]
        )
    return lines


def _part(of_name: list[Run], part: str) -> str:
    """Median seconds of a part of select."""
    return f"{statistics.median(run.notes['timings'][part] for run in of_name):.3g}"


def baseline_rows(found: Measured) -> list[list[str]]:
    """By baseline: what a pick takes, and whether its first picks are ours."""
    lines = []
    for way, title in BASELINES.items():
        told = found.baselines[way]
        first = first_difference(told["indices"], np.array(found.found[IN_MEMORY][0].indices[: len(told["indices"])]))
        lines.append(
            [
                *(str(found.pool.n), title, runs.ranged([1e3 * value for value in told["each"]])),
                *(f"{found.baseline(way):.3g}", memory.readable(told["peak"])),
                f"all {len(told['indices'])}" if first is None else f"the first {first} of {len(told['indices'])}",
            ]
        )
    return lines


def limit_rows(found: Measured, passes: float, flops: float) -> list[list[str]]:
    """By variant: the time against what reading and products take at least."""
    lines = []
    for name, of_name in found.found.items():
        if name == IN_MEMORY or found.wrong(name):
            continue
        column, taken = 2 * found.pool.m * found.pool.d / flops, runs.seconds(of_name)
        least = passes + found.k * column
        cells = [str(found.pool.n), name, f"{least:.3g}", f"{taken / least:.2f}"]
        made = found.passes(name)
        if made is not None:
            own = made * passes + of_name[0].notes["computed"] * column
            cells += [f"{own:.3g}", f"{taken / own:.2f}"]
        lines.append(cells)
    return lines


def tight(wanted: str, pool: Input, k: int) -> str:
    """The limit, or the next round number of bytes that is enough for a run."""
    if _runs(wanted, pool, k):
        return wanted
    first = (as_bytes(wanted, 0) or 0) // ROUND + 1
    found = next(count for count in itertools.count(first) if _runs(count * ROUND, pool, k))
    return f"{found * ROUND // 10**6}MB"


def _runs(limit: str | int, pool: Input, k: int) -> bool:
    try:
        make_plan(pool.m, pool.d, pool.n, k, device="cpu", memory_limit=limit)
    except ValueError:
        return False
    return True


def _signals(sizes: Sizes, folder: Path, n: int, count: int, done: Done) -> Measured:
    pool = inputs.synthetic(folder, sizes.large, sizes.d, n)
    done(f"file: n = {n}")
    files = str(pool.F), str(pool.G)
    limits = {limit: Job(*files, sizes.large_k, memory_limit=limit)
              for limit in (sizes.roomy, tight(sizes.tight, pool, sizes.large_k))}  # fmt: skip
    jobs = {IN_MEMORY: Job(*files, sizes.large_k, loaded="float16")}
    jobs |= {f"from the file, {limit}": job for limit, job in limits.items()}
    counts = {name: count if job.memory_limit == sizes.roomy else 1 for name, job in jobs.items()}
    baselines = {}
    # One before the selections and one behind them.
    for way in BASELINES:
        baselines[way] = _baseline(sizes, pool, way, done)
    found = runs.in_turn(jobs, counts, done)
    later = _baseline(sizes, pool, CONVERTED, done)
    for part in ("each", "passes"):
        baselines[CONVERTED][part] += later[part]
    return Measured(pool, found, baselines, sizes.large_k)


def _baseline(sizes: Sizes, pool: Input, way: str, done: Done) -> dict[str, Any]:
    """What a baseline tells, its first picks' times left out."""
    picks = str(sizes.warm + sizes.timed)
    told = child_output("bench.scale.naive", str(pool.F), str(pool.G), picks, way)
    done(f"a pass a pick: {way}")
    return {**told, "each": told["each"][sizes.warm :]}
