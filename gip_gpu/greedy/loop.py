"""The greedy loop, shared by all backends: steps, missing columns, refreshes, rounds, the end."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gip_gpu.greedy.admission import Admission
from gip_gpu.greedy.state import Reason, State, Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.numerics import ties

# Called with (picks made, k).
Notify = Callable[[int, int], None]
# Called when the first round has begun.
Rate = Callable[[State], None]

# Seconds by part of a run that made no pick.
NO_TIME = {"columns": 0.0, "refresh": 0.0, "steps": 0.0}
# Approximate number of calls of `progress` in a run.
REPORTS = 200
# Refreshes in a row after which a pick must be possible.
VAIN = 100


class Writer(Protocol):
    """Interface of the checkpoint writer (`gip_gpu.checkpoint.writer`).

    Attributes:
        stored: the checkpoint to resume from, None without one.
    """

    stored: Stored | None

    def until(self, state: State) -> int:
        """Returns how many picks to make before the next `look`."""

    def look(self, state: State, stepper: Stepper) -> None:
        """Saves a checkpoint if one is due or a signal has arrived."""

    def save(self, state: State, stepper: Stepper) -> None:
        """Writes the file."""


def unchecked() -> np.errstate:
    """Returns a context that silences overflow, invalid values and division by zero.

    The next pick detects an overflowing residual as divergence; a bound over a zero distance is infinite.
    """
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


@unchecked()
def run(
    stepper: Stepper,
    state: State,
    on_exhausted: str,
    progress: Notify | None = None,
    writer: Writer | None = None,
    admission: Admission | None = None,
    rate: Rate | None = None,
) -> dict[str, float]:
    """Fills `state` with its k picks, or fewer if `on_exhausted` is "stop".

    With a checkpoint writer the run resumes from the stored checkpoint and saves its own to the same file. With
    constraints, `admission` says which items may be picked; the picks are fewer if no item is left. `rate` records the
    values of included picks.

    Returns:
        Seconds by part: "columns", "refresh" and "steps".
    """
    began, columns_before = time.perf_counter(), stepper.column_seconds
    refreshing = 0.0
    stepper.begin(state)
    stored = None if writer is None else writer.stored
    after = _After(stepper, state, progress, writer, admission)
    if admission is not None and stored is None:
        admission.update()
    going = (
        _begin_round(stepper, state, on_exhausted, admission)
        if stored is None
        else _resume(stepper, state, stored, after)
    )
    if rate is not None and state.included and stored is None:
        rate(state)
    last, vain = -1, 0
    stride = max(stepper.stride, (state.k - state.first) // REPORTS)
    after.admit()
    while going and state.t < state.k and state.remaining:
        until = min(state.k, state.t + stride) if progress else state.k
        if admission is not None:
            until = min(until, state.t + admission.horizon())
        reason = stepper.advance(state, until if writer is None else min(until, writer.until(state)))
        if reason is Reason.NEED_REFRESH:
            last, vain = state.t, vain + 1 if state.t == last else 0
            if vain > VAIN:
                raise RuntimeError(f"{stepper.name}: {vain} refreshes made no pick, after {state.t} picks")
            start = time.perf_counter()
            stepper.refresh(state)
            state.excess = 0
            state.refreshes += 1
            refreshing += time.perf_counter() - start
        elif reason is Reason.EXHAUSTED:
            if state.began_empty:
                if not stepper.empty_rounds:
                    raise RuntimeError(f"{stepper.name}: a round ended without a pick, after {state.t} picks")
                # No item can be picked: no score is positive, or the rows are zero.
                state.rounds.pop()
                if on_exhausted == "restart":
                    _take_in_order(state, admission)
                break
            if on_exhausted == "continue":
                _continue_literally(stepper, state, after)
                break
            going = on_exhausted == "restart" and _begin_round(stepper, state, on_exhausted, admission)
        after.admit()
        after.steps()
    if state.t < state.k and not state.ending:
        state.ending = "exhausted"
    if writer is not None:
        writer.save(state, stepper)
    making = stepper.column_seconds - columns_before
    total = time.perf_counter() - began
    return {"columns": making, "refresh": refreshing, "steps": total - making - refreshing}


@dataclass(frozen=True)
class _After:
    """Progress calls and checkpoints between two steps, when the state is consistent."""

    stepper: Stepper
    state: State
    progress: Notify | None
    writer: Writer | None
    admission: Admission | None

    def admit(self) -> None:
        """Takes out the items that the picks so far exclude."""
        if self.admission is not None:
            out = self.admission.update()
            if len(out):
                self.stepper.block(self.state, out)

    def steps(self) -> None:
        state = self.state
        if self.progress is not None:
            try:
                self.progress(state.t - state.first, state.k - state.first)
            except BaseException:
                if self.writer is not None:
                    self.writer.save(state, self.stepper)
                raise
        if self.writer is not None:
            self.writer.look(state, self.stepper)


def _resume(stepper: Stepper, state: State, stored: Stored, after: _After) -> bool:
    """Resumes from a checkpoint; returns whether the certified loop continues."""
    state.restore(stored)
    if after.admission is not None:
        after.admission.resume()
    if state.ending == "in order":
        _take_in_order(state, after.admission)
    elif state.ending == "literal":
        _continue_literally(stepper, state, after)
    elif state.t < state.k and not state.ending:
        stepper.restore(state, stored)
        stepper.refresh(state)
    return not state.ending


def _begin_round(stepper: Stepper, state: State, on_exhausted: str, admission: Admission | None) -> bool:
    """Starts a round on the original scores of the items left; returns whether there is anything to pick."""
    prior = None if state.rounds else state.prior
    initial = state.initial[state.t :]
    largest, state.energy = state.open_round()
    scale = math.sqrt(largest)
    if prior is not None:
        scale = max(scale, prior.scale)
    if scale == 0:
        state.skip(initial)
        if on_exhausted != "stop":
            _take_in_order(state, admission)
        return False
    state.rounds.append(state.t)
    state.unit = float(2.0 ** np.frexp(scale)[1]) if state.objective.scaled else 1.0
    state.scale = scale / state.unit
    state.A[:] = 0
    state.drift = 0.0
    state.excess = 0
    if len(initial):
        stepper.take(state, initial)
    elif prior is not None:
        state.drift = prior.drift / state.unit
        stepper.restore(state, prior.in_unit(state.unit))
    stepper.refresh(state)
    return True


def _take_in_order(state: State, admission: Admission | None = None) -> None:
    """Picks the items left in index order: their scores are all zero, so they tie, and projection changes nothing."""
    if not state.ending:
        state.ending = "in order"
        state.rounds.append(state.t)
    if admission is None:
        _take_first(state, state.k - state.t)
        return
    admission.update()
    while state.t < state.k and state.remaining:
        _take_first(state, min(state.k - state.t, admission.horizon()))
        admission.update()


def _take_first(state: State, count: int) -> None:
    """Picks the first `count` items left."""
    left, taken = state.remaining, state.first_left(count)
    span = slice(state.t, state.t + len(taken))
    state.indices[span] = taken
    state.gains[span] = 0
    state.weights[span] = 0
    state.explained[span] = 1
    state.margins[span] = 0
    state.candidates[span] = state.ties[span] = np.arange(left, left - len(taken), -1)
    state.take(taken)
    state.t += len(taken)


def _continue_literally(stepper: Stepper, state: State, after: _After) -> None:
    """Continues with the paper's loop below the float64 floor, where the rounding of that loop decides picks.

    The loop is replayed from the first pick with the reference's arithmetic, so that it rounds as the reference does.
    """
    state.ending = "literal"
    W, made = state.scores.copy(), state.t
    scale = state.scale * state.unit
    column = np.empty(len(W))
    for t in range(state.k):
        gains = np.einsum("jn,jn->j", W, W)
        if t >= made:
            if after.admission is not None:
                after.admission.update()
            if not state.left.any():
                break
            weighted = gains if state.item_weights is None else gains * state.item_weights
            candidates = np.where(state.left, weighted, -np.inf)
            index, tied = ties.first_best(candidates, scale)
            gain = candidates[index]
            candidates[index] = -np.inf
            state.indices[t], state.gains[t], state.weights[t] = index, gains[index], W[index]
            state.margins[t] = max(0.0, 1 - max(candidates.max(), 0) / gain) if gain and tied == 1 else 0.0
            state.candidates[t], state.ties[t] = len(W) - t, tied
            state.left[index] = False
        s = int(state.indices[t])
        row = stepper.rows([s])[0]
        for start, stop in stepper.rows_of.bounds():
            column[start:stop] = np.einsum("jd,d->j", stepper.rows_of.block(start, stop), row)
        W -= np.outer(column, W[s])
        if t >= made:
            state.explained[t] = 1 - float(np.einsum("jn,jn->", W, W)) / state.energy
            state.t = t + 1
        after.steps()
