"""What a rank does with its rows: real selections by the NumPy backend, every step and every batch timed."""

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import NDArray

import gip_gpu
from gip_gpu import backends
from gip_gpu.backends.numpy.backend import NumpyBackend
from gip_gpu.greedy.state import Reason, State
from gip_gpu.planning.cpu_costs import HostCosts
from gip_gpu.signals import self_compression

NAME = "timed"


@dataclass
class Times:
    """Seconds of one selection.

    Attributes:
        m, d: rows and their length.
        working: items that a look ahead simulates.
        steps: of each step whose column was at hand.
        batches: columns made at once, seconds of their product, seconds of the look ahead for them.
        refreshes: of each refresh.
    """

    m: int
    d: int
    working: int
    steps: list[float] = field(default_factory=list)
    batches: list[tuple[int, float, float]] = field(default_factory=list)
    refreshes: list[float] = field(default_factory=list)


class TimedBackend(NumpyBackend):
    """The NumPy backend, which notes in `times` what its parts take."""

    name: ClassVar[str] = NAME
    times: ClassVar[Times]
    looked = 0.0

    def advance(self, state: State, columns: Any, until: int) -> Reason:
        while state.t < until:
            began = time.perf_counter()
            reason = super().advance(state, columns, state.t + 1)
            if reason is not Reason.DONE:
                return reason
            self.times.steps.append(time.perf_counter() - began)
        return Reason.DONE

    def speculate(self, state: State, known: Container[int], count: int) -> list[int]:
        began = time.perf_counter()
        found = super().speculate(state, known, count)
        self.looked = time.perf_counter() - began
        return found

    def columns(self, indices: Sequence[int], out: NDArray[Any]) -> None:
        began = time.perf_counter()
        super().columns(indices, out)
        self.times.batches.append((len(indices), time.perf_counter() - began, self.looked))

    def refresh(self, state: State) -> None:
        began = time.perf_counter()
        super().refresh(state)
        self.times.refreshes.append(time.perf_counter() - began)


def measure(F: NDArray[Any], k: int) -> Times:
    """k picks from the rows (m, d), by their self-compression scores."""
    m, d = F.shape
    backends.register(NAME, f"{__name__}:TimedBackend")
    TimedBackend.times = times = Times(m, d, HostCosts(m, d, 1).layouts()[0].lookahead)
    gip_gpu.select(F, self_compression(F), k, backend=NAME, device="cpu", columns="lazy")
    return times
