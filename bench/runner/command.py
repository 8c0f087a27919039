"""The command of a suite: shared options, progress, where the report goes, the exit status."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from bench.runner.pools import ROOT
from bench.runner.report import Report

RESULTS = ROOT / "bench" / "results"
Measure = Callable[..., Report]


@dataclass(frozen=True)
class Request:
    """What a suite is asked for.

    Attributes:
        quick: tiny sizes: does it work, not how fast is it.
        names: chosen by `--only`; all of the suite's without it.
        runs: of each variant.
        done: shows that a piece of work is finished.
    """

    quick: bool
    names: tuple[str, ...] = ()
    runs: int = 1
    done: Callable[[str], object] = str


def suite(
    name: str, target: str = "", *, names: Sequence[str] = (), runs: tuple[int, int] | None = None,
    quick: str | None = "Tiny sizes, one run: does it work, not how fast is it.",
    options: Sequence[click.Option] = (),
) -> Callable[[Measure], click.Command]:  # fmt: skip
    """Makes a function that measures, `measure(request, **options)`, the command of a suite.

    Args:
        name: of the suite.
        target: the checked-in report in bench/results/; "" for none.
        names: what `--only` chooses among; () leaves the option out.
        runs: default of `--runs`, with `--quick` the second; None leaves the option out.
        quick: help of `--quick`; None leaves the option out.
        options: the suite's own.
    """
    kept = f"  [default: bench/results/{target}, if that stays whole; with --quick none]" if target else ""
    path = click.Path(path_type=Path)
    params = [*options, click.Option(["--output"], type=path, help=f"Write the report here too.{kept}")]
    if quick:
        params.append(click.Option(["--quick"], is_flag=True, help=quick))
    if names:
        shown = f"Only these of {', '.join(names)}: by comma, repeatable, and a* is a pattern."
        params.append(click.Option(["--only"], multiple=True, metavar="NAME", help=shown))
    if runs:
        shown = f"Runs of each variant.  [default: {runs[0]}, quick: {runs[1]}]"
        params.append(click.Option(["--runs"], type=click.IntRange(min=1), help=shown))

    def decorate(measure: Measure) -> click.Command:
        def run(output: Path | None, quick: bool = False, only: tuple[str, ...] = (), **rest: Any) -> None:
            count = rest.pop("runs", None) or (runs or (1, 1))[quick]
            # No bar where standard error is no terminal.
            with tqdm(disable=None) as bar:

                def done(piece: str) -> None:
                    bar.set_description(piece)
                    bar.update()

                report = measure(Request(quick, chosen(only, names), count, done), **rest)
            click.echo(report.text, nl=False)
            # A part of a report, or figures of quick sizes, must not replace a measured whole.
            part = quick or not report.whole or (bool(only) and report.save is None)
            if path := output or (RESULTS / target if target and not part else None):
                (report.save or report.write)(path)
            if report.failures:
                click.echo("\n".join(report.failures), err=True)
                sys.exit(1)

        return click.Command(name, params=params, callback=run, help=measure.__doc__)

    return decorate


def chosen(only: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that patterns choose, in the order of all names; all of them without patterns.

    Raises:
        click.UsageError: a pattern fits no name.

    >>> chosen(["b,c*"], ["a", "b", "c1", "c2"])
    ('b', 'c1', 'c2')
    """
    patterns: list[str] = []
    for text in only:
        # Some names have a comma in them.
        parts = [text] if text in names else text.split(",")
        patterns += filter(None, map(str.strip, parts))
    unknown = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]
    if unknown or (only and not patterns):
        raise click.UsageError(f"--only {', '.join(unknown or only)} fits none of: {', '.join(names)}")
    return tuple(name for name in names if not only or any(fnmatch(name, pattern) for pattern in patterns))
