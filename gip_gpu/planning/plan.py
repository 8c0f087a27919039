"""The plan of a run: where Gram columns come from, how they are kept, what memory that takes, how long it will last."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from gip_gpu import backends
from gip_gpu.backends.devices import resolve
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import (
    STORAGE,
    HostCosts,
    Layout,
    Rates,
    Steps,
    entry_bytes,
    measured_rates,
    query_bytes,
    query_seconds,
)
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.system import memory
from gip_gpu.validation.settings import as_bytes, one_of

log = logging.getLogger("gip_gpu")

PRECISIONS = ("auto", *STORAGE)
COLUMNS = ("auto", "gram", "lazy")

# Columns that a lazy run keeps: batches grow to this size at most, and more than a few batches are seldom reused.
CACHE = 256
# A pool that is kept serves later selections from its columns; they may take this share of what is free.
KEPT_SHARE = 1 / 8
# How many times longer a product a pick must be predicted to take before batches of columns are taken.
PROMISE = 1.25
# Bytes that are there without asking.
SLIGHT = 64 << 20


@dataclass(frozen=True)
class Plan:
    """What a run will do and take.

    Attributes:
        device, backend: where, and by which code.
        m, d, n, k: items, length of a row, signals, picks.
        columns: "gram" (the whole matrix), "lazy" (batches on demand) or "none" (the column of a pick depends on the
            picks before it, and is multiplied in the step).
        precision: what Gram columns are computed and kept in: "fp32", "tf32", "fp16" or "bf16"; "fp64" where a small
            pool runs the plain float64 loop (`gip_gpu.greedy.float64.stepper`).
        cache: columns that "lazy" keeps.
        lookahead: items in the working set that predicts the next picks.
        resident: whether the embeddings lie on the device, or stream to it from the host's memory.
        memory: bytes by part, all that the run allocates beyond the input.
        limit: bytes it may take, None for no limit.
        seconds: predicted time, a model's figure.
        reason: why these columns and this precision.
        objective: what is maximised.
        gram_seconds: predicted time of the whole Gram matrix, where a run with columns on demand may change its mind
            and has room for it; else 0.
        machine: what `seconds` speaks for: the rates of this CPU, measured or assumed; "" for a GPU's datasheet.
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

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.memory.values())

    @property
    def direct(self) -> bool:
        """Whether it is the plain float64 loop."""
        return self.precision == "fp64"

    @property
    def kept(self) -> str:
        """The columns that are kept, in a few words."""
        return "a column a pick" if self.columns == "none" else f"{self.columns} columns in {self.precision}"

    def table(self) -> list[tuple[str, str]]:
        """(quantity, readable value) rows."""
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
        return (
            f"m={self.m} d={self.d} n={self.n} k={self.k} on {self.device} ({self.backend}): "
            f"{self.objective}, {self.kept}, {memory.readable(self.total)}; {self.reason}"
        )


def stepwise(objective: str, sign: str) -> bool:
    """Whether the host decides each pick and its column is made in the step; else Gram columns serve."""
    return objective != "mp" or sign != "any"


def steps_of(objective: str, sign: str) -> Steps:
    """The `Steps` of an objective with such a sign, for the cost model."""
    kind = OBJECTIVES[objective]
    return Steps(kind.projects, kind.measure == "distance", sign == "positive", kind.metric)


def fits_query(objective: str, query: str, n: int) -> bool:
    """Whether a query is fitted to the scores before the selection."""
    return query == "ridge" or (objective == "mi" and n > 1)


def make_plan(
    m: int,
    d: int,
    n: int,
    k: int,
    *,
    columns: str = "auto",
    precision: str = "auto",
    small: bool = False,
    **how: Any,
) -> Plan:
    """As `usual_plan`, or the plain float64 loop where that is faster and allowed.

    Args:
        m, d, n, k, columns, precision, how: as there.
        small: allows it: nothing else than `columns` and `precision` stands against it.
    """
    where = resolve(how.get("device", "auto"), how.get("backend"))
    kind = backends.load(how.get("backend"), where)
    allowed = small and columns == precision == "auto" and kind.name == "numpy"
    if allowed and how.get("memory_limit") is None:
        direct = _direct_plan(m, d, n, k, **how)
        # Nothing else can be faster, and so little memory is there.
        if direct.total <= SLIGHT and direct.seconds <= HostCosts(m, d, n).least_seconds(k) and not how.get("measure"):
            return direct
    free = kind.available(where)
    plan = usual_plan(m, d, n, k, columns=columns, precision=precision, free=free, **how)
    if not (allowed and plan.resident):
        return plan
    # What was measured just now says how long a run takes, but no plan shall change with the moment.
    measured = how.pop("measure", False)
    assumed = usual_plan(m, d, n, k, free=free, **how) if measured else plan
    direct = _direct_plan(m, d, n, k, **how)
    room = how.get("held", 0) + free if plan.limit is None else plan.limit
    if direct.total > room or direct.seconds >= assumed.seconds:
        return plan
    direct = replace(direct, limit=plan.limit)
    if not measured:
        return direct
    rates = measured_rates()
    return replace(
        direct,
        seconds=_direct_seconds(direct, how.get("sign", "any"), how.get("query", "direct"), rates),
        machine=str(rates),
    )


