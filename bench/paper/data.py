"""The real data of the claims: embeddings, ratings by judges, and scores computed from the texts of GSM8K."""

import json
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.runner import pools
from gip_gpu.signals import self_compression

Float = NDArray[np.float64]

GSM8K_TEXTS = "gsm8k_train.jsonl"
# Rows of a quick run.
QUICK_ROWS = 600


@dataclass(frozen=True, eq=False)
class Scored:
    """A pool: stored embeddings F (m, d), and scores G (m, n), each column with mean 0 and standard deviation 1."""

    name: str
    F: NDArray[Any]
    G: Float
    columns: str


def load(name: str, quick: bool = False) -> NDArray[Any]:
    """Loads an array of the real data, or its first `QUICK_ROWS` rows; this and all below raise Missing without it."""
    return pools.real(name, QUICK_ROWS if quick else None)


def gsm8k(quick: bool) -> Scored:
    """Returns GSM8K with four scores computed from its data, as it has no judges."""
    F = load(pools.GSM8K, quick)
    lengths = [[len(item["answer"]), len(item["question"])] for item in _texts(len(F))]
    G = np.column_stack([self_compression(F), lengths, calculations(len(F))])
    columns = "self-compression, length of the answer, length of the question, number of calculations"
    return Scored("GSM8K", F, standardised(G), columns)


def calculations(m: int) -> Float:
    """Counts the calculations, such as <<48/2=24>>, in the answers of the first m items of GSM8K, (m,)."""
    return np.array([float(item["answer"].count("<<")) for item in _texts(m)])


def judged(name: str, embeddings: str, judges: str, quick: bool) -> Scored:
    """Returns a pool with the ratings of its judges."""
    F, G = load(embeddings, quick), load(judges, quick)
    return Scored(name, F, standardised(G), f"ratings by {G.shape[1]} judges")


def top(G: Float) -> NDArray[np.int64]:
    """Returns all items by falling norm of their scores, (m,) or (m, n)."""
    return np.argsort(-np.linalg.norm(G.reshape(len(G), -1), axis=1), kind="stable")


def standardised(G: NDArray[Any]) -> Float:
    """Scales columns to mean 0 and standard deviation 1.

    >>> standardised(np.array([[1, 5], [3, 9]]))
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    return np.asarray((G - G.mean(axis=0)) / G.std(axis=0))


def _texts(m: int) -> list[dict[str, str]]:
    with pools.path(GSM8K_TEXTS).open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, m)]
