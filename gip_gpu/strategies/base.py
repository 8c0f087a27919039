"""Interface of a strategy."""

from abc import ABC, abstractmethod
from typing import ClassVar

from gip_gpu.backends.base import Backend
from gip_gpu.gram.columns import Columns
from gip_gpu.planning.plan import Plan
from gip_gpu.strategies.setting import Setting


class Strategy(ABC):
    """Source of Gram columns, in one setting.

    Attributes:
        name: value of `columns` in `gip_gpu.select` and in a plan.
    """

    name: ClassVar[str]

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @property
    @abstractmethod
    def least(self) -> int:
        """Fewest bytes with which it can run."""

    @property
    @abstractmethod
    def unasked(self) -> bool:
        """Whether `columns="auto"` may take it."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Predicted seconds at assumed rates, which "auto" compares: a plan never depends on measured times."""

    @abstractmethod
    def plan(self, asked: bool) -> Plan:
        """Returns the plan.

        Args:
            asked: whether the user asked for this strategy.

        Raises:
            ValueError: there is too little memory; the message gives the bytes needed.
        """

    @classmethod
    @abstractmethod
    def build(cls, backend: Backend, plan: Plan, keep: bool) -> Columns | None:
        """Returns the columns of a plan; None if each is computed in the step of its pick.

        Args:
            backend: computes the columns.
            plan: a plan of this strategy.
            keep: whether other selections will follow.
        """
