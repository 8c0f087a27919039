"""Cases of the suite: sizes, and pools with their scores.

Every pool is synthetic and fixed (`bench.gpu.pools`), so its right indices can be checked in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.gpu.pools import Array, cone, similarities
from bench.runner.pools import ratings

# Objectives of the part "family", the slowest last. mi with one column equals lr, so it gets ratings and fits a query.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "lr": {},
    "omp": {},
    "entropy": {},
    "mp": {"sign": "positive"},
    "mi": {"query": "ridge", "epsilon": 0.1},
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of all parts; m, d, k: items, length of a row, picks."""

    label: str  # description for people
    # (m, d, k) of the steps, and the numbers of signals.
    step: tuple[int, int, int]
    signals: tuple[int, ...]
    # (m, d) of the whole selections, and the selected shares of m, the smallest first.
    select: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    once: int  # number of picks above which a list is selected once, and from device arrays only
    gram: tuple[tuple[int, int], ...]  # (m, d) of the Gram kernels, the most important first
    lazy: tuple[int, int, int]  # (m, d, k) of the columns on demand
    batch: int  # columns in a batch of them
    family: tuple[int, int, int]  # (m, d, k) of the other objectives
    sample: tuple[int, int, int]  # (m, d, k) of the equivalence
    copied: int  # bytes of the array of the copy
    gemm: int  # rows and columns of the matrices of the vendor's product
    # Number in one measurement.
    barriers: int
    launches: int
    repeats: int  # number of runs of each measurement; their median counts


FULL = Sizes(
    "full",
    step=(52_002, 384, 4000), signals=(1, 4),
    select=((52_002, 768), (52_002, 384)), shares=(0.01, 0.1, 0.5), once=10_000,
    gram=((52_002, 768), (52_002, 384), (131_072, 768), (7473, 768)), lazy=(1_000_000, 768, 1000), batch=128,
    family=(52_002, 384, 520), sample=(7473, 384, 747), copied=1 << 30, gemm=8192, barriers=1000, launches=1000,
    repeats=3,
)  # fmt: skip
QUICK = Sizes(
    "quick: the figures say nothing about real sizes",
    step=(3000, 64, 300), signals=(1, 4), select=((3000, 64),), shares=(0.01, 0.1), once=1000,
    gram=((1000, 64), (3000, 64)), lazy=(20_000, 64, 100), batch=64,
    family=(3000, 48, 60), sample=(1200, 64, 120), copied=1 << 26, gemm=1024, barriers=100, launches=100, repeats=3,
)  # fmt: skip
TINY = Sizes(
    "tiny, on a CPU: it runs, and no figure means anything",
    step=(200, 24, 4), signals=(1, 4), select=((200, 24),), shares=(0.02, 0.03), once=5,
    gram=((150, 24),), lazy=(260, 24, 4), batch=16,
    family=(120, 24, 3), sample=(200, 24, 5), copied=1 << 16, gemm=32, barriers=4, launches=4, repeats=1,
)  # fmt: skip


@dataclass
class Case:
    """One selection: a pool with scores, the number of picks, the objective."""

    title: str  # the pool and its scores, for people
    # Embeddings (m, d) and scores (m,) or (m, n).
    F: Array
    G: Array
    k: int  # largest number of picks
    # As in `gip_gpu.select`.
    objective: str = "mp"
    options: dict[str, Any] = field(default_factory=dict)
    # The longest known list of right indices and its source, a cache of `bench.gpu.right`.
    known: tuple[Array, str] | None = field(default=None, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.F.shape

    @property
    def signals(self) -> int:
        return 1 if self.G.ndim == 1 else self.G.shape[1]

    @property
    def scores(self) -> Array | None:
        """G, or None if the objective takes no scores."""
        return None if self.objective == "entropy" else self.G

    @property
    def default_objective(self) -> bool:
        """Whether the objective is matching pursuit without options."""
        return self.objective == "mp" and not self.options


def step_cases(sizes: Sizes) -> list[Case]:
    """Returns the pool of the steps, with each number of signals."""
    m, d, k = sizes.step
    F = cone(m, d, "fp16")
    return [Case(_title(m, d, n), F, similarities(F, n), k) for n in sizes.signals]


def select_case(m: int, d: int) -> Case:
    """Returns a pool of whole selections."""
    return _compressed(m, d, m, "fp16")


def lazy_case(sizes: Sizes) -> Case:
    """Returns the pool that is too large for its Gram matrix."""
    return _compressed(*sizes.lazy, "bf16")


def family_cases(sizes: Sizes) -> Iterator[Case]:
    """Yields the pool of the other objectives, once for each objective."""
    m, d, k = sizes.family
    base = _compressed(m, d, k, "fp16")
    for objective, options in OBJECTIVES.items():
        title, G = (f"synthetic {m:,} x {d}, ratings", ratings(m)) if objective == "mi" else (base.title, base.G)
        yield Case(title, base.F, G, k, objective, options)


def sample_case(sizes: Sizes) -> Case:
    """Returns the pool of the equivalence, in float32, as 16-bit rows are multiplied unchanged in tf32 and fp32."""
    return _compressed(*sizes.sample, "fp32")


def _compressed(m: int, d: int, k: int, kind: str) -> Case:
    F = cone(m, d, kind)
    return Case(_title(m, d, 1), F, similarities(F), k)


def _title(m: int, d: int, n: int) -> str:
    return f"synthetic {m:,} x {d}, {'self-compression' if n == 1 else f'{n} signals'}"
