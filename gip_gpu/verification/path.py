"""The path of a round: its picks, projected out one after the other in float64, and bounds on the rounding."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Projector, Rules
from gip_gpu.greedy.query_metric import QueryMetric
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.problem.objectives import Objective, energies, seen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoundScale:
    """Constants of a round.

    Attributes:
        objective, rules, sign: as of the selection; rows x are scaled to norms of at most 1.
        square: factor from products of rows x to those of rows as given.
        unit: scores are divided by it.
        scale: root of the largest measure of rounding, `gip_gpu.greedy.state.State.scale`.
        fitted: bound on the error of a score that is a fitted query's, as a share of `scale`.
        item_weights: (m,) factors of the scores, `gip_gpu.greedy.state.State.item_weights`; None for 1.
    """

    objective: Objective
    rules: Rules
    sign: str
    square: float
    unit: float
    scale: float
    fitted: float
    item_weights: Floats | None = None

    @property
    def informs(self) -> bool:
        """Whether information in nats is compared, not the root of a score."""
        return self.objective.metric and self.rules.measure == "ratio"

    def factors(self, items: Any) -> Floats:
        """Returns the factors of the compared values of these items by their weights; there are weights."""
        assert self.item_weights is not None
        found: Floats = self.item_weights[items]
        return found if self.informs else np.sqrt(found)

    def compared(self, roots: Floats, noises: Floats, items: Any) -> tuple[Floats, Floats]:
        """Returns the weighted values of items, from roots of scores and bounds on their errors; without weights these.

        Args:
            roots, noises: (c,), or (c, t) before each of t picks.
            items: (c,) indices or a slice.
        """
        if self.item_weights is None:
            return roots, noises
        if self.informs:
            values = _nats(roots)
            roots, noises = values, _nats(roots + noises) - values
        factors = self.factors(items)
        factors = factors[:, None] if roots.ndim == 2 else factors
        # The tie of algorithm 1 does not shrink with the weight.
        return roots * factors, noises * factors + 2 * ties.ABSOLUTE * self.scale

    def root_of(self, value: float) -> float:
        """Returns the root that the floor of exhaustion is compared with, from a value of `compared`."""
        informed = self.item_weights is not None and self.informs
        return math.sqrt(max(0.0, -math.expm1(-2 * value))) if informed else value

    @property
    def first(self) -> float:
        """Root of the largest score before any pick, an upper bound."""
        return self.scale / (math.sqrt(self.rules.ridge + 1) if self.rules.measure == "ratio" else 1.0)

    @property
    def gain_unit(self) -> float:
        """Factor from the square of a value to a gain."""
        if self.objective.metric and self.rules.measure == "ratio":
            return 1.0
        per = {"norm": 1.0, "ratio": 1 / self.square, "distance": self.square}[self.rules.measure]
        return per * self.unit**2


@dataclass(frozen=True)
class PickStep:
    """One pick of a path.

    Attributes:
        g: (d,) direction of the pick's column: column_j = x_j . g.
        weights: (n,) factors of the column in the residual's step.
        q: divisor of the pick's step.
        residual: (n,) the pick's residual.
        distance, value: its distance and the root of its score before it is projected out; 0 for a dependent row.
        dependent: whether nothing was projected out, because the row depends on those before.
    """

    g: Floats
    weights: Floats
    q: float
    residual: Floats
    distance: float
    value: float
    dependent: bool = False


@dataclass
class RoundPath:
    """State of a round after some picks.

    Attributes:
        of: constants of the round.
        n, d: signals, length of a row.
        projector: A and S.
        metric: metric of residuals, or None.
        largest_root: largest root of a score so far.
        top_root: the same of weighted scores.
        picks, least, drift, projected, moved: number of picks, smallest share of its length that a pick had left,
            rounding that A has collected, norm of A, sum of the norms of its steps.
    """

    of: RoundScale
    n: int
    d: int
    metric: QueryMetric | None
    projector: Projector = field(init=False)
    picks: int = 0
    least: float = 1.0
    drift: float = 0.0
    moved: float = 0.0
    largest_root: float = 0.0
    top_root: float = 0.0

    def __post_init__(self) -> None:
        self.projector = Projector(self.of.rules, self.n, self.d)
        self.largest_root = self.top_root = max(self.largest_root, self.of.first)
        if self.metric is not None:
            self.metric.restart()

    def copy(self) -> "RoundPath":
        """Returns an independent copy."""
        return copy.deepcopy(self)

    @property
    def projected(self) -> float:
        """Frobenius norm of A: bound on the part of a residual that was projected out."""
        return float(np.linalg.norm(self.projector.A))

    def exact(self, scores: Floats, x: Floats, squares: Floats) -> tuple[Floats, Floats]:
        """Returns residuals (c, n) and distances (c,) of items with these scores (c, n), rows (c, d) and squares."""
        W, distances = self.projector.exact(scores, x)
        return W, squares.copy() if not self.picks and self.projector.matrix is None else distances

    def roots(self, W: Floats, distances: Floats, squares: Floats) -> Floats:
        """Returns the roots of the scores, (c,); 0 for items that depend on the picks."""
        rules = self.of.rules
        if rules.measure == "distance":
            return np.sqrt(distances)
        norms = np.sqrt(energies(seen(W, self.of.sign) if self.metric is None else W @ self.metric.whole))
        if rules.measure == "norm":
            return norms
        q = rules.ridge + distances
        return norms / np.sqrt(np.where(q > ties.DEPENDENT * squares, q, np.inf))

    def take(self, x: Floats, scores: Floats, square: float) -> PickStep:
        """Projects out the item with this row x (d,), scores (n,) in the round's unit and squared length."""
        rules = self.of.rules
        W, distances = self.exact(scores[None], x[None], np.array([square]))
        distance = float(distances[0])
        q = rules.ridge + distance if rules.projects else 1 / self.of.square
        value = float(self.roots(W, distances, np.array([square]))[0])
        if rules.projects and q <= ties.DEPENDENT * square:
            return PickStep(np.zeros(self.d), np.zeros(self.n), 1.0, W[0], distance, 0.0, True)
        phi, g = self.projector.project(x, W[0], q)
        moved = float(np.linalg.norm(W[0])) * (math.sqrt(distance) if rules.projects else 1.0) / q
        self.moved += moved
        self.drift += U64 * (self.projected + 2 * moved)
        self.picks += 1
        if rules.projects and square:
            self.least = min(self.least, math.sqrt(q / square))
        if self.metric is not None:
            self.metric.explain(phi, q, rules.ridge)
        return PickStep(g, W[0] / q, q, W[0], distance, value)

    @property
    def spread(self) -> float:
        """Factor by which nearly dependent picks magnify rounding."""
        return 1 + math.sqrt(self.picks) / self.least if self.of.rules.projects else 1.0

    @property
    def root_noise(self) -> float:
        """Rounding of the root of a distance, relative to the length of the row."""
        return error_bounds.root_error(self.d, self.picks, self.least) if self.of.rules.projects else 0.0

    @property
    def residual_noise(self) -> float:
        """Rounding of an exact residual."""
        own = self.drift + error_bounds.float64_error(self.d, self.projected, self.of.scale)
        return self.spread * (own + self.of.fitted * (self.of.scale + self.projected))

    @property
    def grown_noise(self) -> float:
        """Rounding of a norm that comes from the growth of scores since the round began."""
        first = self.of.first
        return 4 * U64 * math.sqrt(self.d) * self.largest_root**2 / first if first else 0.0


def _nats(roots: Floats) -> Floats:
    """Returns the information of scores with these roots; a root of 1 counts as a little less."""
    found: Floats = -np.log1p(-np.square(np.minimum(roots, 1 - 2.0**-53))) / 2
    return found
