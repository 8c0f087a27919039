"""`python -m bench.paper`: measures the paper's claims and writes a report. Exit status 1 where a guarantee failed."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from bench import cases
from bench.paper import bound, divergence, information, noise, orthogonal, table6, table9
from bench.paper.data import Missing
from bench.paper.section import INDEX, Section, write, write_index

CLAIMS: dict[str, Callable[[bool], Section]] = {
    "table6": table6.measure,
    "noise": noise.measure,
    "table9": table9.measure,
    "orthogonal": orthogonal.measure,
    "bound": bound.measure,
    "information": information.measure,
    "divergence": divergence.measure,
}
RESULTS = cases.ROOT / "bench" / "results" / "paper"
# Figures of quick runs must not replace measured ones.
QUICK_RESULTS = cases.ROOT / "out" / "paper"


@click.command("paper")
@click.argument("claims", nargs=-1, type=click.Choice(list(CLAIMS)))
@click.option("--quick", is_flag=True, help="Tiny sizes: does it work, not what comes out.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the report.  [default: bench/results/paper; quick: out/paper]")  # fmt: skip
def main(claims: tuple[str, ...], quick: bool, out: Path | None) -> None:
    """Measure CLAIMS of the paper, all of them by default, each beside the paper's own figures."""
    folder = out or (QUICK_RESULTS if quick else RESULTS)
    failed = []
    for claim in claims or CLAIMS:
        try:
            section = CLAIMS[claim](quick)
        except Missing as reason:
            click.echo(f"{claim}: skipped: {reason}\n", err=True)
            continue
        click.echo(write(folder, claim, section, quick))
        write_index(folder, list(CLAIMS))
        failed += [f"{claim}: {failure}" for failure in section.failures]
    if (folder / INDEX).is_file():
        click.echo(f"written to {folder / INDEX}", err=True)
    if failed:
        click.echo("\n".join(failed), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
