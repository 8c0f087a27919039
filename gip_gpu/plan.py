"""The plan of a run: where Gram columns come from, how they are kept, what memory that takes, how long it will last."""

import logging
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from gip_gpu import backends, bounds, memory
from gip_gpu.device import resolve
from gip_gpu.rows import BLOCK_VALUES
from gip_gpu.validate import as_bytes, one_of

log = logging.getLogger("gip_gpu")

BYTES = {"fp32": 4, "fp16": 2}
PRECISIONS = ("auto", *BYTES)
COLUMNS = ("auto", "gram", "lazy")

# Columns that a lazy run keeps: batches grow to this size at most, and more than a few batches are seldom reused.
CACHE = 256
# A pool that is kept serves later selections from its columns; they may take this share of what is free.
KEPT_SHARE = 1 / 8
# The share of computed columns that gets used, and items in the lookahead's working set against the pool's.
USED_SHARE = 0.85
WORKING_SET = 1 / 12
WORKING_BYTES = 16 << 20


@dataclass(frozen=True)
class Rates:
    """What the machine does per second.

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
class Plan:
    """What a run will do and take.

    Attributes:
        device, backend: where, and by which code.
        m, d, n, k: items, length of a row, signals, picks.
        columns: "gram" (the whole matrix) or "lazy" (batches on demand).
        precision: "fp32" or "fp16", what Gram columns are kept in.
        cache: columns that "lazy" keeps.
        lookahead: items in the working set that predicts the next picks.
        memory: bytes by part, all that the run allocates beyond the input.
        limit: bytes it may take, None for no limit.
        seconds: predicted time, a model's figure.
        reason: why these columns and this precision.
    """

    device: str
    backend: str
    m: int
    d: int
    n: int
    k: int
    columns: str
    precision: str
    cache: int
    lookahead: int
    memory: dict[str, int] = field(repr=False)
    limit: int | None
    seconds: float
    reason: str

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.memory.values())

    def table(self) -> list[tuple[str, str]]:
        """(quantity, readable value) rows."""
        limit = "none" if self.limit is None else memory.readable(self.limit)
        kept = "the whole matrix" if self.columns == "gram" else f"{self.cache:,} columns kept"
        return [
            ("pool", f"{self.m:,} items of length {self.d:,}, {self.n} signal{'s' * (self.n > 1)}"),
            ("picks", f"{self.k:,} ({self.k / self.m:.3g} of the pool)"),
            ("device, backend", f"{self.device}, {self.backend}"),
            ("Gram columns", f"{self.columns}, {self.precision}, {kept}"),
            ("reason", self.reason),
            *((f"memory: {part}", memory.readable(size)) for part, size in self.memory.items()),
            ("memory in all", f"{memory.readable(self.total)} (limit: {limit})"),
            ("predicted time", f"{self.seconds:.2g} s (a model's figure)"),
        ]

    def __str__(self) -> str:
        return (
            f"m={self.m} d={self.d} n={self.n} k={self.k} on {self.device} ({self.backend}): {self.columns} columns in "
            f"{self.precision}, {memory.readable(self.total)}; {self.reason}"
        )


def make_plan(
    m: int,
    d: int,
    n: int,
    k: int,
    *,
    device: str = "auto",
    backend: str | None = None,
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: Any = None,
    keep: bool = False,
    held: int = 0,
    measure: bool = False,
) -> Plan:
    """Chooses strategy, precision and cache from the sizes, the memory and a cost model.

    Args:
        m, d, n, k: items, length of a row, signals, picks.
        device, backend, precision, columns, memory_limit: as in `gip_gpu.select`.
        keep: whether later selections will use the same pool, so that columns are worth keeping.
        held: bytes that an earlier plan of the same pool took, which this one may use again.
        measure: measure this machine's rates (a fraction of a second) for the predicted time.

    Raises:
        TypeError, ValueError: an unknown value, or a memory limit too small to run at all (says the minimum).

    >>> make_plan(1_000_000, 256, 1, 1000, device="cpu", memory_limit="4GB").columns
    'lazy'
    """
    where = resolve(device)
    kind = backends.load(backend, where)
    one_of("precision", precision, PRECISIONS)
    one_of("columns", columns, COLUMNS)
    if precision != "auto" and precision not in kind.precisions:
        raise ValueError(
            f"precision is {precision!r}, which backend {kind.name!r} does not have; it has "
            f"{', '.join(map(repr, kind.precisions))}"
        )
    bounds.dot_error(d, bounds.U32)
    free = memory.available() + held
    limit = as_bytes(memory_limit, free)
    room = free if limit is None else limit
    found = f"{memory.readable(room)} {'of memory is free' if limit is None else 'is what memory_limit allows'}"
    sizes = _Sizes(m, d, n)
    precisions = kind.precisions if precision == "auto" else (precision,)
    rates = measured_rates() if measure else Rates()

    least = sizes.lazy(1, 0, BYTES[precisions[-1]])
    grams = {p: sizes.gram(BYTES[p]) for p in precisions}
    fitting = [p for p in precisions if sum(grams[p].values()) <= room]
    gram_seconds, lazy_seconds = sizes.gram_seconds(rates, k), sizes.lazy_seconds(rates, k)

    def plan(strategy: str, kept: str, parts: dict[str, int], seconds: float, reason: str, cache_: int = 0,
             lookahead: int = 0) -> Plan:  # fmt: skip
        return Plan(where, kind.name, m, d, n, k, strategy, kept, cache_, lookahead, parts, limit, seconds, reason)

    if columns == "gram" and not fitting:
        need = min(sum(parts.values()) for parts in grams.values())
        raise ValueError(
            f"{found}, and columns='gram' needs {memory.readable(need)}; "
            f"columns='lazy' needs {memory.readable(sum(least.values()))}"
        )
    # Unasked, a matrix takes no more than half of what is free: other programs need memory too.
    modest = fitting[:1] == ["fp32"] and (limit is not None or 2 * sum(grams["fp32"].values()) <= free)
    if columns == "gram" or (columns == "auto" and modest and gram_seconds < lazy_seconds):
        reason = "asked for" if columns == "gram" else "it fits, and k is a large share of m"
        return plan("gram", fitting[0], grams[fitting[0]], gram_seconds, reason)

    if sum(least.values()) > room:
        raise ValueError(
            f"{found}, and {m:,} x {d:,} embeddings with {n} signals need at least "
            f"{memory.readable(sum(least.values()))} (columns='lazy')"
        )
    kept = precisions[0]
    lookahead = sizes.working_set()
    if sum(sizes.lazy(16, lookahead, BYTES[kept]).values()) > room:
        # Without room for a working set and a batch, each pick costs a matrix-vector product.
        lookahead = 0
        kept = next(p for p in precisions if sum(sizes.lazy(1, 0, BYTES[p]).values()) <= room)
    wanted = max(CACHE, int(free * KEPT_SHARE) // (m * BYTES[kept])) if keep else CACHE
    fixed = sum(sizes.lazy(0, lookahead, BYTES[kept]).values())
    most = (room - fixed) // sizes.column(BYTES[kept])
    slots = max(1, min(m, wanted, most)) if lookahead else 1
    if columns == "lazy":
        reason = "asked for"
    elif not modest:
        reason = f"the Gram matrix would need {memory.readable(sum(grams[precisions[0]].values()))}"
    else:
        reason = "k is a small share of m"
    return plan("lazy", kept, sizes.lazy(slots, lookahead, BYTES[kept]), lazy_seconds, reason, slots, lookahead)


@dataclass(frozen=True)
class _Sizes:
    """The cost model: bytes and seconds from the sizes of a problem."""

    m: int
    d: int
    n: int

    def _shared(self) -> dict[str, int]:
        """What every strategy needs; blocks of rows pass through float64 a few at a time."""
        return {
            "embeddings in float32": 4 * self.m * self.d,
            # Scores, residual in float32, the exact residual of a window of all items at worst; masks, norms, indices.
            "scores and residual": self.m * (8 * self.n + 4 * self.n + 8 * self.n + 4 * 4 + 8 * 5),
            "blocks of rows": 4 * 8 * max(BLOCK_VALUES, self.d),
        }

    def working_set(self) -> int:
        """Items in the lookahead's working set."""
        return max(min(self.m, 1024), min(int(self.m * WORKING_SET), WORKING_BYTES // (4 * self.d)))

    def column(self, width: int) -> int:
        """Bytes of one kept column, with the float32 scratch behind a narrower one."""
        return self.m * (width if width == 4 else width + 4)

    def lazy(self, slots: int, lookahead: int, width: int) -> dict[str, int]:
        # Rows once more, as they are gathered row by row, and up to twice the working set of them.
        lookahead_bytes = 4 * self.m * self.d + 2 * 4 * lookahead * (self.d + 2 * self.n + 4) if lookahead else 0
        return {
            **self._shared(),
            "Gram columns": slots * self.column(width),
            "lookahead": lookahead_bytes,
        }

    def gram(self, width: int) -> dict[str, int]:
        scratch = 0 if width == 4 else 4 * self.m * min(self.m, 1024)
        return {**self._shared(), "Gram matrix": self.m * self.m * width + scratch}

    def _prepare_seconds(self, rates: Rates, k: int) -> float:
        return 30 * self.m * self.d / rates.copy + k * (40 * rates.call + self.m * (self.n + 3) * 8 / rates.gemv)

    def gram_seconds(self, rates: Rates, k: int) -> float:
        product = self.m * self.m * self.d / rates.gemm
        written = self.m * self.m * 4
        return self._prepare_seconds(rates, k) + product + written / rates.touch + 2 * written / rates.copy

    def lazy_seconds(self, rates: Rates, k: int) -> float:
        # Batches of sixteen: the pool is read once and repacked, and the product runs at half its full rate.
        single = 4 * self.m * self.d / rates.gemv
        batched = 2.5 * single / 16 + 2 * 2 * self.m * self.d / rates.gemm
        foreseen = batched / USED_SHARE + single * WORKING_SET + 50 * rates.call
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
