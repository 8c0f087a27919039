"""Options of a selection, checked once and shared by `select`, `Pool`, `extend`, `distributed` and the CLI."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from gip_gpu.api.progress import Progress, check_progress
from gip_gpu.data.center import as_center
from gip_gpu.data.missing_values import as_on_nan
from gip_gpu.problem.constraints import Constraints, as_dedup
from gip_gpu.problem.costs import as_costs, as_weights
from gip_gpu.problem.groups import as_groups
from gip_gpu.problem.ids import rows_named
from gip_gpu.problem.options import Options, as_sign
from gip_gpu.strategies.choose import columns_options
from gip_gpu.strategies.setting import PRECISIONS
from gip_gpu.validation.settings import flag, one_of


@dataclass(frozen=True, eq=False)
class SelectOptions:
    """All options of `gip_gpu.select`, described there. The constructor checks them, except where F or G is needed.

    Raises:
        TypeError, ValueError: an unknown value, or values that cannot be combined.
    """

    device: str = "auto"
    backend: str | None = None
    precision: str = "auto"
    columns: str = "auto"
    memory_limit: int | float | str | None = None
    normalize: bool = True
    center: bool | str = False
    on_nan: str = "error"
    objective: str | None = None
    epsilon: float = 0.0
    query: str = "direct"
    sign: str | None = None
    standardize: str | None = None
    on_exhausted: str = "restart"
    initial: Any = None
    exclude: Any = None
    groups: Any = None
    group_limits: Any = None
    dedup: float | None = None
    must_include: Any = None
    costs: Any = None
    budget: int | None = None
    weights: Any = None
    ids: Any = None
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: int | float | None = None
    progress: Progress = None

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        one_of("columns", self.columns, columns_options())
        flag("normalize", self.normalize)
        as_center(self.center)
        as_on_nan(self.on_nan)
        as_dedup(self.dedup)
        check_progress(self.progress)
        # Building the property checks its values.
        self.how  # noqa: B018

    @cached_property
    def how(self) -> Options:
        """The options that decide which items are chosen."""
        return Options(
            self.objective, self.epsilon, self.query, as_sign(self.sign), self.on_exhausted, self.standardize
        )

    @property
    def drops(self) -> bool:
        """Whether rows that are not finite are left out."""
        return as_on_nan(self.on_nan)

    def constraints(self, m: int, k: int | None) -> Constraints:
        """Returns the constraints on k picks from m rows; k None: as many as the budget allows.

        Raises:
            TypeError, ValueError: an invalid value of one of the constraints.
        """
        costs = as_costs(self.costs, self.budget, m)
        if k is None and costs is None:
            raise TypeError(
                "k is None, which is for a budget: as many rows as it pays for; give k, or costs and budget"
            )
        return Constraints(
            np.sort(rows_named(self.exclude, self.ids, m, "exclude", repeated=True)),
            as_groups(self.groups, self.group_limits, m, k),
            as_dedup(self.dedup),
            rows_named(self.must_include, self.ids, m, "must_include"),
            costs,
            as_weights(self.weights, m),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `gip_gpu.strategies.setting.Setting.of`, by name."""
        names = ("device", "backend", "precision", "columns", "memory_limit")
        return {name: getattr(self, name) for name in names}

    def choosing(self, how: Options) -> "SelectOptions":
        """Returns a copy that chooses items by `how`; `sign` keeps the caller's value."""
        made = replace(self, **{name: value for name, value in vars(how).items() if name != "sign"})
        made.__dict__["how"] = how
        return made
