"""A device as the benchmark needs it, whatever the library: memory, copies, products, events, graphs, peaks."""

import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Action = Callable[[], Any]

# Once a measurement has taken so many seconds, it is not repeated any more.
ENOUGH = 1.0
SMI = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


class Timer:
    """Seconds between marks, by a clock."""

    def mark(self) -> Any:
        return time.perf_counter()

    def between(self, start: Any, stop: Any) -> float:
        return float(stop - start)

    def seconds(self, action: Action, repeats: int, before: Action | None = None) -> float:
        """The median of several runs after one that is not counted; `before` each of them, not counted either."""
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
        """One run, with no other before it: for what is long and compiled already."""
        start = self.mark()
        action()
        return self.between(start, self.mark())


class Library(ABC):
    """A device by way of one library.

    Attributes:
        name: of the library.
        arrays: `gip_gpu.backends.gpu.arrays.Arrays` of the device.
        cuda: whether it is a GPU.
        timer: of what runs in the current stream.
    """

    name: str
    arrays: Any
    cuda: bool
    timer: Timer

    @abstractmethod
    def __init__(self, device: str) -> None:
        """Opens a device such as "cuda:0"."""

    @abstractmethod
    def put(self, values: Any, kind: str) -> Any:
        """A host array as a device array of `kind`."""

    @abstractmethod
    def poison(self, array: Any) -> None:
        """Fills a floating-point array with NaN."""

    @abstractmethod
    def copy(self, target: Any, source: Any) -> None:
        """target = source."""

    @abstractmethod
    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        """out = left @ right.T by the vendor's GEMM, float32 sums; `out` may be of a type as wide as `kind`."""

    @abstractmethod
    def graph(self, action: Action) -> Action | None:
        """A function that replays a captured graph of what `action` launches; None where there are no graphs."""

    @abstractmethod
    def empty_launch(self) -> Action:
        """A function that launches a kernel that does nothing."""

    @abstractmethod
    def release(self) -> None:
        """Gives cached memory back to the device."""

    @abstractmethod
    def watch(self) -> Callable[[], int | None]:
        """Begins to note the peak of the device's memory. The function tells the bytes beyond what was held before."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Names and versions."""


def clocks() -> dict[str, str]:
    """What nvidia-smi tells of the driver, the clocks now and at most, and the power limit; nothing without it."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [[part.strip() for part in line.split(",")] for line in told.strip().splitlines()]
    return {f"nvidia-smi {key}": "; ".join(values) for key, *values in zip(SMI, *lines, strict=False)}
