"""`python -m bench plain`: each objective by gip_gpu and by the plainest float64 code for it."""

import statistics

from bench.plain.sweep import OBJECTIVES, Compared, compare, points
from bench.runner.command import Request, suite
from bench.runner.report import Report, duration, heading, paragraphs, table

# Repeated runs of one or two milliseconds differ by this factor.
EQUAL = 0.95
HEADER = ("objective", "m", "d", "k", "epsilon", "gip_gpu", "plain float64", "speed-up")
NOTES = """\
Both codes run in one process, in turn, from the same float16 rows in memory to indices, preparation included. Times are
medians. The plain loops (`bench/plain/loops.py`) check nothing, ignore ties and return no certificate. The table shows
a speed-up if all indices are equal, otherwise the first pick in which the plain loop, whose rounding decides there,
differs from the selection."""


@suite("plain", "plain.md", names=OBJECTIVES, runs=(7, 3), quick="Pools of up to 7,473 rows of up to 384 values.")
def main(request: Request) -> Report:
    """Compare each objective with the plainest float64 code for it, over m, d and k; failure: it was faster."""
    measured = []
    for point in points(request.quick, request.names):
        measured.append(compare(point, request.runs))
        request.done(f"{point.objective}, {point.m:,} x {point.d}, k = {point.k:,}")
    return report(measured, request)


def report(measured: list[Compared], request: Request) -> Report:
    """Returns the report of all comparisons."""
    equal = [found for found in measured if found.parted is None]
    slower = [found for found in equal if found.speed_up < EQUAL]
    verdict = f"Of {len(measured)} selections, {len(equal)} have equal indices throughout."
    if equal:
        ratios = [found.speed_up for found in equal]
        verdict += (
            f" Of these gip_gpu is slower than the plain loop in {len(slower)}; speed-ups {min(ratios):.2f} to "
            f"{max(ratios):.2f}, median {statistics.median(ratios):.2f}."
        )
    basis = f"Runs: {request.runs} each, 3 where both together take more than half a second."
    title = heading("gip_gpu and the plainest float64 code", request.quick, basis)
    text = paragraphs(title, verdict, table([row(found) for found in measured], HEADER), NOTES)
    return Report(text, [f"slower than the plain loop: {len(slower)} of {len(measured)}"] if slower else [])


def row(found: Compared) -> list[str]:
    """Returns a row of the table."""
    point = found.point
    shown = f"{found.speed_up:.2f} x" if found.parted is None else f"parts at pick {found.parted:,}"
    sizes = (point.objective, f"{point.m:,}", f"{point.d:,}", f"{point.k:,}", f"{point.epsilon:g}")
    return [*sizes, duration(found.ours), duration(found.plain), shown]
