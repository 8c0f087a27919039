"""Right indices of the fixed pools of the suite: `python -m bench gpu-right` computes them and writes them.

A CPU takes minutes to compute the picks of `FULL`, so they are checked in: `right_indices.npz` holds each list with
the digests of its pool and of its scores. A run uses a list only if its own pool and scores have the same digests. The
first picks do not depend on k, so a longer list serves shorter ones.

Short lists come from the float64 reference, long ones from the NumPy backend, which the tests compare with the
reference. Computing all of them took four minutes on two idle cores; it needs 15 GB of memory.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import numpy as np

import gip_gpu
from bench.gpu.budget import Budget, LeftOut
from bench.gpu.cases import FULL, Case, Sizes, family_cases, lazy_case, sample_case, select_case, step_cases
from bench.gpu.pools import Array, digest
from bench.runner.pools import ROOT
from gip_gpu.reference import matching_pursuit
from gip_gpu.system.atomic_write import atomic_write

FILE = ROOT / "bench" / "right_indices.npz"
# Largest estimated seconds of a computation on the CPU during a run.
PATIENCE = 10.0
# Largest product of items, length and picks for the float64 reference: about two seconds.
REFERENCE_WORK = 3e9
# Estimated seconds of the NumPy backend on two cores for each item, entry of a row and pick. Writing the file took 0.3
# to 1.2e-10 for matching pursuit and 0.5 to 1.3e-9 for the others.
MATCHING_PURSUIT, OTHERS = 1e-10, 1e-9


@dataclass(frozen=True)
class Stored:
    """Right indices, and the digests of their pool and scores."""

    picks: Array
    F: bytes
    G: bytes

    def holds_for(self, case: Case) -> bool:
        """Returns whether the pool and the scores of a case are bit-identical to the stored ones."""
        return digest(case.F) == self.F and digest(case.G) == self.G


def expected(case: Case, k: int, budget: Budget) -> tuple[Array, str]:
    """Returns the right indices of the first k picks, and their source; raises LeftOut if they are not stored and would
    take too long to compute."""
    if case.known is None or len(case.known[0]) < k:
        case.known = _stored(case, k) or _computed(case, k, budget, PATIENCE)
    indices, source = case.known
    return indices[:k], source


def estimate(case: Case, k: int) -> float:
    """Estimates the seconds of the NumPy backend."""
    return case.F.size * k * (MATCHING_PURSUIT if case.default_objective else OTHERS)


def key(case: Case) -> str:
    """Returns the name of a list in the file: the pool, its type, the objective and its options."""
    options = (f"{name} = {value}" for name, value in case.options.items())
    return ", ".join([case.title, str(case.F.dtype), case.objective, *options])


@cache
def load(file: Path) -> dict[str, Stored]:
    """Loads all lists of a file; empty if there is no file."""
    if not file.exists():
        return {}
    with np.load(file) as arrays:
        return {
            name.removesuffix("/picks"): Stored(
                arrays[name].astype(np.int64), *(bytes(arrays[name.removesuffix("picks") + part]) for part in "FG")
            )
            for name in arrays
            if name.endswith("/picks")
        }


def _stored(case: Case, k: int) -> tuple[Array, str] | None:
    """Returns the list in the file; None if it is missing, too short, or for another pool."""
    found = load(FILE).get(key(case))
    if found is None or len(found.picks) < k or not found.holds_for(case):
        return None
    return found.picks, "stored indices"


def _computed(case: Case, k: int, budget: Budget, patience: float) -> tuple[Array, str]:
    if case.default_objective and case.F.size * k <= REFERENCE_WORK:
        return matching_pursuit(case.F, case.G, k, on_exhausted="restart"), "float64 reference"
    seconds = estimate(case, k)
    if seconds > patience:
        found = load(FILE).get(key(case))
        why = "are not stored" if found is None or len(found.picks) < k else "are stored for another pool"
        raise LeftOut(f"the right indices {why}, and the NumPy backend would take about {seconds:.0f} s")
    if budget.left() <= 0:
        raise LeftOut("no time was left for the NumPy backend")
    return by_numpy(case, k, Budget(min(budget.left(), patience))), "NumPy backend"


def by_numpy(case: Case, k: int, budget: Budget) -> Array:
    """Returns the picks of the NumPy backend; raises LeftOut if the budget is used up before the last one."""
    chosen = gip_gpu.select(
        case.F, case.scores, k, device="cpu", backend="numpy", objective=case.objective,
        progress=budget.watch("the NumPy backend"), **case.options,
    )  # fmt: skip
    return chosen.indices


def fixed(sizes: Sizes) -> Iterator[Case]:
    """Yields every case that a run of these sizes compares, once, with its largest k."""
    yield sample_case(sizes)
    yield from family_cases(sizes)
    # The first signal of the steps is in the first pool of this shape below, with more picks.
    yield from step_cases(sizes)[1:]
    for m, d in sizes.select:
        case = select_case(m, d)
        case.k = max(round(share * m) for share in sizes.shares)
        yield case
    yield lazy_case(sizes)


def write(file: Path, sizes: Sizes) -> None:
    """Computes the lists of all fixed cases and writes them; reuses lists of an old file with the same pools."""
    arrays, kept = dict[str, Array](), load(file)
    for case in fixed(sizes):
        name, start = key(case), time.perf_counter()
        old = kept.get(name)
        if old is not None and len(old.picks) >= case.k and old.holds_for(case):
            picks = old.picks
        else:
            picks, _ = _computed(case, case.k, Budget(np.inf), np.inf)
        kind = np.uint16 if len(case.F) <= 1 << 16 else np.uint32
        arrays[f"{name}/picks"] = picks.astype(kind)
        for letter, array in (("F", case.F), ("G", case.G)):
            arrays[f"{name}/{letter}"] = np.frombuffer(digest(array), np.uint8)
        click.echo(f"{name}: {len(picks):,} picks, {time.perf_counter() - start:.1f} s", err=True)
    with atomic_write(file) as target:
        np.savez_compressed(target, **arrays)
    load.cache_clear()


@click.command("gpu-right")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=FILE, show_default=True,
              help="The file. Lists in it that still hold are kept: delete it to compute all of them.")  # fmt: skip
def main(output: Path) -> None:
    """Compute the right indices of the fixed pools of the suite gpu and write them."""
    write(output, FULL)
