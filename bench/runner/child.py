"""Function calls in a fresh process with its own peak memory and caches; JSON carries arguments and results.

The process runs `python -m bench.runner.child MODULE FUNCTION ARGUMENTS`.
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
    """Calls a module's function in a fresh process and returns its result; raises as `output` does."""
    named = (function.__module__, function.__qualname__, json.dumps(arguments))
    return json.loads(output([sys.executable, "-m", "bench.runner.child", *named]))


def output(command: list[str], prefix: str = "", **environment: str) -> str:
    """Runs a command in the root of the repository, with these environment variables, and returns its standard output;
    raises RuntimeError with its status and the last line of its errors, or the first one that begins with `prefix`."""
    variables = {**os.environ, "GIP_GPU_DATA": str(pools.DATA), **environment}
    result = subprocess.run(command, cwd=pools.ROOT, env=variables, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        told = next((line for line in lines if prefix and line.startswith(prefix)), lines[-1])
        raise RuntimeError(f"failed with status {result.returncode}: {told}")
    return result.stdout


def timed(action: Callable[[], Any]) -> dict[str, Any]:
    """Runs an action that returns indices; returns its seconds, peak bytes and indices."""
    began = time.perf_counter()
    indices = action()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": memory.peak(), "indices": indices.tolist()}


def selection(F: Any, G: Any, k: int, **options: Any) -> dict[str, Any]:
    """Runs `gip_gpu.select`; returns its seconds (without loading), peak bytes, indices and the notes for reports."""
    chosen: list[gip_gpu.Selection] = []
    before = bytes_read()

    def select() -> Any:
        chosen.append(gip_gpu.select(F, G, k, **options))
        return chosen[0].indices

    told, after = timed(select), bytes_read()
    plan, proof = chosen[0].plan, chosen[0].certificate
    told |= {"timings": chosen[0].timings, "computed": chosen[0].computed, "columns": plan.columns}
    told |= {"resident": plan.resident, "memory": plan.memory, "planned": plan.total, "refreshes": proof.refreshes}
    told |= {name: getattr(proof, name).tolist() for name in ("margins", "ties", "candidates")}
    told["rounds"], told["read"] = list(proof.rounds), None if before is None or after is None else after - before
    return told


def bytes_read() -> int | None:
    """Returns the bytes that this process has read from files, from disk or the system's cache; None if unknown."""
    try:
        return int(dict(line.split(": ") for line in IO.read_text().splitlines())["rchar"])
    except (OSError, KeyError, ValueError):
        return None


if __name__ == "__main__":
    called = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(called(*json.loads(sys.argv[3]))))
