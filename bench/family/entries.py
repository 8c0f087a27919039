"""The measured selections: each objective on Alpaca, and one with more picks than dimensions, against the textbook."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.plain import loops
from bench.runner import child, pools
from bench.runner.pools import Case
from gip_gpu.reference import greedy, matching_pursuit


@dataclass(frozen=True)
class Entry:
    """One objective on one pool; objective, epsilon and query are those of `gip_gpu.select`."""

    name: str
    objective: str
    case: Case
    epsilon: float = 0.0
    query: str = "direct"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for `gip_gpu.select` and for the reference."""
        return {"objective": self.objective, "epsilon": self.epsilon, "query": self.query}

    @property
    def scores(self) -> str:
        """Kind of the scores, for people."""
        return "none" if self.objective == "entropy" else self.case.scores

    def load(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Returns embeddings (m, d), and scores or None."""
        F, G = pools.load(self.case)
        return F, None if self.objective == "entropy" else G

    def reference(self, k: int) -> NDArray[np.int64]:
        """Returns the first k picks in float64, by `gip_gpu.reference`."""
        F, G = self.load()
        if self.objective == "mp":
            assert G is not None
            return matching_pursuit(F, G, k, on_exhausted="restart")
        return greedy(F, G, k, **self.options)

    def __str__(self) -> str:
        query = f", query {self.query}" * (self.query != "direct")
        epsilon = f", epsilon {self.epsilon:g}" * (self.epsilon > 0)
        return f"{self.objective}{query}{epsilon}"


POOL, JUDGED = pools.find("alpaca-520", quick=False), pools.find("alpaca-judges-520", quick=False)
# A determinantal point process with more picks than dimensions; its ridge makes this possible.
DPP = "dpp"
ENTRIES = (
    Entry("mp", "mp", POOL),
    Entry("lr", "lr", POOL),
    Entry("omp", "omp", POOL),
    Entry("mi", "mi", JUDGED, 0.1, "ridge"),
    Entry("entropy", "entropy", POOL),
    Entry(DPP, "entropy", replace(POOL, name=DPP, k=2000), 0.01),
)


def find(name: str, quick: bool) -> Entry:
    """Returns the entry of this name, or its quick form."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    return replace(entry, case=entry.case.shrunk()) if quick else entry


def run(name: str, quick: bool) -> dict[str, Any]:
    """Runs one selection on the CPU, in its own process; adds "picking", the seconds without preparation and query."""
    entry = find(name, quick)
    told = child.selection(*entry.load(), entry.case.k, device="cpu", **entry.options)
    timings = told["timings"]
    return {**told, "picking": timings["total"] - timings["prepare"] - timings["query"]}


def run_textbook(quick: bool) -> dict[str, Any]:
    """Runs the textbook's algorithm once, in its own process."""
    entry = find(DPP, quick)
    F, _ = entry.load()
    return child.timed(lambda: loops.projecting(F, None, entry.case.k, "entropy", entry.epsilon))


def textbook_bytes(m: int, d: int, k: int) -> int:
    """Returns the memory of `run_textbook`: C, two copies of the rows during normalisation, and a few vectors."""
    return 8 * (k * m + 2 * m * d + 4 * m)
