"""The certified decision: error bounds on an approximate residual leave few items in doubt, and exact scores decide.

The window holds the items that the bounds leave in doubt. The true argmax is always in it.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.residual import USUAL_WINDOW
from gip_gpu.data.rows import Rows
from gip_gpu.greedy.state import Reason, State
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import DIVERGED
from gip_gpu.problem import objectives

Floats = NDArray[np.float64]

# Candidates are rescored in blocks of this many float64 values, however wide the window is.
RESCORE_VALUES = 1 << 20


class ExactRows(Protocol):
    """Source of the exact rows of items."""

    def rows(self, indices: Any) -> Floats: ...


class PursuitRows(ExactRows, Protocol):
    """The part of the arrays of matching pursuit that `replay` needs."""

    @property
    def square(self) -> float: ...
    @property
    def rows_of(self) -> Rows: ...


def empty_window(state: State, best: float, floor: float, errors: str) -> Reason:
    """Asks for a refresh if no item reaches the floor of the window, although one has the largest lower bound.

    The bounds exclude that, so the arrays are wrong: a kernel, a compiler or a device is at fault. A refresh recomputes
    them in float64; the warning says that wrong arrays may have decided earlier picks too.

    Args:
        best: the largest lower bound, or the largest norm, of an eligible item.
        floor: of the window.
        errors: the error bounds, for the message.

    Raises:
        RuntimeError: the window was already empty at this pick, and the refresh has not helped.
    """
    found = (
        f"no item reaches the floor {floor!r} of the window of pick {state.t}, though an eligible item has "
        f"the largest lower bound {best!r} ({errors})"
    )
    if state.emptied == state.t:
        raise RuntimeError(f"{found}, also after the residual was recomputed: a fault of the backend")
    state.emptied = state.t
    message = f"{found}: a fault of the backend; the residual is recomputed, but earlier picks may be wrong"
    warnings.warn(message, RuntimeWarning, stacklevel=2)
    return Reason.NEED_REFRESH


def window_floor(state: State, best: float, noise: float) -> float:
    """Returns the squared float32 norm from which an item is a candidate, if the largest norm is `best`."""
    tie = ties.RELATIVE * (best + state.error) + ties.ABSOLUTE * state.scale + 2 * noise
    return error_bounds.window_floor(best, state.error, tie, state.n)


def beyond(state: State, floor: float) -> float:
    """Returns the score that no item outside the window of this floor exceeds."""
    norm: float = math.sqrt(floor) * (1 + (state.n + 2) * error_bounds.U32) + state.error
    return norm**2


def decide(state: State, gains: Floats, outside: float, noise: float) -> tuple[int, float, int] | None:
    """Decides the pick among candidates in ascending order of their items.

    Args:
        gains: (c,) exact scores, weighted; changed.
        outside: upper bound on the scores of all other items.
        noise: of `State.noise`.

    Returns:
        The position and margin of the pick, and how many candidates tie; None if the scores are exhausted.
    """
    position, tied = ties.first_best(gains, state.scale)
    gain = float(gains[position])
    if ties.exhausted(float(gains.max()), state.scale):
        return None
    gains[position] = 0.0
    # The margin excludes the float64 rounding of both scores.
    rival = math.sqrt(max(float(gains.max()), outside)) + 2 * noise
    return position, max(0.0, 1 - rival * rival / gain), tied


def diverged(picks: int, largest_norm: float) -> ValueError:
    """Returns the error for a residual that grows without end."""
    return ValueError(
        f"the residual diverges after {picks} picks: F has rows of norm up to {largest_norm:g}, and matching pursuit "
        "needs norms of at most 1; pass normalize=True"
    )


def refresh_pays(state: State, candidates: int, items: int, best: float, noise: float) -> bool:
    """Returns whether rescoring rows because of a wide bound has cost as much as a refresh of the residual.

    A refresh helps only if it makes the bound much smaller; exact ties keep the window wide in any case.

    Args:
        candidates: rescored in this step.
        items: number of items in a refresh.
    """
    state.excess += max(0, candidates - USUAL_WINDOW)
    if 2 * state.excess < items:
        return False
    return state.error > 4 * (error_bounds.cast_error(best + state.error) + noise)


def rescore(source: ExactRows, state: State, window: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Computes exact residuals block by block; returns the rows of the last block and all residuals (c, n)."""
    step = max(1, RESCORE_VALUES // state.d)
    residual = np.empty((len(window), state.n))
    for start in range(0, len(window), step):
        part = window[start : start + step]
        rows = source.rows(part)
        residual[start : start + step] = objectives.residual(state.scores[part] / state.unit, rows, state.A)
    return rows, residual


def add_to_projection(state: State, row: Floats, residual: Floats, gain: float, square: float) -> tuple[float, float]:
    """Adds a pick to A; returns the norm of its residual and a bound on the length by which any residual moved."""
    norm = math.sqrt(gain)
    moved = norm * square
    state.A += residual[:, None] * row
    # Each entry of A is rounded once, and so is the product added to it.
    state.drift += error_bounds.U64 * (state.projected(square) + 2 * moved)
    return norm, moved


def replay(arrays: PursuitRows, state: State, indices: NDArray[np.int64]) -> None:
    """Projects these items out into A, one after the other."""
    for taken, (_, row, scores) in enumerate(given(arrays.rows, state, indices)):
        residual = objectives.residual(scores / state.unit, row, state.A)
        gain = float(objectives.energies(residual)[0])
        if not gain < DIVERGED**2:
            raise diverged(taken, arrays.rows_of.largest)
        add_to_projection(state, row[0], residual[0], gain, arrays.square)


def given(
    exact: Callable[[Any], Floats], state: State, indices: NDArray[np.int64]
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yields these items one by one: the item, its exact row (1, d) by `exact`, read in blocks, its scores (1, n)."""
    step = max(1, RESCORE_VALUES // (state.d + state.n))
    for start in range(0, len(indices), step):
        part = indices[start : start + step]
        rows, scores = exact(part), state.scores_of(part)
        for place, index in enumerate(part.tolist()):
            yield index, rows[place : place + 1], scores[place : place + 1]
