"""State of a running selection: small, on the host, the same for all backends."""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.numerics import error_bounds
from gip_gpu.problem.objectives import Objective, energies

Floats = NDArray[np.float64]
# Content of a checkpoint by name: arrays, and values that JSON can write.
Stored = dict[str, Any]

# Names of the arrays with an entry for each pick, and of the run's own numbers.
RECORDED = ("indices", "gains", "weights", "explained", "margins", "candidates", "ties")
KEPT = ("unit", "scale", "energy", "drift", "refreshes", "rounds", "ending")


class Reason(Enum):
    """Reason why a stepper's `advance` returned."""

    DONE = "the steps that were asked for are taken"
    COLUMNS = "Gram columns were computed, and steps can continue"
    NEED_REFRESH = "the error bound is too wide to distinguish the candidates cheaply"
    EXHAUSTED = "the best score has fallen to the float64 floor"


class Prior(Protocol):
    """Projection by picks from other rows, with its scale and rounding (`gip_gpu.greedy.projection`)."""

    @property
    def scale(self) -> float: ...
    @property
    def drift(self) -> float: ...
    def in_unit(self, unit: float) -> Stored: ...


@dataclass
class Pick:
    """An item found to be the exact argmax, before it is projected out."""

    index: int
    row: NDArray[np.float64]
    residual: NDArray[np.float64]
    gain: float
    margin: float
    candidates: int
    ties: int


