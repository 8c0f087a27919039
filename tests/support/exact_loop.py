"""The greedy loop in 300-bit arithmetic, and a check of a selection's picks against it, one by one."""

from dataclasses import dataclass

import gmpy2
import numpy as np

from gip_gpu.data.rows import Rows
from gip_gpu.numerics import ties
from gip_gpu.problem import ridge_query as queries

BITS = 300
EXACT = gmpy2.context(precision=BITS)
ZERO = gmpy2.mpfr(0, BITS)
# A share of a squared length below this is only the rounding of the query to float64: all is explained, and the
# information is infinite. MOST nats are counted for it.
NOTHING = gmpy2.mpfr(2, BITS) ** -80
MOST = gmpy2.mpfr(28, BITS)
# Bound on the change of a lead by fitting the query in float64.
FITTED = 1e-7


def exact(values):
    """Returns an array of 300-bit numbers of the same values."""
    values = np.asarray(values)
    found = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        found[place] = gmpy2.mpfr(float(value), BITS)
    return found


def solve(matrix, right):
    """Solves by Gauss elimination with row pivots; matrix (n, n), right (n, c)."""
    whole = np.hstack([matrix, right])
    size = len(matrix)
    for at in range(size):
        pivot = at + max(range(size - at), key=lambda row: abs(whole[at + row, at]))
        whole[[at, pivot]] = whole[[pivot, at]]
        whole[at] = whole[at] / whole[at, at]
        for row in range(size):
            if row != at:
                whole[row] = whole[row] - whole[row, at] * whole[at]
    return whole[:, size:]


@dataclass
class Doubted:
    """A pick that is not the exact argmax, or leads by less than its margin.

    Attributes:
        step, pick: number of the step, and index of the pick.
        better: the best of the other items.
        lead: lead of the pick as a share of the larger score, negative if `better` leads.
        tied, margin: the certificate's entries for the pick.
        rule: largest difference within a tie, as a share of the score.
    """

    step: int
    pick: int
    better: int
    lead: float
    tied: int
    margin: float
    rule: float

    @property
    def wrong(self):
        """Whether the certificate contradicts the exact scores."""
        return self.margin > 0 or (self.tied > 1 and self.lead < -self.rule)


def information(before, after):
    """Returns the information in nats from the variances before and after the query is known."""
    if before <= 0:
        return ZERO
    return MOST if after < before * NOTHING else gmpy2.log(before / after) / 2


