"""Sizes, input files and the selections from them: Alpaca with self-compression scores, or a large synthetic pool.

Synthetic rows are float16 unit rows, clustered like sentence embeddings; their ratings depend in part on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.runner import child, pools
from bench.runner.runs import Job
from gip_gpu.planning.cpu_costs import HostCosts, Layout

Done = Callable[[str], object]
# Rows drawn at a time. Each block has its own generator, so a longer file begins with the rows of a shorter one.
BLOCK = 1 << 14
CLUSTERS = 2000
# Weights of the direction common to all rows (mean cosine 0.06, as in Alpaca) and of the direction of a cluster.
COMMON, TOPIC = 0.25, 0.55
# One in this many rows is an exact copy of the row before it.
DUPLICATES = 200


@dataclass(frozen=True)
class Sizes:
    """Sizes of all sections."""

    quick: bool = False  # whether Alpaca is cut to a fortieth
    runs: int = 3  # number of runs of a selection by several processes or with a checkpoint
    d: int = 256  # length of a synthetic row
    # Rows in the file of "file", and picks.
    large: int = 1_000_000
    large_k: int = 2000
    # Numbers of signals, each with its number of runs within the roomy limit; other variants run once.
    signals: tuple[tuple[int, int], ...] = ((1, 3), (4, 1))
    # Memory limits: for rows in memory as float32, and for rows that stream.
    roomy: str = "2GB"
    tight: str = "700MB"
    # Warm-up passes and timed passes of the baseline.
    warm: int = 3
    timed: int = 40
    # Picks from Alpaca in "memory", and runs.
    shares: tuple[tuple[int, int], ...] = ((52, 3), (520, 3), (2600, 3), (5200, 3), (15_600, 1), (31_200, 1))
    # Further pools of "memory": items, picks, and runs of both variants.
    synthetic: tuple[tuple[int, int, int], ...] = ((200_000, 2000, 3), (200_000, 10_000, 1), (1_000_000, 500, 1))
    # Items of the pools of "growth", each with its number of runs, and picks.
    growing: tuple[tuple[int, int], ...] = ((10_000, 3), (100_000, 3), (1_000_000, 1))
    growing_k: int = 1000
    # Numbers of processes, and picks from Alpaca.
    processes: tuple[int, ...] = (1, 2, 4)
    processes_k: int = 520
    # Picks from Alpaca with a checkpoint, and seconds between writes.
    kept_k: int = 5200
    every: float = 1.0


FULL = Sizes()
# The large file is the smallest whose rows take more memory in float32 than chunks of them.
QUICK = Sizes(
    quick=True, runs=1, d=128, large=160_000, large_k=10, signals=((2, 1),), roomy="500MB", tight="75MB", warm=1,
    timed=3, shares=((13, 1), (65, 1)), synthetic=((2000, 30, 1),), growing=((1000, 1), (2000, 1)),
    growing_k=50, processes=(2,), processes_k=13, kept_k=130, every=0.01,
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """A pool on disk: .npy files of (m, d) float16 rows, and of n scores of each."""

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
        loaded: type of the rows, which are loaded before the clock starts; None: select gets the path.
        single: one matrix-vector product a pick, the plan for too little memory for a batch.
    """
    if loaded is not None:
        F, G = np.load(F).astype(loaded, copy=False), np.load(G)
    if not single:
        return child.selection(F, G, k, device="cpu", **options)
    with mock.patch.object(HostCosts, "layouts", return_value=(Layout(most=1),)):
        return child.selection(F, G, k, device="cpu", columns="lazy", **options)


def synthetic(folder: Path, m: int, d: int, n: int = 1) -> Input:
    """Returns m synthetic rows with n int8 ratings each, 0 to 5; generates files missing in the folder."""
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


def embeddings(path: Path, m: int, d: int, seed: int = 0) -> Path:
    """Writes (m, d) float16 rows to a .npy file if it does not exist, one block at a time in memory."""
    if not path.exists():
        basis = np.random.default_rng((seed, d))
        # Directions decay as a power of their rank, which gives the effective rank of sentence embeddings, d / 2.
        spectrum = (np.arange(1, d + 1) ** -0.35).astype(np.float32)
        rotation = np.linalg.qr(basis.normal(size=(d, d)))[0].astype(np.float32)
        common = _unit(basis.normal(size=(1, d)).astype(np.float32))
        topics = _unit(basis.normal(size=(CLUSTERS, d)).astype(np.float32) * spectrum @ rotation)
        # Cluster sizes decay as 1 / rank.
        sizes = 1 / np.arange(1, CLUSTERS + 1)
        unfinished = path.with_suffix(".part")
        rows = np.lib.format.open_memmap(unfinished, "w+", np.float16, (m, d))
        for start in range(0, m, BLOCK):
            draw = np.random.default_rng((seed, d, start))
            own = _unit(draw.normal(size=(BLOCK, d)).astype(np.float32) * spectrum @ rotation)
            chosen = topics[draw.choice(CLUSTERS, size=BLOCK, p=sizes / sizes.sum())]
            left = np.sqrt(1 - COMMON**2 - TOPIC**2)
            block = _unit(COMMON * common + TOPIC * chosen + left * own)
            block[DUPLICATES::DUPLICATES] = block[DUPLICATES - 1 : -1 : DUPLICATES]
            rows[start : start + BLOCK] = block[: m - start]
        rows.flush()
        del rows
        unfinished.rename(path)
    return path


def ratings(F: Any, n: int, seed: int = 0) -> NDArray[np.float64]:
    """Draws (m, n) integer ratings from 0 to 5 that depend in part on the rows of F (m, d)."""
    m, d = F.shape
    draw = np.random.default_rng((seed, m, n))
    tastes = draw.normal(size=(d, n)) / np.sqrt(d)
    found = np.empty((m, n))
    for start in range(0, m, BLOCK):
        agreed = 16 * (np.asarray(F[start : start + BLOCK], np.float32) @ tastes)
        found[start : start + BLOCK] = agreed + draw.normal(size=agreed.shape)
    return np.clip(np.rint(3 + 0.8 * found), 0, 5)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
