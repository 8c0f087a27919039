"""Cost models: the bytes and seconds of a run, from the sizes of the problem."""

import math
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from gip_gpu.data.rows import BLOCK_VALUES
from gip_gpu.data.single_rows import CHUNK, READERS, VALUES
from gip_gpu.numerics import error_bounds
from gip_gpu.problem.objectives import Objective
from gip_gpu.system import cpu

# Format in which Gram columns are stored, by precision; tf32 and bf16 are formats of the multiplication only.
STORAGE = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "fp16"}

# Precisions of Gram columns on a CPU, the most exact first.
HOST_PRECISIONS = ("fp32", "fp16")

# Name of a memory part of runs that compute columns in the step; other runs have "scores and residual" instead.
ITEMS = "scores, residual, distance"
# Name of a memory part of runs with columns on demand.
GRAM_COLUMNS = "Gram columns"

# Working sets of a lookahead: the share of the pool, and the most bytes of their rows. The second is for little memory.
WORKING_SETS = ((1 / 12, 256 << 20), (1 / 12, 16 << 20))
# With a given share of the pool in the working set, one in (FORESEEN sqrt(share)) picks is not foreseen, and the rest
# of its batch is of little use. Fitted to the times of pools of 7 and 52 thousand items, with self-compression and with
# random scores.
FORESEEN = 90
# Bytes that a system finds fast, because it has used them before.
HANDY = 256 << 20
# Seconds until the threads that convert rows have started and the arrays of a run are allocated.
START = 2e-3
# Bytes that stay in the caches between products with a vector, and the speed-up of such products.
CACHED, NEAR = 16 << 20, 2.5
# Picks of a round if only positive residuals count: in a narrow cone each row lowers the residuals of all others.
POSITIVE_ROUND = 32
# Picks from one refresh to the next if products have full float32 precision.
EXACT_PICKS = 2000


def entry_bytes(precision: str) -> int:
    """Returns the bytes of an entry of a Gram column."""
    return error_bounds.FORMATS[STORAGE[precision]].bytes


@dataclass(frozen=True)
class Steps:
    """Properties of an objective that decide the cost of its steps.

    Attributes:
        project: whether picks are projected out of the rows.
        by_distance: whether the distance is the score.
        positive: whether only positive residuals count.
        metric: whether residuals have a metric that changes with each pick.
    """

    project: bool = False
    by_distance: bool = False
    positive: bool = False
    metric: bool = False

    @classmethod
    def of(cls, objective: Objective, sign: str) -> "Steps":
        """Returns the properties of an objective with this sign."""
        return cls(objective.projects, not objective.scored, sign == "positive", objective.metric)


PLAIN = Steps()


@dataclass(frozen=True)
class Layout:
    """Storage of the embeddings in a lazy run, and the number of columns that it can use.

    Attributes:
        lookahead: items in the working set that predicts the next picks.
        resident: whether the embeddings are in the memory of the device, or stream to it chunk by chunk.
        least, most: fewest columns that it needs, and most that it can use (None: any number).
    """

    lookahead: int = 0
    resident: bool = True
    least: int = 1
    most: int | None = None


class Costs(Protocol):
    """Cost model of a backend for one problem."""

    @property
    def share(self) -> float:
        """Largest share of free memory that a Gram matrix may take under columns="auto"."""

    @property
    def widest(self) -> bool:
        """Whether columns="auto" takes a Gram matrix only in the first precision."""

    @property
    def timed(self) -> bool:
        """Whether the fastest of the layouts that fit is taken; else the first."""

    def layouts(self) -> tuple[Layout, ...]:
        """Returns layouts of the embeddings, the best first and the smallest last."""

    def lazy(self, slots: int, layout: Layout, precision: str) -> dict[str, int]:
        """Returns the bytes by part with `slots` columns kept."""

    def gram(self, precision: str) -> dict[str, int]:
        """Returns the bytes by part with the whole Gram matrix."""

    def stepwise(self, layout: Layout, precision: str) -> dict[str, int]:
        """Returns the bytes by part if the column of a pick is computed in its step, with a projector of the rows."""

    def stepwise_seconds(
        self, k: int, precision: str, layout: Layout, rates: "Rates | None", steps: Steps = PLAIN
    ) -> float:
        """Predicts the seconds of k such picks."""

    def column(self, precision: str, layout: Layout) -> int:
        """Returns the bytes of one kept column, with its scratch memory."""

    def lazy_seconds(self, k: int, precision: str, layout: Layout, rates: "Rates | None", slots: int) -> float:
        """Predicts the seconds of k picks with columns on demand, `slots` of them kept."""

    def gram_seconds(self, k: int, precision: str, rates: "Rates | None") -> float:
        """Predicts the seconds of k picks with the whole Gram matrix, including its computation."""


