"""`python -m bench gpu` measures gip_gpu on one GPU against the limits of that GPU, and checks its picks.

A run is designed to take less than five minutes on an H100 or H200. The parts divide `--budget` by the shares in
`PARTS`; later parts get the seconds that a part leaves over. A part measures the most important things first, with
every backend. Measurements that do not fit are listed as left out. Each timed selection is compared with the right
indices, which are checked in for the fixed pools (`bench.gpu.right`). Exit status 1: something failed or gave other
indices. Exit status 2: nothing can be run, or an option is wrong.

`--device cpu` runs all parts at tiny sizes under Triton's interpreter (`TRITON_INTERPRET=1`), for tests. Such a run
does not execute: anything of CuPy (`CupyLibrary`, the grid barrier), which tests run on a stand-in; the parts of
`TorchLibrary` for a GPU (events, graphs, peaks of memory, properties of the device); pools of bfloat16 tensors; the
checked-in indices, which are those of larger pools.
"""

import datetime
import json
import math
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

import gip_gpu
from bench.gpu.budget import Budget
from bench.gpu.cases import FULL, QUICK, TINY, Sizes
from bench.gpu.ceilings import ceilings
from bench.gpu.cupy_library import CupyLibrary
from bench.gpu.kernels import grams, steps
from bench.gpu.library import Library, clocks
from bench.gpu.report import comparison, load, report
from bench.gpu.results import Results
from bench.gpu.selections import equivalence, family, lazy, selections
from bench.gpu.session import Session
from bench.gpu.torch_library import TorchLibrary
from bench.runner.command import chosen
from bench.runner.machine import line
from bench.runner.report import write
from gip_gpu import backends
from gip_gpu.backends.devices import resolve

LIBRARIES: dict[str, type[Library]] = {"triton": TorchLibrary, "cupy": CupyLibrary}


class Part(NamedTuple):
    """A part of the benchmark: its name for `--only`, its function, its share of the seconds of all parts."""

    name: str
    run: Callable[[Session], None]
    share: float


# Ceilings come first because floors need them. A share is the part's estimated seconds on an H100 or H200, plus a
# reserve. The estimates follow from the first run on an H200 with 16 cores: a kernel variant compiles in 1 to 5 s; the
# first selection in each of eight ways took 10 s with Triton and 5 s with CuPy; a pick takes about 0.05 ms with a Gram
# matrix, 0.6 to 1 ms lazily, 1.2 to 3.3 ms in the family; a plain loop 0.1 ms.
PARTS = (
    Part("ceilings", ceilings, 0.06),  # 8 s: random factors of the products 4, three kernels to compile 3
    # 25 s: compiling 15; 8 pools, each prepared once and selected from four times, 1 s each
    Part("steps", steps, 0.16),
    # 50 s: 520 picks lazily 8 x 1.4, 5200 picks 8 x 1.2, 26,001 picks 4 x 1.3, plain loops 4 x 5, prepared 4 x 2
    Part("selections", selections, 0.20),
    # 40 s: 32 kernels and 16 products, 0.5 s each with upload and comparison; 131,072 rows in fp32 8; compiling 9
    Part("gram", grams, 0.18),
    # 30 s: the pool with its scores and digest 8, uploads 4, two selections of 1 s three times, compiling 8
    Part("lazy", lazy, 0.16),
    Part("family", family, 0.16),  # 40 s: 10 selections, two or three times 0.6 to 1.7 s, mi 3 s; compiling 8
    Part("equivalence", equivalence, 0.08),  # 15 s: 16 selections of 0.1 to 0.8 s, some of them to compile
)
NAMES = tuple(part.name for part in PARTS)
# Five minutes, less the time to import the libraries and to finish the last measurement.
SECONDS = 280.0


@click.command("gpu")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/gpu.json"),
              show_default=True, help="JSON file for all numbers.")  # fmt: skip
@click.option("--backends", "names", default="triton,cupy", show_default=True, help="Backends to run, by comma.")
@click.option("--only", multiple=True, metavar="NAME", help=f"Parts to run, by comma, of {', '.join(NAMES)}. Without "
              "ceilings no floor is known, and its column is empty.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small sizes: does it work, not how fast is it.")
