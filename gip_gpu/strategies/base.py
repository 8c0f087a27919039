"""Interface of a strategy."""

from abc import ABC, abstractmethod
from typing import ClassVar

from gip_gpu.backends.base import Backend
from gip_gpu.gram.columns import Columns
from gip_gpu.planning.plan import Plan
from gip_gpu.strategies.setting import Setting


class Strategy(ABC):
    """Where Gram columns come from, in one setting.

    Attributes:
        name: as `columns` of `gip_gpu.select` and of a plan.
    """

    name: ClassVar[str]

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @property
    @abstractmethod
    def least(self) -> int:
        """Bytes that it needs at least."""

    @property
    @abstractmethod
    def unasked(self) -> bool:
        """Whether `columns="auto"` may take it."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Predicted seconds at assumed rates, by which "auto" compares: no plan changes with the moment."""

    @abstractmethod
    def plan(self, asked: bool) -> Plan:
        """The plan; `asked` says that users asked for this strategy.

        Raises:
            ValueError: there is no room; says how much it takes.
        """

    @classmethod
    @abstractmethod
    def build(cls, backend: Backend, plan: Plan, keep: bool) -> Columns | None:
        """The columns of such a plan; None where each is made in the step of its pick.

        Args:
            backend: what computes them.
            plan: of this strategy.
            keep: whether other selections will follow.
        """
