"""Files that selections read: synthetic pools with their ratings, and Alpaca with its self-compression scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import cases
from bench.cases import Case
from bench.scale.pool import embeddings, ratings


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


def synthetic(folder: Path, m: int, d: int, n: int = 1) -> Input:
    """m rows of `bench.scale.pool` and n ratings of each, 0 to 5 in int8; made unless they lie in the folder."""
    F = embeddings(folder / f"rows-{m}x{d}.npy", m, d)
    G = folder / f"ratings-{m}x{d}-{n}.npy"
    if not G.exists():
        _save(G, ratings(np.load(F, mmap_mode="r"), n).astype(np.int8))
    return Input("synthetic", F, G, m, d, n)


def alpaca(folder: Path, quick: bool) -> Input:
    """Alpaca, or synthetic rows of its size where it is not at hand, with self-compression scores in float64."""
    case = cases.find("alpaca-520", quick)
    F, G = (folder / f"{name}-{_kind(case)}-{case.m}.npy" for name in ("rows", "scores"))
    if not (F.exists() and G.exists()):
        for path, array in zip((F, G), cases.load(case), strict=True):
            _save(path, array)
    return Input(f"Alpaca{' sizes, synthetic' * case.synthetic}", F, G, case.m, case.d, 1)


def _kind(case: Case) -> str:
    return "clustered" if case.synthetic else "alpaca"


def _save(path: Path, array: np.ndarray) -> None:
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as file:
        np.save(file, array)
    unfinished.rename(path)
