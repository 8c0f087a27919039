"""Rows in a file, within a memory limit, against a pass over the file for each pick."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.runner import child
from bench.runner.ceilings import ceilings
from bench.runner.report import Section, kept, spread, table
from bench.runner.runs import Runs, first_difference, in_turn, parted
from bench.scale import inputs, naive
from bench.scale.inputs import Done, Input, Sizes
from gip_gpu.system import memory

# Claimed speed-up over the baseline, the higher aim, and the claimed peak in bytes.
FASTER, AIM, PEAK = 4, 8, 2.5e9
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
Every run is a separate process, one at a time, in turn. Select gets the path of the file; "in memory" loads the float16
rows before the clock starts, and the picks of the others are compared with its picks, element by element. Peak memory
is the largest resident size of the process, Python and NumPy included; planned is the plan's memory of the run alone.
Passes are the bytes that the process read over the size of the file, which is in the system's cache."""
BASELINE_NOTES = """\
The baseline is a greedy loop in float32, without certificate, that reads and converts the whole file for each pick. Its
first {warm} picks are a warm-up. Its seconds are extrapolated: {k:,} times the median of the next {timed} picks, from
one run before the selections and one after them. The second baseline, for information, is run once."""
LIMIT_NOTES = """\
Reading and converting the file alone, with the same threads, takes {passes:.3g} s ({rate} a second); a large float32
product runs at {flops:.0f} GFLOP/s. The lower bound is one pass and the products of the {k:,} columns that are used; a
run whose rows stream reads them again for each batch of columns."""


