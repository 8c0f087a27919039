"""Figures of a selection; matplotlib is loaded when one is asked for."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from gip_gpu.system.atomic_write import atomic_write

if TYPE_CHECKING:
    from gip_gpu.api.selection import Selection


def plot_selection(selection: "Selection", path: str | os.PathLike[str] | None = None) -> Any:
    """Gain (logarithmic) and explained share over the picks, as a matplotlib Figure; written to `path` if given."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "gip_gpu[plot]"') from error
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    gain, explained = figure.subplots(1, 2)
    picks = np.arange(1, len(selection) + 1)
    positive = selection.gains > 0
    gain.plot(picks[positive], selection.gains[positive], linewidth=1)
    if positive.any():
        gain.set_yscale("log")
    gain.set(xlabel="picks", ylabel=r"gain $\|W_s\|^2$", title="Gain of each pick")
    explained.plot(picks, selection.explained, linewidth=1)
    explained.set(xlabel="picks", ylabel="share", title="Explained share of the scores")
    for axes in (gain, explained):
        for start in selection.rounds[1:]:
            axes.axvline(start + 0.5, color="grey", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    if path is not None:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=150, format=os.fspath(path).rpartition(".")[2])
    return figure
