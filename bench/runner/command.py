"""The command of a suite: shared options, progress, output of the report, exit status."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from bench.runner.pools import ROOT
from bench.runner.report import Report, write

RESULTS = ROOT / "bench" / "results"
Measure = Callable[..., Report]


@dataclass(frozen=True)
class Request:
    """The options of one run of a suite."""

    quick: bool  # tiny sizes, to check that the suite works, not to measure speed
    names: tuple[str, ...] = ()  # names chosen by `--only`; without it, all names of the suite
    runs: int = 1  # number of runs of each variant
    done: Callable[[str], object] = str  # callback that shows a finished piece of work


def suite(
    name: str, target: str = "", *, names: Sequence[str] = (), runs: tuple[int, int] | None = None,
    quick: str | None = "Tiny sizes, one run: does it work, not how fast is it.",
    options: Sequence[click.Option] = (),
) -> Callable[[Measure], click.Command]:  # fmt: skip
    """Decorates a measuring function, `measure(request, **options)`, as the command of a suite.

    Args:
        target: the checked-in report in bench/results/; "" for none.
        names: names that `--only` chooses from; () omits the option.
        runs: defaults of `--runs`, without and with `--quick`; None omits the option.
        quick: help of `--quick`; None omits the option.
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
            # disable=None: no bar if standard error is not a terminal.
            with tqdm(disable=None) as bar:

                def done(piece: str) -> None:
                    bar.set_description(piece)
                    bar.update()

                report = measure(Request(quick, chosen(only, names), count, done), **rest)
            click.echo(report.text, nl=False)
            # A partial report or one of quick sizes must not replace a complete measured one.
            part = quick or not report.whole or (bool(only) and report.save is None)
            if path := output or (RESULTS / target if target and not part else None):
                (report.save or partial(write, text=report.text))(path)
            if report.failures:
                click.echo("\n".join(report.failures), err=True)
                sys.exit(1)

        return click.Command(name, params=params, callback=run, help=measure.__doc__)

    return decorate


def chosen(only: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names that match the patterns, in the order of `names`; all names without patterns; raises
    click.UsageError if a pattern fits no name.

    >>> chosen(["b,c*"], ["a", "b", "c1", "c2"])
    ('b', 'c1', 'c2')
    """
    patterns: list[str] = []
    for text in only:
        # Some names contain a comma.
        parts = [text] if text in names else text.split(",")
        patterns += filter(None, map(str.strip, parts))
    unknown = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]
    if unknown or (only and not patterns):
        raise click.UsageError(f"--only {', '.join(unknown or only)} fits none of: {', '.join(names)}")
    return tuple(name for name in names if not only or any(fnmatch(name, pattern) for pattern in patterns))
