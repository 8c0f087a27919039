"""Objectives after 1, 2, ... picks, in one pass of rank-one updates."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.metrics._arguments import chosen_rows
from gip_gpu.metrics._query import FactoredQuery
from gip_gpu.numerics.orthogonal import Basis, log
from gip_gpu.validation.settings import as_epsilon


@dataclass(frozen=True)
class InformationPath:
    """Objectives of the first t + 1 picks, for t = 0 to k - 1; each (k,) float64.

    Attributes:
        mutual_information: eq. 3.3, nats; it falls only by rounding.
        log_determinant: log det(Q'PQ), eq. 3.4.
        trace: tr(Q'PQ), eq. 4.2.
        entropy: 1/2 log det(F_S F_S' + epsilon I).
    """

    mutual_information: NDArray[np.float64]
    log_determinant: NDArray[np.float64]
    trace: NDArray[np.float64]
    entropy: NDArray[np.float64]


def information_path(
    F: ArrayLike, Q: Any, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True
) -> InformationPath:
    """Computes `mutual_information`, `log_determinant`, `trace` and `entropy` of the first 1, 2, ... k chosen rows.

    Arguments and errors are those of `mutual_information`; the indices are in order of choice. A pick costs
    O(d (rank + n^2)) without epsilon and O(d (d + n^2)) with it, for a query of n columns. Memory O(d^2 + k d).

    Without epsilon, a row with no more than 1e-12 of its length outside of the span of the rows before counts as
    dependent on them; with epsilon, a share of the query's length below about 1e-16 is lost in rounding.

    >>> path = information_path([[1, 0], [0, 1]], [1, 1], [0, 1])
    >>> path.mutual_information.round(6), path.trace.round(6), path.entropy
    (array([0.346574,      inf]), array([1., 0.]), array([0., 0.]))
    """
    directions, lengths = chosen_rows(F, indices, normalize)
    query = FactoredQuery.of(Q, directions.shape[1]).independent()
    state = _state(directions, query.columns, as_epsilon(epsilon))
    k = len(directions)
    information, traces, entropies = np.zeros(k), np.zeros(k), np.zeros(k)
    for t in range(k):
        entropies[t] = state.pick(directions[t], lengths[t])
        information[t] = query.information(state.left)
        traces[t] = query.trace(state.left)
    determinants = query.log_determinant - 2 * information
    return InformationPath(information, determinants, traces, np.cumsum(entropies))


def entropy_path(
    F: ArrayLike, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True
) -> NDArray[np.float64]:
    """Computes `entropy` of the first 1, 2, ... k chosen rows, (k,) float64; it needs no query.

    >>> entropy_path([[1, 0], [3, 4], [0, 1]], [0, 1, 2]).round(6)
    array([ 0.      , -0.223144,      -inf])
    """
    directions, lengths = chosen_rows(F, indices, normalize)
    state = _state(directions, np.zeros((directions.shape[1], 0)), as_epsilon(epsilon))
    return np.cumsum([state.pick(*row) for row in zip(directions, lengths, strict=True)], dtype=np.float64)


class _State(Protocol):
    """State of a path: P^(1/2) times the query's columns, (d, w), and its update by a pick."""

    left: NDArray[np.float64]

    def pick(self, direction: NDArray[np.float64], length: float) -> float:
        """Adds a chosen row; returns the entropy that it adds."""


def _state(directions: NDArray[np.float64], columns: NDArray[np.float64], epsilon: float) -> _State:
    k, d = directions.shape
    return _Damped(columns, epsilon) if epsilon else _Projected(columns, Basis(d, k))


class _Projected:
    """State for P = I - P_S, by an orthonormal basis of the chosen rows."""

    def __init__(self, columns: NDArray[np.float64], basis: Basis) -> None:
        self.left = columns
        self.basis = basis

    def pick(self, direction: NDArray[np.float64], length: float) -> float:
        new, outside = self.basis.extend(direction)
        self.left = self.left - np.outer(new, new @ self.left)
        return float(log(np.array(outside)) + log(np.array(length)))


class _Damped:
    """State for P = epsilon (epsilon I + F_S'F_S)^-1, by a square root S with P = S S'.

    Potter's update keeps P positive. A row f gives phi = S'f and q = epsilon + |phi|^2, and S phi phi' S' / q is
    subtracted from P. With a = 1 / (q + sqrt(epsilon q)) the new root is S (I - a phi phi'), because
    1 - 2 a |phi|^2 + a^2 |phi|^4 = epsilon / q.
    """

    def __init__(self, columns: NDArray[np.float64], epsilon: float) -> None:
        self.left = columns
        self.root = np.eye(len(columns))
        self.epsilon = epsilon

    def pick(self, direction: NDArray[np.float64], length: float) -> float:
        phi = self.root.T @ (direction * length)
        q = self.epsilon + float(phi @ phi)
        scaled = phi / (q + math.sqrt(self.epsilon) * math.sqrt(q))
        self.root -= np.outer(self.root @ phi, scaled)
        self.left = self.left - np.outer(scaled, phi @ self.left)
        return math.log(q) / 2
