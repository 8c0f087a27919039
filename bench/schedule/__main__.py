"""`python -m bench.schedule`: measures, simulates, prints the report. Exit status 1 where the model is too far off."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from bench import cases
from bench.schedule import constants
from bench.schedule.report import ALLOWED, RANKS, paper, report, scaling
from gip_gpu.system.atomic_write import atomic_write

TARGET = cases.ROOT / "bench" / "results" / "schedule.md"


@click.command("schedule")
@click.option("--quick", is_flag=True, help="Tiny sizes: does it work, not how fast is it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file.  [default: bench/results/schedule.md; with --quick: none]",
)
def main(quick: bool, out: Path | None) -> None:
    """Measure steps and messages on this machine, simulate many ranks, and compare with the model's closed form."""
    picks = 40 if quick else 2000
    # No bar where standard error is no terminal.
    with tqdm(disable=None) as bar:

        def done(piece: str) -> None:
            bar.set_description(piece)
            bar.update()

        found = constants.measure(quick, done)
        scaled = scaling(found, RANKS[:4] if quick else RANKS, picks, done)
        base, varied = paper(picks, done)
    text = report(found, scaled, base, varied, quick)
    click.echo(text, nl=False)
    target = out or (None if quick else TARGET)
    if target is not None:
        with atomic_write(target) as file:
            file.write(text.encode())
    # Few picks do not average out.
    if not quick and any(abs(entry.ratio - 1) > ALLOWED for entry in [*scaled, *varied]):
        sys.exit(1)


if __name__ == "__main__":
    main()
