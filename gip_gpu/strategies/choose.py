"""Choice of the strategy, the precision and the cache, from the sizes, the memory and a cost model."""

from dataclasses import replace
from typing import Any

from gip_gpu import backends
from gip_gpu.backends.base import Backend
from gip_gpu.backends.devices import resolve
from gip_gpu.gram.columns import Columns
from gip_gpu.planning.cpu_costs import measured_rates
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.strategies.base import Strategy
from gip_gpu.strategies.float64 import Float64Loop
from gip_gpu.strategies.gram import Gram
from gip_gpu.strategies.lazy import Lazy
from gip_gpu.strategies.setting import Demand, Setting
from gip_gpu.strategies.stepwise import Stepwise
from gip_gpu.system import memory
from gip_gpu.validation.settings import one_of

# Strategies that users can ask for by name; "auto" takes the fastest, or the first of equally fast ones.
STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Lazy, Gram)}


def columns_options() -> tuple[str, ...]:
    """Returns the values of `columns` in `gip_gpu.select`."""
    return ("auto", *sorted(STRATEGIES))


def make_plan(
    m: int,
    d: int,
    n: int,
    k: int,
    *,
    objective: str = "mp",
    sign: str = "any",
    query: str = "direct",
    given: str = "fp32",
    keep: bool = False,
    foreseen: bool = False,
    small: bool = False,
    **settings: Any,
) -> Plan:
    """Returns the plan of a selection.

    Args:
        m, d, n, k: items, length of a row, signals, picks.
        objective, sign, query, given, keep, foreseen: as in `Demand`, the objective by name.
        small: allows the plain float64 loop, if it is faster and `columns` and `precision` are "auto".
        settings: keyword arguments of `Setting.of`.

    Raises:
        TypeError, ValueError: an unknown value, or a memory limit too small to run at all (the message gives the
            minimum).

    >>> make_plan(1_000_000, 256, 1, 1000, device="cpu", memory_limit="4GB").columns
    'lazy'
    """
    one_of("objective", objective, tuple(OBJECTIVES))
    demand = Demand(m, d, n, k, OBJECTIVES[objective], sign, query, given, keep, foreseen)
    return plan_for(demand, small=small, **settings)


def plan_for(demand: Demand, *, small: bool = False, measure: bool = False, **settings: Any) -> Plan:
    """Returns the plan of a demand, as `make_plan`."""
    auto = settings.get("columns", "auto") == settings.get("precision", "auto") == "auto"
    where = resolve(settings.get("device", "auto"), settings.get("backend"))
    kind = backends.load(settings.get("backend"), where)
    if not (small and auto and kind.name == "numpy"):
        return usual_plan(Setting.of(demand, measure=measure, **settings))
    loop = Float64Loop(demand)
    direct = loop.plan(None)
    if settings.get("memory_limit") is None and not measure and loop.surely_best(direct):
        return direct
    free = kind.available(where)
    setting = Setting.of(demand, measure=measure, free=free, **settings)
    plan = usual_plan(setting)
    if not plan.resident:
        return plan
    # Measured rates predict how long a run takes, but a plan must not depend on measured times.
    assumed = usual_plan(replace(setting, rates=None)) if measure else plan
    if direct.total > setting.room or direct.seconds >= assumed.seconds:
        return plan
    return loop.plan(measured_rates() if measure else None, plan.limit)


def usual_plan(setting: Setting) -> Plan:
    """Returns the plan without the plain float64 loop."""
    columns, demand = one_of("columns", setting.columns, columns_options()), setting.demand
    if not demand.objective.keeps_columns(demand.sign):
        if columns not in ("auto", Lazy.name):
            raise ValueError(
                f"columns is {columns!r}, but with objective {demand.objective.name!r} and sign {demand.sign!r} the "
                "column of a pick is made in its step; it must be 'auto' or 'lazy'"
            )
        return Stepwise(setting).plan(asked=False)
    if columns != "auto":
        strategy, lazy = STRATEGIES[columns](setting), Lazy(setting)
        try:
            return strategy.plan(asked=True)
        except ValueError as error:
            if columns == Lazy.name:
                raise
            raise ValueError(f"{error}; columns='lazy' needs {memory.at_least(lazy.least)}") from None
    willing = [strategy for strategy in (kind(setting) for kind in STRATEGIES.values()) if strategy.unasked]
    return min(willing, key=lambda strategy: strategy.seconds).plan(asked=False)


def build_columns(backend: Backend, plan: Plan, keep: bool) -> Columns | None:
    """Returns the columns of a plan; None if each is computed in the step of its pick."""
    return STRATEGIES[plan.columns].build(backend, plan, keep) if plan.columns in STRATEGIES else None
