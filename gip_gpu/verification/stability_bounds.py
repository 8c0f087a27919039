"""Bounds on the movement of scores when scores or embeddings change, from the picks alone.

Notation: rows f_j of norm 1, or at most L; scores G_j; residuals W_j = G_j - A'f_j with the projection A (d, n) of the
c picks before a pick in its round; S, the rows of these picks. A tilde marks changed values, a prime transposes. A pick
stays the argmax if its lead, ||W_s|| - ||W_j|| for every other item j, exceeds the movement of both norms. The
certificate bounds the lead from below, `||W_s|| (1 - sqrt(1 - margin))`, so no other item has to be looked at. If this
holds for all picks up to one, the changed selection begins with them. The positive part of a residual moves no further
than the residual.

Scores move by E, each of its rows by at most e = score_noise sqrt(n):

    W~_j - W_j = E_j - (A~ - A)'f_j, which is at most e + L ||A~ - A||.

- Matching pursuit: a pick f changes A to (I - f f')A + f G_s', and so A~ - A to (I - f f')(A~ - A) + f E_s'. For unit
  rows both terms are orthogonal and I - f f' lengthens nothing: ||A~ - A||^2 grows by at most e^2 a pick, to c e^2. For
  rows of other norms up to L <= sqrt(2), ||A~ - A|| grows by at most L e a pick.
- With picks projected out of the rows (omp, lr): A = S'(S S' + eps I)^-1 G_S. With the Cholesky factor C of
  S S' + eps I, ||A~ - A|| <= ||S'C^-T|| ||C^-1|| ||E_S|| <= ||C^-1||_F sqrt(c) e. C^-1 is triangular, so one inverse
  has the norms for all c.
- lr divides by sqrt(eps + d2_j) >= sqrt(eps). Without a ridge, items near the span of the picks move without bound, and
  the certificate does not say how near they are. Nor does it bound the metric of mi, or a fitted query.

Embeddings move, ||f~_j - f_j|| <= h, measured over all rows, under matching pursuit: a pick with residual w changes
D = A~ - A to

    (I - f~ f~')D + (f~ - f) w' - f~ (f~ - f)'A,

so ||D|| grows by at most h (||w|| + L ||A||), and W~_j - W_j = (f_j - f~_j)'A - f~_j'D is at most h ||A|| + L ||D||.
Projected rows (omp, lr, mi, entropy) turn with the span of the picks, by up to h ||C^-1||; the certificate does not
bound what this does to them.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Largest norm of a unit row as computed, and of a row f for which I - f f' lengthens no vector.
UNIT, CONTRACTS = 1 + 1e-12, math.sqrt(2)


def score_moves(e: float, picks: int, largest: float) -> Floats:
    """Bounds the movement of a residual under matching pursuit for 0 to `picks` - 1 picks before.

    Args:
        e: bound on the movement of a row of scores.
        picks: number of picks of the round.
        largest: largest norm of a row; 1 for unit rows.
    """
    before = np.arange(picks, dtype=np.float64)
    grown = np.sqrt(before) if largest <= UNIT else largest * before
    moves: Floats = e * (1 + max(1.0, largest) * grown)
    return moves if largest <= CONTRACTS else np.full(picks, math.inf)


def projected_score_moves(e: float, rows: Floats, epsilon: float) -> Floats:
    """As `score_moves`, if picks are projected out of the rows.

    Args:
        e: bound on the movement of a row of scores.
        rows: (c, d) the picks of the round in order.
        epsilon: ridge.
    """
    largest = float(np.linalg.norm(rows, axis=1).max(initial=1.0))
    gram = rows @ rows.T
    gram[np.diag_indices(len(gram))] += epsilon
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return np.full(len(rows), math.inf)
    sizes = np.sqrt(np.concatenate([[0.0], np.cumsum(np.square(inverse).sum(axis=1))[:-1]]))
    return np.asarray(e * (1 + largest * sizes * np.sqrt(np.arange(len(rows)))))


def embedding_moves(h: float, rows: Floats, residuals: Floats, largest: float) -> Floats:
    """Bounds the movement of a residual under matching pursuit before each pick, if rows move by at most h.

    Args:
        h: largest movement of a row.
        rows: (c, d) the picks of the round in order.
        residuals: (c, n) their residuals.
        largest: largest norm of a row, also after the movement.
    """
    if largest > CONTRACTS:
        return np.full(len(rows), math.inf)
    A, D = np.zeros((rows.shape[1], residuals.shape[1])), 0.0
    found = np.empty(len(rows))
    for place, (row, residual) in enumerate(zip(rows, residuals, strict=True)):
        size = float(np.linalg.norm(A))
        found[place] = h * size + largest * D
        D += h * (float(np.linalg.norm(residual)) + largest * size)
        A += np.outer(row, residual)
    return found
