"""Cost models: the bytes that a run takes and the seconds that it will last, from the sizes of the problem."""

import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from gip_gpu import bounds
from gip_gpu.rows import BLOCK_VALUES

# What Gram columns are kept in, by precision; only the multiplication is done in tf32 and bf16.
STORAGE = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "fp16"}

# Part of the memory of a run whose columns are made in the step: what lies beside another run's scores and residual.
ITEMS = "scores, residual, distance"

# The share of computed columns that gets used, and items in the lookahead's working set against the pool's.
USED_SHARE = 0.85
WORKING_SET = 1 / 12
WORKING_BYTES = 16 << 20
# Picks from one refresh to the next where products are as exact as float32 has them.
EXACT_PICKS = 2000


def query_bytes(m: int, d: int, n: int) -> int:
    """Bytes on the host that fitting a query takes: the scores of the fit, blocks of rows and their factor."""
    width = d + n
    return 2 * 8 * m * n + 8 * width * (4 * max(BLOCK_VALUES // width, 4 * width) + 4 * width)


def entry_bytes(precision: str) -> int:
    """Bytes of an entry of a Gram column."""
    return bounds.FORMATS[STORAGE[precision]].bytes


@dataclass(frozen=True)
class Layout:
    """How a lazy run keeps the embeddings, and how many columns it can use.

    Attributes:
        lookahead: items in the working set that predicts the next picks.
        resident: whether the embeddings lie where the products are computed, or stream past.
        least, most: columns that it needs, and has a use for (None: any number).
    """

    lookahead: int = 0
    resident: bool = True
    least: int = 1
    most: int | None = None


class Costs(Protocol):
    """The cost model of a backend for one problem."""

    @property
    def share(self) -> float:
        """Of the free memory, what a Gram matrix may take unasked."""

    @property
    def widest(self) -> bool:
        """Whether only the first precision makes a Gram matrix unasked."""

    def layouts(self) -> tuple[Layout, ...]:
        """Ways to keep the embeddings, the best first and the smallest last."""

    def lazy(self, slots: int, layout: Layout, precision: str) -> dict[str, int]:
        """Bytes by part with `slots` columns kept."""

    def gram(self, precision: str) -> dict[str, int]:
        """Bytes by part with the whole Gram matrix."""

    def stepwise(self, layout: Layout, precision: str) -> dict[str, int]:
        """Bytes by part where the column of a pick is made in its step, with a projector of the rows."""

    def stepwise_seconds(self, k: int, precision: str, layout: Layout, rates: "Rates | None") -> float:
        """Predicted time of k such picks."""

    def column(self, precision: str) -> int:
        """Bytes of one kept column, with the scratch behind it."""

    def lazy_seconds(self, k: int, precision: str, layout: Layout, rates: "Rates | None") -> float:
        """Predicted time of k picks with columns on demand."""

    def gram_seconds(self, k: int, precision: str, rates: "Rates | None") -> float:
        """Predicted time of k picks with the whole Gram matrix, its computation included."""


@dataclass(frozen=True)
class Rates:
    """What a CPU does per second.

    Attributes:
        gemm: flops of a large float32 product.
        gemv: bytes read by a matrix-vector product.
        copy: bytes read and written by array operations that miss the caches.
        touch: bytes of memory written for the first time, which the system has to find and clear.
        call: seconds that one array operation takes however small it is.
    """

    gemm: float = 2.0e11
    gemv: float = 3.0e10
    copy: float = 1.0e10
    touch: float = 1.0e9
    call: float = 1.0e-6


@dataclass(frozen=True)
class HostCosts:
    """The NumPy backend's: m items, rows of length d, n signals.

    Unasked, a Gram matrix takes no more than half of what is free: other programs need memory too.
    """

    m: int
    d: int
    n: int
    share: float = field(default=0.5, init=False)
    widest: bool = field(default=True, init=False)

    def _shared(self) -> dict[str, int]:
        """What every strategy needs; blocks of rows pass through float64 a few at a time."""
        return {
            "embeddings in float32": 4 * self.m * self.d,
            # Scores, residual in float32, the exact residual of a window of all items at worst; masks, norms, indices.
            "scores and residual": self.m * (8 * self.n + 4 * self.n + 8 * self.n + 4 * 4 + 8 * 5),
            "blocks of rows": 4 * 8 * max(BLOCK_VALUES, self.d),
        }

    def layouts(self) -> tuple[Layout, ...]:
        working = max(min(self.m, 1024), min(int(self.m * WORKING_SET), WORKING_BYTES // (4 * self.d)))
        # Without room for a working set and a batch, each pick costs a matrix-vector product.
        return Layout(lookahead=working, least=16), Layout(most=1)

    def column(self, precision: str) -> int:
        width = entry_bytes(precision)
        return self.m * (width if width == 4 else width + 4)

    def lazy(self, slots: int, layout: Layout, precision: str) -> dict[str, int]:
        # Rows once more, as they are gathered row by row, and up to twice the working set of them.
        ahead = layout.lookahead
        lookahead_bytes = 4 * self.m * self.d + 2 * 4 * ahead * (self.d + 2 * self.n + 4) if ahead else 0
        return {**self._shared(), "Gram columns": slots * self.column(precision), "lookahead": lookahead_bytes}

    def stepwise(self, layout: Layout, precision: str) -> dict[str, int]:
        parts = self._shared()
        # A scaled copy of the scores; distance, column, part of it and bound of each item.
        parts[ITEMS] = parts.pop("scores and residual") + self.m * (8 * self.n + 4 * 4)
        # S, the products that change it, and blocks of rows times S.
        return {**parts, "projector": 4 * 8 * self.d * self.d + 2 * 8 * max(BLOCK_VALUES, self.d)}

    def stepwise_seconds(self, k: int, precision: str, layout: Layout, rates: Rates | None) -> float:
        rates = rates or Rates()
        projecting = 2 * 8 * self.d * self.d / rates.copy
        passes = self.m * (self.n + 6) * 8 / rates.gemv
        step = 4 * self.m * self.d / rates.gemv + projecting + passes + 80 * rates.call
        return self._prepare_seconds(rates, 0) + k * step

    def gram(self, precision: str) -> dict[str, int]:
        width = entry_bytes(precision)
        scratch = 0 if width == 4 else 4 * self.m * min(self.m, 1024)
        return {**self._shared(), "Gram matrix": self.m * self.m * width + scratch}

    def _prepare_seconds(self, rates: Rates, k: int) -> float:
        return 30 * self.m * self.d / rates.copy + k * self.step_seconds(rates)

    def step_seconds(self, rates: Rates) -> float:
        """A step of matching pursuit, its column at hand: passes over column, residual and scores."""
        return 40 * rates.call + self.m * (self.n + 3) * 8 / rates.gemv

    def columns_seconds(self, count: int, rates: Rates) -> float:
        """`count` Gram columns in one product; for a batch the pool is repacked, and flops come at half rate."""
        single = 4 * self.m * self.d / rates.gemv
        return single if count == 1 else 2.5 * single + count * 2 * 2 * self.m * self.d / rates.gemm

    def refresh_seconds(self, rates: Rates) -> float:
        """G - F A in float64, from blocks of rows that are cast on their way."""
        return 30 * self.m * self.d / rates.copy + 2 * 2 * self.m * self.d * self.n / rates.gemm

    def gram_seconds(self, k: int, precision: str, rates: Rates | None) -> float:
        rates = rates or Rates()
        product = self.m * self.m * self.d / rates.gemm
        written = self.m * self.m * 4
        return self._prepare_seconds(rates, k) + product + written / rates.touch + 2 * written / rates.copy

    def lazy_seconds(self, k: int, precision: str, layout: Layout, rates: Rates | None) -> float:
        rates = rates or Rates()
        single = self.columns_seconds(1, rates)
        foreseen = self.columns_seconds(16, rates) / 16 / USED_SHARE + single * WORKING_SET + 50 * rates.call
        return self._prepare_seconds(rates, k) + k * min(single + 10 * rates.call, foreseen)


@cache
def measured_rates() -> Rates:
    """The rates of this machine, measured in a fraction of a second."""
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
    )


def _seconds(action: Any) -> float:
    """The median of five runs after one that is not counted."""
    action()
    spans = []
    for _ in range(5):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return sorted(spans)[2]
