"""`python -m bench`: measures, prints the report. Exit status 1 where gip_gpu failed or gave other indices."""

import sys
from fnmatch import fnmatch
from pathlib import Path

import click
from tqdm import tqdm

from bench.cases import CASES
from bench.report import report
from bench.runs import measure, steps
from gip_gpu.system.atomic_write import atomic_write


@click.command("bench")
@click.option("--quick", is_flag=True, help="Tiny sizes, one run: does it work, not how fast is it.")
@click.option("--runs", type=click.IntRange(min=1), help="Runs of each variant.  [default: 3, quick: 1]")
@click.option("--only", multiple=True, metavar="NAME", help="Only these cases; repeatable, and alpaca-* is a pattern.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the report to this file too.")
def main(quick: bool, runs: int | None, only: tuple[str, ...], out: Path | None) -> None:
    """Measure gip_gpu.select against plain NumPy and print a Markdown report."""
    chosen = [case for case in CASES if not only or any(fnmatch(case.name, name) for name in only)]
    if not chosen:
        raise click.UsageError(f"--only fits none of: {', '.join(case.name for case in CASES)}")
    if quick:
        chosen = [case.shrunk() for case in chosen]
    count = runs or (1 if quick else 3)
    # No bar where standard error is no terminal.
    with tqdm(total=steps(chosen, count), disable=None) as bar:

        def done(piece: str) -> None:
            bar.set_description(piece)
            bar.update()

        measured = measure(chosen, count, quick, done)
    text = report(measured, count, quick)
    click.echo(text, nl=False)
    if out is not None:
        with atomic_write(out) as file:
            file.write(text.encode())
    wrong = [f"{found.case}: {reason}" for found in measured if (reason := found.wrong())]
    if wrong:
        click.echo("\n".join(wrong), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
