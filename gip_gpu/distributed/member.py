"""Process of a distributed selection before it begins: its checked input, its plan, its allocation."""

import hashlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import backends
from gip_gpu.api.options import SelectOptions
from gip_gpu.backends.devices import resolve
from gip_gpu.backends.items import Rules
from gip_gpu.checkpoint import fingerprint
from gip_gpu.checkpoint.settings import as_saving
from gip_gpu.data.center import Center, PartSums, part_sums
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu
from gip_gpu.data.missing_values import keep_finite
from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_initial, as_matrix, as_scores
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.distributed.scores import OwnScores
from gip_gpu.distributed.shard import ColumnShard, ItemShard, Shard
from gip_gpu.greedy.state import State
from gip_gpu.planning.plan import Plan, log
from gip_gpu.problem.formulation import first_measures, first_squares, pose
from gip_gpu.problem.objectives import Objective
from gip_gpu.sources import places
from gip_gpu.strategies.choose import plan_for
from gip_gpu.strategies.setting import Demand
from gip_gpu.system.files import NoRows
from gip_gpu.validation.settings import as_bytes, one_of

# "gram" is missing: no process holds the whole Gram matrix.
COLUMNS = ("auto", "lazy")
ON_EXHAUSTED = ("restart", "stop")


# Options that may differ between ranks: where each runs, its progress and checkpoint arguments.
OWN = ("device", "backend", "precision", "memory_limit", "checkpoint", "checkpoint_every", "progress")


@dataclass(frozen=True)
class Hello:
    """First message of a rank.

    Attributes:
        settings: settings by name, which must be equal on all ranks that have them.
        m: number of rows that take part, possibly 0.
        dropped: positions of the rows left out among those given, ascending.
        largest: largest norm of a row.
        host: name of the host.
        columns: whether its backend can keep Gram columns; if not, as on a GPU, the host decides each pick and the step
            computes its column.
    """

    settings: dict[str, Any]
    m: int
    dropped: NDArray[np.int64]
    largest: float
    host: str
    columns: bool


