"""`python -m bench cpu`: time, memory and agreement of each case, and the distance of select from the BLAS limit."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.cpu.variants import OURS, VARIANTS, plain_bytes, run
from bench.runner import child, pools
from bench.runner.ceilings import ceilings
from bench.runner.command import Request, suite
from bench.runner.pools import CASES, Case
from bench.runner.report import Report, heading, paragraphs, table
from bench.runner.runs import Job, Runs, first_difference, in_turn, ratio
from gip_gpu.metrics import iou
from gip_gpu.reference import matching_pursuit

HEADER = (
    *("case", "variant", "seconds, median (min to max)", "speed-up of gip_gpu", "peak memory"),
    *("first differing pick", "IoU"),
)
LIMIT_HEADER = (
    *("case", "columns", "computed", "needed", "GEMM rate, GFLOP/s", "matrix-vector product, ms"),
    *("select, s", "GEMM of computed, s", "select / that", "GEMM of needed, s", "select / that"),
)
NOTES = """\
Every run is a separate process, one at a time, the variants in turn. Loading the data is not timed; the cast, the
normalisation, the Gram matrix or its columns, and the selection are. Peak memory is the largest resident size of the
process. The first differing pick (counted from 0) and the IoU compare the indices with those of the float64 reference;
a speed-up is shown only if gip_gpu's are equal to them, element by element, in every run."""
LIMIT_NOTES = """\
"computed" are the Gram columns that select computed, "needed" the k that it used. The GEMM times are those of the same
number of columns of m x d at the rate of a large float32 product, measured in the same session. A whole Gram matrix is
symmetric, so its columns cost about half of that."""


@dataclass
class Measured:
    """A case, the indices of the float64 reference, the ceilings of the machine, and the runs by variant."""

    case: Case
    reference: NDArray[np.int64]
    ceiling: dict[str, float]
    found: dict[str, Runs] = field(default_factory=dict)

    def agreement(self, variant: str) -> tuple[int | None, float]:
        """Returns the first pick, from 0, that differs from the reference, and the IoU; of the worst run."""
        found = [(first_difference(run.indices, self.reference), run.indices) for run in self.found[variant].runs]
        first, indices = min(found, key=lambda pair: math.inf if pair[0] is None else pair[0])
        return first, iou(indices, self.reference)

    def wrong(self) -> str:
        """Returns the reason to withhold gip_gpu's times; "" if all its runs gave the indices of the reference."""
        return self.found[OURS].wrong(self.reference)


def jobs(case: Case, quick: bool) -> dict[str, Job]:
    """Returns the job of each variant; only plain variants are skipped for lack of memory."""
    needed = plain_bytes(case.m, case.d)
    return {each: Job(run, (case.name, each, quick), 0 if each == OURS else needed) for each in VARIANTS}


@suite("cpu", names=[case.name for case in CASES], runs=(3, 1))
def main(request: Request) -> Report:
    """Measure gip_gpu.select against plain NumPy; failure: gip_gpu failed or gave other indices."""
    limits = cache(lambda m, d: child.call(ceilings, m, d, 256 if request.quick else 4096))
    measured = []
    for case in (pools.find(name, request.quick) for name in request.names):
        ceiling = limits(case.m, case.d)
        reference = matching_pursuit(*pools.load(case), case.k, on_exhausted="restart")
        request.done(f"{case.name}: reference")
        found = in_turn(jobs(case, request.quick), request.runs, request.done)
        measured.append(Measured(case, reference, ceiling, found))
    text = paragraphs(
        heading("gip_gpu.select against plain NumPy", request.quick, f"Runs: {request.runs} each."),
        speed(measured),
        NOTES,
        *map(exhaustion, measured),
        "## Distance from the limit",
        limit(measured),
        LIMIT_NOTES,
    )
    return Report(text, [f"{found.case}: {reason}" for found in measured if (reason := found.wrong())])


def speed(measured: Sequence[Measured]) -> str:
    """Returns the table of times, memory and agreement, one row a variant."""
    rows = []
    for found in measured:
        reason, ours = found.wrong(), found.found[OURS]
        for place, (variant, runs) in enumerate(found.found.items()):
            row = ["" if place else str(found.case), variant]
            if runs.trouble:
                rows.append([*row, runs.trouble])
                continue
            first, overlap = found.agreement(variant)
            speed_up = f"withheld: {reason}" if reason else f"{ratio(runs, ours):.1f} x"
            agreed = ("none" if first is None else f"{first:,}", f"{overlap:.3f}")
            rows.append([*row, runs.spread(), "" if variant == OURS else speed_up, runs.size, *agreed])
    return table(rows, HEADER)


def limit(measured: Sequence[Measured]) -> str:
    """Returns the table of select's time against that of the matrix products it needs."""
    rows = []
    for found in measured:
        if reason := found.wrong():
            rows.append([str(found.case), f"withheld: {reason}"])
            continue
        case, flops, ours = found.case, found.ceiling["flops"], found.found[OURS]
        seconds = ours.median()
        computed = statistics.median_high(run.notes["computed"] for run in ours.runs)
        row = [str(case), ours.notes["columns"], f"{computed:,}", f"{case.k:,}", f"{flops / 1e9:.0f}"]
        row += [f"{found.ceiling['gemv'] * 1e3:.3g}", f"{seconds:.3g}"]
        for count in (computed, case.k):
            least = count * 2 * case.m * case.d / flops
            row += [f"{least:.3g}", f"{seconds / least:.3g}" if least else ""]
        rows.append(row)
    return table(rows, LIMIT_HEADER)


def exhaustion(found: Measured) -> str:
    """Names the picks at which the scores were exhausted, as the plain loop has no rounds; "" if they were not."""
    rounds = [] if found.wrong() else found.found[OURS].notes["rounds"][1:]
    if not rounds:
        return ""
    return (
        f"{found.case}: the scores are exhausted after {', '.join(map(str, rounds))} picks. There gip_gpu and the "
        "reference begin another round on the original scores; the plain loop continues with rounding errors."
    )
