"""`python -m bench.gpu`: is it right on this GPU, how fast is it, and how far from what the GPU allows.

Within ten minutes: indices of every backend, precision and kind of columns against the reference; the device's
ceilings; steps, whole selections beside plain loops, Gram kernels, columns on demand; a table, and all numbers as JSON.
What the time does not suffice for is left out with a note, the least important first. Exit status 1 where anything
failed or gave other indices, 2 where nothing can be run.

`--device cpu` runs all of it at tiny sizes under Triton's interpreter (`TRITON_INTERPRET=1`), for tests. Such a run
leaves unexecuted: everything of CuPy (`CupyLibrary`, `CupyTimer`, the grid barrier), which tests run on a stand-in;
`TorchTimer`; what `TorchLibrary` does on a GPU only (graphs, peaks of memory, properties of the device); pools of
bfloat16 tensors.
"""

import datetime
import json
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

import gip_gpu
from bench import gpu_ceilings, gpu_family, gpu_kernels, gpu_selections
from bench.gpu_cases import FULL, QUICK, TINY, Budget, Sizes
from bench.gpu_cupy import CupyLibrary
from bench.gpu_device import Library, clocks
from bench.gpu_report import report
from bench.gpu_results import Results, Session
from bench.gpu_torch import TorchLibrary
from bench.machine import line
from gip_gpu import backends
from gip_gpu.device import resolve
from gip_gpu.writing import atomic_write

LIBRARIES: dict[str, type[Library]] = {"triton": TorchLibrary, "cupy": CupyLibrary}
# The most important first; no floor without ceilings.
PARTS = (
    gpu_selections.equivalence,
    gpu_family.family,
    gpu_ceilings.run,
    gpu_kernels.steps,
    gpu_selections.selections,
    gpu_kernels.grams,
    gpu_selections.lazy,
)


@click.command("gpu")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/gpu.json"),
              show_default=True, help="The JSON file that all numbers are written to.")  # fmt: skip
@click.option("--backends", "names", default="triton,cupy", show_default=True, help="Those to run, by comma.")
@click.option("--quick", is_flag=True, help="Small sizes: does it work, not how fast is it.")
@click.option("--device", default="cuda", show_default=True, help="'cuda', 'cuda:1', or 'cpu' for a tiny dry run.")
@click.option("--budget", type=click.FloatRange(min=0), default=540.0, show_default=True,
              help="Seconds after which nothing new is begun.")  # fmt: skip
def main(output: Path, names: str, quick: bool, device: str, budget: float) -> None:
    """Check gip_gpu on a GPU and measure it against what the GPU allows."""
    limit = Budget(budget)
    usable, left_out = choose(names, device)
    sizes = TINY if device == "cpu" else QUICK if quick else FULL
    results = measure(sizes, device, usable, limit, left_out)
    click.echo(report(results), nl=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as file:
        file.write((json.dumps(results.as_json(), indent=1) + "\n").encode())
    click.echo(f"written to {output}", err=True)
    if results.wrong():
        click.echo("something failed or gave other indices; see above", err=True)
        sys.exit(1)


def choose(names: str, device: str) -> tuple[list[str], list[str]]:
    """The backends of a comma-separated list that can be used on a device, and why others cannot.

    Raises:
        click.UsageError: an unknown backend or device, or no backend can be used.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in LIBRARIES]
    if unknown or not asked:
        raise click.UsageError(f"--backends is {names!r}; choose among {', '.join(LIBRARIES)}")
    usable, left_out = [], []
    for name in dict.fromkeys(asked):
        why = unusable(name, device)
        if why:
            left_out.append(f"backend {name}: {why}")
        else:
            usable.append(name)
    if not usable:
        raise click.UsageError("\n".join(["no backend can be used", *left_out]))
    return usable, left_out


def unusable(name: str, device: str) -> str:
    """Why a backend cannot be used on a device; "" if it can."""
    try:
        resolve(device, name)
        backends.load(name, device)
    except ValueError as error:
        return str(error)
    return ""


def measure(sizes: Sizes, device: str, names: list[str], budget: Budget, left_out: list[str]) -> Results:
    """Runs all parts."""
    libraries = {name: LIBRARIES[name](device) for name in names}
    results = Results(sizes.label, machine(libraries), left_out=list(left_out))
    session = Session(sizes, device, libraries, budget, results)
    with ExitStack() as stack:
        for library in libraries.values():
            stack.enter_context(library.arrays.here())
        for part in PARTS:
            part(session)
        results.machine.update({f"{name}, at the end": value for name, value in clocks().items() if "clocks" in name})
    return results


def machine(libraries: dict[str, Library]) -> dict[str, Any]:
    """The GPU, the driver, the versions, the host."""
    facts: dict[str, Any] = {}
    for library in libraries.values():
        facts = {**library.facts(), **facts}
    return {
        **facts,
        **clocks(),
        "host": line(),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "gip_gpu": gip_gpu.__version__,
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    main()
