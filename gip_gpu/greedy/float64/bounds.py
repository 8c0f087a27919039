"""Error bounds on the arrays of `gip_gpu.greedy.float64.stepper`, pick by pick, and the doubt that they leave."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.greedy.float64.arrays import Path
from gip_gpu.greedy.float64.metric import share, tie
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.problem.objectives import energies

Floats = NDArray[np.float64]

# From this ridge on, its root bounds the inverse of the factor well enough.
WIDE_RIDGE = 1e-3


@dataclass
class Errors:
    """Bounds before each of b picks, and after the last.

    Attributes:
        picks: (b + 1,) number of picks made so far.
        residual, distance: (b + 1,) bounds on the error of any W_j, in norm, and of any q_j.
        reach: (b + 1,) bound on the norm of the coefficients of any item in terms of the picks.
        inverse: (b + 1,) bound on the norm of the inverse of the picks' triangle.
        explained: (b + 1,) norm of the coefficients of W in the factor.
    """

    picks: Floats
    residual: Floats
    distance: Floats
    reach: Floats
    inverse: Floats
    explained: Floats

    def after(self, count: int) -> "Errors":
        """Returns the bounds from those after `count` picks on."""
        return Errors(**{name: bound[count:] for name, bound in vars(self).items()})


class Bounds:
    """Bounds of a round. Once the arrays have been recomputed, they start from an estimate of that step's error.

    Args:
        d, n: length of a row, signals.
        rules: how scores are computed.
        condition: condition number of the query before its columns were made orthonormal; None without a metric.
        most: largest number of rows of the factor.
    """

    def __init__(self, d: int, n: int, rules: Rules, condition: float | None, most: int) -> None:
        self.d, self.n, self.rules, self.metric = d, n, rules, condition is not None
        # Error in a query, and in its products with rows, from making its columns orthonormal.
        self.of_query = 0.0 if condition is None else n * condition * error_bounds.dot_error(d, U64)
        # Algorithm 1 has its own tie rule and floor.
        self.literal = not rules.projects and not rules.positive
        # Inverse of the triangle of the picks, computed if the ridge does not bound it.
        explicit = most if rules.projects and rules.ridge < WIDE_RIDGE else 0
        self.inverse = np.zeros((explicit, explicit))
        self.begin(0.0)

    def begin(self, longest: float, given: tuple[float, float] | None = None) -> None:
        """Resets the bounds before the first pick of a round, or the first since the arrays were recomputed.

        Args:
            longest: norm of the longest residual.
            given: bounds on the errors of Gram entries and residuals; None if they are those of the rows and scores.
        """
        self.longest, self.picks, self.given = longest, 0, given
        if given is None:
            # The scores of a query are products, with their own rounding.
            self.given = (0.0, error_bounds.dot_error(self.d, U64) + self.of_query) if self.metric else None
        # Squares: of the Frobenius norm of the inverse; of the norm of the coefficients of W in the factor.
        self.inverted = self.explained = 0.0
        # If nothing is projected out of the rows, sums: of the picks' residual norms, of the errors of the steps, and
        # of the errors of the picks.
        self.moved = self.step = self.pick = 0.0

    def margins(self, own: Floats, rivals: Floats, noise: Floats, errors: Errors) -> Floats:
        """Returns margins (b,) of picks: the leads of their scores over their rivals, less the errors of both.

        Args:
            own, rivals: (b,) scores.
            noise: (b,) bounds on the errors of the roots of scores.
            errors: bounds along the picks.
        """
        if self.rules.measure == "distance":
            behind = (rivals + 2 * errors.distance[: len(own)]) / own
        else:
            behind = (np.sqrt(rivals) + 2 * noise) ** 2
            # With a metric, the information is compared.
            behind = np.log1p(-np.minimum(behind, own)) / np.log1p(-own) if self.metric else behind / own
        return np.maximum(0.0, 1 - behind - 8 * U64)

    def along(self, path: Path, C: Floats) -> Errors:
        """Returns the bounds along these picks, which come next.

        Args:
            path: the picks.
            C: rows of the factor: those of these picks and of all before.
        """
        lengths = energies(path.residuals)
        picks = np.arange(self.picks, self.picks + len(path) + 1, dtype=np.float64)
        nothing = np.zeros(len(picks))
        if not self.rules.projects:
            steps, moves, _ = self._steps(np.sqrt(lengths))
            return Errors(picks, np.where(picks, steps + moves, 0.0), nothing, nothing, nothing, nothing)
        explained = np.sqrt(_sums(self.explained, lengths / path.divisors))
        if len(self.inverse):
            inverse = np.sqrt(_sums(self.inverted, self._invert(path, C)))
            # ||x_j|| is at most 1.
            reach = inverse
        else:
            root = math.sqrt(self.rules.ridge)
            # The largest of s / (s^2 + eta).
            inverse, reach = nothing + 1 / root, nothing + 1 / (2 * root)
        coefficients, given = (explained, inverse * explained), self.given or (0.0, 0.0)
        residual, distance = error_bounds.factor_errors(self.d, picks, reach, self.longest, coefficients, given)
        # q holds the ridge too, and each pick rounds it.
        distance = distance + 2 * (picks + 2) * U64 * self.rules.ridge
        if self.given is None:
            # Before the first pick the values are the given ones, without an error.
            residual, distance = np.where(picks, residual, 0.0), np.where(picks, distance, 0.0)
        return Errors(picks, residual, distance, reach, inverse, explained)

    def keep(self, path: Path, errors: Errors) -> None:
        """Records these picks as made; `errors` is the result of `along` for them, or for them and more."""
        count = len(path)
        self.picks += count
        if self.rules.projects:
            self.inverted, self.explained = float(errors.inverse[count]) ** 2, float(errors.explained[count]) ** 2
            return
        norms = np.sqrt(energies(path.residuals))
        steps, moves, moved = self._steps(norms)
        self.step, self.pick, self.moved = float(steps[count]), float(moves[count]), moved

    def _steps(self, norms: Floats) -> tuple[Floats, Floats, float]:
        """Returns error sums before each pick and after the last, and the sum of the norms.

        Args:
            norms: (b,) norms of the picks' residuals.

        Returns:
            The errors of the steps so far (b + 1,), the summed errors of the picks' residuals (b + 1,), and the sum of
            the norms.
        """
        moved = self.moved + np.cumsum(norms)
        # No eligible residual is longer than the pick's, unless a sign does not count.
        reach = norms if self.literal else self.longest + moved
        steps = _sums(self.step, (error_bounds.dot_error(self.d, U64) + 6 * U64) * norms + 2 * U64 * reach)
        # A step is as wrong as its pick was; projection never lengthens an error.
        return steps, _sums(self.pick, steps[:-1]), float(moved[-1]) if len(moved) else self.moved

    def _invert(self, path: Path, C: Floats) -> Floats:
        """Adds the rows of these picks to the inverse of the triangle; returns their squared norms."""
        t, b = self.picks, len(path)
        factor = C[: t + b, path.indices].T
        lower = np.tril(factor[:, t:], -1)
        lower[np.arange(b), np.arange(b)] = np.sqrt(path.divisors)
        own = np.linalg.inv(lower)
        rows = self.inverse[t : t + b]
        if t:
            np.matmul(-own @ factor[:, :t], self.inverse[:t, :t], out=rows[:, :t])
        rows[:, t : t + b] = own
        return energies(rows[:, : t + b])

    def doubt(self, values: Floats, path: Path, errors: Errors, scale: float) -> tuple[Floats, Floats]:
        """Bounds the error of the root of any score not above `values`, and its slack within a tie.

        Args:
            values: (b,) roots of scores.
            path, errors: values and bounds before each pick.
            scale: `State.scale`.
        """
        count = len(path)
        residual, distance = errors.residual[:count], errors.distance[:count]
        rounding = (self.n + 8) * U64 * values
        if self.rules.measure == "distance":
            return 2 * distance / values + rounding, ties.TIE * (values + scale)
        if self.literal:
            return residual + rounding, ties.RELATIVE * values + 2 * ties.ABSOLUTE * scale
        if self.rules.measure == "norm":
            return residual + rounding, ties.TIE * (values + scale)
        least = np.where(path.least > 2 * distance, path.least - distance, 0.0)
        root = np.sqrt(least)
        noise = residual / root + values * distance / least + rounding
        if not self.metric:
            return noise, ties.TIE * (values + (scale + values) / root)
        before = Errors(**{name: bound[:count] for name, bound in vars(errors).items()})
        given = self.of_query + (0.0 if self.given is None else self.given[0])
        of_metric = share(self.n, self.d, before.picks, before.inverse, before.explained, path.norms, given)
        noise = noise + residual / root * path.norms + values * of_metric
        return noise, tie(values, least, path.norms, self.rules.ridge)


def _sums(first: float, steps: Floats) -> Floats:
    """Returns the partial sums (b + 1,) of `first` and the steps (b,)."""
    return np.cumsum(np.concatenate([[first], steps]))
