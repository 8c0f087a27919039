"""Plan of the plain float64 loop, for small pools on the CPU (`gip_gpu.greedy.float64`)."""

from gip_gpu.planning.cpu_costs import HostCosts, Layout, Rates
from gip_gpu.planning.float64_costs import Float64Costs
from gip_gpu.planning.plan import CACHE, Plan
from gip_gpu.planning.query_costs import query_bytes, query_seconds
from gip_gpu.strategies.setting import Demand

# Bytes assumed to be free without a query of the free memory.
SLIGHT = 64 << 20


class Float64Loop:
    """The plain float64 loop. Its memory includes the other stepper, which continues if the bounds do not decide."""

    def __init__(self, demand: Demand) -> None:
        sizes = demand.m, demand.d, demand.n
        self.demand, self.costs, self.others = demand, Float64Costs(*sizes), HostCosts(*sizes)

    def surely_best(self, plan: Plan) -> bool:
        """Returns whether nothing else can be faster than this plan, and its memory is surely free."""
        return plan.total <= SLIGHT and plan.seconds <= self.others.least_seconds(self.demand.k)

    def plan(self, rates: Rates | None, limit: int | None = None) -> Plan:
        """Returns the plan with these rates of the CPU, None for the assumed ones."""
        asked, whole = self.demand, Layout(most=1)
        if asked.objective.keeps_columns(asked.sign):
            kept = self.others.lazy(min(asked.m, CACHE), whole, "fp32")
        else:
            kept = self.others.stepwise(whole, "fp32")
        if asked.fits_query:
            kept["query"] = query_bytes(asked.m, asked.d, asked.n)
        fit = query_seconds(asked.m, asked.d, asked.n, rates) if asked.fits_query else 0.0
        return Plan(
            device="cpu",
            backend="numpy",
            m=asked.m,
            d=asked.d,
            n=asked.n,
            k=asked.k,
            columns="none",
            precision="fp64",
            cache=0,
            lookahead=0,
            resident=True,
            memory={**self.costs.parts(asked.k, asked.objective.projects), **kept},
            limit=limit,
            seconds=fit + self.costs.seconds(asked.k, asked.steps, rates),
            reason="the plain float64 loop takes the least time on so small a pool",
            objective=asked.objective.name,
            machine=str(rates or Rates()),
        )
