"""Input files (synthetic, or Alpaca with self-compression scores) and the selections from them."""

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
        title: name of the pool, for people.
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
        """Returns the job of a `select` call, measured `runs` times."""
        return Job(select, (str(self.F), str(self.G), k, loaded, single, options), runs=runs)


def select(F: Any, G: Any, k: int, loaded: str | None, single: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Runs one selection on the CPU, in its own process.

    Args:
        F, G: .npy files of embeddings and scores.
        k: number of picks.
        loaded: type of the rows, which are loaded before the clock starts; None: select gets the path.
        single: one matrix-vector product a pick, the plan for too little memory for a batch.
        options: options of `gip_gpu.select`.
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
    """Returns m rows of `bench.scale.pool` with n int8 ratings each, 0 to 5; generates files missing in the folder."""
    F = embeddings(folder / f"rows-{m}x{d}.npy", m, d)
    G = folder / f"ratings-{m}x{d}-{n}.npy"
    if not G.exists():
        _save(G, ratings(np.load(F, mmap_mode="r"), n).astype(np.int8))
    return Input("synthetic", F, G, m, d, n)


def alpaca(folder: Path, quick: bool) -> Input:
    """Returns Alpaca, or synthetic rows of its size if its file is missing, with float64 self-compression scores."""
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
