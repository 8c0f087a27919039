"""Formulation of a selection: the objective, the scores behind it and the query behind those."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.numerics import ties
from gip_gpu.problem import ridge_query as queries
from gip_gpu.problem.objectives import OBJECTIVES, Objective, energies
from gip_gpu.problem.options import Options
from gip_gpu.validation.settings import LARGEST

# A query whose whitening would be this far from well conditioned has columns that depend on one another.
DEPENDENT_QUERY = 1e-7
# Scores whose part outside the range of F holds a larger share of their energy have no query that gives them.
OUTSIDE = 1e-10
# Below this share in the range of F, what a query says of scores is the rounding of zero.
NOTHING = 1e-24
# Rows are scaled by powers of two down to here.
SMALLEST = 1e-120
# Ratios are told apart by each row's own length. With norms spread up to 1e40 the picks of 2000 random pools were those
# of the reference; at 1e88 some were not, and the certificate did not know.
SPREAD = 1e40

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What the greedy loop is run on.

    Attributes:
        objective, epsilon, sign: what is maximised.
        scores: (m, n) float64; no columns where there are no scores.
        Q: (d, n) the whitened query, for an objective with a metric.
        weights: (n, n) what turns residuals into those of the scores as given, None where they are.
        range_share: share of ||G||^2 in the range of F, None where it was not computed.
    """

    objective: Objective
    epsilon: float
    sign: str
    scores: Floats
    Q: Floats | None = None
    weights: Floats | None = None
    range_share: float | None = None


def pose(rows: Rows, scores: Floats | None, options: Options, exponent: int = 0) -> Problem:
    """The problem that these options pose.

    With query "ridge" the scores are `F Q_eps` in place of G. The mutual information is that of a query, so G is
    replaced by `F Q` for it in any case, with a warning where that is another G; with a single column it picks what
    Greedy LR picks, and needs no query.

    Args:
        rows: F.
        scores: G, (m, n), or None.
        options: checked against the scores by `Options.choose`.
        exponent: the rows of a metric are scaled by 2**-exponent.

    Raises:
        ValueError: Q'Q is singular, for the mutual information; or rows have norms too far apart for a ratio.
    """
    objective = options.choose(scores is not None)
    if 0 < rows.largest < SMALLEST:
        raise ValueError(f"F has no row with a norm beyond {SMALLEST:g}; scale the rows up")
    if objective.measure == "ratio" and not rows.normalize:
        assert scores is not None
        _check_lengths(rows, scores, options.epsilon, objective.name)
    if scores is None:
        return Problem(objective, options.epsilon, options.sign, np.empty((rows.shape[0], 0)))
    if objective.alone and scores.shape[1] == 1 and options.query == "direct":
        objective = OBJECTIVES[objective.alone]
    if options.query == "direct" and not objective.metric:
        return Problem(objective, options.epsilon, options.sign, scores)
    found = queries.solve(rows, scores, options.epsilon if options.query == "ridge" else 0.0)
    share = found.share
    if share < NOTHING:
        raise ValueError(
            f"G has a share of {share:.2g} of its energy in the range of F, which is rounding: no query says anything "
            "about these scores; query='direct' takes them as they are"
        )
    if not objective.metric:
        return Problem(objective, options.epsilon, options.sign, queries.fitted(rows, found.weights), range_share=share)
    if options.query == "direct" and share < 1 - OUTSIDE:
        warnings.warn(
            f"objective 'mi' is about a query Q with F Q = G, and a share of {1 - share:.2g} of the energy of G lies "
            "outside the range of F: its least-squares fit F Q takes its place; query='ridge' does so without this",
            stacklevel=4,
        )
    whitened, triangle = _whitened(found.weights)
    # In the unit of the scaled rows, so that no score exceeds 1 and the metric starts at the identity.
    fitted = queries.fitted(rows, whitened)
    if exponent:
        fitted *= 2.0**-exponent
    return Problem(
        objective, options.epsilon, options.sign, fitted, whitened, triangle * 2.0**exponent, range_share=share
    )


def _check_lengths(rows: Rows, scores: Floats, epsilon: float, name: str) -> None:
    """ValueError where rows of different lengths cannot be compared by what scores are over what is left of a row."""
    least = float(rows.norms.min(where=rows.norms > 0, initial=np.inf))
    if rows.largest > SPREAD * least:
        raise ValueError(
            f"F has rows of norms from {least:.3g} to {rows.largest:.3g}; objective {name!r} divides by what is left "
            f"of a row, and with normalize=False they must lie within {SPREAD:g} of each other: pass normalize=True "
            "or rescale or drop the short rows"
        )
    reach = float(np.abs(scores).max())
    if reach * max(rows.largest, 1.0) > LARGEST * max(least, epsilon**0.5):
        raise ValueError(
            f"G reaches {reach:.3g} and F has rows of norms from {least:.3g} to {rows.largest:.3g}: with "
            f"normalize=False the scores of objective {name!r} are beyond float64; scale G down"
        )


def _whitened(Q: Floats) -> tuple[Floats, Floats]:
    """The factors of Q = Q^ T with Q^'Q^ = I; ValueError where the columns of Q depend on one another."""
    unit = 2.0 ** np.frexp(np.abs(Q).max())[1]
    lengths = np.linalg.norm(Q / unit, axis=0)
    whitened, triangle = np.linalg.qr(Q / unit)
    own = np.zeros(Q.shape[1])
    own[: len(triangle)] = np.abs(np.diagonal(triangle))
    dependent = own <= DEPENDENT_QUERY * lengths
    if dependent.any():
        column = int(np.flatnonzero(dependent)[0])
        why = "is zero"
        if lengths[column]:
            why = f"has all but {own[column] / lengths[column]:.2g} of its length in common with those before it"
        raise ValueError(
            f"Q'Q is singular, so the mutual information is not defined: the query of column {column} of G {why}; "
            "drop that column, or use objective='lr'"
        )
    return whitened, triangle * unit


def first_squares(problem: Problem, rows: Rows) -> NDArray[np.float64]:
    """What the items have to give at first: squared scores, or squared norms where there are none."""
    if problem.objective.scored:
        return energies(problem.scores)
    return _squared_norms(rows)


def first_measures(problem: Problem, rows: Rows, squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """`State.measures`, from what the items have to give at first."""
    if problem.objective.measure != "ratio" or rows.normalize:
        return squares
    return ties.ratio_scale(squares, _squared_norms(rows), problem.epsilon * 4.0**-rows.exponent)


def _squared_norms(rows: Rows) -> NDArray[np.float64]:
    """Of the rows, scaled so that none exceeds 1, (m,)."""
    norms = np.ones(rows.shape[0]) if rows.normalize else rows.norms * 2.0**-rows.exponent
    squares: NDArray[np.float64] = norms * norms
    return squares
