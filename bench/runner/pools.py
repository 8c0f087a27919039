"""Pools and scores shared by the suites: real data if it is available, otherwise synthetic data of the same size.

Real data is read from `$GIP_GPU_DATA`, by default `../shared/data` beside the checkout.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.signals import self_compression

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GIP_GPU_DATA", ROOT.parent / "shared" / "data")).resolve()
# Share of the items and of the picks in a quick case.
QUICK = 1 / 40
CLUSTERS = 200
JUDGES = 3


class Missing(Exception):
    """A file of the real data is missing."""


@dataclass(frozen=True)
class Case:
    """One selection to measure."""

    name: str  # name for `--only`
    title: str  # name of the pool, for people
    m: int
    d: int
    k: int  # number of picks
    embeddings: str  # file of the real (m, d) embeddings
    judges: str | None = None  # file of the real (m, 3) ratings; None for self-compression scores

    @property
    def synthetic(self) -> bool:
        """Whether a file of the real data is missing."""
        return not all((DATA / name).is_file() for name in (self.embeddings, self.judges) if name is not None)

    @property
    def scores(self) -> str:
        """Kind of the scores, for people."""
        return "self-compression" if self.judges is None else f"{JUDGES} judges"

    @property
    def source(self) -> str:
        """Name of the pool, marked if it is synthetic, for people."""
        return f"{self.title}{' sizes, synthetic' * self.synthetic}"

    @property
    def pool(self) -> str:
        """Name and shape of the pool, for people."""
        return f"{self.source}: {self.m:,} x {self.d}"

    def shrunk(self) -> "Case":
        """Returns the quick form of this case."""
        return replace(self, m=round(self.m * QUICK), k=max(2, round(self.k * QUICK)))

    def __str__(self) -> str:
        return f"{self.pool}, {self.scores}, k = {self.k:,}"


GSM8K = "gsm8k_minilm_f16.npy"
ALPACA, ALPACA_JUDGES = "alpaca52k_minilm_f16.npy", "alpaca52k_judges.npy"
WILDBENCH, WILDBENCH_JUDGES = "wildbench_minilm_f16.npy", "wildbench_judges.npy"
CASES = (
    Case("gsm8k-747", "GSM8K", 7473, 384, 747, GSM8K),
    Case("gsm8k-3736", "GSM8K", 7473, 384, 3736, GSM8K),
    Case("alpaca-520", "Alpaca", 52002, 384, 520, ALPACA),
    Case("alpaca-5200", "Alpaca", 52002, 384, 5200, ALPACA),
    Case("alpaca-judges-520", "Alpaca", 52002, 384, 520, ALPACA, ALPACA_JUDGES),
)


def find(name: str, quick: bool) -> Case:
    """Returns the case of this name, or its quick form."""
    case = next(case for case in CASES if case.name == name)
    return case.shrunk() if quick else case


def path(name: str) -> Path:
    """Returns the path of a file of the real data; raises Missing if there is none."""
    if not (DATA / name).is_file():
        raise Missing(f"real data: {name} is not in ../shared/data (or in $GIP_GPU_DATA)")
    return DATA / name


def real(name: str, rows: int | None = None) -> NDArray[Any]:
    """Loads an array of the real data, or its first rows; raises Missing if there is no such file."""
    return np.asarray(np.load(path(name))[:rows])


def load(case: Case) -> tuple[NDArray[np.float16], NDArray[Any]]:
    """Returns embeddings (m, d) float16 and scores: (m,) float64 self-compression or (m, 3) int8 ratings."""
    F = clustered(case.m, case.d) if case.synthetic else real(case.embeddings, case.m)
    if case.judges is None:
        return F, self_compression(F)
    return F, ratings(case.m) if case.synthetic else real(case.judges, case.m)


def ratings(m: int) -> NDArray[np.int8]:
    """Draws (m, 3) int8 ratings from 0 to 5; most items tie with others."""
    return np.random.default_rng(m).integers(0, 6, size=(m, JUDGES), dtype=np.int8)


def clustered(m: int, d: int) -> NDArray[np.float16]:
    """Draws (m, d) float16 rows around `CLUSTERS` centres, with most energy in a few directions, as in embeddings."""
    rng = np.random.default_rng(m)
    scales = 1 / np.sqrt(np.arange(1, d + 1))
    centres = rng.standard_normal((CLUSTERS, d)) * scales
    F = np.empty((m, d), np.float16)
    # In blocks, so that creating the pool does not set the peak memory of a measured process.
    for start in range(0, m, 1024):
        block = F[start : start + 1024]
        noise = rng.standard_normal(block.shape) * scales
        block[:] = centres[rng.integers(CLUSTERS, size=len(block))] + 0.7 * noise
    return F


def unit_rows(F: Any, kind: type = np.float64) -> NDArray[Any]:
    """Returns the rows in type `kind`, divided by their norms."""
    X = np.array(F, kind)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X