class Loop:
    """Exact state of a selection, one round after the other, with given picks.

    Scores are ||W_j||^2 for "mp" and "omp", ||W_j||^2 / (epsilon + d2_j) for "lr", d2_j for "entropy", and the gain in
    nats for "mi".
    """

    def __init__(self, F, G, objective, *, epsilon=0.0, query="direct", sign="any", normalize=True):
        rows = Rows(F, normalize=normalize)
        self.X = exact(rows.block(0, len(F)))
        self.objective, self.sign = objective, sign
        self.epsilon = gmpy2.mpfr(epsilon, BITS)
        m = len(self.X)
        self.G = exact(np.zeros((m, 0)) if G is None else np.reshape(np.asarray(G, float), (m, -1)))
        self.Q = None
        if G is not None and (query == "ridge" or (objective == "mi" and self.G.shape[1] > 1)):
            Q = self.fit(rows, np.reshape(np.asarray(G, float), (m, -1)), epsilon if query == "ridge" else 0.0)
            self.G = self.X @ Q
            self.Q = Q if objective == "mi" else None
        if objective == "mi" and self.Q is None:
            self.objective = "lr"
        self.projects = objective != "mp"
        self.left = np.ones(m, bool)
        self.squares = (self.X * self.X).sum(axis=1)
        self.restart()

    def fit(self, rows, G, epsilon):
        """Returns the query (d, n); for rows that are dependent in float64, the query that float64 computes."""
        m, d = self.X.shape
        if np.linalg.matrix_rank(rows.block(0, m)) < min(m, d):
            return exact(queries.fit(rows, G, epsilon).weights)
        # As (F'F + epsilon I)^-1 F'G, or F'(FF' + epsilon I)^-1 G, whichever is of the full rank.
        square = self.X.T @ self.X if d <= m else self.X @ self.X.T
        square = square + exact(np.diag(np.full(len(square), epsilon)))
        return solve(square, self.X.T @ self.G) if d <= m else self.X.T @ solve(square, self.G)

    def restart(self):
        self.phi, self.W = self.X.copy(), self.G.copy()
        self.L = None if self.Q is None else self.Q.copy()

    def distances(self):
        return (self.phi * self.phi).sum(axis=1)

    def scores(self):
        """Returns the scores (m,) of all items."""
        if self.objective == "entropy":
            return self.distances()
        if self.L is not None:
            part = self.phi @ self.L
            grown = (part * solve(self.L.T @ self.L, part.T).T).sum(axis=1)
            q = self.distances() + self.epsilon
            return np.array([information(a, b) for a, b in zip(q, q - grown, strict=True)])
        seen = self.W
        if self.sign == "positive":
            seen = np.array([[max(w, ZERO) for w in row] for row in seen])
        energies = (seen * seen).sum(axis=1)
        if self.objective in ("mp", "omp"):
            return energies
        q = self.distances() + self.epsilon
        return np.array([a / b if b > 0 else ZERO for a, b in zip(energies, q, strict=True)])

    def gives(self, item, gain):
        """Returns whether an item's score equals this gain of a selection to 1e-3."""
        if self.L is not None and self.least() * ties.SINGULAR < 1:
            return False
        own = float(self.scores()[item])
        return abs((-np.expm1(-2 * own) if self.L is not None else own) - gain) <= 1e-3 * gain

    def least(self):
        """Returns the smallest length left of any direction of the query that had length 1 at the start."""
        whitened = self.L.astype(float) @ np.linalg.inv(np.linalg.qr(self.Q.astype(float))[1])
        return max(float(np.linalg.svd(whitened)[1].min()), 1e-30)

    def tie_rule(self, *items):
        """Returns the largest difference of two items' scores within a tie, as a share of the score."""
        scores, lengths = self.scores()[[*items]].astype(float), np.sqrt(self.squares[[*items]].astype(float))
        q = (self.distances() + self.epsilon)[[*items]].astype(float)
        most = scores.max()
        if self.L is not None:
            # The length left of the query bounds the movement of its span.
            return ties.TIE * (2 + 8 * (lengths + np.sqrt(q) / self.least()).max() / np.sqrt(q.min()) / min(most, 1))
        scale = np.sqrt(float(max((row @ row for row in self.G), default=ZERO)))
        if self.objective == "entropy":
            scale = np.sqrt(float(max(self.squares)))
        if self.objective == "lr":
            own = np.sqrt((self.epsilon + self.squares).astype(float))
            ratio = np.sqrt(np.array([row @ row for row in self.G]).astype(float))[own > 0] / own[own > 0]
            scale = (ratio.max() * own[[*items]] / np.sqrt(q)).max() + (lengths / np.sqrt(q)).max() * np.sqrt(most)
        # The slack is of roots, so a square moves twice as much, and each of the two items moves by its slack.
        return 8 * ties.TIE * (1 + scale / np.sqrt(most))

    def eligible(self):
        """Returns a mask (m,) of the items left whose rows are outside of the span of the picks."""
        if not self.projects:
            return self.left
        return self.left & (self.distances() + self.epsilon > ties.DEPENDENT * self.squares).astype(bool)

    def take(self, s):
        self.left[s] = False
        if not self.projects:
            self.W = self.W - np.outer(self.phi @ self.phi[s], self.W[s])
            return
        own = self.phi[s].copy()
        square = own @ own
        q = square + self.epsilon
        if not q > ties.DEPENDENT * self.squares[s]:
            return
        column = self.phi @ own
        self.W = self.W - np.outer(column, self.W[s] / q)
        share = own / (q + gmpy2.sqrt(self.epsilon * q))
        self.phi = self.phi - np.outer(column, share)
        if self.L is not None:
            self.L = self.L - np.outer(share, own @ self.L)


def doubted(chosen, F, G, objective, *, initial=(), on_exhausted="restart", **options):
    """Returns the picks that are not the exact argmax, given those before, or lead by less than their margin."""
    found, proof = [], chosen.certificate
    with gmpy2.context(EXACT):
        loop = Loop(F, G, objective, **options)
        for s in initial:
            loop.take(int(s))
        for step, pick in enumerate(chosen.indices.tolist()):
            if step in proof.rounds and (step or (len(initial) and not loop.gives(pick, chosen.gains[0]))):
                loop.restart()
            scores = loop.scores()
            others = [j for j in np.flatnonzero(loop.eligible()) if j != pick]
            best = max(others, key=lambda j: scores[j], default=None)
            if best is not None and max(scores[pick], scores[best]) > 0:
                lead = float((scores[pick] - scores[best]) / max(scores[pick], scores[best]))
                margin = float(proof.margins[step])
                if lead < margin * (1 - 1e-9) - (0.0 if loop.Q is None else FITTED):
                    rule = loop.tie_rule(pick, best)
                    found.append(Doubted(step, pick, int(best), lead, int(proof.ties[step]), margin, rule))
            if chosen.gains[step]:
                loop.take(pick)
            else:
                # A gain of 0: scores are exhausted, and items are taken in order.
                loop.left[pick] = False
    return found