def _direct_plan(
    m: int, d: int, n: int, k: int, *, objective: str = "mp", sign: str = "any", query: str = "direct", **_: Any
) -> Plan:
    """The plan of the plain float64 loop, whatever else there is; its memory is also that of a stepper that goes on."""
    costs, projects = HostCosts(m, d, n), OBJECTIVES[objective].projects
    whole = Layout(most=1)
    kept = costs.stepwise(whole, "fp32") if stepwise(objective, sign) else costs.lazy(min(m, CACHE), whole, "fp32")
    if fits_query(objective, query, n):
        kept["query"] = query_bytes(m, d, n)
    plan = Plan(
        "cpu", "numpy", m, d, n, k, "none", "fp64", 0, 0, True, {**costs.direct(k, projects), **kept}, None, 0.0,
        "the plain float64 loop takes the least time on so small a pool", objective, machine=str(Rates()),
    )  # fmt: skip
    return replace(plan, seconds=_direct_seconds(plan, sign, query, None))


def _direct_seconds(plan: Plan, sign: str, query: str, rates: Rates | None) -> float:
    """Predicted time of the plain float64 loop."""
    m, d, n = plan.m, plan.d, plan.n
    fit = query_seconds(m, d, n, rates) if fits_query(plan.objective, query, n) else 0.0
    return fit + HostCosts(m, d, n).direct_seconds(plan.k, steps_of(plan.objective, sign), rates)


