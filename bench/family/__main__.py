"""`python -m bench.family`: measures, prints the report. Exit status 1 where gip_gpu failed or made other picks."""

import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import click
from tqdm import tqdm

from bench import cases
from bench.family.entries import ENTRIES
from bench.family.report import report
from bench.family.runs import measure, steps
from gip_gpu.system.atomic_write import atomic_write

TARGET = cases.ROOT / "bench" / "results" / "family.md"


@click.command("family")
@click.option("--quick", is_flag=True, help="Tiny sizes, one run: does it work, not how fast is it.")
@click.option("--runs", type=click.IntRange(min=1), help="Runs of each.  [default: 3, quick: 1]")
@click.option("--only", multiple=True, metavar="NAME", help="Only these; repeatable, and m* is a pattern.")
@click.option(
    "--verify",
    type=click.IntRange(min=1),
    metavar="PICKS",
    help="Picks of each objective to compare with float64, minutes for hundreds.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file.  [default: bench/results/family.md; with --quick or --only: none]",
)
def main(quick: bool, runs: int | None, only: tuple[str, ...], verify: int | None, out: Path | None) -> None:
    """Measure what the objectives cost a pick on this CPU and print a Markdown report."""
    chosen = [entry for entry in ENTRIES if not only or any(fnmatch(entry.name, name) for name in only)]
    if not chosen:
        raise click.UsageError(f"--only fits none of: {', '.join(entry.name for entry in ENTRIES)}")
    if quick:
        chosen = [replace(entry, case=entry.case.shrunk()) for entry in chosen]
    count = runs or (1 if quick else 3)
    # No bar where standard error is no terminal.
    with tqdm(total=steps(chosen, count), disable=None) as bar:

        def done(piece: str) -> None:
            bar.set_description(piece)
            bar.update()

        session = measure(chosen, count, verify, quick, done)
    text = report(session, count, quick)
    click.echo(text, nl=False)
    # A part of the report, or figures of quick sizes, must not replace a measured whole.
    target = out or (None if quick or only else TARGET)
    if target is not None:
        with atomic_write(target) as file:
            file.write(text.encode())
    if failures := session.failures():
        click.echo("\n".join(failures), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
