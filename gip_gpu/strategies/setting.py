"""Setting of a plan: the demand of a selection, its device and its memory."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gip_gpu import backends
from gip_gpu.backends.base import Backend
from gip_gpu.backends.devices import resolve
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import STORAGE, Costs, Layout, Rates, Steps, measured_rates
from gip_gpu.planning.plan import Plan
from gip_gpu.planning.query_costs import query_bytes, query_seconds
from gip_gpu.problem.objectives import OBJECTIVES, Objective
from gip_gpu.system import memory
from gip_gpu.validation.settings import as_bytes, one_of

PRECISIONS = ("auto", *STORAGE)


@dataclass(frozen=True)
class Demand:
    """Demand of a selection.

    Attributes:
        m, d, n, k: items, length of a row, signals, picks.
        objective: the objective to maximise.
        sign, query: as in `gip_gpu.select`.
        given: input dtype of the embeddings, which a GPU stores as they are: "fp16", "bf16", "fp32" or "fp64".
        keep: whether later selections will use the same pool, so that columns are worth keeping.
        foreseen: whether another process decides which columns to compute together.
    """

    m: int
    d: int
    n: int
    k: int
    objective: Objective = OBJECTIVES["mp"]
    sign: str = "any"
    query: str = "direct"
    given: str = "fp32"
    keep: bool = False
    foreseen: bool = False

    @property
    def steps(self) -> Steps:
        """Properties that decide the cost of a step."""
        return Steps.of(self.objective, self.sign)

    @property
    def fits_query(self) -> bool:
        """Whether a query is fitted to the scores before the selection."""
        return self.objective.fits_query(self.query, self.n)


@dataclass(frozen=True)
class Setting:
    """Device and memory of a selection.

    Attributes:
        demand: of the selection.
        device, kind: the device, and the class of the backend.
        precision, columns: as in `gip_gpu.select`.
        limit: bytes that the selection may take, None for no limit.
        free: bytes that are free, or taken by an earlier plan of the same pool.
        rates: of this CPU, if they were measured.
    """

    demand: Demand
    device: str
    kind: type[Backend]
    precision: str
    columns: str
    limit: int | None
    free: int
    rates: Rates | None

    @classmethod
    def of(
        cls,
        demand: Demand,
        *,
        device: str = "auto",
        backend: str | None = None,
        precision: str = "auto",
        columns: str = "auto",
        memory_limit: Any = None,
        held: int = 0,
        measure: bool = False,
        free: int | None = None,
    ) -> "Setting":
        """Checks the options of a user and returns their setting; the strategies check `columns`.

        Args:
            demand: of the selection.
            device, backend, precision, columns, memory_limit: as in `gip_gpu.select`.
            held: bytes that an earlier plan of the same pool took, which this one may use again.
            measure: whether to measure this CPU's rates (a fraction of a second) for the predicted time.
            free: bytes that are free on the device, if the caller knows them.

        Raises:
            TypeError, ValueError: an unknown value.
        """
        where = resolve(device, backend)
        kind = backends.load(backend, where)
        one_of("precision", precision, PRECISIONS)
        if precision != "auto" and precision not in kind.precisions:
            raise ValueError(
                f"precision is {precision!r}, which backend {kind.name!r} does not have; it has "
                f"{', '.join(map(repr, kind.precisions))}"
            )
        error_bounds.dot_error(demand.d, error_bounds.U32)
        free = (kind.available(where) if free is None else free) + held
        rates = measured_rates() if measure and where == "cpu" else None
        return cls(demand, where, kind, precision, columns, as_bytes(memory_limit, free), free, rates)

    @property
    def room(self) -> int:
        """Bytes that a plan may take."""
        return self.free if self.limit is None else self.limit

    @property
    def found(self) -> str:
        """Description of the room, for messages."""
        what = "memory" if self.device == "cpu" else f"the memory of {self.device}"
        how = f"of {what} is free" if self.limit is None else "is what memory_limit allows"
        return f"{memory.readable(self.room)} {how}"

    @property
    def pool(self) -> str:
        """Description of the sizes, for messages."""
        asked = self.demand
        return f"{asked.m:,} x {asked.d:,} embeddings with {asked.n} signals"

    @cached_property
    def costs(self) -> Costs:
        """Cost model of the backend."""
        asked = self.demand
        return self.kind.costs(asked.m, asked.d, asked.n, asked.given)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions in which Gram columns may be computed and stored, the preferred first."""
        return (self.kind.automatic or self.kind.precisions) if self.precision == "auto" else (self.precision,)

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Layouts of the embeddings, the best first."""
        return tuple(layout for layout in self.costs.layouts() if not (self.demand.foreseen and layout.lookahead))

    @cached_property
    def fit(self) -> dict[str, int]:
        """Bytes of fitting a query on the host before the selection, by part; empty on a device with its own memory."""
        asked = self.demand
        needed = asked.fits_query and self.device == "cpu"
        return {"query": query_bytes(asked.m, asked.d, asked.n)} if needed else {}

    @property
    def fit_seconds(self) -> float:
        """Seconds of fitting a query."""
        asked = self.demand
        return query_seconds(asked.m, asked.d, asked.n, self.rates) if self.fit else 0.0

    def total(self, parts: dict[str, int]) -> int:
        """Returns the bytes of these parts and of fitting a query."""
        return sum(parts.values()) + sum(self.fit.values())

    def plan(
        self,
        columns: str,
        precision: str,
        layout: Layout,
        parts: dict[str, int],
        seconds: float,
        reason: str,
        *,
        cache: int = 0,
        gram_seconds: float = 0.0,
    ) -> Plan:
        """Returns a plan in this setting; arguments as the attributes of `Plan`, without the fit of a query."""
        asked = self.demand
        return Plan(
            device=self.device,
            backend=self.kind.name,
            m=asked.m,
            d=asked.d,
            n=asked.n,
            k=asked.k,
            columns=columns,
            precision=precision,
            cache=cache,
            lookahead=layout.lookahead,
            resident=layout.resident,
            memory={**parts, **self.fit},
            limit=self.limit,
            seconds=self.fit_seconds + seconds,
            reason=reason,
            objective=asked.objective.name,
            gram_seconds=gram_seconds,
            machine=str(self.rates or Rates()) if self.device == "cpu" else "",
        )
