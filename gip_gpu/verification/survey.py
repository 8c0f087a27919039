"""One pass over all items for a panel of picks: before each pick, the items that may be the argmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.numerics import ties
from gip_gpu.numerics.error_bounds import U64, dot_error
from gip_gpu.verification.path import PickStep, RoundPath

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Picks whose columns are computed in one pass, and values of a block of items times picks.
PANEL = 512
BLOCK = 1 << 20
# Largest number of items before a pick that are computed again, of the lowest indices and of the largest values each.
MOST = 64


@dataclass
class Panel:
    """Consecutive picks of a round.

    Attributes:
        picks: (t,) items.
        steps: (t,) their projections.
        noises, roots: (t + 1,) before each pick and after the last, bounds on the rounding of a residual, and of the
            root of a distance relative to the row's length.
        metrics: (t + 1,) factors of the residuals, None for the identity.
    """

    picks: Indices
    steps: list[PickStep]
    noises: Floats
    roots: Floats
    metrics: list[Floats] | None


@dataclass
class Survey:
    """Items before each pick of a panel, and after the last; roots of scores are weighted (`RoundScale.compared`).

    Attributes:
        rivals: (t + 1,) lower bounds on the largest root of a score of the eligible items other than the pick; -1 if
            there are none.
        tops, highs: (t + 1,) the largest roots of scores of the other items, as computed, and upper bounds on them that
            include the slack within a tie.
        energies: (t + 1,) sum of the squared residuals, or of the distances, over the pool.
        close: for each pick the items that may be the argmax, ascending, at most `MOST` of the lowest indices and of
            the largest values each.
    """

    rivals: Floats
    tops: Floats
    highs: Floats
    energies: Floats
    close: list[Indices]


@dataclass
class PoolItems:
    """Items of a round: state that the panels carry on.

    Attributes:
        rows: the exact rows.
        squares: (m,) squared lengths of the rows x.
        W: (m, n) residuals in the round's unit; distances: (m,).
        left, pool: (m,) bool, items that are not chosen yet, and those of the round.
        until: (m,) number of the selection's picks after which constraints have taken an item out; None: never.
    """

    rows: Rows
    squares: Floats
    W: Floats
    distances: Floats
    left: NDArray[np.bool_]
    pool: NDArray[np.bool_]
    until: Indices | None = None

    def survey(self, path: RoundPath, panel: Panel, at: int) -> Survey:
        """Projects a panel's picks out of all items; returns the items that may be the argmax before each.

        Args:
            path: constants of the round.
            panel: its picks.
            at: picks of the selection before them.
        """
        t, (m, d) = len(panel.picks), self.rows.shape
        nothing = np.full(t + 1, -1.0)
        found = Survey(nothing, nothing, nothing, np.zeros(t + 1), [])
        close = [list[tuple[int, float]]() for _ in range(t)]
        place = np.full(m, t + 1)
        place[panel.picks] = np.arange(t)
        directions = np.array([step.g for step in panel.steps]).reshape(t, d)
        block = max(1, min(BLOCK // (t + 1), max(64, 4 * BLOCK // d)))
        scale_down = 2.0**-self.rows.exponent
        for start in range(0, m, block):
            stop = min(start + block, m)
            x = self.rows.read(start, stop)
            columns = (x @ directions.T) * scale_down
            self._block(slice(start, stop), columns, path, panel, at, place[start:stop], found, close)
        self.left[panel.picks] = False
        found.close = [_listed(of_pick) for of_pick in close]
        return found

    def _block(
        self,
        own: slice,
        columns: Floats,
        path: RoundPath,
        panel: Panel,
        at: int,
        place: Indices,
        found: Survey,
        close: list[list[tuple[int, float]]],
    ) -> None:
        of, rules, t = path.of, path.of.rules, len(panel.picks)
        squares = self.squares[own, None]
        q = np.array([step.q for step in panel.steps])
        weights = np.array([step.weights for step in panel.steps]).reshape(t, -1)
        distances = np.repeat(self.distances[own, None], t + 1, axis=1)
        if rules.projects:
            np.subtract(distances[:, :1], np.cumsum(columns**2 / q, axis=1), out=distances[:, 1:])
            np.maximum(distances, 0.0, out=distances)
        values, energy = self._norms(own, columns, weights, panel, of.sign)
        if rules.measure == "distance":
            values, energy = np.sqrt(distances), distances
        found.energies += np.where(self.pool[own, None], energy, 0.0).sum(axis=0)
        noise = np.broadcast_to(panel.noises, values.shape)
        far = 4 * panel.roots * np.sqrt(squares) * (np.sqrt(distances) + panel.roots * np.sqrt(squares))
        far = far + 8 * (t + self.rows.shape[1]) * U64 * squares
        eligible = self.left[own, None] & (place[:, None] >= np.arange(t + 1))
        if self.until is not None:
            eligible &= self.until[own, None] > np.arange(at, at + t + 1)
        sure = eligible
        if rules.projects:
            remaining = rules.ridge + distances
            sure = eligible & (remaining - far > ties.DEPENDENT * squares)
            eligible = eligible & (remaining + far > ties.DEPENDENT * squares)
        if rules.measure == "ratio":
            low = np.maximum(remaining - far, ties.DEPENDENT * squares)
            root = np.sqrt(np.maximum(np.maximum(remaining, low), np.finfo(float).tiny))
            values = values / root
            noise = (
                noise
                * ties.lengths(self.squares[own], rules.ridge)[:, None]
                / np.sqrt(np.maximum(low, np.finfo(float).tiny))
            )
            noise = noise + values * far / np.maximum(low, np.finfo(float).tiny)
            lengths = ties.lengths(squares, rules.ridge)
            noise = noise + 2 * ties.TIE * (values + (of.scale * lengths + values * np.sqrt(squares)) / root)
        elif rules.measure == "distance":
            noise = far / np.sqrt(np.maximum(distances, far)) + 2 * ties.TIE * (values + of.scale)
        else:
            noise = noise + 2 * ties.TIE * (values + of.scale)
        values, noise = of.compared(values, noise, own)
        mine = place[:, None] == np.arange(t + 1)
        others = np.where(sure & ~mine, values - noise, -1.0)
        found.rivals = np.maximum(found.rivals, others.max(axis=0))
        found.tops = np.maximum(found.tops, np.where(eligible & ~mine, values, -1.0).max(axis=0))
        found.highs = np.maximum(found.highs, np.where(eligible & ~mine, values + noise, -1.0).max(axis=0))
        wanted = np.array([step.value for step in panel.steps])
        wanted, doubts = of.compared(wanted, self._own_noise(path, panel, wanted), panel.picks)
        bars = wanted * (1 - 8 * ties.TIE) - doubts
        upper = np.where(eligible & ~mine, values + noise, -np.inf)[:, :t]
        which, where = np.nonzero((upper >= bars).T)
        steps, firsts = np.unique(which, return_index=True)
        for step, items in zip(steps.tolist(), np.split(where, firsts)[1:], strict=True):
            more = zip((items + own.start).tolist(), upper[items, step].tolist(), strict=True)
            close[step] = _trimmed([*close[step], *more])
        self.W[own] -= columns @ weights
        self.distances[own] = distances[:, -1]

    def _norms(self, own: slice, columns: Floats, weights: Floats, panel: Panel, sign: str) -> tuple[Floats, Floats]:
        """Returns the norms of the residuals that count and the squared norms of all, (b, t + 1) each."""
        b, t = columns.shape
        counted, energy = np.zeros((b, t + 1)), np.zeros((b, t + 1))
        residual = np.empty((b, t + 1))
        if panel.metrics is not None:
            W = self.W[own].copy()
            for step, metric in enumerate(panel.metrics):
                counted[:, step] = np.linalg.norm(W @ metric, axis=1)
                if step < t:
                    W -= columns[:, step, None] * weights[step]
            return counted, energy
        for signal in range(weights.shape[1]):
            residual[:, 0] = self.W[own, signal]
            np.subtract(residual[:, :1], np.cumsum(columns * weights[:, signal], axis=1), out=residual[:, 1:])
            energy += residual**2
            if sign == "positive":
                counted += np.maximum(residual, 0.0) ** 2
        return np.sqrt(counted if sign == "positive" else energy), energy

    def _own_noise(self, path: RoundPath, panel: Panel, values: Floats) -> Floats:
        """Returns bounds on the rounding of the picks' own values, and their slack within a tie."""
        rules, squares = path.of.rules, self.squares[panel.picks]
        noises = panel.noises[:-1].copy()
        distances = np.array([step.distance for step in panel.steps])
        roots = panel.roots[:-1] * np.sqrt(squares)
        if rules.measure == "distance":
            return roots + 2 * ties.TIE * (values + path.of.scale)
        if rules.measure == "norm":
            return noises + 2 * ties.TIE * (values + path.of.scale)
        root = np.sqrt(np.maximum(rules.ridge + distances, np.finfo(float).tiny))
        own = ties.lengths(squares, rules.ridge)
        terms = ties.ratio_terms(values, root, squares, rules.ridge, path.of.scale)
        return (noises * own + values * roots) / root + 2 * ties.TIE * (values + terms)


def pass_noise(path: RoundPath, since: int) -> float:
    """Returns a bound on the rounding of a residual in a pass over all items.

    A residual loses a column's rounding, dot_error(d) of the pick's step, and one of the difference for each pick.

    Args:
        path: after the picks.
        since: number of picks in the round.
    """
    own = 2 * (dot_error(path.d, U64) + 8 * U64) * path.moved
    return path.spread * own + 2 * U64 * since * (path.of.scale + path.moved) + 2 * path.residual_noise


def _trimmed(close: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns the items of the lowest indices and those of the largest values."""
    if len(close) <= 2 * MOST:
        return close
    lowest = sorted(close)[:MOST]
    largest = sorted(close, key=lambda item: (-item[1], item[0]))[:MOST]
    return sorted(set(lowest) | set(largest))


def _listed(close: Sequence[tuple[int, float]]) -> Indices:
    return np.array(sorted(item for item, _ in close), np.int64)
