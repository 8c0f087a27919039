"""The certified greedy step: an approximate residual with a bound on its error, and exact rescoring of the few
items that the bound leaves in doubt (design: the true argmax is never outside the window)."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gip_gpu import bounds, objectives, ties
from gip_gpu.state import Pick, Reason, State

if TYPE_CHECKING:
    from gip_gpu.backends.base import Backend, HostBackend
    from gip_gpu.columns import Columns

# A window of this many rows costs little beside the passes over the residual.
USUAL_WINDOW = 8
# Candidates are rescored in blocks of this many float64 values, however wide the window is.
RESCORE_VALUES = 1 << 20
# Beyond this the residual grows without end: rows of norm above sqrt(2) are amplified, not projected out.
DIVERGED = 2.0**60


def advance(backend: "HostBackend", state: State, columns: "Columns", until: int) -> Reason:
    """Takes certified steps until `until` picks are made or something is needed; returns what."""
    while state.t < until:
        if state.pending is None:
            reason = _choose(backend, state)
            if reason is not None:
                return reason
        pick = state.pending
        assert pick is not None
        column = columns.get(pick.index)
        if column is None:
            return Reason.NEED_COLUMN
        _project_out(backend, state, pick, column)
        state.pending = None
    return Reason.DONE


def _choose(backend: "HostBackend", state: State) -> Reason | None:
    """Sets `state.pending` to the exact argmax, or says why it cannot."""
    best = backend.best(state)
    if not best < DIVERGED:
        raise diverged(state.t, backend.largest_norm)
    noise = state.noise(backend.square)
    tie = ties.RELATIVE * (best + state.error) + ties.ABSOLUTE * state.scale + 2 * noise
    n = state.scores.shape[1]
    floor = bounds.window_floor(best, state.error, tie, n)
    window = backend.window(state, floor)
    if _refresh_pays(state, len(window), best, noise):
        return Reason.NEED_REFRESH
    rows, residual, gains = _rescore(backend, state, window)
    position, tied = ties.first_best(gains, state.scale)
    gain = float(gains[position])
    if ties.exhausted(float(gains.max()), state.scale):
        return Reason.EXHAUSTED
    gains[position] = 0.0
    runner_up = float(gains.max())
    if len(window) < len(state.left) - state.t:
        # No item outside the window can be better than this.
        runner_up = max(runner_up, (math.sqrt(floor) * (1 + (n + 2) * bounds.U32) + state.error) ** 2)
    # What float64 rounding could make of the two does not count as a margin.
    rival = math.sqrt(runner_up) + 2 * noise
    index = int(window[position])
    state.pending = Pick(
        index=index,
        row=rows[position] if len(rows) == len(window) else backend.rows([index])[0],
        residual=residual[position],
        gain=gain,
        margin=max(0.0, 1 - rival * rival / gain),
        candidates=len(window),
        ties=tied,
    )
    return None


def diverged(picks: int, largest_norm: float) -> ValueError:
    """The error for a residual that grows without end."""
    return ValueError(
        f"the residual diverges after {picks} picks: F has rows of norm up to {largest_norm:g}, and matching pursuit "
        "needs norms of at most 1; pass normalize=True"
    )


def _refresh_pays(state: State, candidates: int, best: float, noise: float) -> bool:
    """Whether the rows rescored because of a wide bound have come to cost as much as computing the residual anew.

    A refresh helps only where it makes the bound much smaller; exact ties keep the window wide all the same.
    """
    state.excess += max(0, candidates - USUAL_WINDOW)
    if 2 * state.excess < len(state.left):
        return False
    return state.error > 4 * (bounds.cast_error(best + state.error) + noise)


def _rescore(
    backend: "HostBackend", state: State, window: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Exact residuals (c, n) and gains (c,) of the candidates, behind the rows of the last block of them."""
    step = max(1, RESCORE_VALUES // state.d)
    residual = np.empty((len(window), state.scores.shape[1]))
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
    state.drift += bounds.U64 * (state.projected(square) + 2 * moved)
    return norm, moved


def take(backend: "Backend", state: State, indices: NDArray[np.int64]) -> None:
    """Enters these items as picks without a look at the others; W~ has to be refreshed then."""
    for index in indices:
        row = backend.rows([index])
        residual = objectives.residual(state.scores[[index]] / state.unit, row, state.A)
        gain = float(objectives.energies(residual)[0])
        if not gain < DIVERGED**2:
            raise diverged(state.t, backend.largest_norm)
        add_to_projection(state, row[0], residual[0], gain, backend.square)
        state.skip(int(index))


def _project_out(backend: "HostBackend", state: State, pick: Pick, column: NDArray[np.generic]) -> None:
    norm, moved = add_to_projection(state, pick.row, pick.residual, pick.gain, backend.square)
    energy_left = backend.update(state, pick.index, column, pick.residual)
    state.error = bounds.step_error(state.error, backend.gamma, norm, moved)
    state.record(pick, energy_left)
