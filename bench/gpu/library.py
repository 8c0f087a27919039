"""Interface of a device for the benchmark: memory, copies, products, events, graphs, peaks, for any library."""

import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Action = Callable[[], Any]

# Seconds after which a measurement is not repeated further.
ENOUGH = 1.0
SMI = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


class Timer:
    """Timer by the host's clock."""

    def mark(self) -> Any:
        return time.perf_counter()

    def between(self, start: Any, stop: Any) -> float:
        return float(stop - start)

    def seconds(self, action: Action, repeats: int, before: Action | None = None) -> float:
        """Returns the median seconds of several runs after a warm-up; `before` runs before each of them, untimed."""
        if before is not None:
            before()
        action()
        spans: list[float] = []
        while len(spans) < repeats and sum(spans) < ENOUGH:
            if before is not None:
                before()
            start = self.mark()
            action()
            spans.append(self.between(start, self.mark()))
        return statistics.median(spans)

    def once(self, action: Action) -> float:
        """Times one run without a warm-up, for long actions whose kernels are compiled."""
        start = self.mark()
        action()
        return self.between(start, self.mark())


class EventTimer(Timer):
    """Timer by GPU events in a library's current stream; `event` makes one, `elapsed` gives the ms between two."""

    def __init__(self, event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> None:
        self.event, self.elapsed = event, elapsed

    def mark(self) -> Any:
        event = self.event()
        event.record()
        return event

    def between(self, start: Any, stop: Any) -> float:
        stop.synchronize()
        return float(self.elapsed(start, stop)) / 1e3


class Library(ABC):
    """A device through one library."""

    name: str  # name of the library
    arrays: Any  # `gip_gpu.backends.gpu.arrays.Arrays` of the device
    cuda: bool  # whether it is a GPU
    timer: Timer  # timer for the work in the current stream

    @abstractmethod
    def __init__(self, device: str) -> None:
        """Opens a device such as "cuda:0"."""

    @abstractmethod
    def put(self, values: Any, kind: str) -> Any:
        """Copies a host array to a device array of `kind`."""

    @abstractmethod
    def poison(self, array: Any) -> None:
        """Fills a floating-point array with NaN."""

    @abstractmethod
    def copy(self, target: Any, source: Any) -> None:
        """Copies source to target."""

    @abstractmethod
    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        """Computes out = left @ right.T by the vendor's GEMM with float32 sums; `out` may have any type as wide as
        `kind`."""

    @abstractmethod
    def graph(self, action: Action) -> Action | None:
        """Captures the launches of `action` in a graph and returns a function that replays it; None without graphs."""

    @abstractmethod
    def empty_launch(self) -> Action:
        """Returns a function that launches an empty kernel."""

    @abstractmethod
    def release(self) -> None:
        """Releases cached memory to the device."""

    @abstractmethod
    def watch(self) -> Callable[[], int | None]:
        """Starts recording peak device memory; the returned function gives the bytes beyond those held before."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Returns names and versions, for the report."""


def clocks() -> dict[str, str]:
    """Returns driver, current and maximal clocks and power limit, as nvidia-smi reports them; empty without it."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [[part.strip() for part in line.split(",")] for line in told.strip().splitlines()]
    return {f"nvidia-smi {key}": "; ".join(values) for key, *values in zip(SMI, *lines, strict=False)}