def usual_plan(
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
    given: str = "fp32",
    objective: str = "mp",
    sign: str = "any",
    query: str = "direct",
    foreseen: bool = False,
    free: int | None = None,
) -> Plan:
    """Chooses strategy, precision and cache from the sizes, the memory and a cost model.

    Args:
        m, d, n, k: items, length of a row, signals, picks.
        device, backend, precision, columns, memory_limit: as in `gip_gpu.select`.
        keep: whether later selections will use the same pool, so that columns are worth keeping.
        held: bytes that an earlier plan of the same pool took, which this one may use again.
        measure: measure this CPU's rates (a fraction of a second) for the predicted time.
        given: the format of the embeddings, which a GPU keeps as they are: "fp16", "bf16", "fp32" or "fp64".
        objective, sign, query: as in `gip_gpu.select`.
        foreseen: another process says which columns to compute together.
        free: bytes that are free on the device, where the caller has asked.

    Raises:
        TypeError, ValueError: an unknown value, or a memory limit too small to run at all (says the minimum).

    >>> make_plan(1_000_000, 256, 1, 1000, device="cpu", memory_limit="4GB").columns
    'lazy'
    """
    where = resolve(device, backend)
    kind = backends.load(backend, where)
    one_of("precision", precision, PRECISIONS)
    one_of("columns", columns, COLUMNS)
    one_of("objective", objective, tuple(OBJECTIVES))
    if precision != "auto" and precision not in kind.precisions:
        raise ValueError(
            f"precision is {precision!r}, which backend {kind.name!r} does not have; it has "
            f"{', '.join(map(repr, kind.precisions))}"
        )
    error_bounds.dot_error(d, error_bounds.U32)
    free = (kind.available(where) if free is None else free) + held
    limit = as_bytes(memory_limit, free)
    room = free if limit is None else limit
    # On the host, before the selection; the memory of a device is another.
    fit = {"query": query_bytes(m, d, n)} if fits_query(objective, query, n) and where == "cpu" else {}
    what = "memory" if where == "cpu" else f"the memory of {where}"
    found = f"{memory.readable(room)} {f'of {what} is free' if limit is None else 'is what memory_limit allows'}"
    costs = kind.costs(m, d, n, given)
    precisions = (kind.automatic or kind.precisions) if precision == "auto" else (precision,)
    rates = measured_rates() if measure and where == "cpu" else None
    machine = str(rates or Rates()) if where == "cpu" else ""
    query_time = query_seconds(m, d, n, rates) if fit else 0.0
    layouts = tuple(layout for layout in costs.layouts() if not (foreseen and layout.lookahead))

    def total(parts: dict[str, int]) -> int:
        return sum(parts.values()) + sum(fit.values())

    if stepwise(objective, sign):
        if columns == "gram":
            raise ValueError(
                f"columns is 'gram', but with objective {objective!r} and sign {sign!r} the column of a pick is made "
                "in its step; it must be 'auto' or 'lazy'"
            )
        # Rows are multiplied by one vector at a time: memory is the limit, not arithmetic, and float32 has the bound.
        exact = kind.precisions[:1] if precision == "auto" else precisions
        ways_to_keep = [(layout, p) for layout in layouts for p in exact]
        needs = [total(costs.stepwise(layout, p)) for layout, p in ways_to_keep]
        if min(needs) > room:
            raise ValueError(
                f"{found}, and {m:,} x {d:,} embeddings with {n} signals need at least {memory.at_least(min(needs))}"
            )
        layout, kept = next(way for way, need in zip(ways_to_keep, needs, strict=True) if need <= room)
        parts = {**costs.stepwise(layout, kept), **fit}
        seconds = query_time + costs.stepwise_seconds(k, kept, layout, rates, steps_of(objective, sign))
        return Plan(
            where, kind.name, m, d, n, k, "none", kept, 0, 0, layout.resident, parts, limit,
            seconds, "each pick changes the columns of all",
            objective, machine=machine,
        )  # fmt: skip

    def slots_of(way: tuple[Layout, str]) -> int:
        """How many columns are kept, of those that there is room and a use for."""
        layout, kept = way
        wanted = max(CACHE, int(free * KEPT_SHARE) // (m * entry_bytes(kept))) if keep else CACHE
        most = (room - total(costs.lazy(0, layout, kept))) // costs.column(kept, layout)
        # A pool that is kept has a use for every column.
        return max(1, min(m, wanted, most, (not (keep or foreseen) and layout.most) or m))

    def seconds_of(way: tuple[Layout, str], rates: Rates | None = None) -> float:
        layout, kept = way
        return costs.lazy_seconds(k, kept, layout, rates, slots_of(way))

    # Ways to run with columns on demand, the best first.
    ways = [(layout, precisions[0]) for layout in layouts]
    ways += [(layout, p) for layout in reversed(layouts) for p in precisions[1:]]
    least = min(total(costs.lazy(layout.least, layout, p)) for layout, p in ways)
    ways = [(layout, p) for layout, p in ways if total(costs.lazy(layout.least, layout, p)) <= room] or ways[:1]
    # A lookahead has to promise more than the model can be wrong.
    way = min(ways, key=lambda way: (PROMISE if way[0].lookahead else 1) * seconds_of(way)) if costs.timed else ways[0]
    grams = {p: costs.gram(p) for p in precisions}
    fitting = [p for p in precisions if total(grams[p]) <= room]
    if columns == "gram" and not fitting:
        raise ValueError(
            f"{found}, and columns='gram' needs {memory.at_least(min(map(total, grams.values())))}; "
            f"columns='lazy' needs {memory.at_least(least)}"
        )
    unasked = precisions[:1] if costs.widest else precisions
    modest = [p for p in fitting if p in unasked and (limit is not None or total(grams[p]) <= costs.share * free)]
    lazy_seconds = seconds_of(way)
    for matrix in fitting[:1] if columns == "gram" else modest[:1] if columns == "auto" else []:
        # What was measured just now says how long a run takes, but no plan shall change with the moment.
        seconds = costs.gram_seconds(k, matrix, None)
        if columns == "gram" or seconds < lazy_seconds:
            reason = "asked for" if columns == "gram" else "it fits, and k is a large share of m"
            parts = {**grams[matrix], **fit}
            return Plan(
                where,
                kind.name,
                m,
                d,
                n,
                k,
                "gram",
                matrix,
                0,
                0,
                True,
                parts,
                limit,
                query_time + costs.gram_seconds(k, matrix, rates),
                reason,
                machine=machine,
            )

    if least > room:
        raise ValueError(
            f"{found}, and {m:,} x {d:,} embeddings with {n} signals need at least {memory.at_least(least)} "
            "(columns='lazy')"
        )
    layout, kept = way
    slots = slots_of(way)
    if columns == "lazy":
        reason = "asked for"
    elif not modest:
        reason = f"the Gram matrix would need {memory.readable(total(grams[precisions[0]]))}"
    else:
        reason = "k is a small share of m"
    # The matrix takes the place of the columns.
    changed = total(costs.lazy(0, layout, kept)) + grams[kept]["Gram matrix"]
    may_change = columns == "auto" and kept in modest and layout.resident and changed <= room
    return Plan(
        where, kind.name, m, d, n, k, "lazy", kept, slots, layout.lookahead, layout.resident,
        {**costs.lazy(slots, layout, kept), **fit}, limit, query_time + seconds_of(way, rates), reason, objective,
        costs.gram_seconds(0, kept, rates) if may_change else 0.0, machine,
    )  # fmt: skip
