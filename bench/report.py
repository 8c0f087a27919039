"""The report in Markdown: time, memory and agreement of each case, then how far select is from what BLAS allows."""

import statistics
from collections.abc import Sequence

from tabulate import tabulate

from bench import machine
from bench.runs import Measured, Run
from bench.variants import OURS, VARIANTS
from gip_gpu.system import memory

HEADER = (
    *("case", "variant", "seconds, median (min to max)", "speed-up of gip_gpu", "peak memory"),
    *("first differing pick", "IoU"),
)
LIMIT_HEADER = (
    *("case", "columns", "computed", "needed", "GEMM rate, GFLOP/s", "matrix-vector product, ms"),
    *("select, s", "GEMM of computed, s", "select / that", "GEMM of needed, s", "select / that"),
)
NOTES = """\
Every run is a process of its own, one at a time, the variants in turn. Loading the data is not timed; the cast, the
normalisation, the Gram matrix or its columns, and the selection are. Peak memory is the largest resident size of the
process. The first differing pick (counted from 0) and the IoU compare the indices with those of the float64 reference;
a speed-up is given only where gip_gpu's are equal to them, element by element, in every run."""
LIMIT_NOTES = """\
"computed" are the Gram columns that select computed, "needed" the k that it used. The GEMM times are what BLAS would
take for that many columns of m x d at the rate of a large float32 product, measured in the same session. A whole Gram
matrix is symmetric, so its columns cost about half of that."""


def report(measured: Sequence[Measured], runs: int, quick: bool) -> str:
    """All of it."""
    sizes = ", quick sizes: the figures say nothing about real ones" if quick else ""
    parts = [
        f"# gip_gpu.select against plain NumPy{sizes}",
        f"Machine: {machine.line()}. Runs: {runs} each.",
        speed(measured),
        NOTES,
        *(text for text in map(exhaustion, measured) if text),
        "## Distance from the limit",
        limit(measured),
        LIMIT_NOTES,
    ]
    return "\n\n".join(parts) + "\n"


def speed(measured: Sequence[Measured]) -> str:
    """The table of times, memory and agreement, one row a variant."""
    rows = [
        [str(found.case) if variant == next(iter(VARIANTS)) else "", variant, *_cells(found, variant)]
        for found in measured
        for variant in VARIANTS
    ]
    return _markdown(rows, HEADER)


def limit(measured: Sequence[Measured]) -> str:
    """The table of select's time against the products it cannot do without."""
    rows = []
    for found in measured:
        if reason := found.wrong():
            rows.append([str(found.case), f"withheld: {reason}", *[""] * (len(LIMIT_HEADER) - 2)])
            continue
        case, ceiling, runs = found.case, found.ceiling, found.runs[OURS]
        seconds = statistics.median(run.seconds for run in runs)
        computed = statistics.median_high(run.notes["computed"] for run in runs)
        column = 2 * case.m * case.d / ceiling.flops
        rows.append(
            [
                *(str(case), runs[0].notes["strategy"], f"{computed:,}", f"{case.k:,}"),
                *(f"{ceiling.flops / 1e9:.0f}", f"{ceiling.gemv * 1e3:.3g}", f"{seconds:.3g}"),
                *(f"{computed * column:.3g}", f"{seconds / (computed * column):.3g}" if computed else ""),
                *(f"{case.k * column:.3g}", f"{seconds / (case.k * column):.3g}"),
            ]
        )
    return _markdown(rows, LIMIT_HEADER)


def exhaustion(found: Measured) -> str:
    """Where the scores ran out, for the plain loop knows no rounds."""
    rounds = [] if found.wrong() else found.runs[OURS][0].notes["rounds"][1:]
    if not rounds:
        return ""
    return (
        f"{found.case}: the scores are exhausted after {', '.join(map(str, rounds))} picks. There gip_gpu and the "
        "reference begin another round on the original scores; the plain loop goes on in its rounding."
    )


def _cells(found: Measured, variant: str) -> list[str]:
    if variant in found.trouble:
        return [found.trouble[variant], "", "", "", ""]
    runs = found.runs[variant]
    first, overlap = found.agreement(variant)
    return [
        _spread([run.seconds for run in runs]),
        "" if variant == OURS else _speed_up(found, runs),
        memory.readable(statistics.median_high(run.peak for run in runs)),
        "none" if first is None else f"{first:,}",
        f"{overlap:.3f}",
    ]


def _speed_up(found: Measured, plain: Sequence[Run]) -> str:
    if reason := found.wrong():
        return f"withheld: {reason}"
    ours, theirs = (statistics.median(run.seconds for run in runs) for runs in (found.runs[OURS], plain))
    return f"{theirs / ours:.1f} x"


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})"


def _markdown(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))
