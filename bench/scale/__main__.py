"""`python -m bench.scale`: measures what large pools take, writes the report. Exit status 1 where picks differed."""

import sys
import tempfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import click
from tqdm import tqdm

from bench import cases
from bench.paper.section import Section
from bench.scale import checkpoint, file, growth, inmemory, processes
from bench.scale.report import merged, report
from bench.scale.runs import Done
from bench.scale.sizes import FULL, QUICK, Sizes
from gip_gpu.system.atomic_write import atomic_write

SECTIONS: dict[str, Callable[[Sizes, Path, Done], Section]] = {
    "file": file.measure,
    "memory": inmemory.measure,
    "growth": growth.measure,
    "processes": processes.measure,
    "checkpoint": checkpoint.measure,
}
TARGET = cases.ROOT / "bench" / "results" / "scale.md"


@click.command("scale")
@click.option("--quick", is_flag=True, help="Tiny sizes, one run: does it work, not how fast is it.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these sections; repeatable, and p* is a pattern.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where pools are made, 0.8 GB, and found again.  [default: a temporary folder]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file and the plot beside it; sections that were not measured now stay as they are "
    "there.  [default: bench/results/scale.md; with --quick: none]",
)
def main(quick: bool, only: tuple[str, ...], folder: Path | None, out: Path | None) -> None:
    """Measure pools larger than the memory limit, growth, several processes and checkpoints; print a report."""
    chosen = [name for name in SECTIONS if not only or any(fnmatch(name, pattern) for pattern in only)]
    if not chosen:
        raise click.UsageError(f"--only fits none of: {', '.join(SECTIONS)}")
    sizes, found = QUICK if quick else FULL, {}
    # No bar where standard error is no terminal.
    with tempfile.TemporaryDirectory() as temporary, tqdm(disable=None) as bar:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)

        def done(piece: str) -> None:
            bar.set_description(piece)
            bar.update()

        for name in chosen:
            found[name] = _section(name, sizes, place, done)
    click.echo(report(found, quick), nl=False)
    target = out or (None if quick else TARGET)
    if target is not None:
        before = target.read_text("utf-8") if target.is_file() else ""
        with atomic_write(target) as stream:
            stream.write(merged(before, report(found, quick), list(SECTIONS)).encode())
        for section in found.values():
            for name, figure in section.plots.items():
                with atomic_write(target.with_name(name)) as stream:
                    figure.savefig(stream, format="png", dpi=120)
    if failures := [f"{name}: {text}" for name, section in found.items() for text in section.failures]:
        click.echo("\n".join(failures), err=True)
        sys.exit(1)


def _section(name: str, sizes: Sizes, folder: Path, done: Done) -> Section:
    """A section, or what became of it: the others are measured all the same."""
    try:
        return SECTIONS[name](sizes, folder, done)
    except RuntimeError as error:
        return Section(name, "Not measured.", "", (), failures=[str(error)])


if __name__ == "__main__":
    main()