@dataclass
class Measured:
    """The runs by variant and the baselines' results, for one number of signals."""

    pool: Input
    found: dict[str, Runs]
    baselines: dict[str, dict[str, Any]]
    k: int

    def wrong(self, name: str) -> str:
        """Returns the reason to withhold a variant's times, or ""."""
        return parted(self.found[IN_MEMORY], self.found[name])

    def baseline(self, way: str) -> float:
        """Extrapolates the seconds of k picks of a baseline."""
        return self.k * statistics.median(self.baselines[way]["each"])

    def ratio(self, name: str) -> float:
        """Returns the speed-up of a variant over the baseline."""
        return self.baseline(CONVERTED) / self.found[name].median()

    def passes(self, name: str) -> float | None:
        """Returns how often a variant read the file; None if unknown."""
        read = self.found[name].notes["read"]
        return None if read is None else read / (2 * self.pool.m * self.pool.d)


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures the section of rows in files."""
    measured = []
    for n, count in sizes.signals:
        pool, k = inputs.synthetic(folder, sizes.large, sizes.d, n), sizes.large_k
        done(f"file: n = {n}")
        jobs = {
            IN_MEMORY: pool.job(k, "float16", runs=1),
            f"from the file, {sizes.roomy}": pool.job(k, memory_limit=sizes.roomy),
            f"from the file, {sizes.tight}": pool.job(k, memory_limit=sizes.tight, runs=1),
        }
        # One run before the selections and one after them.
        baselines = {way: _baseline(sizes, pool, way, done) for way in BASELINES}
        found = in_turn(jobs, count, done, strict=True)
        later = _baseline(sizes, pool, CONVERTED, done)
        for part in ("each", "passes"):
            baselines[CONVERTED][part] += later[part]
        measured.append(Measured(pool, found, baselines, k))
    rates = child.call(ceilings, 1000, sizes.d, 1024 if sizes.quick else 4096)
    return section(measured, sizes, rates["flops"])


def _baseline(sizes: Sizes, pool: Input, way: str, done: Done) -> dict[str, Any]:
    """Runs a baseline and returns its result without the times of the warm-up picks."""
    told = child.call(naive.run, str(pool.F), str(pool.G), sizes.warm + sizes.timed, way)
    done(f"a pass a pick: {way}")
    return {**told, "each": told["each"][sizes.warm :]}


def section(measured: list[Measured], sizes: Sizes, flops: float) -> Section:
    """Returns the section with the measured figures."""
    k, pool = sizes.large_k, measured[0].pool
    passes = statistics.median(seconds for found in measured for seconds in found.baselines[CONVERTED]["passes"])
    size = 2 * pool.m * pool.d
    limited = [(found, name) for found in measured for name in found.found if name != IN_MEMORY]
    right = [(found, name) for found, name in limited if not found.wrong(name)]
    return Section(
        title="Rows in a file",
        verdict=verdict(limited),
        basis=f"{pool}, float16, {memory.readable(size)} in a .npy file, ratings 0 to 5, k = {k:,}.",
        body=(
            table([_row(found, name) for found in measured for name in found.found], HEADER),
            NOTES,
            table(
                [_baseline_row(found, way) for found in measured for way in BASELINES],
                [cell.format(k=k) for cell in BASELINE_HEADER],
            ),
            BASELINE_NOTES.format(warm=sizes.warm, timed=sizes.timed, k=k),
            table([_limit_row(found, name, passes, flops) for found, name in right], LIMIT_HEADER),
            LIMIT_NOTES.format(passes=passes, rate=memory.readable(size / passes), flops=flops / 1e9, k=k),
        ),
        failures=[f"n = {found.pool.n}, {name}: {why}" for found, name in limited if (why := found.wrong(name))],
    )


def verdict(limited: list[tuple[Measured, str]]) -> str:
    """States whether the claims hold."""
    ratios, peaks, slow, large, reached = [], [], [], [], 0
    for found, name in limited:
        if found.wrong(name):
            continue
        ratio, of_name, what = found.ratio(name), found.found[name], f"n = {found.pool.n}, {name}"
        ratios.append(f"{ratio:.1f} x ({what})")
        peaks.append(f"{of_name.size} ({what})")
        slow += ratios[-1:] * (ratio < FASTER)
        large += peaks[-1:] * (of_name.peak >= PEAK)
        reached += ratio >= AIM
    return (
        kept(f"at least {FASTER} times as fast as a pass over the file for each pick.", slow, ratios)
        + f" The aim of {AIM} times is reached by {reached} of {len(limited)}. "
        + kept(f"a peak below {memory.readable(PEAK)}.", large, peaks)
    )


def _row(found: Measured, name: str) -> list[str]:
    """Returns the table row of a variant: time, memory, passes, columns."""
    of_name, passes = found.found[name], found.passes(name)
    notes, computed = of_name.notes, of_name.notes["computed"]
    first = [str(found.pool.n), name, "in float32" if notes["resident"] else "stream"]
    if reason := found.wrong(name):
        return [*first, f"withheld: {reason}"]
    used = f"{found.k / computed:.0%}" if computed else ""
    read = "" if passes is None or name == IN_MEMORY else f"{passes:.1f}"
    parts = (f"{of_name.median(part):.3g}" for part in ("prepare", "columns", "steps"))
    times = (of_name.spread(), of_name.size, memory.readable(notes["planned"]))
    return [*first, *times, read, f"{computed:,}", used, *parts, f"{found.ratio(name):.1f} x"]


def _baseline_row(found: Measured, way: str) -> list[str]:
    """Returns the table row of a baseline: time of a pick, and whether its first picks equal gip_gpu's."""
    told, ours = found.baselines[way], found.found[IN_MEMORY].runs[0].indices
    picks = told["indices"]
    first = first_difference(picks, ours[: len(picks)])
    each = spread([1e3 * value for value in told["each"]])
    equal = f"all {len(picks)}" if first is None else f"the first {first} of {len(picks)}"
    peak = memory.readable(told["peak"])
    return [str(found.pool.n), BASELINES[way], each, f"{found.baseline(way):.3g}", peak, equal]


def _limit_row(found: Measured, name: str, passes: float, flops: float) -> list[str]:
    """Returns the table row of a variant: its time against the lower bound of reading and products."""
    of_name, made = found.found[name], found.passes(name)
    column = 2 * found.pool.m * found.pool.d / flops
    limits = [passes + found.k * column]
    if made is not None:
        limits.append(made * passes + of_name.notes["computed"] * column)
    cells = [cell for limit in limits for cell in (f"{limit:.3g}", f"{of_name.median() / limit:.2f}")]
    return [str(found.pool.n), name, *cells]
