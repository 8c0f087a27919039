"""Calls in a process of their own, so that peak memory and caches are theirs alone; JSON carries arguments and results.

`python -m bench.runner.child MODULE FUNCTION ARGUMENTS` is that process.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gip_gpu
from bench.runner import pools
from gip_gpu.system import memory

IO = Path("/proc/self/io")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a module's function, called in a fresh process.

    Raises:
        RuntimeError: it failed; the last line of its errors, or the signal that ended it.
    """
    named = (function.__module__, function.__qualname__, json.dumps(arguments))
    return json.loads(output([sys.executable, "-m", "bench.runner.child", *named]))


def output(command: list[str], prefix: str = "", **environment: str) -> str:
    """What a command prints, run in the root of the repository.

    Args:
        command: with the path of its program.
        prefix: of the line of the errors that says why it failed; else that is the last one.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: it failed.
    """
    variables = {**os.environ, "GIP_GPU_DATA": str(pools.DATA), **environment}
    result = subprocess.run(command, cwd=pools.ROOT, env=variables, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        told = next((line for line in lines if prefix and line.startswith(prefix)), lines[-1])
        raise RuntimeError(f"failed with status {result.returncode}: {told}")
    return result.stdout


def timed(action: Callable[[], Any]) -> dict[str, Any]:
    """Seconds, peak bytes and indices of an action that returns indices."""
    began = time.perf_counter()
    indices = action()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": memory.peak(), "indices": indices.tolist()}


def selection(F: Any, G: Any, k: int, **options: Any) -> dict[str, Any]:
    """Seconds, peak bytes, indices and what else reports tell of `gip_gpu.select`; loading is not part of it."""
    chosen: list[gip_gpu.Selection] = []
    before = bytes_read()

    def select() -> Any:
        chosen.append(gip_gpu.select(F, G, k, **options))
        return chosen[0].indices

    told, after = timed(select), bytes_read()
    plan, proof = chosen[0].plan, chosen[0].certificate
    return {
        **told,
        "timings": chosen[0].timings,
        "columns": plan.columns,
        "resident": plan.resident,
        "memory": plan.memory,
        "planned": plan.total,
        "computed": chosen[0].computed,
        "read": None if before is None or after is None else after - before,
        "refreshes": proof.refreshes,
        "rounds": list(proof.rounds),
        "margins": proof.margins.tolist(),
        "ties": proof.ties.tolist(),
        "candidates": proof.candidates.tolist(),
    }


def bytes_read() -> int | None:
    """Bytes that this process has read from files so far, from the disk or the system's cache; None: not told."""
    try:
        return int(dict(line.split(": ") for line in IO.read_text().splitlines())["rchar"])
    except (OSError, KeyError, ValueError):
        return None


if __name__ == "__main__":
    called = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(called(*json.loads(sys.argv[3]))))
