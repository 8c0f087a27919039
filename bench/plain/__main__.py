"""`python -m bench.plain`: measures, prints the report. Exit status 1 where a plain loop was faster."""

import statistics
import sys
from pathlib import Path

import click
from tqdm import tqdm

from bench import cases, machine
from bench.gpu_report import duration
from bench.paper.section import table
from bench.plain.sweep import OBJECTIVES, Compared, compare, points
from gip_gpu.system.atomic_write import atomic_write

TARGET = cases.ROOT / "bench" / "results" / "plain.md"
# Runs of a millisecond or two differ by this much among themselves.
EQUAL = 0.95
HEADER = ("objective", "m", "d", "k", "epsilon", "gip_gpu", "plain float64", "speed-up")
NOTES = """\
Both codes run in one process, in turn, from the same float16 rows in memory to indices, preparation included; times are
medians. The plain loops (`bench/plain/loops.py`) check nothing, know no ties and give no certificate. A speed-up is
given where all indices are equal; elsewhere the pick from which on the plain loop, whose rounding then decides, parts
from the selection."""


@click.command("plain")
@click.option("--quick", is_flag=True, help="Pools of up to 7,473 rows of up to 384 values, three runs.")
@click.option("--runs", type=click.IntRange(min=1), help="Runs of each.  [default: 7, quick: 3]")
@click.option("--only", multiple=True, type=click.Choice(OBJECTIVES), help="Only these objectives; repeatable.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file.  [default: bench/results/plain.md; with --quick or --only: none]",
)
def main(quick: bool, runs: int | None, only: tuple[str, ...], out: Path | None) -> None:
    """Compare each objective with the plainest float64 code for it, over m, d and k."""
    chosen, count = points(quick, only), runs or (3 if quick else 7)
    measured = list(tqdm(compare(chosen, count, spare=0.5), total=len(chosen), disable=None))
    text = report(measured, count, quick)
    click.echo(text, nl=False)
    target = out or (None if quick or only else TARGET)
    if target is not None:
        with atomic_write(target) as file:
            file.write(text.encode())
    if slower := [found for found in measured if found.parted is None and found.speed_up < EQUAL]:
        click.echo(f"slower than the plain loop: {len(slower)} of {len(measured)}", err=True)
        sys.exit(1)


def report(measured: list[Compared], runs: int, quick: bool) -> str:
    """All of it."""
    equal = [found for found in measured if found.parted is None]
    slower = [found for found in equal if found.speed_up < EQUAL]
    sizes = ", quick sizes" if quick else ""
    verdict = f"Of {len(measured)} selections, {len(equal)} have equal indices throughout."
    if equal:
        ratios = [found.speed_up for found in equal]
        verdict += (
            f" Of these gip_gpu is slower than the plain loop in {len(slower)}; speed-ups {min(ratios):.2f} to "
            f"{max(ratios):.2f}, median {statistics.median(ratios):.2f}."
        )
    parts = [
        f"# gip_gpu and the plainest float64 code{sizes}",
        f"Machine: {machine.line()}. Runs: {runs} each, 3 where both together take more than half a second.",
        verdict,
        table([row(found) for found in measured], HEADER),
        NOTES,
    ]
    return "\n\n".join(parts) + "\n"


def row(found: Compared) -> list[str]:
    """A line of the table."""
    point = found.point
    shown = f"{found.speed_up:.2f} x" if found.parted is None else f"parts at pick {found.parted:,}"
    return [
        *(point.objective, f"{point.m:,}", f"{point.d:,}", f"{point.k:,}", f"{point.epsilon:g}"),
        *(duration(statistics.median(seconds)) for seconds in (found.ours, found.plain)),
        shown,
    ]


if __name__ == "__main__":
    main()
