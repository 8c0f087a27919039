"""The passes over m items that an objective of the GIP family needs of a backend, when the host decides each pick."""

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

# Picks that a projector keeps as vectors beside its matrix.
PENDING = 32


@dataclass(frozen=True)
class Rules:
    """What stays the same throughout a selection.

    Rows x_j are those of F divided by 2**exponent, so that no norm exceeds 1; `ridge` is epsilon in their unit.

    Attributes:
        measure: how an item's score is made of its residual and its distance.
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
        """a and b in the denominator a + b d2_j, which is eta + d2_j scaled to at most 1."""
        return self.ridge / (self.ridge + 1), 1 / (self.ridge + 1)


@dataclass(frozen=True)
class ErrorBounds:
    """How far the float32 arrays may be off, and the metric that residuals are measured in.

    Both bounds are float32 values, rounded up. A backend computes with them in float32; quotients and roots may be off
    by 2 units in the last place.

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
    """A pick to project out.

    Attributes:
        index: the item; None where it is another process's.
        weights: (n,) factors of the column x_j . h in the step W~_j -= (x_j . h) weights.
        shrink: factor of its square in the step d2~_j -= (x_j . h)^2 shrink.
    """

    index: int | None
    weights: Floats
    shrink: float


@dataclass
class RefreshStatistics:
    """What `Items.refresh` found.

    Attributes:
        residual: largest ||W_j|| over the eligible items, in the frame; 0 if there are none.
        distance: largest d2_j over them.
        projected: ||A||, Frobenius.
    """

    residual: float
    distance: float
    projected: float


