"""Reports in Markdown: their common parts, tables, files and plots."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.runner import machine
from gip_gpu.system.atomic_write import atomic_write

PAPER = "arXiv 2603.13790"
# x, y and options of `Axes.plot`.
Line = tuple[Any, Any, dict[str, Any]]


@dataclass(frozen=True)
class Report:
    """The report of a suite."""

    text: str  # the report in Markdown
    failures: Sequence[str] = ()  # violations of guarantees, such as picks that differ from the reference's
    whole: bool = True  # whether it has all parts of the checked-in report
    save: Callable[[Path], None] | None = None  # writes the report if it consists of more than one text file


@dataclass(frozen=True)
class Section:
    """A claim or a question of a report, and its answer."""

    title: str  # the claim or the measured quantity
    verdict: str  # one sentence: does it hold?
    basis: str  # number of runs and data of the measurement
    body: Sequence[str]  # paragraphs and tables, in Markdown
    plots: dict[str, Any] = field(default_factory=dict)  # matplotlib figures by file name
    # Violations of guarantees: a violated theorem, or picks that differ from the reference's.
    failures: Sequence[str] = ()

    def markdown(self, quick: bool, heading: str = "# ") -> str:
        """Returns the whole text; its first three paragraphs are the title, the verdict and the machine."""
        sizes = "Quick sizes: the figures say nothing about real ones." if quick else ""
        return paragraphs(
            f"{heading}{self.title}",
            self.verdict,
            " ".join(part for part in (f"Machine: {machine.line()}.", self.basis, sizes) if part),
            *(f"**Failed: {failure}**" for failure in self.failures),
            *self.body,
            *(f"![{self.title}]({name})" for name in self.plots),
        )

    def draw(self, folder: Path) -> None:
        """Writes the plots."""
        for name, figure in self.plots.items():
            with atomic_write(folder / name) as file:
                figure.savefig(file, format="png", dpi=120)


def paragraphs(*parts: str) -> str:
    """Joins the parts that are not empty."""
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(title: str, quick: bool, basis: str = "", verdict: str = "") -> str:
    """Returns the title of a report, its verdict, and the machine line."""
    sizes = ", quick sizes: the figures say nothing about real ones" if quick else ""
    told = f"Machine: {machine.line()}. {basis}".rstrip()
    return paragraphs(f"# {title}{sizes}", verdict, told).rstrip()


def write(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode())


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Returns a Markdown table with unchanged cells; a row that is shorter than the header ends with empty cells."""
    filled = [[*row, *[""] * (len(header) - len(row))] for row in rows]
    return str(tabulate(filled, header, tablefmt="github", disable_numparse=True))


def spread(values: Sequence[float]) -> str:
    """Formats the median and, for several values, the range.

    >>> spread([2, 1, 4]), spread([2])
    ('2 (1 to 4)', '2')
    """
    text = f"{statistics.median(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g} to {max(values):.3g})"


def listed(parts: Sequence[str]) -> str:
    """Joins parts of a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def kept(claim: str, broken: Sequence[str], measured: Sequence[str]) -> str:
    """Returns a claim and whether the measured figures support it."""
    if not measured:
        return f"Claim: {claim} No figure."
    holds = f"It does not hold: {listed(broken)}." if broken else f"It holds: {listed(measured)}."
    return f"Claim: {claim} {holds}"


def plot(title: str, xlabel: str, ylabel: str, lines: Iterable[Line], **settings: Any) -> Any:
    """Returns a matplotlib figure with a legend below; `settings` are passed to `Axes.set`, for example yscale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = styled(figure.subplots(), title=title, xlabel=xlabel, ylabel=ylabel, **settings)
    for x, y, options in lines:
        axes.plot(x, y, **options)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def styled(axes: Any, **settings: Any) -> Any:
    """Applies the common style to axes."""
    axes.set(**settings)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
