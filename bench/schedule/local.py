"""Local work of a rank: real selections by the NumPy backend with every step and batch timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from numpy.typing import NDArray

import gip_gpu
from gip_gpu.backends.numpy.backend import NumpyBackend
from gip_gpu.backends.numpy.residual import NumpyResidual
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.state import Reason, State
from gip_gpu.planning.cpu_costs import HostCosts
from gip_gpu.signals import self_compression


@dataclass
class Times:
    """Seconds of one selection."""

    # Rows and their length.
    m: int
    d: int
    working: int  # items that a look ahead simulates
    steps: list[float] = field(default_factory=list)  # seconds of each step with a cached column
    # Columns computed at once, seconds of their product, seconds of their look ahead.
    batches: list[tuple[int, float, float]] = field(default_factory=list)
    refreshes: list[float] = field(default_factory=list)  # seconds of each refresh


@contextmanager
def watched(times: Times) -> Iterator[None]:
    """Records the seconds of the parts of selections in `times`, inside a `with` block."""
    advance, looked = MatchingPursuit.advance, 0.0

    def timed_advance(stepper: MatchingPursuit, state: State, until: int) -> Reason:
        while state.t < until:
            began = time.perf_counter()
            reason = advance(stepper, state, state.t + 1)
            if reason is not Reason.DONE:
                return reason
            times.steps.append(time.perf_counter() - began)
        return Reason.DONE

    def timed(method: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def call(owner: Any, *args: Any) -> Any:
            began = time.perf_counter()
            found = method(owner, *args)
            note(time.perf_counter() - began, *args)
            return found

        return call

    def note_look(seconds: float, *_: Any) -> None:
        nonlocal looked
        looked = seconds

    def note_batch(seconds: float, indices: Sequence[int], _: NDArray[Any]) -> None:
        times.batches.append((len(indices), seconds, looked))

    refresh = timed(MatchingPursuit.refresh, lambda seconds, _: times.refreshes.append(seconds))
    with (
        mock.patch.multiple(MatchingPursuit, advance=timed_advance, refresh=refresh),
        mock.patch.object(NumpyResidual, "speculate", timed(NumpyResidual.speculate, note_look)),
        mock.patch.object(NumpyBackend, "columns", timed(NumpyBackend.columns, note_batch)),
    ):
        yield


def measure(F: NDArray[Any], k: int) -> Times:
    """Times a selection of k rows of F (m, d) by their self-compression scores."""
    m, d = F.shape
    times = Times(m, d, HostCosts(m, d, 1).layouts()[0].lookahead)
    with watched(times):
        gip_gpu.select(F, self_compression(F), k, device="cpu", columns="lazy")
    return times
