"""Strategy "none": the column of a pick depends on the picks before it, and is computed in its step."""

from dataclasses import replace
from typing import ClassVar

from gip_gpu.backends.base import Backend
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.plan import Plan
from gip_gpu.strategies.base import Strategy
from gip_gpu.system import memory


class Stepwise(Strategy):
    """Strategy that keeps no columns."""

    name: ClassVar[str] = "none"

    def _ways(self) -> list[tuple[Layout, str]]:
        """Returns layouts of the embeddings with precisions of a column, the best first."""
        setting = self.setting
        # Rows are multiplied by one vector at a time: memory is the limit, not arithmetic, and float32 has the tightest
        # bound.
        exact = setting.kind.precisions[:1] if setting.precision == "auto" else setting.precisions
        return [(layout, precision) for layout in setting.layouts for precision in exact]

    def _need(self, layout: Layout, precision: str) -> int:
        return self.setting.total(self.setting.costs.stepwise(layout, precision))

    @property
    def least(self) -> int:
        return min(self._need(*way) for way in self._ways())

    @property
    def unasked(self) -> bool:
        return True

    @property
    def seconds(self) -> float:
        asked, (layout, precision) = self.setting.demand, self._ways()[0]
        return self.setting.costs.stepwise_seconds(asked.k, precision, layout, None, asked.steps)

    def plan(self, asked: bool) -> Plan:
        setting, demand = self.setting, self.setting.demand
        if self.least > setting.room:
            raise ValueError(f"{setting.found}, and {setting.pool} need at least {memory.at_least(self.least)}")
        layout, precision = next(way for way in self._ways() if self._need(*way) <= setting.room)
        seconds = setting.costs.stepwise_seconds(demand.k, precision, layout, setting.rates, demand.steps)
        parts = setting.costs.stepwise(layout, precision)
        # No picks are foreseen, whatever the layout has room for.
        plain, reason = replace(layout, lookahead=0), "each pick changes the columns of all"
        return setting.plan(self.name, precision, plain, parts, seconds, reason)

    @classmethod
    def build(cls, backend: Backend, plan: Plan, keep: bool) -> None:
        return None
