"""Picks of algorithm 1 in arithmetic below float64: the first pick that differs, and the overlap of the sets."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.cpu.variants import greedy
from bench.paper.data import load
from bench.runner import pools
from bench.runner.report import PAPER, Section, plot, table
from bench.runner.runs import first_difference
from gip_gpu.metrics import iou
from gip_gpu.reference import matching_pursuit
from gip_gpu.signals import self_compression

SHARES = (0.1, 0.2)
# Explicit bits of the significand.
ROUNDED = {"tf32": 10, "bf16": 7}
PRECISIONS = ("fp32", "fp16")

Array = NDArray[Any]
Indices = NDArray[np.int64]


def rounded(values: Array, bits: int) -> Array:
    """Rounds values to `bits` explicit bits of the significand, ties to even; the range stays that of float32.

    >>> rounded(np.array([1.0, 1.005, 1.01], np.float32), 7)
    array([1.       , 1.0078125, 1.0078125], dtype=float32)
    """
    significand, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(np.ldexp(significand, bits + 1)), exponent - bits - 1))


def plain(F: Array, G: Array, k: int) -> Iterator[tuple[str, Indices]]:
    """Yields the picks of algorithm 1 in several precisions; holds one Gram matrix at a time."""
    X = pools.unit_rows(F)
    yield "float64", greedy(X @ X.T, G, k)
    single = X.astype(np.float32)
    yield "float32", greedy(single @ single.T, G, k)
    # The same products, summed in another order.
    first, second = np.array_split(single, 2, axis=1)
    yield "float32, the sums of two halves added", greedy(first @ first.T + second @ second.T, G, k)
    for name, bits in ROUNDED.items():
        low = rounded(single, bits)
        Phi = low @ low.T
        yield f"{name}: F rounded, sums and residual float32", greedy(Phi, G, k)
        picks = greedy(rounded(Phi, bits), G, k, partial(rounded, bits=bits))
        yield f"{name}: Gram matrix and residual rounded too", picks


def certified(F: Array, G: Array, k: int) -> Iterator[tuple[str, Indices]]:
    """Yields the picks of `gip_gpu.select` with Gram columns in several precisions and of both kinds."""
    for precision in PRECISIONS:
        for columns in ("gram", "lazy"):
            found = gip_gpu.select(F, G, k, precision=precision, columns=columns, sign="any", device="cpu")
            yield f"gip_gpu, {precision}, {columns} columns", found.indices


def measure(quick: bool) -> Section:
    """Compares picks with those of the float64 reference."""
    F = load(pools.GSM8K, quick)
    G = self_compression(F)
    budgets = [int(share * len(F)) for share in SHARES]
    k = max(budgets)
    reference = matching_pursuit(F, G, k, on_exhausted="restart")
    others, ours = dict(plain(F, G, k)), dict(certified(F, G, k))
    found = {**others, **ours}
    first = {name: first_difference(picks.tolist(), reference) for name, picks in found.items()}
    failures = [f"{name}: pick {first[name]} is not the reference's" for name in ours if first[name] is not None]
    told = {name: "none" if place is None else f"{place:,}" for name, place in first.items()}

    def overlaps(picks: Indices, counts: Iterable[int]) -> list[float]:
        return [iou(picks[:count], reference[:count]) for count in counts]

    rows = [[name, told[name], *(f"{x:.3f}" for x in overlaps(picks, budgets))] for name, picks in found.items()]
    header = ("Gram matrix and residual", "first pick that differs", *(f"IoU at {b:,} picks" for b in budgets))
    parted = "; ".join(f"{name}: {told[name]}" for name in others)
    counts = np.unique(np.linspace(1, k, 150).astype(int))
    lines = [(counts, overlaps(picks, counts), {"label": name, "linewidth": 1.3}) for name, picks in others.items()]
    equal = "differ as well: see the failures" if failures else "are the reference's in every precision"
    return Section(
        f"Plain arithmetic below float64 chooses other rows (beyond {PAPER}, which does not speak of precision)",
        f"The picks of gip_gpu {equal}. First pick (from 0) of plain arithmetic that is not: {parted}.",
        "One run of each: nothing is drawn.",
        [
            table(rows, header),
            f"GSM8K, {F.shape[0]:,} x {F.shape[1]}, self-compression scores. The reference is `gip_gpu.reference`, "
            "algorithm 1 in float64. tf32 and bf16 are emulated: values are rounded to 10 and 7 explicit bits, "
            "products and sums are float32, as in a tensor core. float32 sums are taken in two orders; other "
            "BLAS libraries and processors have others. The row float64 is algorithm 1 with the sums of BLAS.",
        ],
        {"divergence.png": plot("Plain algorithm 1 against float64", "picks", "IoU of the chosen sets", lines)},
        failures,
    )
