"""One selection in a process of its own: `python -m bench.scale.child JOB`, JSON on both sides."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np

import gip_gpu
from gip_gpu.planning.cpu_costs import HostCosts, Layout
from gip_gpu.system import memory

IO = Path("/proc/self/io")


@dataclass(frozen=True)
class Job:
    """What to select from, and how.

    Attributes:
        F, G: .npy files of embeddings and scores.
        k: picks.
        loaded: type that the rows are loaded in before the clock starts; None: select is given the path.
        memory_limit, checkpoint, every: as in `gip_gpu.select`.
        single: a matrix-vector product a pick: the plan that is made where there is no room for a batch.
    """

    F: str
    G: str
    k: int
    loaded: str | None = None
    memory_limit: str | None = None
    single: bool = False
    checkpoint: str | None = None
    every: float = 60.0

    @property
    def argument(self) -> str:
        """What `bench.scale.child` takes."""
        return json.dumps(asdict(self))


def run(job: Job) -> dict[str, Any]:
    """Seconds, peak bytes, indices and what else is worth knowing about a selection; loading is not timed."""
    F: Any = job.F if job.loaded is None else np.load(job.F).astype(job.loaded, copy=False)
    G: Any = job.G if job.loaded is None else np.load(job.G)
    options: dict[str, Any] = {"device": "cpu", "memory_limit": job.memory_limit}
    if job.checkpoint is not None:
        options.update(checkpoint=job.checkpoint, checkpoint_every=job.every)
    single: Any = contextlib.nullcontext()
    if job.single:
        options["columns"] = "lazy"
        single = mock.patch.object(HostCosts, "layouts", return_value=(Layout(most=1),))
    with single:
        before, began = bytes_read(), time.perf_counter()
        selection = gip_gpu.select(F, G, job.k, **options)
        seconds, after = time.perf_counter() - began, bytes_read()
    plan, proof = selection.plan, selection.certificate
    return {
        "seconds": seconds,
        "peak": memory.peak(),
        "indices": selection.indices.tolist(),
        "timings": selection.timings,
        "columns": plan.columns,
        "resident": plan.resident,
        "planned": plan.total,
        "computed": selection.computed,
        "read": None if before is None or after is None else after - before,
        "refreshes": proof.refreshes,
        "rounds": list(proof.rounds),
    }


def bytes_read() -> int | None:
    """Bytes that this process has read from files so far, from the disk or the system's cache; None: not told."""
    try:
        return int(dict(line.split(": ") for line in IO.read_text().splitlines())["rchar"])
    except (OSError, KeyError, ValueError):
        return None


@click.command()
@click.argument("job")
def main(job: str) -> None:
    """Prints what the selection of this job took and chose."""
    print(json.dumps(run(Job(**json.loads(job)))))


if __name__ == "__main__":
    main()
