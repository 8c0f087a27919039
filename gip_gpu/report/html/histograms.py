"""Histograms of a pool beside those of its picks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 40
# Whole numbers of at most this range get a bar each.
WHOLE = 30


def histogram(sets: Mapping[str, NDArray[Any]], low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Returns the shares of several sets of values in common bins, for the page.

    Args:
        sets: values by name; those that are not finite do not count.
        low, high: ends of the bins; by default the least and the largest value.

    Returns:
        "edges" (bins + 1 numbers), "whole" (whether a bin is one whole number), and "sets", by name: "shares", the
        share of each bin, "median", "mean" and "count".
    """
    kept = {name: values[np.isfinite(values)].astype(np.float64) for name, values in sets.items()}
    both = np.concatenate(list(kept.values()))
    least = float(both.min()) if low is None and len(both) else low or 0.0
    most = float(both.max()) if high is None and len(both) else high or 0.0
    whole = low is None and high is None and most - least <= WHOLE and bool((both == np.rint(both)).all())
    if whole:
        edges = np.arange(least - 0.5, most + 1)
    else:
        edges = np.linspace(least, most if most > least else least + 1, BINS + 1)
    return {
        "edges": edges.tolist(),
        "whole": whole,
        "sets": {name: _described(values, edges) for name, values in kept.items()},
    }


def log_histogram(values: NDArray[np.float64]) -> dict[str, Any]:
    """Returns the histogram of shares in [0, 1] by powers of ten, the first bin holding 0 and all below 1e-12."""
    powers = np.full(len(values), -12.5)
    positive = values > 0
    powers[positive] = np.maximum(np.log10(values[positive]), -12.5)
    edges = np.arange(-13, 0.5, 0.5)
    return {"edges": edges.tolist(), "whole": False, "sets": {"picks": _described(np.minimum(powers, -0.01), edges)}}


def _described(values: NDArray[np.float64], edges: NDArray[np.float64]) -> dict[str, Any]:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    none = not len(values)
    return {
        "shares": (counts / max(1, len(values))).round(6).tolist(),
        "median": None if none else float(np.median(values)),
        "mean": None if none else float(values.mean()),
        "count": len(values),
    }
