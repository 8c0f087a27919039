"""`python -m bench plans`: planned seconds beside measured ones, for all objectives.

The process measures the plan's rates when it starts, so the plan holds for an otherwise idle machine: run nothing else.
"""

from functools import partial

from bench.plain.suite import OBJECTIVES, Point, pool
from bench.runner.ceilings import median_seconds
from bench.runner.command import Request, suite
from bench.runner.report import Report, heading, paragraphs, table
from gip_gpu.planning.cluster import duration
from gip_gpu.strategies.choose import make_plan

SHAPES = ((7473, 384, 75), (7473, 384, 370), (52_002, 384, 520))
FACTOR, RUNS = 2.0, 3
HEADER = ("objective", "m", "d", "k", "planned", "measured", "measured / planned")


@suite("plans", "plans.md", quick="Without the largest pool.")
def main(request: Request) -> Report:
    """Compare the plan's seconds with measured ones; failure: a factor beyond 2."""
    rows, beyond = [], []
    for m, d, k in SHAPES[:2] if request.quick else SHAPES:
        for name in OBJECTIVES:
            point = Point(name, m, d, k)
            plan = make_plan(m, d, point.signals, k, device="cpu", measure=True, small=True, **point.options).seconds
            took = median_seconds(partial(point.ours, pool(m, d), point.scores()), RUNS)
            row = [name, f"{m:,}", f"{d:,}", f"{k:,}", duration(plan), duration(took), f"{took / plan:.2f}"]
            rows.append(row)
            beyond += [f"{name}, {m:,} x {d:,}, k = {k:,}: {row[-1]}"] * (not 1 / FACTOR <= took / plan <= FACTOR)
            request.done(name)
    verdict = f"{len(rows) - len(beyond)} of {len(rows)} lie within a factor of {FACTOR:g}."
    title = heading("Times of plans", request.quick, f"Runs: {RUNS} each.")
    return Report(paragraphs(title, verdict, table(rows, HEADER)), beyond)
