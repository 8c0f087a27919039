"""The plan of a run: the source and storage of its Gram columns, its memory and its predicted time."""

import logging
from dataclasses import dataclass, field

from gip_gpu.system import memory

log = logging.getLogger("gip_gpu")

# Columns that a lazy run keeps: batches are no larger than this, and more than a few batches are seldom reused.
CACHE = 256


@dataclass(frozen=True)
class Plan:
    """Plan of a run: its sizes, columns, memory and predicted time.

    Attributes:
        device, backend: the device, and the name of the backend.
        m, d, n, k: items, length of a row, signals, picks.
        columns: "gram" (the whole matrix), "lazy" (batches on demand) or "none" (the column of a pick depends on the
            picks before it, and is computed in the step).
        precision: precision in which Gram columns are computed and stored: "fp32", "tf32", "fp16" or "bf16"; "fp64" if
            a small pool runs the plain float64 loop (`gip_gpu.greedy.float64.stepper`).
        cache: columns that "lazy" keeps.
        lookahead: items in the working set that predicts the next picks.
        resident: whether the embeddings are on the device, or stream to it from the host's memory.
        memory: bytes by part of all that the run allocates beyond the input.
        limit: bytes that the run may take, None for no limit.
        seconds: predicted time of the cost model.
        reason: reason for these columns and this precision.
        objective: name of the objective.
        gram_seconds: predicted seconds of the whole Gram matrix, if a run with columns on demand may change to it and
            has room for it; else 0.
        machine: the CPU rates, measured or assumed, behind `seconds`; "" for a GPU's datasheet.
        method: another method that chose the items, with its settings, such as "KCenter(first=3)"; its name is the
            objective. "" for Greedy Information Projection.
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
    resident: bool
    memory: dict[str, int] = field(repr=False)
    limit: int | None
    seconds: float
    reason: str
    objective: str = "mp"
    gram_seconds: float = 0.0
    machine: str = ""
    method: str = ""

    @property
    def total(self) -> int:
        """Total bytes."""
        return sum(self.memory.values())

    @property
    def direct(self) -> bool:
        """Whether the run is the plain float64 loop."""
        return self.precision == "fp64"

    @property
    def kept(self) -> str:
        """Description of the kept columns, in a few words."""
        return "a column a pick" if self.columns == "none" else f"{self.columns} columns in {self.precision}"

    def table(self) -> list[tuple[str, str]]:
        """Returns rows of (quantity, readable value)."""
        if self.method:
            return [
                ("pool", f"{self.m:,} items of length {self.d:,}, {self.n} signal{'s' * (self.n != 1)}"),
                ("picks", f"{self.k:,} ({self.k / self.m:.3g} of the pool)"),
                ("method", self.method),
                ("device, backend", f"{self.device}, {self.backend}"),
            ]
        limit = "none" if self.limit is None else memory.readable(self.limit)
        source = "where they are given" if self.device == "cpu" else "the host's pinned memory"
        kept = {"gram": "the whole matrix", "lazy": f"{self.cache:,} columns kept"}.get(
            self.columns, "each made in the step of its pick"
        )
        return [
            ("pool", f"{self.m:,} items of length {self.d:,}, {self.n} signal{'s' * (self.n != 1)}"),
            ("picks", f"{self.k:,} ({self.k / self.m:.3g} of the pool)"),
            ("objective", self.objective),
            ("device, backend", f"{self.device}, {self.backend}"),
            ("Gram columns", f"{self.columns}, {self.precision}, {kept}"),
            *([] if self.resident else [("embeddings", f"streamed from {source}")]),
            ("reason", self.reason),
            *((f"memory: {part}", memory.readable(size)) for part, size in self.memory.items()),
            ("memory in all", f"{memory.readable(self.total)} (limit: {limit})"),
            ("predicted time", f"{self.seconds:.2g} s (a model's figure{f'; {self.machine}' if self.machine else ''})"),
        ]

    def __str__(self) -> str:
        if self.method:
            return f"m={self.m} d={self.d} n={self.n} k={self.k} on {self.device} ({self.backend}): {self.method}"
        return (
            f"m={self.m} d={self.d} n={self.n} k={self.k} on {self.device} ({self.backend}): "
            f"{self.objective}, {self.kept}, {memory.readable(self.total)}; {self.reason}"
        )
