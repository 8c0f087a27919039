"""Running it: every selection in a fresh process, one at a time, those to compare in turn; what may be told of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench.runs import Run, child_output, first_difference
from bench.scale.child import Job
from gip_gpu.system import memory

Done = Callable[[str], object]


def in_turn(jobs: Mapping[str, Job], counts: Mapping[str, int], done: Done) -> dict[str, list[Run]]:
    """So many runs of each job; `done` hears of each.

    Raises:
        RuntimeError: a run failed.
    """
    found: dict[str, list[Run]] = {name: [] for name in jobs}
    for turn in range(max(counts.values())):
        for name, job in jobs.items():
            if turn < counts[name]:
                found[name].append(once(job))
                done(name)
    return found


def once(job: Job) -> Run:
    """One run of a job in a process of its own."""
    told = child_output("bench.scale.child", job.argument)
    return Run(told.pop("seconds"), told.pop("peak"), told.pop("indices"), told)


def wrong(runs: Sequence[Run], expected: Sequence[Run]) -> str | None:
    """Why times of these runs do not count, or None where all made the picks that all of the others made."""
    indices = np.array(expected[0].indices)
    found = [first_difference(run.indices, indices) for run in [*expected[1:], *runs]]
    differing = [first for first in found if first is not None]
    return f"the picks differ from pick {min(differing)} on" if differing else None


def seconds(runs: Sequence[Run]) -> float:
    """The median."""
    return statistics.median(run.seconds for run in runs)


def peak(runs: Sequence[Run]) -> int:
    """The largest resident size of all runs, in bytes."""
    return max(run.peak for run in runs)


def spread(runs: Sequence[Run]) -> str:
    """Median seconds, and the range where there are several."""
    return ranged([run.seconds for run in runs])


def ranged(values: Sequence[float]) -> str:
    """The median and, of several, the range.

    >>> ranged([2, 1, 4]), ranged([2])
    ('2 (1 to 4)', '2')
    """
    text = f"{statistics.median(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g} to {max(values):.3g})"


def size(runs: Sequence[Run]) -> str:
    """The peak, for people."""
    return memory.readable(peak(runs))


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def kept(claim: str, broken: Sequence[str], measured: Sequence[str]) -> str:
    """A claim, and whether the figures hold it."""
    if not measured:
        return f"Claim: {claim} No figure."
    holds = f"It does not hold: {listed(broken)}." if broken else f"It holds: {listed(measured)}."
    return f"Claim: {claim} {holds}"
