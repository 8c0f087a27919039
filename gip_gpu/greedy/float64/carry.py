"""A and S, the projection by the picks of the float64 stepper: computed from their rows when `gip_gpu.extend` asks.

Most selections are never extended, and two decompositions take as long as many picks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.greedy.state import State, Stored
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.problem.objectives import energies

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Carried:
    """The t picks of a round.

    Attributes:
        rules: how they were chosen.
        rows: (t, d) rows of norm at most 1.
        scores: (t, n) G.
        residuals: (t, n) W of each when it was picked.
        divisors: (t,) q of each.
        squares: (t,) squared norms of the rows.
        scale_down: factor by which the rows were multiplied.
    """

    rules: Rules
    rows: Floats
    scores: Floats
    residuals: Floats
    divisors: Floats
    squares: Floats
    scale_down: float

    @classmethod
    def of(
        cls, state: State, picks: slice, rules: Rules, X: Floats, divisors: Floats, squares: Floats, scale_down: float
    ) -> "Carried":
        """Gathers what these picks of a selection project out.

        Args:
            state: of the selection.
            picks: the places of the round's picks.
            X, squares: (m, d) and (m,) rows and their squared norms.
            rules, divisors, scale_down: as the attributes.
        """
        chosen, residuals = state.indices[picks], state.weights[picks] / state.unit
        scores = state.scores[chosen] / state.unit
        return cls(rules, X[chosen], scores, residuals, divisors, squares[chosen], scale_down)

    def __call__(self) -> Stored:
        """Computes A (n, d) and S, as `Stepper.carry` returns them."""
        if not self.rules.projects:
            return {"A": self.residuals.T @ self.rows}
        A, S = projector(self.rows, self.scores, self.rules.ridge)
        return {"A": A * self.scale_down, "S": S, "least": self._least()}

    def drift(self) -> float:
        """Bounds the rounding that A collects if each pick adds a product to it."""
        q, moved = self.divisors, np.sqrt(energies(self.residuals))
        if self.rules.projects:
            moved = moved * np.sqrt(np.maximum(q - self.rules.ridge, 0)) / q
        return U64 * float((np.cumsum(moved) + 2 * moved).sum())

    def _least(self) -> float:
        """Returns the smallest share of its length that a pick's row had left, at most 1."""
        q, squares = self.divisors, self.squares
        shares = np.divide(q, squares, out=np.ones(len(q)), where=squares > 0)
        return math.sqrt(min(1.0, float(shares.min(initial=1.0))))


def projector(rows: Floats, scores: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Computes A (n, d) and S (d, d) of `gip_gpu.backends.items.Items`, P = S S', by an orthogonal decomposition.

    Args:
        rows, scores: (t, d) and (t, n) of the picks; without a ridge the rows are independent.
        ridge: eta.
    """
    d = rows.shape[1]
    if not ridge:
        basis, triangle = np.linalg.qr(rows.T)
        return np.linalg.solve(triangle.T, scores).T @ basis.T, np.eye(d) - basis @ basis.T
    # R'R = X'X + eta I, so that P = eta (R'R)^-1.
    basis, triangle = np.linalg.qr(np.vstack([rows, math.sqrt(ridge) * np.eye(d)]))
    A: Floats = np.linalg.solve(triangle, basis[: len(rows)].T @ scores).T
    return A, math.sqrt(ridge) * np.linalg.inv(triangle)
