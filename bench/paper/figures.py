"""Figures that look alike."""

from typing import Any

from matplotlib.figure import Figure


def chart(title: str, xlabel: str, ylabel: str, **settings: Any) -> tuple[Any, Any]:
    """A figure with one set of axes; `settings` are those of `Axes.set`, such as yscale."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, **settings)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend(figure: Any) -> Any:
    """The figure with the names of its lines below it, where they cover nothing."""
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
