"""What `bench.gpu` selects from: sizes, pools, scores, and the indices that are right.

Every pool has a synthetic form of the real size: clusters in a narrow cone, as sentence embeddings are. Real data is
used beside it where it is at hand (`bench.cases.DATA`).
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.cases import ALPACA, ALPACA_JUDGES, CLUSTERS, DATA, GSM8K, JUDGES
from gip_gpu.reference import matching_pursuit
from gip_gpu.signals import self_compression

Array = NDArray[Any]

# Items times length times picks up to which the float64 reference answers within some ten seconds.
REFERENCE_WORK = 3e9
# Seconds that the NumPy backend may take to give the right indices of one pool.
PATIENCE = 90.0
BLOCK = 8192


@dataclass(frozen=True)
class Sizes:
    """How large everything is; m, d, k: items, length of a row, picks.

    Attributes:
        label: for people.
        checks: (m, d, k) of the synthetic pools of the equivalence.
        real: whether real pools are used where they are at hand.
        gram: items and lengths of the Gram kernels.
        step: (m, d, k), and the numbers of signals.
        select: (m, d) of the whole selections, and the shares of m that are chosen.
        lazy: (m, d, k) of the columns on demand.
        batch, compared: columns in a batch of them, and picks that are compared with the NumPy backend.
        copied: bytes of an array that is copied.
        gemm: rows and columns of the matrices of the vendor's product.
        barriers, launches: in one measurement.
        repeats: of each measurement, of which the median counts.
    """

    label: str
    checks: tuple[tuple[int, int, int], ...]
    real: bool
    gram: tuple[tuple[int, ...], tuple[int, ...]]
    step: tuple[int, int, int]
    signals: tuple[int, ...]
    select: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    lazy: tuple[int, int, int]
    batch: int
    compared: int
    copied: int
    gemm: int
    barriers: int
    launches: int
    repeats: int


FULL = Sizes(
    label="full",
    checks=((7473, 384, 747), (52_002, 384, 520)),
    real=True,
    gram=((7473, 52_002, 131_072), (384, 768)),
    step=(52_002, 384, 4000),
    signals=(1, 4),
    select=((52_002, 768), (52_002, 384)),
    shares=(0.01, 0.1, 0.5),
    lazy=(1_000_000, 768, 1000),
    batch=128,
    compared=100,
    copied=1 << 30,
    gemm=8192,
    barriers=1000,
    launches=1000,
    repeats=5,
)
QUICK = Sizes(
    label="quick: the figures say nothing about real sizes",
    checks=((1200, 64, 120), (3000, 48, 60)),
    real=False,
    gram=((1000, 3000), (64,)),
    step=(3000, 64, 300),
    signals=(1, 4),
    select=((3000, 64),),
    shares=(0.01, 0.1),
    lazy=(20_000, 64, 100),
    batch=64,
    compared=50,
    copied=1 << 26,
    gemm=1024,
    barriers=100,
    launches=100,
    repeats=3,
)
TINY = Sizes(
    label="tiny, on a CPU: it runs, and no figure means anything",
    checks=((200, 24, 5),),
    real=False,
    gram=((150,), (24,)),
    step=(200, 24, 4),
    signals=(1, 4),
    select=((200, 24),),
    shares=(0.02,),
    lazy=(260, 24, 4),
    batch=16,
    compared=3,
    copied=1 << 16,
    gemm=32,
    barriers=4,
    launches=4,
    repeats=1,
)


class Budget:
    """Seconds of which it knows how many are left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def left(self) -> float:
        return self.end - time.perf_counter()


class LeftOut(Exception):
    """A measurement that cannot be made here, and why."""


