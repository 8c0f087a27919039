"""`python -m bench paper`: the paper's claims, each a section in its own file, and an index of all claims."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from bench.paper import bound, divergence, information, noise, orthogonal, table6, table9
from bench.runner import machine
from bench.runner.command import Request, suite
from bench.runner.pools import Missing
from bench.runner.report import PAPER, Report, Section, paragraphs, write

CLAIMS: dict[str, Callable[[bool], Section]] = {
    "table6": table6.measure,
    "noise": noise.measure,
    "table9": table9.measure,
    "orthogonal": orthogonal.measure,
    "bound": bound.measure,
    "information": information.measure,
    "divergence": divergence.measure,
}
INDEX = "paper.md"


@suite("paper", "paper", names=list(CLAIMS), quick="Tiny sizes: does it work, not what comes out.")
def main(request: Request) -> Report:
    """Measure claims of the paper, each beside the paper's own figures; --output is a folder; failure: a guarantee
    does not hold."""
    found = {}
    for claim in request.names:
        try:
            found[claim] = CLAIMS[claim](request.quick)
        except Missing as reason:
            click.echo(f"{claim}: skipped: {reason}", err=True)
        request.done(claim)
    text = "\n".join(section.markdown(request.quick) for section in found.values())
    failures = [f"{claim}: {failure}" for claim, section in found.items() for failure in section.failures]
    return Report(text, failures, save=lambda folder: save(folder, found, request.quick))


def save(folder: Path, found: Mapping[str, Section], quick: bool) -> None:
    """Writes the sections and their plots, and rewrites the index."""
    for claim, section in found.items():
        write(folder / f"{claim}.md", section.markdown(quick))
        section.draw(folder)
    if found:
        write(folder / INDEX, index(folder, list(CLAIMS)))


def index(folder: Path, claims: Sequence[str]) -> str:
    """Returns the index: every claim with the verdict of its latest run."""
    parts = [
        "# The paper's claims, measured",
        f"Machine: {machine.line()}.",
        f"The paper is Greedy Information Projection, {PAPER}. `python -m bench paper --only CLAIM` measures a claim "
        "and rewrites its section alone; so each names the machine and the day of its own run.",
    ]
    for path in (folder / f"{claim}.md" for claim in claims):
        if path.is_file():
            title, verdict, measured = path.read_text("utf-8").split("\n\n")[:3]
            parts += [f"## [{title.removeprefix('# ')}]({path.name})", verdict, measured]
        else:
            parts += [f"## {path.stem}", "Not measured yet."]
    return paragraphs(*parts)