@click.option("--device", default="cuda", show_default=True, help="'cuda', 'cuda:1', or 'cpu' for a tiny dry run.")
@click.option("--budget", type=click.FloatRange(min=0), default=SECONDS, show_default=True,
              help="Seconds after which no measurement begins; the parts share them.")  # fmt: skip
@click.option("--compare", type=click.Path(path_type=Path, dir_okay=False), metavar="OLD.json",
              help="File of an older run; prints the ratios of its times to those of this run.")  # fmt: skip
def main(
    output: Path, names: str, only: tuple[str, ...], quick: bool, device: str, budget: float, compare: Path | None
) -> None:
    """Measure gip_gpu on a GPU against the limits of the GPU, and check its picks."""
    if not math.isfinite(budget):
        raise click.UsageError(f"--budget is {budget}; it must be a finite number of seconds")
    limit = Budget(budget)
    parts = [part for part in PARTS if part.name in chosen(only, NAMES)]
    old = None if compare is None else load(compare)
    usable, left_out = choose(names, device)
    sizes = TINY if device == "cpu" else QUICK if quick else FULL

    def save(results: Results) -> None:
        write(output, json.dumps(results.as_json(), indent=1) + "\n")

    # Before the first measurement, as GPU time is short.
    try:
        save(Results(sizes.label))
    except OSError as error:
        raise click.UsageError(f"--output {output} cannot be written: {error}") from error
    results = measure(sizes, device, usable, limit, left_out, parts, save)
    click.echo(report(results), nl=False)
    if old is not None:
        click.echo("\n" + comparison(old, results.as_json()), nl=False)
    click.echo(f"written to {output}", err=True)
    if results.wrong():
        click.echo("something failed or gave other indices; see above", err=True)
        sys.exit(1)


def choose(names: str, device: str) -> tuple[list[str], list[str]]:
    """Returns the backends of a comma-separated list that a device can use, and the reasons against the others; raises
    click.UsageError if it can use none, or one is unknown."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in LIBRARIES]
    if unknown or not asked:
        raise click.UsageError(f"--backends is {names!r}; choose among {', '.join(LIBRARIES)}")
    usable, left_out = [], []
    for name in dict.fromkeys(asked):
        if why := unusable(name, device):
            left_out.append(f"backend {name}: {why}")
        else:
            usable.append(name)
    if not usable:
        raise click.UsageError("\n".join(["no backend can be used", *left_out]))
    return usable, left_out


def unusable(name: str, device: str) -> str:
    """Returns the reason why a device cannot use a backend; "" if it can."""
    try:
        resolve(device, name)
        backends.load(name, device)
    except ValueError as error:
        return str(error)
    return ""


def measure(
    sizes: Sizes, device: str, names: list[str], budget: Budget, left_out: list[str],
    parts: Sequence[Part] = PARTS, save: Callable[[Results], None] = lambda results: None,
) -> Results:  # fmt: skip
    """Runs parts one after the other; `save` is called after each."""
    libraries = {name: LIBRARIES[name](device) for name in names}
    results = Results(sizes.label, machine(libraries), left_out=list(left_out))
    session = Session(sizes, device, libraries, budget, results)
    with ExitStack() as stack:
        for library in libraries.values():
            stack.enter_context(library.arrays.device_scope())
        run_parts(session, parts, save)
        results.machine.update({f"{name}, at the end": value for name, value in clocks().items() if "clocks" in name})
    save(results)
    return results


def run_parts(session: Session, parts: Sequence[Part], save: Callable[[Results], None]) -> None:
    """Runs each part with its share of the remaining seconds."""
    whole, chosen = session.budget, sum(part.share for part in parts)
    for place, part in enumerate(parts):
        start = whole.left()
        session.budget = whole.part(part.share, sum(each.share for each in parts[place:]), chosen)
        part.run(session)
        session.results.spent[part.name] = start - whole.left()
        save(session.results)


def machine(libraries: dict[str, Library]) -> dict[str, Any]:
    """Describes GPU, driver, versions and host."""
    facts: dict[str, Any] = {}
    for library in libraries.values():
        facts = {**library.facts(), **facts}
    versions = {"Python": platform.python_version(), "NumPy": np.__version__, "gip_gpu": gip_gpu.__version__}
    return {**facts, **clocks(), "host": line(), **versions, "date": datetime.date.today().isoformat()}
