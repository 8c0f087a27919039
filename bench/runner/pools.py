"""Pools and scores that several suites measure on: real data where it is at hand, synthetic of the same size else.

The real data is looked for in `$GIP_GPU_DATA`, or in `../shared/data` beside the checkout.
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
# A quick case has this share of the items and of the picks.
QUICK = 1 / 40
CLUSTERS = 200
JUDGES = 3


class Missing(Exception):
    """A file of the real data is not there."""


@dataclass(frozen=True)
class Case:
    """One selection to measure.

    Attributes:
        name: what `--only` asks for.
        title: the pool, for people.
        m, d, k: items, length of a row, picks.
        embeddings: file of the real (m, d) embeddings.
        judges: file of the real (m, 3) ratings; None for self-compression scores.
    """

    name: str
    title: str
    m: int
    d: int
    k: int
    embeddings: str
    judges: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether a file of the real data is missing."""
        return not all((DATA / name).is_file() for name in (self.embeddings, self.judges) if name is not None)

    @property
    def scores(self) -> str:
        """What the items are scored by, for people."""
        return "self-compression" if self.judges is None else f"{JUDGES} judges"

    @property
    def source(self) -> str:
        """Where the pool comes from, for people."""
        return f"{self.title}{' sizes, synthetic' * self.synthetic}"

    @property
    def pool(self) -> str:
        """The pool, for people."""
        return f"{self.source}: {self.m:,} x {self.d}"

    def shrunk(self) -> "Case":
        """The quick form of this case."""
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
    """The case of that name, or its quick form."""
    case = next(case for case in CASES if case.name == name)
    return case.shrunk() if quick else case


def path(name: str) -> Path:
    """A file of the real data.

    Raises:
        Missing: there is no such file.
    """
    if not (DATA / name).is_file():
        raise Missing(f"real data: {name} is not in ../shared/data (or in $GIP_GPU_DATA)")
    return DATA / name


def real(name: str, rows: int | None = None) -> NDArray[Any]:
    """An array of the real data, or its first rows.

    Raises:
        Missing: there is no such file.
    """
    return np.asarray(np.load(path(name))[:rows])


def load(case: Case) -> tuple[NDArray[np.float16], NDArray[Any]]:
    """Embeddings (m, d) float16 and scores: (m,) float64 self-compression or (m, 3) int8 ratings."""
    F = clustered(case.m, case.d) if case.synthetic else real(case.embeddings, case.m)
    if case.judges is None:
        return F, self_compression(F)
    return F, ratings(case.m) if case.synthetic else real(case.judges, case.m)


def ratings(m: int) -> NDArray[np.int8]:
    """(m, 3) ratings from 0 to 5: ties are the rule."""
    return np.random.default_rng(m).integers(0, 6, size=(m, JUDGES), dtype=np.int8)


def clustered(m: int, d: int) -> NDArray[np.float16]:
    """(m, d) float16 rows around `CLUSTERS` centres, most of their energy in a few directions, as in embeddings."""
    rng = np.random.default_rng(m)
    scales = 1 / np.sqrt(np.arange(1, d + 1))
    centres = rng.standard_normal((CLUSTERS, d)) * scales
    F = np.empty((m, d), np.float16)
    # In blocks, so that making the pool does not set the peak of a process whose memory is measured.
    for start in range(0, m, 1024):
        block = F[start : start + 1024]
        noise = rng.standard_normal(block.shape) * scales
        block[:] = centres[rng.integers(CLUSTERS, size=len(block))] + 0.7 * noise
    return F


def unit_rows(F: Any, kind: type = np.float64) -> NDArray[Any]:
    """Rows in a floating-point type, divided by their norms."""
    X = np.array(F, kind)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X