@dataclass
class State:
    """A selection in progress.

    Scores are divided by `unit`, a power of two near the round's largest score, so that the residual of any input fits
    float32. A, the residual and all bounds are in that unit; the recorded gains are not.

    Attributes:
        scores: (m, n) float64 scores as given.
        squares: (m,) float64, initial energies: ||G_j||^2, or ||f_j||^2 without scores.
        measures: (m,) float64, squares of the scale of float64 rounding: `squares`; for a ratio, `squares` over the
            squared lengths of the rows (`ties.ratio_scale`).
        m, n: items, signals.
        left: (m,) bool, items not chosen yet that constraints allow.
        blocked: number of items that constraints have taken out.
        pool: (m,) bool, items that were left when the round began; `explained` is over them.
        energy: ||G||^2 over `pool`.
        k: picks to make, and t: picks made; both count those of `initial`.
        initial: items that count as the first picks of the first round.
        included: number of the last of these that are picks of the result.
        item_weights: (m,) factors of the scores, at most 1 and exact in float32; None for 1.
        prior: projection by picks from other rows, before the first round.
        A: (n, d) float64, projected out of the scores in this round: W = G - F A.
        error: e, the bound on ||W~_j - W_j|| over the items left.
        drift: bound on the rounding that A has collected.
        scale: root of the largest of `measures` over the items left when the round began, in `unit`: the largest
            ||G_j||; for a ratio, ||G_j|| over the length of the row.
        excess: candidates rescored since the last refresh, beyond the usual window.
        reach: with item weights, bound on every ||W_j|| that may be picked, in `unit`.
        rounds: for each round the number of picks made before it began.
        emptied: picks made when a window was last empty, -1 if none was (`decision.empty_window`).
        ending: how picks are made after the certified loop: "in order", "literal", or "exhausted" for none.
    """

    scores: NDArray[np.float64]
    k: int
    d: int
    objective: Objective
    squares: Floats = field(default_factory=lambda: np.empty(0))
    measures: Floats = field(default_factory=lambda: np.empty(0))
    initial: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    included: int = 0
    item_weights: Floats | None = None
    prior: "Prior | None" = None
    t: int = 0
    unit: float = 1.0
    scale: float = 0.0
    error: float = 0.0
    drift: float = 0.0
    excess: int = 0
    reach: float = 0.0
    refreshes: int = 0
    emptied: int = -1
    blocked: int = 0
    pending: Pick | None = None
    rounds: list[int] = field(default_factory=list)
    ending: str = ""

    def __post_init__(self) -> None:
        self.m, self.n = m, n = self.scores.shape
        if not len(self.squares):
            self.squares = energies(self.scores)
        if not len(self.measures):
            self.measures = self.squares
        self.left = np.ones(m, dtype=bool)
        self.A = np.zeros((n, self.d))
        self.pool = self.left.copy()
        self.energy = 0.0
        self.indices = np.empty(self.k, dtype=np.int64)
        self.gains = np.empty(self.k)
        self.weights = np.empty((self.k, n))
        self.explained = np.empty(self.k)
        self.margins = np.empty(self.k)
        self.candidates = np.empty(self.k, dtype=np.int64)
        self.ties = np.empty(self.k, dtype=np.int64)

    def open_round(self) -> tuple[float, float]:
        """Makes the items left the round's pool; returns their largest measure and the sum of their `squares`."""
        self.pool[:] = self.left
        largest = float(self.measures.max(where=self.left, initial=0.0))
        return largest, float(np.where(self.left, self.squares, 0.0).sum())

    @property
    def remaining(self) -> int:
        """Number of items left."""
        return int(self.m - self.t - self.blocked)

    def first_left(self, count: int) -> NDArray[np.int64]:
        """Returns the first `count` of the items left, ascending."""
        return np.flatnonzero(self.left)[:count]

    def take(self, items: Any) -> None:
        """Marks these items as chosen."""
        self.left[items] = False

    def projected(self, square: float) -> float:
        """Returns a bound on |f_j A| over all items: ||A|| times the largest norm of a row, at most sqrt(`square`)."""
        return math.sqrt(float(np.vdot(self.A, self.A)) * square)

    def noise(self, square: float) -> float:
        """Returns a bound on the float64 rounding of an exact residual G_j - f_j A, including the rounding within A."""
        return self.drift + error_bounds.float64_error(self.d, self.projected(square), self.scale)

    @property
    def began_empty(self) -> bool:
        """Whether this round has projected nothing out."""
        return self.t == self.rounds[-1] and not (self.prior is not None and len(self.rounds) == 1)

    @property
    def first(self) -> int:
        """Position of the first pick of the result."""
        return len(self.initial) - self.included

    @property
    def chosen_rounds(self) -> tuple[int, ...]:
        """`rounds` of the result."""
        begun = {max(0, start - self.first) for start in self.rounds}
        return tuple(sorted(start for start in begun if start < self.t - self.first))

    @property
    def projecting(self) -> bool:
        """Whether the stepper's projection covers all picks of the round."""
        return bool(self.rounds) and self.ending in ("", "exhausted")

    def scores_of(self, indices: NDArray[np.int64]) -> Floats:
        """Returns the scores (c, n) of these items, as given."""
        return self.scores[indices]

    def measures_of(self, indices: NDArray[np.int64]) -> Floats:
        """Returns `measures` of these items, (c,)."""
        return self.measures[indices]

    def weighted(self, scores: Floats, indices: NDArray[np.int64]) -> Floats:
        """Returns the scores (c,) of these items times their weights; without weights the scores themselves."""
        return scores if self.item_weights is None else scores * self.item_weights[indices]

    def weights_left(self) -> NDArray[np.float32]:
        """Returns the weights (m,) of the items left, 0 for the others."""
        left = self.left.astype(np.float32)
        return left if self.item_weights is None else left * self.item_weights.astype(np.float32)

    def skip(self, indices: NDArray[np.int64]) -> None:
        """Records items of `initial`, with zeros for all other values."""
        span = slice(self.t, self.t + len(indices))
        for name in RECORDED:
            getattr(self, name)[span] = 0
        self.indices[span] = indices
        self.take(indices)
        self.t += len(indices)

    def snapshot(self) -> Stored:
        """Returns the state that `restore` needs, for a file."""
        arrays = {name: getattr(self, name)[: self.t] for name in RECORDED}
        return {**arrays, **{name: getattr(self, name) for name in KEPT}}

    def restore(self, stored: Stored) -> None:
        """Resumes from a snapshot; if it has more than k picks, takes only the first k."""
        self.t = min(self.k, len(stored["indices"]))
        for name in RECORDED:
            getattr(self, name)[: self.t] = stored[name][: self.t]
        for name in KEPT:
            setattr(self, name, stored[name])
        self.rounds = list(stored["rounds"])
        self.take_again(stored["indices"][: self.rounds[-1] if self.rounds else 0], self.indices[: self.t])

    def take_again(self, before: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
        """Marks the items chosen in a snapshot, and takes those chosen before its last round out of the pool."""
        self.pool[before] = False
        self.left[chosen] = False

    def record(self, pick: Pick, energy_left: float) -> None:
        """Records a pick; `energy_left` is ||W||^2 over `pool` after it, in `unit`."""
        t = self.t
        self.indices[t] = pick.index
        self.gains[t] = pick.gain * self.unit**2
        self.weights[t] = pick.residual * self.unit
        self.explained[t] = 1 - energy_left * self.unit**2 / self.energy if self.energy else 1.0
        self.margins[t], self.candidates[t], self.ties[t] = pick.margin, pick.candidates, pick.ties
        self.take(pick.index)
        self.t = t + 1

    def record_all(
        self,
        indices: NDArray[np.int64],
        gains: Floats,
        residuals: Floats,
        energy_left: Floats,
        margins: Floats,
        candidates: NDArray[np.int64],
        ties: NDArray[np.int64],
    ) -> None:
        """Records picks that a device made, as `record` would one by one."""
        span = slice(self.t, self.t + len(indices))
        self.indices[span] = indices
        self.gains[span] = gains * self.unit**2
        self.weights[span] = residuals * self.unit
        self.explained[span] = 1 - energy_left * self.unit**2 / self.energy if self.energy else 1.0
        self.margins[span], self.candidates[span], self.ties[span] = margins, candidates, ties
        self.take(indices)
        self.t += len(indices)
