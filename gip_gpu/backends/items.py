"""Interface of the passes over m items that a backend makes for the projecting objectives; the host decides."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.problem.objectives import residual

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Picks that a projector stores as vectors in addition to its matrix.
PENDING = 32


@dataclass(frozen=True)
class Rules:
    """Constants of a selection.

    Rows x_j are those of F divided by 2**exponent, so that no norm exceeds 1; `ridge` is epsilon in their unit.

    Attributes:
        measure: key of `MEASURES`: how an item's score is computed from its residual and its distance.
        projects: whether picks are projected out of the rows.
        positive: whether only positive residuals count.
        ridge: eta = epsilon / 4**exponent.
    """

    measure: str
    projects: bool
    positive: bool
    ridge: float

    @property
    def share(self) -> tuple[float, float]:
        """Coefficients a and b of the denominator a + b d2_j, which is eta + d2_j scaled to at most 1."""
        return self.ridge / (self.ridge + 1), 1 / (self.ridge + 1)


@dataclass(frozen=True)
class ErrorBounds:
    """Error bounds on the float32 arrays, and the metric of the residuals.

    Both bounds are float32 values, rounded up. A backend computes with them in float32; quotients and roots may have
    errors of 2 units in the last place.

    Attributes:
        residual: bound on | ||W~_j metric|| - ||W_j metric|| | over the eligible items.
        distance: bound on |d2~_j - d2_j|.
        metric: (n, n) float64, or None for the identity.
    """

    residual: float
    distance: float
    metric: Floats | None = None


@dataclass(frozen=True)
class RankOneUpdate:
    """Rank-one update that projects a pick out.

    Attributes:
        index: the item; None if another process has it.
        weights: (n,) factors of the column x_j . h in the step W~_j -= (x_j . h) weights.
        shrink: factor of its square in the step d2~_j -= (x_j . h)^2 shrink.
    """

    index: int | None
    weights: Floats
    shrink: float


@dataclass
class RefreshStatistics:
    """Statistics of a refresh, returned by `Items.refresh`.

    Attributes:
        residual: largest ||W_j|| over the eligible items, in the frame; 0 if there are none.
        distance: largest d2_j over the eligible items.
        projected: Frobenius norm of A.
    """

    residual: float
    distance: float
    projected: float


class Projector:
    """S and A of `Items` on the host.

    S is a matrix, None for the identity, less `steps phis` of the last picks. These vectors are multiplied out only
    when there are enough of them that a product with the matrix takes less time: most picks move no (d, d) values.

    Attributes:
        A: (n, d) float64.
    """

    def __init__(self, rules: Rules, n: int, d: int) -> None:
        self.rules, self.d = rules, d
        self.A = np.zeros((n, d))
        self.matrix: Floats | None = None
        # Steps are columns: a product then sums in the same order for one row and for many, as with a matrix.
        self.steps, self.phis = np.empty((d, 0)), np.empty((0, d))
        self.count = 0

    @property
    def S(self) -> Floats | None:
        """(d, d) float64, a copy; None for the identity."""
        if not self.count:
            return None if self.matrix is None else self.matrix.copy()
        matrix = np.eye(self.d) if self.matrix is None else self.matrix
        return matrix - self.steps[:, : self.count] @ self.phis[: self.count]

    @S.setter
    def S(self, matrix: Floats | None) -> None:
        self.matrix, self.count = matrix, 0

    def parts(self) -> dict[str, Floats]:
        """Returns the matrix and the vectors of S by name, so that a resumed run rounds as this one does."""
        if not self.count:
            return {}
        matrix = {} if self.matrix is None else {"S_matrix": self.matrix.copy()}
        return {**matrix, "S_steps": self.steps[:, : self.count].T.copy(), "S_phis": self.phis[: self.count].copy()}

    def compose(self, parts: Mapping[str, Any]) -> None:
        """Restores `parts` if there are any; else keeps S as it was set."""
        if "S_steps" not in parts:
            return
        self.S = parts.get("S_matrix")
        for step, phi in zip(parts["S_steps"], parts["S_phis"], strict=True):
            self._keep(step, phi)

    def remaining(self, x: Floats) -> Floats:
        """Returns S'x of one row (d,) or of several (c, d): the parts that the picks leave."""
        found = x if self.matrix is None else x @ self.matrix
        return found - (x @ self.steps[:, : self.count]) @ self.phis[: self.count] if self.count else found

    def exact(self, scores: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Returns residuals (c, n) and distances (c,) of items with these scores (c, n) and rows x (c, d)."""
        phi = self.remaining(x)
        return residual(scores, x, self.A), np.einsum("cd,cd->c", phi, phi)

    def project(self, row: Floats, residual: Floats, q: float, phi: Floats | None = None) -> tuple[Floats, Floats]:
        """Projects a pick out; phi is S'x of its row. Returns the phi and the g that were used, (d,) each."""
        phi, g = self.remaining(row) if phi is None else phi, row
        if self.rules.projects:
            g = phi if self.matrix is None else self.matrix @ phi
            if self.count:
                g = g - self.steps[:, : self.count] @ (self.phis[: self.count] @ phi)
            if not self.rules.ridge:
                phi = g = g * math.sqrt(q / float(g @ g))
            self._keep(g / (q + math.sqrt(self.rules.ridge * q)), phi)
        if len(self.A):
            self.A += (residual / q)[:, None] * g
        return phi, g

    def _keep(self, step: Floats, phi: Floats) -> None:
        """Updates S -= step phi'."""
        most = max(PENDING, self.d // 4 if self.matrix is None else 0)
        if len(self.phis) < most:
            self.steps, self.phis = np.empty((self.d, most)), np.empty((most, self.d))
        if self.count == most:
            self.S = self.S
        self.steps[:, self.count], self.phis[self.count] = step, phi
        self.count += 1


class Items(ABC):
    """Residuals W~ and distances d2~ of all items in float32, and the float64 values from which they are recomputed.

    The float64 values are a square root S (d, d) of the projector, `P = S S'`, and A (n, d). A pick with row x,
    residual w, `phi = S'x` and `q = eta + ||phi||^2` (q = 1 and g = x if nothing is projected) makes the update

        g = S phi;  A += w' g / q;  S -= g phi' / (q + sqrt(eta q))

    This is Potter's form of the update of a covariance: a contraction, so that rounding adds up and is not amplified.
    Without a ridge P is an orthogonal projector and S = P, and `g = P (P x)`, the row projected twice, gives an
    orthonormal basis: g, at the length of phi, then replaces phi. Otherwise each pick nearly in the span of those
    before would multiply the rounding of the last.

    Attributes:
        gamma: bound on the error of one entry of a column x_j . h, for ||h|| <= 1.
        item_weights: (m,) factors of the scores, at most 1 and exact in float32; None for 1. Set before `restart`.
    """

    gamma: float
    item_weights: Floats | None = None

    @abstractmethod
    def restart(self, scores: Floats, pool: NDArray[np.bool_]) -> None:
        """Begins a round: S = I, A = 0, all items of the pool eligible; `scores` (m, n) are in the round's unit."""

    @abstractmethod
    def carry(self) -> tuple[Floats, Floats | None]:
        """Copies A (n, d) and S (d, d) to the host; S is None for the identity."""

    def projector_parts(self) -> dict[str, Floats]:
        """Returns `Projector.parts`, if the items have a projector."""
        return {}

    def compose(self, parts: Mapping[str, Any]) -> None:  # noqa: B027
        """Calls `Projector.compose`, after `restore`."""

    @abstractmethod
    def eligible_items(self) -> NDArray[np.bool_]:
        """Returns flags (m,) of the items that are eligible in this round."""

    @abstractmethod
    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        """Resumes, after `restart`, from a projection and the eligible items; None: all of the pool."""

    @abstractmethod
    def refresh(self, frame: Floats | None) -> RefreshStatistics:
        """Recomputes W~ = (G - F A) frame and d2~ = ||S'x||^2 in float64; drops dependent items."""

    @abstractmethod
    def rate(self, errors: ErrorBounds) -> float:
        """Bounds every eligible item's score; returns the largest lower bound, -1 if no item is eligible.

        The bounds are of ||W_j metric|| (norm), of that over sqrt(a + b d2_j) (ratio), or of d2_j (distance). Item
        weights multiply distances, and their roots the others; with a metric they multiply the information in nats.
        """

    @abstractmethod
    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        """Projects a pick out of S and A; returns the phi that was used, (d,), if there is a metric.

        Args:
            move: the argument of the `update` that follows.
            row: (d,) the pick's row x.
            residual: (n,) its exact residual.
            q: its eta + ||phi||^2.
            unit: h = g / unit, a power of two so that ||h|| <= 1.
        """

    @abstractmethod
    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        """Projects the pick out of W~ and d2~, then rates.

        Returns:
            The result of `rate`; and ||W~||^2, or the sum of d2~ for a distance, over the pool of the round.
        """

    @abstractmethod
    def candidates(self, floor: float) -> tuple[Indices, Floats, Floats]:
        """Lists the eligible items with an upper bound of at least `floor`.

        Returns:
            Their ascending indices (c,), exact residuals (c, n) and exact distances (c,).
        """

    def spent(self, error: float) -> bool:
        """Returns whether d2~ is at most this error for all eligible items; False if that is slow to find out."""
        return False

    def wide(self, floor: float) -> bool:
        """Returns whether `candidates` may be too many for memory and caches, so that `portions` is needed."""
        return False

    def portions(self, floor: float) -> Iterator[tuple[Indices, Floats, Floats]]:
        """Yields `candidates`, portion by portion."""
        yield self.candidates(floor)

    def alone(self, index: int) -> tuple[Floats, float] | None:
        """Returns the row x of a pick, (d,), and its exact distance, independent of the other candidates.

        Returns None if the values of `candidates` already have this property.
        """
        return None

    def settle(self, indices: Indices, residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        """Recomputes the exact values of the few possible winners, so that identical rows have identical values."""
        return residuals, distances

    @abstractmethod
    def remaining(self, x: Floats) -> Floats:
        """Returns S'x of these rows (c, d): the parts that the picks leave."""

    @abstractmethod
    def drop(self, indices: Indices) -> None:
        """Makes these items ineligible for the rest of the round."""
