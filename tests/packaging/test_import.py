"""`import gip_gpu` imports numpy and nothing heavier, and is quick; measured in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys

NOT_AT_IMPORT = {
    *("torch", "triton", "cupy", "scipy", "sklearn", "matplotlib", "pyarrow", "datasets"),
    *("click", "tqdm", "tabulate"),
}
# Parts of the package that load when they are used.
OWN = (
    *("cli", "hf", "pipeline", "embedding", "records", "report", "distributed", "selectors", "testing"),
    *("backends.gpu", "backends.triton", "backends.cuda", "planning.cluster"),
)
# CPU time of the import, in times of NumPy's own with one BLAS thread: 2.5 to 3 with 2 cores.
TIMES = 5
TIMED = """
from time import process_time
start = process_time()
import numpy
middle = process_time()
import gip_gpu
print(middle - start, process_time() - middle)
"""


def run(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    # Threads of a BLAS start with NumPy, and would be counted as its import.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
    return done.stdout.split()


def test_import_loads_nothing_heavy() -> None:
    loaded = {name.partition(".")[0] for name in run("import gip_gpu, sys; print(*sys.modules)")}
    assert "numpy" in loaded
    assert not loaded & NOT_AT_IMPORT


def test_parts_load_when_they_are_used() -> None:
    loaded = run("import gip_gpu, sys; print(*sys.modules)")
    assert "gip_gpu.greedy.loop" in loaded
    assert not {f"gip_gpu.{part}" for part in OWN} & set(loaded)


def test_import_is_quick() -> None:
    # Other processes only ever add time, so the quickest of several runs is the measurement.
    runs = [tuple(float(seconds) for seconds in run(TIMED)) for _ in range(5)]
    numpy, own = (min(seconds) for seconds in zip(*runs, strict=True))
    assert own < TIMES * numpy, f"numpy {numpy:.3f} s, the rest of gip_gpu {own:.3f} s"
