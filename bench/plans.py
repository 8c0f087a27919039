"""The plan's seconds beside measured ones, all objectives: `python -m bench.plans`; exit status 1 beyond a factor of 2.

The plan speaks for this machine alone, as its rates were measured when the process began: run it with nothing beside.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from tqdm import tqdm

from bench import machine
from bench.gpu_report import duration
from bench.paper.section import table
from bench.plain.sweep import OBJECTIVES, Point, pool
from gip_gpu.strategies.choose import make_plan
from gip_gpu.system.atomic_write import atomic_write

TARGET = Path(__file__).parent / "results" / "plans.md"
SHAPES, QUICK = ((7473, 384, 75), (7473, 384, 370), (52_002, 384, 520)), ((7473, 384, 75), (7473, 384, 370))
FACTOR, RUNS = 2.0, 3
HEADER = ("objective", "m", "d", "k", "planned", "measured", "measured / planned")


def planned(point: Point) -> float:
    """Seconds of the plan for a point."""
    objective, _, sign = point.objective.partition(", ")
    n = point.scores().shape[1] if point.scored else 0
    query = "ridge" if objective == "mi" else "direct"
    how = {"objective": objective, "sign": sign or "any", "query": query}
    return make_plan(point.m, point.d, n, point.k, device="cpu", measure=True, small=True, **how).seconds


def measured(point: Point) -> float:
    """The median of some runs after one that is not counted."""
    F, G = pool(point.m, point.d), point.scores()
    point.ours(F, G)
    spans = []
    for _ in range(RUNS):
        began = time.perf_counter()
        point.ours(F, G)
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def compare(quick: bool) -> Iterator[tuple[Point, float, float]]:
    """Each point with what was planned and what it took."""
    for m, d, k in QUICK if quick else SHAPES:
        for name in OBJECTIVES:
            point = Point(name, m, d, k)
            yield point, planned(point), measured(point)


@click.command("plans")
@click.option("--quick", is_flag=True, help="Without the largest pool.")
def main(quick: bool) -> None:
    """Compare the plan's seconds with measured ones; without --quick write bench/results/plans.md."""
    found = list(tqdm(compare(quick), total=len(OBJECTIVES) * len(QUICK if quick else SHAPES), disable=None))
    beyond = [point for point, plan, took in found if not 1 / FACTOR <= took / plan <= FACTOR]
    rows = [
        [
            *(point.objective, f"{point.m:,}", f"{point.d:,}", f"{point.k:,}"),
            *(duration(plan), duration(took), f"{took / plan:.2f}"),
        ]
        for point, plan, took in found
    ]
    verdict = f"{len(found) - len(beyond)} of {len(found)} lie within a factor of {FACTOR:g}."
    text = "\n\n".join(
        ["# Times of plans", f"Machine: {machine.line()}. Runs: {RUNS} each.", verdict, table(rows, HEADER)]
    )
    click.echo(text)
    if not quick:
        with atomic_write(TARGET) as file:
            file.write((text + "\n").encode())
    if beyond:
        sys.exit(1)


if __name__ == "__main__":
    main()
