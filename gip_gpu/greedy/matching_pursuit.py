"""The certified greedy step: an approximate residual with a bound on its error, and exact rescoring of the few
items that the bound leaves in doubt (design: the true argmax is never outside the window)."""

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.greedy.state import Pick, Reason, State
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.problem import objectives

if TYPE_CHECKING:
    from gip_gpu.backends.base import HostBackend
    from gip_gpu.gram.columns import Columns

Floats = NDArray[np.float64]

# A window of this many rows costs little beside the passes over the residual.
USUAL_WINDOW = 8
# Candidates are rescored in blocks of this many float64 values, however wide the window is.
RESCORE_VALUES = 1 << 20
# Beyond this the residual grows without end: rows of norm above sqrt(2) are amplified, not projected out.
DIVERGED = 2.0**60


class Steps(Protocol):
    """What `advance` drives: a backend on the host, or many processes, each with a backend of its own.

    Attributes:
        gamma: bound on the error of one Gram entry.
    """

    gamma: float

    @property
    def square(self) -> float:
        """The factor from a stored Gram entry to a true one."""

    def choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax, or says why it cannot."""

    def update(self, state: State, index: int | None, column: Any, residual: NDArray[np.float64]) -> float:
        """W~ -= column * square * residual; returns ||W~||^2 over the round's items."""


class Given(Protocol):
    """Where the exact rows of items come from."""

    def rows(self, indices: Any) -> NDArray[np.float64]: ...


class Taker(Given, Protocol):
    """What `take` needs of a backend, or of many processes."""

    @property
    def square(self) -> float: ...
    @property
    def rows_of(self) -> Rows: ...


def advance(steps: Steps, state: State, columns: "Columns", until: int) -> Reason:
    """Takes certified steps until `until` picks are made or something is needed; returns what."""
    while state.t < until:
        if state.pending is None:
            reason = steps.choose(state)
            if reason is not None:
                return reason
        pick = state.pending
        assert pick is not None
        column = columns.get(pick.index)
        if column is None:
            return Reason.NEED_COLUMN
        state.record(pick, project_out(steps, state, pick, pick.index, column))
        state.pending = None
    return Reason.DONE


def choose(backend: "HostBackend", state: State) -> Reason | None:
    """Sets `state.pending` to the exact argmax, or says why it cannot."""
    best = backend.best(state)
    if not best < DIVERGED:
        raise diverged(state.t, backend.largest_norm)
    noise = state.noise(backend.square)
    floor = window_floor(state, best, noise)
    window = backend.window(state, floor)
    if not len(window):
        return empty_window(state, best, floor, f"error {state.error!r}, noise {noise!r}")
    if refresh_pays(state, len(window), state.m, best, noise):
        return Reason.NEED_REFRESH
    rows, residual, gains = rescore(backend, state, window)
    outside = beyond(state, floor) if len(window) < state.m - state.t else 0.0
    decided = decide(state, gains, outside, noise)
    if decided is None:
        return Reason.EXHAUSTED
    position, gain, margin, tied = decided
    index = int(window[position])
    state.pending = Pick(
        index=index,
        row=rows[position] if len(rows) == len(window) else backend.rows([index])[0],
        residual=residual[position],
        gain=gain,
        margin=margin,
        candidates=len(window),
        ties=tied,
    )
    return None


