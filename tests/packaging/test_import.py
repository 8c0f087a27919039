"""`import gip_gpu` imports numpy and nothing heavier, and is quick; measured in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

NOT_AT_IMPORT = {
    *("torch", "triton", "cupy", "scipy", "sklearn", "matplotlib", "pyarrow", "datasets"),
    *("click", "tqdm", "tabulate"),
}
SECONDS = 0.3
TIMED = """
from time import perf_counter
start = perf_counter()
import numpy
middle = perf_counter()
import gip_gpu
print(middle - start, perf_counter() - middle)
"""


def run(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def test_import_loads_nothing_heavy() -> None:
    loaded = {name.partition(".")[0] for name in run("import gip_gpu, sys; print(*sys.modules)")}
    assert "numpy" in loaded
    assert not loaded & NOT_AT_IMPORT


def test_import_is_quick() -> None:
    # Load on the machine only ever adds time, so the quickest of several runs is the measurement.
    runs = [tuple(float(seconds) for seconds in run(TIMED)) for _ in range(5)]
    numpy, own = min(runs, key=sum)
    assert numpy + own < SECONDS, f"numpy {numpy:.3f} s, the rest of gip_gpu {own:.3f} s"
