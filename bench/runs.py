"""Running it: every run in a fresh process, one at a time, the variants in turn, so that drift hits all alike."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import cases
from bench.cases import Case
from bench.variants import OURS, VARIANTS, plain_bytes
from gip_gpu.metrics import iou
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import memory


@dataclass(frozen=True)
class Run:
    """What one process told: seconds, peak bytes, indices, and the notes of its variant."""

    seconds: float
    peak: int
    indices: list[int]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ceiling:
    """What the machine can do: flops per second of a large product, seconds of a matrix-vector product."""

    flops: float
    gemv: float


@dataclass
class Measured:
    """A case, the indices of the float64 reference, and by variant its runs or why there are none."""

    case: Case
    reference: NDArray[np.int64]
    ceiling: Ceiling
    runs: dict[str, list[Run]] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    def agreement(self, variant: str) -> tuple[int | None, float]:
        """The first pick, from 0, that differs from the reference, and the IoU; of the worst run."""
        found = [(first_difference(run.indices, self.reference), run.indices) for run in self.runs[variant]]
        first, indices = min(found, key=lambda pair: math.inf if pair[0] is None else pair[0])
        return first, iou(indices, self.reference)

    def wrong(self) -> str | None:
        """Why no time of gip_gpu counts, or None where all its runs gave the indices of the reference."""
        if OURS in self.trouble:
            return f"gip_gpu {self.trouble[OURS]}"
        first, _ = self.agreement(OURS)
        return None if first is None else f"gip_gpu differs from float64 at pick {first}"


def first_difference(indices: Sequence[int], reference: NDArray[np.int64]) -> int | None:
    """The first position where two sequences differ, or None."""
    shared = min(len(indices), len(reference))
    differ = np.flatnonzero(np.asarray(indices[:shared], dtype=np.int64) != reference[:shared])
    if len(differ):
        return int(differ[0])
    return None if len(indices) == len(reference) else shared


def measure(chosen: Sequence[Case], runs: int, quick: bool, done: Callable[[str], object]) -> list[Measured]:
    """Measures cases of `cases.CASES`, or their quick forms; `done` hears of each finished piece of work."""
    ceilings: dict[tuple[int, int], Ceiling] = {}
    measured = []
    for case in chosen:
        size = (case.m, case.d)
        if size not in ceilings:
            told = child_output("bench.ceiling", *map(str, size), *(("--size", "256") if quick else ()))
            ceilings[size] = Ceiling(**told)
        reference = matching_pursuit(*cases.load(case), case.k, on_exhausted="restart")
        done(f"{case.name}: reference")
        found = Measured(case, reference, ceilings[size])
        for _ in range(runs):
            for variant in VARIANTS:
                _run(found, variant, quick)
                done(f"{case.name}: {variant}")
        measured.append(found)
    return measured


def steps(chosen: Sequence[Case], runs: int) -> int:
    """How often `measure` will call `done`."""
    return len(chosen) * (1 + runs * len(VARIANTS))


def _run(found: Measured, variant: str, quick: bool) -> None:
    """Adds a run of the variant, or the reason why it cannot be run; then it is not tried again."""
    if variant in found.trouble:
        return
    case = found.case
    needed, free = plain_bytes(case.m, case.d), memory.available()
    if variant != OURS and needed > free:
        found.trouble[variant] = f"not run: needs {memory.readable(needed)}, {memory.readable(free)} free"
        return
    try:
        told = child_output("bench.child", case.name, variant, *(("--quick",) if quick else ()))
    except RuntimeError as error:
        found.trouble[variant] = str(error)
        return
    run = Run(told.pop("seconds"), told.pop("peak"), told.pop("indices"), told)
    found.runs.setdefault(variant, []).append(run)


def child_output(module: str, *arguments: str) -> dict[str, Any]:
    """What a process with this module as its program prints.

    Raises:
        RuntimeError: it failed; the last line of its errors, or the signal that ended it.
    """
    environment = {**os.environ, "GIP_GPU_DATA": str(cases.DATA)}
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, cwd=cases.ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"failed with status {result.returncode}: {lines[-1]}")
    told: dict[str, Any] = json.loads(result.stdout)
    return told
