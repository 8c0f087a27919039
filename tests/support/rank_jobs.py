"""Starts processes that are the ranks of a job, by `tests.support.ranks` or by torchrun."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support import ranks
from tests.support.paths import REAL_DATA, ROOT


def environment(**more):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def run_job(name, folder, script="ranks", **more):
    """Runs a job; returns the results of each rank, None for one that was killed, and the seconds that it took."""
    real = REAL_DATA / "gsm8k_minilm_f16.npy"
    if real.exists():
        more["GIP_GPU_REAL"] = str(real)
    command = [sys.executable, "-m", f"tests.support.{script}", name, str(folder)]
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, env=environment(**more), check=True, timeout=240)
    files = [folder / f"{rank}.json" for rank in range(ranks.JOBS[name][0])]
    return [json.loads(file.read_text()) if file.exists() else None for file in files], time.monotonic() - began


def torchrun(folder, count, *arguments, dashes=(), **more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.run(
        [*command, "-m", *dashes, "gip_gpu", "select", *arguments],
        cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
