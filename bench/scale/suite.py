"""`python -m bench scale`: time and memory of large pools, one section for each question."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from bench.runner.command import Request, suite
from bench.runner.report import Report, Section, write
from bench.scale import checkpoint, file, growth, inmemory, processes
from bench.scale.inputs import FULL, QUICK, Done, Sizes

SECTIONS: dict[str, Callable[[Sizes, Path, Done], Section]] = {
    "file": file.measure,
    "memory": inmemory.measure,
    "growth": growth.measure,
    "processes": processes.measure,
    "checkpoint": checkpoint.measure,
}
TITLE = """\
# Time and memory of large pools

`python -m bench scale` measures all sections. `--only NAME` measures one and keeps the earlier figures of the others;
so each section names the machine and the day of its own run. Both halves of a ratio are from one session.
"""
BREAK = "\n\n## "
FOLDER = click.Option(
    ["--folder"], type=click.Path(path_type=Path, file_okay=False),
    help="Folder for generated pools, 0.8 GB; reused if they exist.  [default: a temporary folder]",
)  # fmt: skip


@suite("scale", "scale.md", names=list(SECTIONS), options=[FOLDER])
def main(request: Request, folder: Path | None) -> Report:
    """Measure pools larger than the memory limit, growth, several processes and checkpoints; sections that are not
    measured stay unchanged in the file; failure: picks differed."""
    sizes = QUICK if request.quick else FULL
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        found = {name: measured(name, sizes, place, request.done) for name in request.names}
    text = report(found, request.quick)

    def save(path: Path) -> None:
        write(path, merged(path.read_text("utf-8") if path.is_file() else "", text, list(SECTIONS)))
        for section in found.values():
            section.draw(path.parent)

    return Report(text, [f"{name}: {each}" for name, of in found.items() for each in of.failures], save=save)


def measured(name: str, sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures a section; an error becomes a failed section, so that the other sections are still measured."""
    try:
        return SECTIONS[name](sizes, folder, done)
    except RuntimeError as error:
        return Section(name, "Not measured.", "", (), failures=[str(error)])


def report(found: Mapping[str, Section], quick: bool) -> str:
    """Returns the text of all sections."""
    return TITLE + "".join(f"\n{section.markdown(quick, f'## {name}: ')}" for name, section in found.items())


def merged(before: str, now: str, names: Sequence[str]) -> str:
    """Merges two reports: sections of `now` replace those of `before`; sections are in the order of `names`."""
    parts: dict[str, str] = {}
    for text in (before, now):
        for part in text.rstrip("\n").split(BREAK)[1:]:
            parts[part.partition(":")[0]] = part
    return "".join([TITLE.rstrip("\n"), *(BREAK + parts[name] for name in names if name in parts)]) + "\n"