class Projector:
    """S and A of `Items` on the host.

    S is a matrix, None while that is the identity, less `steps' phis` of the last picks, which are not multiplied out
    before there are so many that a product with the matrix takes less time: a pick then moves no (d, d) values.

    Attributes:
        A: (n, d) float64.
    """

    def __init__(self, rules: Rules, n: int, d: int) -> None:
        self.rules, self.d = rules, d
        self.A = np.zeros((n, d))
        self.matrix: Floats | None = None
        # Steps are columns: a product then sums up in the same order for one row and for many, as with a matrix.
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
        """The matrix and the vectors of S by name, so that a run that goes on from here rounds as this one does."""
        if not self.count:
            return {}
        matrix = {} if self.matrix is None else {"S_matrix": self.matrix.copy()}
        return {**matrix, "S_steps": self.steps[:, : self.count].T.copy(), "S_phis": self.phis[: self.count].copy()}

    def compose(self, parts: Mapping[str, Any]) -> None:
        """Goes on from `parts`, where there are any; else from S as it was set."""
        if "S_steps" not in parts:
            return
        self.S = parts.get("S_matrix")
        for step, phi in zip(parts["S_steps"], parts["S_phis"], strict=True):
            self._keep(step, phi)

    def remaining(self, x: Floats) -> Floats:
        """S'x of one row (d,) or of some, (c, d): what the picks leave of them."""
        found = x if self.matrix is None else x @ self.matrix
        return found - (x @ self.steps[:, : self.count]) @ self.phis[: self.count] if self.count else found

    def exact(self, scores: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Residuals (c, n) and distances (c,) of items with these scores (c, n) and rows x (c, d)."""
        phi = self.remaining(x)
        return residual(scores, x, self.A), np.einsum("cd,cd->c", phi, phi)

    def project(self, row: Floats, residual: Floats, q: float, phi: Floats | None = None) -> tuple[Floats, Floats]:
        """Projects a pick out, of which the picks before leave phi; returns the phi and the g that were used, (d,)."""
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
        """S -= step phi'."""
        most = max(PENDING, self.d // 4 if self.matrix is None else 0)
        if len(self.phis) < most:
            self.steps, self.phis = np.empty((self.d, most)), np.empty((most, self.d))
        if self.count == most:
            self.S = self.S
        self.steps[:, self.count], self.phis[self.count] = step, phi
        self.count += 1


class Items(ABC):
    """Residuals W~ and distances d2~ of all items in float32, and in float64 what they are recomputed from.

    The float64 part: a square root S (d, d) of the projector, `P = S S'`, and A (n, d). A pick of row x and residual w,
    `phi = S'x` and `q = eta + ||phi||^2` (1 in mp's place of q, and x in place of g, where nothing is projected) does

        g = S phi;  A += w' g / q;  S -= g phi' / (q + sqrt(eta q))

    (Potter's form of the update of a covariance: a contraction, so that rounding adds up and is not amplified.) Without
    a ridge P is an orthogonal projector and S = P, so `g = P (P x)`, the row projected twice, is what an orthonormal
    basis needs: then g, at the length of phi, takes the place of phi. Otherwise picks that lie nearly in the span of
    those before would each multiply the rounding of the last.

    Attributes:
        gamma: bound on the error of one entry of a column x_j . h, for ||h|| <= 1.
    """

    gamma: float

    @abstractmethod
    def restart(self, scores: Floats, pool: NDArray[np.bool_]) -> None:
        """A round begins: S = I, A = 0, the items of the pool are eligible; `scores` (m, n) are in the round's unit."""

    @abstractmethod
    def carry(self) -> tuple[Floats, Floats | None]:
        """Copies of A (n, d) and S (d, d) on the host; None for an S that is the identity."""

    def projector_parts(self) -> dict[str, Floats]:
        """`Projector.parts`, of items that keep one."""
        return {}

    def compose(self, parts: Mapping[str, Any]) -> None:  # noqa: B027
        """After `restore`: `Projector.compose`."""

    @abstractmethod
    def eligible_items(self) -> NDArray[np.bool_]:
        """(m,) which items are eligible in this round."""

    @abstractmethod
    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        """After `restart`: goes on from what was projected out and which items were eligible; None: all of the pool."""

    @abstractmethod
    def refresh(self, frame: Floats | None) -> RefreshStatistics:
        """W~ = (G - F A) frame and d2~ = ||S'x||^2 anew from float64; takes out the dependent items."""

    @abstractmethod
    def rate(self, errors: ErrorBounds) -> float:
        """Bounds of every eligible item's score; returns the largest lower one, -1 if no item is eligible.

        The bounds are of ||W_j metric|| (norm), of that over sqrt(a + b d2_j) (ratio), or of d2_j (distance).
        """

    @abstractmethod
    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        """Projects a pick out of S and A; returns the phi that was used, (d,), where there is a metric.

        Args:
            move: as `update` will get it.
            row: (d,) the pick's row x.
            residual: (n,) its exact residual.
            q: as above.
            unit: h = g / unit, a power of two so that ||h|| <= 1.
        """

    @abstractmethod
    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        """Projects the pick out of W~ and d2~, then rates.

        Returns:
            What `rate` returns; and ||W~||^2, or the sum of d2~ for a distance, over the pool of the round.
        """

    @abstractmethod
    def candidates(self, floor: float) -> tuple[Indices, Floats, Floats]:
        """Ascending indices (c,) of the eligible items whose upper bound reaches `floor`, their exact residuals (c, n)
        and distances (c,)."""

    def spent(self, error: float) -> bool:
        """Whether d2~ is within this error of nothing for all eligible items, as far as it takes no time to tell."""
        return False

    def wide(self, floor: float) -> bool:
        """Whether `candidates` may be so many that `portions` has to be asked, for memory and for caches."""
        return False

    def portions(self, floor: float) -> Iterator[tuple[Indices, Floats, Floats]]:
        """As `candidates`, portion by portion."""
        yield self.candidates(floor)

    def alone(self, index: int) -> tuple[Floats, float] | None:
        """The row x of a pick, (d,), and its exact distance, which is the same whatever the other candidates are; None
        where `candidates` gives it so."""
        return None

    def settle(self, indices: Indices, residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        """The exact values of the few candidates that could win, so that identical rows have identical ones."""
        return residuals, distances

    @abstractmethod
    def remaining(self, x: Floats) -> Floats:
        """S'x of these rows: what the picks leave of them, (c, d)."""

    @abstractmethod
    def drop(self, indices: Indices) -> None:
        """These items are eligible no more in this round."""