def empty_window(state: State, best: float, floor: float, errors: str) -> Reason:
    """Asks for a refresh where no item reaches the floor of the window, although one has the largest lower bound.

    The bounds exclude that: the arrays do not hold what they should, by a fault of a kernel, a compiler or a device.
    A refresh recomputes them in float64; the warning says that earlier picks may have been made by arrays like these.

    Args:
        best: the largest lower bound, or the largest norm, of an eligible item.
        floor: of the window.
        errors: the error bounds, for people.

    Raises:
        RuntimeError: the window was empty at this pick before, and the refresh has not helped.
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
    """The squared float32 norm from which an item is a candidate, where some item has the norm `best`."""
    tie = ties.RELATIVE * (best + state.error) + ties.ABSOLUTE * state.scale + 2 * noise
    return error_bounds.window_floor(best, state.error, tie, state.n)


def beyond(state: State, floor: float) -> float:
    """The score that no item outside the window of this floor exceeds."""
    norm: float = math.sqrt(floor) * (1 + (state.n + 2) * error_bounds.U32) + state.error
    return norm**2


def decide(
    state: State, gains: NDArray[np.float64], outside: float, noise: float
) -> tuple[int, float, float, int] | None:
    """The pick among candidates whose items ascend, or None where the scores are exhausted.

    Args:
        gains: (c,) exact scores; changed.
        outside: what no other item's score exceeds.
        noise: of `State.noise`.

    Returns:
        Its position, gain and margin, and how many tie.
    """
    position, tied = ties.first_best(gains, state.scale)
    gain = float(gains[position])
    if ties.exhausted(float(gains.max()), state.scale):
        return None
    gains[position] = 0.0
    # What float64 rounding could make of the two does not count as a margin.
    rival = math.sqrt(max(float(gains.max()), outside)) + 2 * noise
    return position, gain, max(0.0, 1 - rival * rival / gain), tied


def diverged(picks: int, largest_norm: float) -> ValueError:
    """The error for a residual that grows without end."""
    return ValueError(
        f"the residual diverges after {picks} picks: F has rows of norm up to {largest_norm:g}, and matching pursuit "
        "needs norms of at most 1; pass normalize=True"
    )


def refresh_pays(state: State, candidates: int, items: int, best: float, noise: float) -> bool:
    """Whether the rows rescored because of a wide bound have come to cost as much as computing the residual anew.

    A refresh helps only where it makes the bound much smaller; exact ties keep the window wide all the same.

    Args:
        candidates: rescored in this step.
        items: whose residual a refresh computes.
    """
    state.excess += max(0, candidates - USUAL_WINDOW)
    if 2 * state.excess < items:
        return False
    return state.error > 4 * (error_bounds.cast_error(best + state.error) + noise)


def rescore(
    backend: "HostBackend", state: State, window: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Exact residuals (c, n) and gains (c,) of the candidates, behind the rows of the last block of them."""
    step = max(1, RESCORE_VALUES // state.d)
    residual = np.empty((len(window), state.n))
    for start in range(0, len(window), step):
        part = window[start : start + step]
        rows = backend.rows(part)
        residual[start : start + step] = objectives.residual(state.scores[part] / state.unit, rows, state.A)
    return rows, residual, objectives.energies(residual)


def add_to_projection(
    state: State, row: NDArray[np.float64], residual: NDArray[np.float64], gain: float, square: float
) -> tuple[float, float]:
    """Adds a pick to A; returns the norm of its residual and by how much at most a residual moved."""
    norm = math.sqrt(gain)
    moved = norm * square
    state.A += residual[:, None] * row
    # Each of A's entries was rounded once, and so was the product added to it.
    state.drift += error_bounds.U64 * (state.projected(square) + 2 * moved)
    return norm, moved


def take(backend: "Taker", state: State, indices: NDArray[np.int64]) -> None:
    """Enters these items as picks without a look at the others; W~ has to be refreshed then."""
    replay(backend, state, indices)
    state.skip(indices)


def replay(backend: "Taker", state: State, indices: NDArray[np.int64]) -> None:
    """Takes these items out of A, one after the other."""
    for taken, (_, row, scores) in enumerate(given(backend, state, indices)):
        residual = objectives.residual(scores / state.unit, row, state.A)
        gain = float(objectives.energies(residual)[0])
        if not gain < DIVERGED**2:
            raise diverged(taken, backend.rows_of.largest)
        add_to_projection(state, row[0], residual[0], gain, backend.square)


def given(source: Given, state: State, indices: NDArray[np.int64]) -> Iterator[tuple[int, Floats, Floats]]:
    """These items one by one, read in blocks: the item, its exact row (1, d), its scores (1, n)."""
    step = max(1, RESCORE_VALUES // (state.d + state.n))
    for start in range(0, len(indices), step):
        part = indices[start : start + step]
        rows, scores = source.rows(part), state.scores_of(part)
        for place, index in enumerate(part.tolist()):
            yield index, rows[place : place + 1], scores[place : place + 1]


def project_out(steps: Steps, state: State, pick: Pick, index: int | None, column: Any) -> float:
    """Takes a pick out of A, the residual and the bounds; returns what `Steps.update` does.

    Args:
        index: the pick among the items of `steps`, None where it is another process's.
        column: its Gram column.
    """
    norm, moved = add_to_projection(state, pick.row, pick.residual, pick.gain, steps.square)
    # The bound first: processes answer `update` with their candidates.
    state.error = error_bounds.step_error(state.error, steps.gamma, norm, moved)
    return steps.update(state, index, column, pick.residual)
