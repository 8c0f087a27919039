"""Formulation of a selection: the objective, its scores, and the query behind the scores."""

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

# A query column with no more than this share of its length outside the span of those before it depends on them.
DEPENDENT_QUERY = 1e-7
# If a larger share of the energy of the scores is outside the range of F, no query reproduces them.
OUTSIDE = 1e-10
# Below this share of energy in the range of F, the fitted scores are rounding errors.
NOTHING = 1e-24
# Smallest largest norm of a row that scaling by powers of two supports.
SMALLEST = 1e-120
# Ratios are compared relative to each row's own length. With norms spread up to 1e40 the picks of 2000 random pools
# equalled the reference; at 1e88 some did not, and the certificate did not notice.
SPREAD = 1e40

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Problem that the greedy loop solves.

    Attributes:
        objective, epsilon, sign: the objective to maximise, its ridge, and the sign that counts.
        scores: (m, n) float64; no columns if there are no scores.
        Q: (d, n) the whitened query, for an objective with a metric.
        weights: (n, n) factor from residuals to residuals of the scores as given; None for the identity.
        range_share: share of ||G||^2 in the range of F, None if it was not computed.
    """

    objective: Objective
    epsilon: float
    sign: str
    scores: Floats
    Q: Floats | None = None
    weights: Floats | None = None
    range_share: float | None = None


def pose(rows: Rows, scores: Floats | None, options: Options, exponent: int = 0) -> Problem:
    """Returns the problem that these options pose.

    With query "ridge" the scores are `F Q_eps` instead of G. The mutual information is defined by a query, so `F Q`
    always replaces G for it, with a warning if the two differ. With a single column it makes the same picks as Greedy
    LR and needs no query.

    Args:
        rows: F.
        scores: G, (m, n), or None.
        options: checked against the scores by `Options.choose`.
        exponent: for an objective with a metric, rows are scaled by 2**-exponent.

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
            f"objective 'mi' needs a query Q with F Q = G, but a share of {1 - share:.2g} of the energy of G is "
            "outside the range of F: its least-squares fit F Q replaces G; query='ridge' does so without this warning",
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
    """Raises ValueError if the lengths of the rows are too far apart to compare ratios of scores to lengths."""
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
    """Returns the factors of Q = Q^ T with Q^'Q^ = I; raises ValueError if the columns of Q are dependent."""
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
    """Returns the initial energies (m,): squared norms of the scores, or of the rows if there are no scores."""
    if problem.objective.scored:
        return energies(problem.scores)
    return _squared_norms(rows)


def first_measures(problem: Problem, rows: Rows, squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns `State.measures`, from the initial energies."""
    if problem.objective.measure != "ratio" or rows.normalize:
        return squares
    return ties.ratio_scale(squares, _squared_norms(rows), problem.epsilon * 4.0**-rows.exponent)


def _squared_norms(rows: Rows) -> NDArray[np.float64]:
    """Returns the squared norms (m,) of the rows, scaled so that none exceeds 1."""
    norms = np.ones(rows.shape[0]) if rows.normalize else rows.norms * 2.0**-rows.exponent
    squares: NDArray[np.float64] = norms * norms
    return squares
