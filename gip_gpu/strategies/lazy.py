"""Strategy "lazy": batches of columns on demand; some hundreds of columns are kept."""

from functools import cached_property
from typing import ClassVar

from gip_gpu.backends.base import Backend
from gip_gpu.gram.columns import Columns, LazyColumns
from gip_gpu.planning.cpu_costs import Layout, Rates, entry_bytes
from gip_gpu.planning.plan import CACHE, Plan
from gip_gpu.strategies.base import Strategy
from gip_gpu.strategies.gram import Gram
from gip_gpu.system import memory

# A kept pool serves later selections from its columns; they may take this share of the free memory.
KEPT_SHARE = 1 / 8
# Batches of columns are used if one product a pick is predicted to take this many times longer.
PROMISE = 1.25

# Layout of the embeddings, and precision of the columns.
Way = tuple[Layout, str]


class Lazy(Strategy):
    """Columns in batches on demand."""

    name: ClassVar[str] = "lazy"

    def _need(self, way: Way) -> int:
        """Returns the fewest bytes that a way takes."""
        layout, precision = way
        return self.setting.total(self.setting.costs.lazy(layout.least, layout, precision))

    @cached_property
    def _ways(self) -> list[Way]:
        """All ways to run, the best first."""
        layouts, precisions = self.setting.layouts, self.setting.precisions
        return [
            *((layout, precisions[0]) for layout in layouts),
            *((layout, p) for layout in reversed(layouts) for p in precisions[1:]),
        ]

    @cached_property
    def way(self) -> Way:
        """The way that is taken."""
        ways = [way for way in self._ways if self._need(way) <= self.setting.room] or self._ways[:1]
        if not self.setting.costs.timed:
            return ways[0]
        # The predicted gain of a lookahead must exceed the model's error.
        return min(ways, key=lambda way: (PROMISE if way[0].lookahead else 1) * self._seconds(way))

    def _slots(self, way: Way) -> int:
        """Returns how many columns are kept: as many as are useful and have room."""
        (layout, precision), setting, asked = way, self.setting, self.setting.demand
        share = int(setting.free * KEPT_SHARE) // (asked.m * entry_bytes(precision))
        wanted = max(CACHE, share) if asked.keep else CACHE
        empty = setting.total(setting.costs.lazy(0, layout, precision))
        most = (setting.room - empty) // setting.costs.column(precision, layout)
        # A kept pool may use every column.
        useful = asked.m if asked.keep or asked.foreseen else layout.most or asked.m
        return max(1, min(asked.m, wanted, most, useful))

    def _seconds(self, way: Way, rates: Rates | None = None) -> float:
        layout, precision = way
        return self.setting.costs.lazy_seconds(self.setting.demand.k, precision, layout, rates, self._slots(way))

    @property
    def least(self) -> int:
        return min(map(self._need, self._ways))

    @property
    def unasked(self) -> bool:
        return True

    @property
    def seconds(self) -> float:
        return self._seconds(self.way)

    def plan(self, asked: bool) -> Plan:
        setting, gram = self.setting, Gram(self.setting)
        if self.least > setting.room:
            raise ValueError(
                f"{setting.found}, and {setting.pool} need at least {memory.at_least(self.least)} (columns='lazy')"
            )
        layout, precision = self.way
        slots = self._slots(self.way)
        if asked:
            reason = "asked for"
        elif not gram.modest:
            whole = setting.total(gram.parts[setting.precisions[0]])
            reason = f"the Gram matrix would need {memory.readable(whole)}"
        else:
            reason = "k is a small share of m"
        # If the run changes to the Gram matrix, the matrix replaces the columns.
        changed = setting.total(setting.costs.lazy(0, layout, precision)) + gram.parts[precision]["Gram matrix"]
        may_change = not asked and precision in gram.modest and layout.resident and changed <= setting.room
        return setting.plan(
            self.name,
            precision,
            layout,
            setting.costs.lazy(slots, layout, precision),
            self._seconds(self.way, setting.rates),
            reason,
            cache=slots,
            gram_seconds=setting.costs.gram_seconds(0, precision, setting.rates) if may_change else 0.0,
        )

    @classmethod
    def build(cls, backend: Backend, plan: Plan, keep: bool) -> Columns:
        if backend.computes_columns:
            # Not for those who have no GPU: imports take time.
            from gip_gpu.backends.gpu.backend import GpuBackend
            from gip_gpu.gram.ring import RingColumns

            assert isinstance(backend, GpuBackend)
            return RingColumns(backend, plan.cache, keep, plan.gram_seconds)
        return LazyColumns(backend, plan.cache, keep, plan.gram_seconds)