@dataclass
class Case:
    """A pool with scores.

    Attributes:
        title: for people, with its scores.
        F, G: embeddings (m, d) and scores (m,) or (m, n).
        k: picks.
    """

    title: str
    F: Array
    G: Array
    k: int
    _known: tuple[Array, str] | None = field(default=None, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.F.shape

    @property
    def signals(self) -> int:
        return 1 if self.G.ndim == 1 else self.G.shape[1]

    def expected(self, k: int, budget: Budget) -> tuple[Array, str]:
        """The right indices of the first k picks, and whose they are.

        The first picks are the same whatever k is, so the longest list known serves shorter ones.

        Raises:
            LeftOut: they would take too long.
        """
        if self._known is None or len(self._known[0]) < k:
            if self.F.size * k <= REFERENCE_WORK:
                self._known = matching_pursuit(self.F, self.G, k, on_exhausted="restart"), "float64 reference"
            else:
                self._known = _by_numpy(self.F, self.G, k, min(budget.left(), PATIENCE)), "NumPy backend"
        indices, source = self._known
        return indices[:k], source


def _by_numpy(F: Array, G: Array, k: int, seconds: float) -> Array:
    limit = Budget(seconds)

    def watch(done: int, total: int) -> None:
        if limit.left() < 0:
            raise LeftOut(f"the NumPy backend had made {done:,} of {total:,} picks when its time was up")

    if seconds <= 0:
        raise LeftOut("no time was left for the NumPy backend")
    return gip_gpu.select(F, G, k, device="cpu", backend="numpy", progress=watch).indices


def checks(sizes: Sizes) -> Iterator[Case]:
    """The pools on which every backend, precision and kind of columns is compared with the reference."""
    for place, (m, d, k) in enumerate(sizes.checks):
        # float32 rows first: those given in 16 bits are multiplied as they are where tf32 or fp32 is asked for.
        F = cone(m, d, "fp16" if place else "fp32")
        yield Case(f"synthetic {m:,} x {d}, self-compression", F, self_compression(F), k)
        yield Case(f"synthetic {m:,} x {d}, ratings", F, ratings(m), k)
    if not sizes.real:
        return
    for title, file, judges in (
        ("GSM8K", GSM8K, None),
        ("BBH (duplicates)", "bbh_wordllama_f16.npy", None),
        ("WildBench", "wildbench_minilm_f16.npy", "wildbench_judges.npy"),
        ("Alpaca", ALPACA, ALPACA_JUDGES),
        ("Alpaca", ALPACA, None),
    ):
        if all((DATA / name).is_file() for name in (file, judges) if name):
            F = np.load(DATA / file)
            G = np.load(DATA / judges) if judges else self_compression(F)
            k = len(F) // (10 if len(F) < 10_000 else 100)
            yield Case(f"{title} {len(F):,} x {F.shape[1]}, {'judges' if judges else 'self-compression'}", F, G, k)


def alpaca_or_cone(m: int, d: int, real: bool) -> Case:
    """The real pool of this shape, or a synthetic one, with self-compression scores."""
    title, F = "synthetic", None
    if real and (DATA / ALPACA).is_file():
        F = np.load(DATA / ALPACA)
        title = "Alpaca"
    if F is None or F.shape != (m, d):
        title, F = "synthetic", cone(m, d, "fp16")
    return Case(f"{title} {m:,} x {d}, self-compression", F, self_compression(F), m)


def with_signals(case: Case, n: int) -> Case:
    """The same pool with n query signals: similarities to the means of n parts of it."""
    m = len(case.F)
    if n == 1:
        return case
    units = case.F.astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    parts = [units[np.arange(part, m, n)].mean(axis=0) for part in range(n)]
    G = np.einsum("jd,nd->jn", units, np.stack(parts), dtype=np.float64)
    return Case(case.title.rpartition(",")[0] + f", {n} signals", case.F, G, case.k)


def ratings(m: int) -> NDArray[np.int8]:
    """(m, 3) ratings from 0 to 5: ties are the rule."""
    return np.random.default_rng(m).integers(0, 6, size=(m, JUDGES), dtype=np.int8)


def cone(m: int, d: int, kind: str) -> Array:
    """(m, d) rows around cluster centres, all in a narrow cone (mean cosine about 0.4, as in sentence embeddings).

    Args:
        m, d: rows and their length.
        kind: "fp16", "fp32", or "bf16": float32 values that bfloat16 holds.
    """
    scales = (1 / np.sqrt(np.arange(1, d + 1))).astype(np.float32)
    rng = np.random.default_rng(d)
    centres = rng.standard_normal((CLUSTERS, d), np.float32) * scales + rng.standard_normal(d, np.float32) * scales
    F = np.empty((m, d), np.float16 if kind == "fp16" else np.float32)

    def fill(start: int) -> None:
        block = F[start : start + BLOCK]
        own = np.random.default_rng((m, d, start))
        rows = own.standard_normal(block.shape, np.float32)
        rows *= np.float32(0.7) * scales
        rows += centres[own.integers(CLUSTERS, size=len(block))]
        if kind == "bf16":
            rows = (rows.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        block[:] = rows

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(fill, range(0, m, BLOCK)))
    return F
