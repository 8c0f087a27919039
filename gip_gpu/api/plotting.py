"""Figures of a selection; matplotlib is imported on first use."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.system.atomic_write import atomic_write


def plot_picks(
    gains: NDArray[np.float64],
    explained: NDArray[np.float64],
    rounds: Sequence[int],
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Plots gain (logarithmic) and explained share over the picks; returns a matplotlib Figure.

    Args:
        gains, explained: (k,), one value per pick.
        rounds: number of picks made before each round began.
        path: file to write the figure to, in the format of its suffix, or None.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib writes no format of this suffix.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "gip_gpu[plot]"') from error
    suffix = "" if path is None else Path(path).suffix.removeprefix(".").lower()
    formats = FigureCanvasBase.get_supported_filetypes()
    if path is not None and suffix not in formats:
        raise ValueError(f"path is {os.fspath(path)!r}; its suffix must be one of {', '.join(sorted(formats))}")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    picks = np.arange(1, len(gains) + 1)
    positive = gains > 0
    left.plot(picks[positive], gains[positive], linewidth=1)
    if positive.any():
        left.set_yscale("log")
    left.set(xlabel="picks", ylabel=r"gain $\|W_s\|^2$", title="Gain of each pick")
    right.plot(picks, explained, linewidth=1)
    right.set(xlabel="picks", ylabel="share", title="Explained share of the scores")
    for axes in (left, right):
        for start in rounds[1:]:
            axes.axvline(start + 0.5, color="grey", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    if path is not None:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=150, format=suffix)
    return figure