@dataclass(frozen=True)
class Rates:
    """Rates of a CPU, per second unless stated otherwise.

    Attributes:
        gemm: flops of a large float32 product.
        gemv: bytes read by a matrix-vector product.
        copy: bytes read and written by array operations that miss the caches.
        touch: bytes of memory written for the first time, which the system has to find and clear.
        fresh: the same beyond `HANDY` bytes, which a virtual machine has to request from its host.
        call: fixed seconds of one array operation.
    """

    gemm: float = 2.0e11
    gemv: float = 3.0e10
    copy: float = 1.0e10
    touch: float = 1.0e9
    fresh: float = 3.5e8
    call: float = 1.0e-6
    source: str = "a CPU by assumption"

    def __str__(self) -> str:
        return (
            f"{self.source}, alone: products {self.gemm / 1e9:.3g} Gflop/s, with a vector {self.gemv / 1e9:.3g} GB/s, "
            f"copies {self.copy / 1e9:.3g} GB/s, {self.call * 1e6:.2g} us a call"
        )

    def finding(self, size: int) -> float:
        """Returns the seconds that the system takes to find `size` bytes of memory."""
        return min(size, HANDY) / self.touch + max(0, size - HANDY) / self.fresh


@dataclass(frozen=True)
class HostCosts:
    """Cost model of the NumPy backend: m items, rows of length d, n signals.

    Under columns="auto" a Gram matrix takes no more than half of the free memory: other programs need memory too.
    """

    m: int
    d: int
    n: int
    share: float = field(default=0.5, init=False)
    widest: bool = field(default=True, init=False)
    timed: bool = field(default=True, init=False)

    def _shared(self, resident: bool = True) -> dict[str, int]:
        """Returns the bytes that every strategy needs; blocks of rows pass through float64 a few at a time."""
        return {
            **(
                {"embeddings in float32": 4 * self.m * self.d}
                if resident
                else {"chunks of embeddings": chunk_bytes(self.m, self.d)}
            ),
            # Scores, residual in float32, the exact residual of a window of at most all items; masks, norms and their
            # reciprocals, indices.
            "scores and residual": self.m * (8 * self.n + 4 * self.n + 8 * self.n + 5 * 4 + 8 * 5),
            "blocks of rows": 4 * 8 * max(BLOCK_VALUES, self.d),
        }

    def layouts(self) -> tuple[Layout, ...]:
        def ahead(resident: bool) -> list[Layout]:
            sizes = [min(int(self.m * share), most // (4 * self.d)) for share, most in WORKING_SETS]
            return [Layout(min(self.m, max(1024, size)), resident, least=16) for size in dict.fromkeys(sizes)]

        # Without room for a working set and a batch, each pick costs a matrix-vector product.
        return (
            *ahead(True),
            *ahead(False),
            Layout(most=1),
            Layout(resident=False, most=1),
        )

    def column(self, precision: str, layout: Layout) -> int:
        # A product of float16 columns passes through float32, as a whole or a chunk at a time.
        scratch = 4 if entry_bytes(precision) == 2 and layout.resident else 0
        return self.m * (entry_bytes(precision) + scratch)

    def lazy(self, slots: int, layout: Layout, precision: str) -> dict[str, int]:
        parts = {**self._shared(layout.resident), GRAM_COLUMNS: slots * self.column(precision, layout)}
        if layout.lookahead:
            # Rows of the working set and a copy of a quarter of them; for each item the slot of its row, its component
            # in the common direction and the largest score after shifts; the simulated residual.
            rows = 5 * layout.lookahead * (self.d + 4 * self.n + 8)
            parts["lookahead"] = rows + 3 * 4 * self.m
        return parts

    def stepwise(self, layout: Layout, precision: str) -> dict[str, int]:
        parts = self._shared(layout.resident)
        # A scaled copy of the scores; distance, column, partial column and bound of each item.
        parts[ITEMS] = parts.pop("scores and residual") + self.m * (8 * self.n + 4 * 4)
        # S, the products that change it, and blocks of rows times S.
        return {**parts, "projector": 4 * 8 * self.d * self.d + 2 * 8 * max(BLOCK_VALUES, self.d)}

    def stepwise_seconds(
        self, k: int, precision: str, layout: Layout, rates: Rates | None, steps: Steps = PLAIN
    ) -> float:
        rates = rates or Rates()
        projecting = 8 * self.d * self.d / rates.copy if steps.project else 0.0
        passes = self.m * (self.n + 6) * 8 / rates.gemv
        column = self.columns_seconds(1, rates, layout.resident)
        if layout.resident and 4 * self.m * self.d <= CACHED:
            column /= NEAR
        anew = self.refresh_seconds(rates) / POSITIVE_ROUND if steps.positive and not steps.project else 0.0
        calls = (400 if steps.metric else 140) * rates.call
        return self._prepare_seconds(rates, 0) + k * (column + projecting + passes + anew + calls)

    def gram(self, precision: str) -> dict[str, int]:
        width = entry_bytes(precision)
        scratch = 0 if width == 4 else 4 * self.m * min(self.m, 1024)
        return {**self._shared(), "Gram matrix": self.m * self.m * width + scratch}

    def least_seconds(self, k: int) -> float:
        """Returns a lower limit of the seconds predicted for k picks with Gram columns, however they are computed."""
        return self._prepare_seconds(Rates(), k)

    def _prepare_seconds(self, rates: Rates, k: int) -> float:
        return START + 30 * self.m * self.d / rates.copy + k * self.step_seconds(rates)

    def step_seconds(self, rates: Rates) -> float:
        """Predicts the seconds of a matching pursuit step without its column: passes over column, residual, scores."""
        return 40 * rates.call + self.m * (self.n + 3) * 8 / rates.gemv

    def columns_seconds(self, count: int, rates: Rates, resident: bool = True) -> float:
        """Predicts the seconds of `count` Gram columns in one product.

        A batch repacks the pool, and its product has half the flop rate.
        """
        product = 4 * self.m * self.d / rates.gemv
        if count > 1:
            product = (2.5 * product if resident else 0.0) + count * 2 * 2 * self.m * self.d / rates.gemm
        # Streamed rows are read, converted and written as float32, on all cores.
        return product if resident else 7 * self.m * self.d / rates.copy + product

    def refresh_seconds(self, rates: Rates) -> float:
        """Predicts the seconds of G - F A in float64, from blocks of rows that are cast in passing."""
        return 30 * self.m * self.d / rates.copy + 2 * 2 * self.m * self.d * self.n / rates.gemm

    def gram_seconds(self, k: int, precision: str, rates: Rates | None) -> float:
        rates = rates or Rates()
        product = self.m * self.m * self.d / rates.gemm
        written = self.m * self.m * 4
        return self._prepare_seconds(rates, k) + product + rates.finding(written) + 2 * written / rates.copy

    def lazy_seconds(self, k: int, precision: str, layout: Layout, rates: Rates | None, slots: int) -> float:
        rates = rates or Rates()
        single = self.columns_seconds(1, rates, layout.resident) + 10 * rates.call
        seconds = self._prepare_seconds(rates, k) + k * single
        if layout.lookahead:
            # A pass to find the common direction of all rows; memory for columns; reading the rows of the working set.
            touched = 4 * self.m * min(slots, k, 64) + 8 * layout.lookahead * self.d
            prepared = self._prepare_seconds(rates, k) + single + touched / rates.touch
            column = 4 * 1.25 * layout.lookahead * self.d / rates.gemv + 50 * rates.call
            sizes = [size for size in (16, 32, 64, 128) if size <= max(16, slots // 2)]
            column += min(self._batch_seconds(size, layout, rates) for size in sizes)
            seconds = prepared + k * column
        if entry_bytes(precision) == 2:
            # Written as float16 and read again, a value at a time.
            seconds += k * 2 * 20 * self.m / rates.copy
        return seconds

    def _batch_seconds(self, size: int, layout: Layout, rates: Rates) -> float:
        """Predicts the seconds of a batch of columns for each pick that it serves."""
        foreseen = max(2.0, FORESEEN * math.sqrt(layout.lookahead / self.m))
        served = foreseen * (1 - (1 - 1 / foreseen) ** size)
        return self.columns_seconds(size, rates, layout.resident) / served


def chunk_bytes(m: int, d: int) -> int:
    """Returns the bytes of streaming: chunks in float32 and a product, blocks as they are read and converted."""
    return (READERS + 2) * 4 * max(min(m * d, CHUNK), d) + READERS * 3 * 8 * max(VALUES, d)


@cache
def measured_rates() -> Rates:
    """Measures the rates of this machine, in a fraction of a second."""
    left, right = np.ones((256, 512), np.float32), np.ones((512, 4096), np.float32)
    out, long = np.empty((256, 4096), np.float32), np.ones((1 << 24), np.float32)
    matrix = long.reshape(512, -1)
    other = np.empty_like(long)
    tiny = np.ones(1, np.float32)
    return Rates(
        gemm=2 * out.size * 512 / _seconds(lambda: np.matmul(left, right, out=out)),
        gemv=long.nbytes / _seconds(lambda: np.matmul(left[0, :512], matrix)),
        copy=2 * long.nbytes / _seconds(lambda: np.copyto(other, long)),
        call=_seconds(lambda: [np.multiply(tiny, tiny, out=tiny) for _ in range(100)]) / 100,
        source=f"{cpu.processor()}, {cpu.cores()} cores, as measured now",
    )


def _seconds(action: Any) -> float:
    """Returns the median time of five runs after one that is not counted."""
    action()
    spans = []
    for _ in range(5):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return sorted(spans)[2]
