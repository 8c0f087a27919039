"""A large synthetic pool in a file: float16 unit rows, clustered like sentence embeddings, and their ratings."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows drawn at a time. Each block has its own generator, so a longer file begins with the rows of a shorter one.
BLOCK = 1 << 14
CLUSTERS = 2000
# Weights of the direction common to all rows (mean cosine 0.06, as in Alpaca) and of the direction of a cluster.
COMMON, TOPIC = 0.25, 0.55
# One in this many rows is an exact copy of the row before it.
DUPLICATES = 200


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
