"""Strategy "gram": the whole Gram matrix, m * m entries, computed before the first pick."""

from functools import cached_property
from typing import ClassVar

from gip_gpu.backends.base import Backend
from gip_gpu.gram.columns import Columns, GramColumns
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.plan import Plan
from gip_gpu.strategies.base import Strategy
from gip_gpu.system import memory


class Gram(Strategy):
    """Columns from the whole Gram matrix."""

    name: ClassVar[str] = "gram"

    @cached_property
    def parts(self) -> dict[str, dict[str, int]]:
        """Bytes by part, for each precision."""
        return {precision: self.setting.costs.gram(precision) for precision in self.setting.precisions}

    @cached_property
    def fitting(self) -> list[str]:
        """Precisions in which it fits, the preferred first."""
        return [p for p, parts in self.parts.items() if self.setting.total(parts) <= self.setting.room]

    @cached_property
    def modest(self) -> list[str]:
        """Precisions in which it may be taken under columns="auto"."""
        setting, costs = self.setting, self.setting.costs
        precisions = setting.precisions[:1] if costs.widest else setting.precisions
        within = costs.share * setting.free
        return [
            p
            for p in self.fitting
            if p in precisions and (setting.limit is not None or setting.total(self.parts[p]) <= within)
        ]

    @property
    def least(self) -> int:
        return min(map(self.setting.total, self.parts.values()))

    @property
    def unasked(self) -> bool:
        return bool(self.modest)

    @property
    def seconds(self) -> float:
        return self.setting.costs.gram_seconds(self.setting.demand.k, self.modest[0], None)

    def plan(self, asked: bool) -> Plan:
        setting = self.setting
        if not self.fitting:
            raise ValueError(f"{setting.found}, and columns='gram' needs {memory.at_least(self.least)}")
        precision = (self.fitting if asked else self.modest)[0]
        reason = "asked for" if asked else "it fits, and k is a large share of m"
        seconds = setting.costs.gram_seconds(setting.demand.k, precision, setting.rates)
        return setting.plan(self.name, precision, Layout(), self.parts[precision], seconds, reason)

    @classmethod
    def build(cls, backend: Backend, plan: Plan, keep: bool) -> Columns:
        return GramColumns(backend)
