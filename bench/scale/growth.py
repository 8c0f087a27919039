"""Time and memory against the number of items, k fixed, by default settings."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.paper.section import Section, table
from bench.runs import Run
from bench.scale import inputs, runs
from bench.scale.child import Job
from bench.scale.inputs import Input
from bench.scale.runs import Done
from bench.scale.sizes import Sizes
from gip_gpu.system import memory

PLOT = "scale.png"
HEADER = ("items", "columns", "computed", "seconds, median (min to max)", "peak memory", "ns an item and pick",
          "time / that of the line above", "items / those of the line above")  # fmt: skip
NOTES = """\
Default settings, which take the whole Gram matrix where that is faster and small; so the strategies differ along the
line. Rows are float16 and loaded before the clock starts, and are part of the peak. The dashed lines of the plot grow
as the items do, from the first point on."""

Point = tuple[Input, Sequence[Run]]


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """The section of growing pools."""
    pools = {f"growth: {m:,}": inputs.synthetic(folder, m, sizes.d) for m, _ in sizes.growing}
    jobs = {name: Job(str(pool.F), str(pool.G), sizes.growing_k, loaded="float16") for name, pool in pools.items()}
    counts = dict(zip(jobs, (count for _, count in sizes.growing), strict=True))
    found = runs.in_turn(jobs, counts, done)
    return section([(pool, found[name]) for name, pool in pools.items()], sizes.growing_k)


def section(points: Sequence[Point], k: int) -> Section:
    """What was measured, told."""
    return Section(
        title="Growth with the pool",
        verdict=verdict(points),
        basis=f"Synthetic, rows of length {points[0][0].d}, one signal, k = {k:,}.",
        body=(table(rows(points, k), HEADER), NOTES),
        plots={PLOT: plot(points)},
        failures=[f"{pool}: {reason}" for pool, found in points if (reason := runs.wrong(found, found))],
    )


def verdict(points: Sequence[Point]) -> str:
    """Whether time grows no faster than the items."""
    told, broken = [], []
    for (before, shorter), (after, longer) in pairwise(points):
        ratio = runs.seconds(longer) / runs.seconds(shorter)
        told.append(f"{ratio:.2f} times the time for {after.m / before.m:g} times the items, up to {after.m:,}")
        broken += told[-1:] * (ratio > after.m / before.m)
    return runs.kept("time grows no faster than linearly in the number of items.", broken, told)


def rows(points: Sequence[Point], k: int) -> list[list[str]]:
    """By number of items."""
    lines = []
    for i, (pool, found) in enumerate(points):
        notes, seconds = found[0].notes, runs.seconds(found)
        before = points[i - 1] if i else None
        lines.append(
            [
                *(f"{pool.m:,}", notes["columns"], f"{notes['computed']:,}", runs.spread(found), runs.size(found)),
                f"{1e9 * seconds / pool.m / k:.3g}",
                f"{seconds / runs.seconds(before[1]):.2f}" if before else "",
                f"{pool.m / before[0].m:g}" if before else "",
            ]
        )
    return lines


def plot(points: Sequence[Point]) -> Any:
    """Time and peak memory against the items, both axes logarithmic."""
    from matplotlib.figure import Figure

    m = [pool.m for pool, _ in points]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    parts = (
        ("time", "seconds", [runs.seconds(found) for _, found in points]),
        ("peak memory", "bytes", [runs.peak(found) for _, found in points]),
    )
    for axes, (title, unit, values) in zip(figure.subplots(1, 2), parts, strict=True):
        axes.loglog(m, values, marker="o", label="measured")
        axes.loglog(m, [values[0] * each / m[0] for each in m], "--", color="grey", label="slope 1")
        for each, value, (_, found) in zip(m, values, points, strict=True):
            shown = memory.readable(value) if unit == "bytes" else f"{value:.3g} s"
            note = f"{shown}, {found[0].notes['columns']}"
            axes.annotate(note, (each, value), (5, -12), textcoords="offset points", fontsize=7)
        axes.set(title=title, xlabel="items", ylabel=unit)
        axes.margins(0.2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure
