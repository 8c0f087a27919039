"""One claim's part of the report, in a file of its own beside its plots, and the index of all parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench import machine
from gip_gpu.system.atomic_write import atomic_write

INDEX = "paper.md"
PAPER = "arXiv 2603.13790"


@dataclass(frozen=True)
class Section:
    """What a claim comes to.

    Attributes:
        title: what is claimed, and where in the paper.
        verdict: one sentence: does it reproduce?
        basis: how often and on what it was measured.
        body: paragraphs and tables, in Markdown.
        plots: figures of matplotlib by name of their file.
        failures: what must never happen and did: a theorem violated, other indices than the reference's.
    """

    title: str
    verdict: str
    basis: str
    body: Sequence[str]
    plots: dict[str, Any] = field(default_factory=dict)
    failures: Sequence[str] = ()

    def markdown(self, quick: bool) -> str:
        """The whole text; its first three paragraphs are the title, the verdict and the machine."""
        sizes = " Quick sizes: the figures say nothing about real ones." if quick else ""
        parts = [
            f"# {self.title}",
            self.verdict,
            f"Machine: {machine.line()}. {self.basis}{sizes}",
            *(f"**Failed: {failure}**" for failure in self.failures),
            *self.body,
            *(f"![{self.title}]({name})" for name in self.plots),
        ]
        return "\n\n".join(parts) + "\n"


def write(folder: Path, claim: str, section: Section, quick: bool) -> str:
    """Writes `<claim>.md` and its plots to the folder; returns the text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in section.plots.items():
        with atomic_write(folder / name) as file:
            figure.savefig(file, format="png", dpi=120)
    text = section.markdown(quick)
    with atomic_write(folder / f"{claim}.md") as file:
        file.write(text.encode())
    return text


def write_index(folder: Path, claims: Sequence[str]) -> None:
    """Writes `paper.md`: every claim with the verdict of its latest run, whenever that was."""
    parts = [
        "# The paper's claims, measured",
        f"Machine: {machine.line()}.",
        f"The paper is Greedy Information Projection, {PAPER}. `python -m bench.paper CLAIM` measures a claim and "
        "rewrites its section alone; so each names the machine and the day of its own run.",
    ]
    for claim in claims:
        path = folder / f"{claim}.md"
        if path.is_file():
            title, verdict, measured = path.read_text("utf-8").split("\n\n")[:3]
            parts += [f"## [{title.removeprefix('# ')}]({path.name})", verdict, measured]
        else:
            parts += [f"## {claim}", "Not measured yet."]
    with atomic_write(folder / INDEX) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """A Markdown table; cells are shown as they are."""
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))
