"""Files that selections read, synthetic or Alpaca with its self-compression scores, and the selections from them."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.runner import child, pools
from bench.runner.runs import Job
from bench.scale.pool import embeddings, ratings
from gip_gpu.planning.cpu_costs import HostCosts, Layout


@dataclass(frozen=True)
class Input:
    """A pool on disk.

    Attributes:
        title: the pool, for people.
        F, G: .npy files of (m, d) float16 rows, and of scores.
        m, d, n: items, length of a row, signals.
    """

    title: str
    F: Path
    G: Path
    m: int
    d: int
    n: int

    def __str__(self) -> str:
        return f"{self.title}, {self.m:,} x {self.d}"

    def job(
        self, k: int, loaded: str | None = None, single: bool = False, runs: int | None = None, **options: Any
    ) -> Job:
        """A selection as `select` describes it, measured `runs` times."""
        return Job(select, (str(self.F), str(self.G), k, loaded, single, options), runs=runs)


def select(F: Any, G: Any, k: int, loaded: str | None, single: bool, options: dict[str, Any]) -> dict[str, Any]:
    """One selection on the CPU, for a process of its own.

    Args:
        F, G: .npy files of embeddings and scores.
        k: picks.
        loaded: type that the rows are loaded in before the clock starts; None: select is given the path.
        single: a matrix-vector product a pick: the plan that is made where there is no room for a batch.
        options: of `gip_gpu.select`.
    """
    if loaded is not None:
        F, G = np.load(F).astype(loaded, copy=False), np.load(G)
    one: Any = contextlib.nullcontext()
    if single:
        options = {"columns": "lazy", **options}
        one = mock.patch.object(HostCosts, "layouts", return_value=(Layout(most=1),))
    with one:
        return child.selection(F, G, k, device="cpu", **options)


def synthetic(folder: Path, m: int, d: int, n: int = 1) -> Input:
    """m rows of `bench.scale.pool` and n ratings of each, 0 to 5 in int8; made unless they lie in the folder."""
    F = embeddings(folder / f"rows-{m}x{d}.npy", m, d)
    G = folder / f"ratings-{m}x{d}-{n}.npy"
    if not G.exists():
        _save(G, ratings(np.load(F, mmap_mode="r"), n).astype(np.int8))
    return Input("synthetic", F, G, m, d, n)


def alpaca(folder: Path, quick: bool) -> Input:
    """Alpaca, or synthetic rows of its size where it is not at hand, with self-compression scores in float64."""
    case = pools.find("alpaca-520", quick)
    kind = "clustered" if case.synthetic else "alpaca"
    F, G = (folder / f"{name}-{kind}-{case.m}.npy" for name in ("rows", "scores"))
    if not (F.exists() and G.exists()):
        for path, array in zip((F, G), pools.load(case), strict=True):
            _save(path, array)
    return Input(case.source, F, G, case.m, case.d, 1)


def _save(path: Path, array: np.ndarray) -> None:
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as file:
        np.save(file, array)
    unfinished.rename(path)
