"""Time and memory against the number of items, for fixed k and default settings."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.runner.report import Section, kept, styled, table
from bench.runner.runs import Runs, in_turn, parted, ratio
from bench.scale import inputs
from bench.scale.inputs import Done, Input, Sizes
from gip_gpu.system import memory

PLOT = "scale.png"
HEADER = ("items", "columns", "computed", "seconds, median (min to max)", "peak memory", "ns an item and pick",
          "time / that of the line above", "items / those of the line above")  # fmt: skip
NOTES = """\
Default settings use the whole Gram matrix if it is faster and small, so the strategies differ between sizes. Rows are
float16 and loaded before the clock starts; they are part of the peak. The dashed lines of the plot grow linearly in the
number of items, from the first point on."""

Point = tuple[Input, Runs]


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures the section of growing pools."""
    k, runs = sizes.growing_k, dict(sizes.growing)
    pools = {f"growth: {m:,}": inputs.synthetic(folder, m, sizes.d) for m in runs}
    jobs = {name: pool.job(k, "float16", runs=runs[pool.m]) for name, pool in pools.items()}
    found = in_turn(jobs, max(runs.values()), done, strict=True)
    return section([(pool, found[name]) for name, pool in pools.items()], k)


def section(points: Sequence[Point], k: int) -> Section:
    """Returns the section with the measured figures."""
    earlier: list[Any] = [(), *points[:-1]]
    return Section(
        title="Growth with the pool",
        verdict=verdict(points),
        basis=f"Synthetic, rows of length {points[0][0].d}, one signal, k = {k:,}.",
        body=(table([_row(k, *point, *before) for point, before in zip(points, earlier, strict=True)], HEADER), NOTES),
        plots={PLOT: plot(points)},
        failures=[f"{pool}: {reason}" for pool, found in points if (reason := parted(found))],
    )


def verdict(points: Sequence[Point]) -> str:
    """States whether time grows at most linearly in the number of items."""
    told, broken = [], []
    for (before, shorter), (after, longer) in pairwise(points):
        grown, items = ratio(longer, shorter), after.m / before.m
        told.append(f"{grown:.2f} times the time for {items:g} times the items, up to {after.m:,}")
        broken += told[-1:] * (grown > items)
    return kept("time grows no faster than linearly in the number of items.", broken, told)


def _row(k: int, pool: Input, found: Runs, before: Input | None = None, shorter: Runs | None = None) -> list[str]:
    """Returns the table row of a number of items, beside the next smaller one."""
    notes, each = found.notes, f"{1e9 * found.median() / pool.m / k:.3g}"
    row = [f"{pool.m:,}", notes["columns"], f"{notes['computed']:,}", found.spread(), found.size, each]
    return [*row, f"{ratio(found, shorter):.2f}", f"{pool.m / before.m:g}"] if before and shorter else row


def plot(points: Sequence[Point]) -> Any:
    """Plots time and peak memory against the number of items, with logarithmic axes."""
    from matplotlib.figure import Figure

    m = [pool.m for pool, _ in points]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    times, peaks = [found.median() for _, found in points], [found.peak for _, found in points]
    parts = (("time", "seconds", times), ("peak memory", "bytes", peaks))
    for axes, (title, unit, values) in zip(figure.subplots(1, 2), parts, strict=True):
        axes.loglog(m, values, marker="o", label="measured")
        axes.loglog(m, [values[0] * each / m[0] for each in m], "--", color="grey", label="slope 1")
        for each, value, (_, found) in zip(m, values, points, strict=True):
            shown = memory.readable(value) if unit == "bytes" else f"{value:.3g} s"
            note = f"{shown}, {found.notes['columns']}"
            axes.annotate(note, (each, value), (5, -12), textcoords="offset points", fontsize=7)
        styled(axes, title=title, xlabel="items", ylabel=unit).margins(0.2)
        axes.legend(frameon=False, fontsize=8)
    return figure