class Member(OwnScores):
    """Process of a distributed selection before it begins.

    Args:
        communicator: for messages; its target becomes the shard that `build` makes.
        F, G: (m, d) rows and (m, n) scores of this process; G None for no scores.
        k, settings: arguments of `gip_gpu.distributed.select`, checked here.

    Attributes:
        m: number of rows that take part; a process without any holds a placeholder row that is no item.

    Raises:
        TypeError, ValueError: bad input.
    """

    picks = 0
    rows: Rows
    objective: Objective

    def __init__(self, communicator: Communicator, F: Any, G: Any, k: Any, settings: Mapping[str, Any]) -> None:
        self.communicator, self.k = communicator, k
        self.options = options = SelectOptions(**settings)
        one_of("columns", options.columns, COLUMNS)
        one_of("on_exhausted", options.on_exhausted, ON_EXHAUSTED)
        if options.query != "direct":
            raise ValueError(
                f"query is {options.query!r}, which fits the scores to all rows in one process; with many it must be "
                "'direct'"
            )
        # Rank 0 checks whether they are rows of the pool.
        self.initial = as_initial(options.initial, sys.maxsize, 0)
        reads = [*places(F), *places(G)]
        self.saving = None if communicator.rank else as_saving(options.checkpoint, options.checkpoint_every, reads)
        self.keeping = False
        self.device = resolve(options.device, options.backend, F)
        self.kind = backends.load(options.backend, self.device)
        as_bytes(options.memory_limit, self.kind.available(self.device))
        self.m, self.dropped = 0, np.empty(0, np.int64)
        try:
            self._hold(*self._taking_part(F, G))
        except NoRows as error:
            log.debug("rank %d takes no part: %s", communicator.rank, error)

    def _taking_part(self, F: Any, G: Any) -> tuple[Any, NDArray[np.float64] | None]:
        """Returns rows and scores of the items; raises NoRows if there are none."""
        drops = self.options.drops
        matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F", self.options.memory_limit)
        scores = None if G is None else as_scores(G, matrix.shape, missing=drops, reads=places(F))
        try:
            kept = keep_finite(matrix, scores) if drops else None
        except NoRows:
            self.dropped = np.arange(len(matrix))
            raise
        if kept is None:
            self.m = len(matrix)
            return F if isinstance(matrix, DeviceMatrix) else matrix, scores
        self.m, self.dropped = len(kept), kept.dropped
        return kept.view(matrix), None if scores is None else scores[kept.indices]

    def stand_in(self, d: int, n: int) -> None:
        """Gives a process without rows a placeholder row of length d that is no item, and n scores.

        It is a unit row if rows are normalised, else a zero row, which affects no bound on norms.
        """
        self._hold(np.eye(1, d) * self.options.normalize, np.zeros((1, n)) if n else None)

    def _hold(self, F: Any, scores: NDArray[np.float64] | None) -> None:
        self.scores = scores
        self.objective = self.options.how.choose(scores is not None)
        self.n = 0 if self.scores is None else self.scores.shape[1]
        if self.objective.metric and self.n > 1:
            raise ValueError(
                f"objective is {self.objective.name!r} with {self.n} signals, whose query is fitted to all rows in one "
                "process; many processes have 'mp', 'omp', 'lr' and 'entropy', and 'mi' with one signal"
            )
        # Rows that may be centred are normalised when the center is known: a zero row may not stay one.
        self.rows = self.kind.open(F, normalize=self.options.normalize and self.options.center is False)

    def center_sums(self) -> PartSums:
        """Returns the exact sums of these rows."""
        return part_sums(self.rows.given, self.rows.bounds())

    def centre(self, center: Center) -> float:
        """Subtracts a center from the rows, if it is to be subtracted, and normalises them; returns the largest norm.

        The placeholder row of a process without rows stays.
        """
        if not self.m:
            self.rows = self.kind.open(self.rows.given, normalize=self.options.normalize)
            return 0.0
        self.rows = self.kind.open(self.rows.given, normalize=self.options.normalize, center=center)
        return self.rows.largest

    def hello(self) -> Hello:
        own = {entry.name: getattr(self.options, entry.name) for entry in fields(self.options)}
        own = {"k": self.k, **{name: value for name, value in own.items() if name not in OWN}}
        own["initial"] = f"{len(self.initial)} items, SHA-256 {hashlib.sha256(self.initial.tobytes()).hexdigest()}"
        columns = {"the columns of F": self.rows.shape[1], "the columns of G": self.n} if self.m else {}
        return Hello(
            {**own, "sign": self.options.how.sign, **columns},
            self.m,
            self.dropped,
            self.rows.largest if self.m else 0.0,
            platform.node(),
            self.kind.shards,
        )

    def prepare(self, k: int, largest: float, by_items: bool, neighbours: int) -> Plan:
        """Returns the plan of this process.

        Args:
            k: number of picks.
            largest: largest norm of a row of any rank.
            by_items: whether the host decides each pick and the step computes its column.
            neighbours: number of processes on this host, which share its memory.
        """
        self.rows.largest = largest
        m, d = self.rows.shape
        limit = self.options.memory_limit
        if limit is None:
            limit = max(1, self.kind.available(self.device) // neighbours)
        # A plan for sign "positive" is one whose columns are computed in the step.
        sign = "positive" if by_items and self.objective.signs else self.options.how.sign
        given = format_of(self.rows.values)
        demand = Demand(m, d, self.n, min(k, m), self.objective, sign, given=given, foreseen=not by_items)
        settings = {**self.options.settings, "device": self.device, "backend": self.kind.name, "columns": "lazy"}
        self.plan = plan_for(demand, **{**settings, "memory_limit": limit})
        return self.plan

    def fingerprints(self, offset: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Returns the parts of this process in the fingerprints of F and G; `offset` is its first row in the pool."""
        if not self.m:
            return (0, 0), (0, 0)
        return fingerprint.of_part(self.rows.given, offset), (
            (0, 0) if self.scores is None else fingerprint.of_part(self.scores, offset)
        )

    def build(self, offset: int, slots: int | None, keeping: bool) -> tuple[float, int]:
        """Allocates the shard; returns the bound on the error of a Gram entry, and the exponent of the rows.

        Args:
            offset: position of the first row in the pool.
            slots: number of columns to keep; 0 if each step computes its column, None if no step will be taken.
            keeping: whether rank 0 writes checkpoints.
        """
        self.keeping = keeping
        problem = pose(self.rows, self.scores, self.options.how, self.rows.exponent)
        squares = first_squares(problem, self.rows)
        measures = first_measures(problem, self.rows, squares)
        state = State(problem.scores, 0, self.rows.shape[1], problem.objective, squares, measures)
        if not self.m:
            state.left[:] = state.pool[:] = False
        if slots is None:
            self.communicator.target = Shard(self.rows, state, offset)
            return 0.0, self.rows.exponent
        # Rank 0 looks ahead for all ranks.
        backend = self.kind(self.rows, replace(self.plan, lookahead=0))
        if slots:
            self.communicator.target = ColumnShard(backend, state, offset, slots)
        else:
            rules = Rules(
                problem.objective.measure,
                problem.objective.projects,
                problem.sign == "positive",
                problem.epsilon / backend.square,
            )
            self.communicator.target = ItemShard(backend, state, offset, rules)
        return backend.gamma if slots else 0.0, backend.exponent
