"""One selection by several processes of this machine, started by torchrun, each with its share of the rows."""

import importlib.util
import os
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import gip_gpu
from bench import cases, machine
from bench.paper.section import Section, table
from bench.runs import Run
from bench.scale import inputs, runs
from bench.scale.runs import Done
from bench.scale.sizes import Sizes
from gip_gpu.api.selection import Selection

TITLE = "Several processes"
ALONE = "one, without torchrun"
HEADER = (
    *("processes", "threads each", "select, s, median (min to max)", "whole command, s"),
    *("against one without torchrun", "peak memory of rank 0"),
)
NOTES = """\
`torchrun --standalone --nproc-per-node N -m gip_gpu select F.npy --scores G.npy`; select is what the result says of its
own time, the whole command also starts Python, torch and the process group. The cores are shared: each process has that
many threads for its products. So this shows what the exchange costs, not what more machines gain; nothing is claimed
beyond these figures. A ratio is given only where the indices of all runs are equal."""


def missing() -> str | None:
    """Why selections by several processes cannot be run here."""
    if all(module.name != "distributed" for module in pkgutil.iter_modules(gip_gpu.__path__)):
        return "gip_gpu has no selections by several processes"
    return "torch is not installed" if importlib.util.find_spec("torch") is None else None


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """The section of several processes."""
    if reason := missing():
        return Section(TITLE, f"Not measured: {reason}.", "", ())
    pool, cores = inputs.alpaca(folder, sizes.quick), machine.cores()
    arguments = ("-m", "gip_gpu", "select", str(pool.F), "--scores", str(pool.G), "-k", str(sizes.processes_k))
    commands = {ALONE: (cores, arguments)}
    for count in sizes.processes:
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *arguments)
        commands[str(count)] = (max(1, cores // count), launch)
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(sizes.runs):
        for name, (threads, command) in commands.items():
            found[name].append(once(command, threads, folder))
            done(f"processes: {name}")
    threads = {name: count for name, (count, _) in commands.items()}
    return section(f"{pool}, self-compression, k = {sizes.processes_k:,}; {cores} cores.", found, threads)


def section(basis: str, found: dict[str, list[Run]], threads: dict[str, int]) -> Section:
    """What was measured, told."""
    reasons = {name: runs.wrong(of_name, found[ALONE]) for name, of_name in found.items()}
    equal = "All runs made the same picks." if not any(reasons.values()) else "The picks differ."
    return Section(
        title=TITLE,
        verdict=equal,
        basis=basis,
        body=(table([row(name, found, threads[name], reason) for name, reason in reasons.items()], HEADER), NOTES),
        failures=[f"{name} processes: {reason}" for name, reason in reasons.items() if reason],
    )


def row(name: str, found: dict[str, list[Run]], threads: int, reason: str | None) -> list[str]:
    """Times of a number of processes."""
    of_name = found[name]
    if reason:
        return [name, str(threads), f"withheld: {reason}", "", "", ""]
    ratio = "" if name == ALONE else f"{runs.seconds(found[ALONE]) / runs.seconds(of_name):.2f} x"
    whole = runs.ranged([run.notes["process"] for run in of_name])
    return [name, str(threads), runs.spread(of_name), whole, ratio, runs.size(of_name)]


def once(command: tuple[str, ...], threads: int, folder: Path) -> Run:
    """One run of a command that selects.

    Raises:
        RuntimeError: it failed.
    """
    target = folder / "chosen.npz"
    target.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, *command, "--device", "cpu", "-o", str(target), "--quiet"],
        cwd=cases.ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    process = time.perf_counter() - began
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        # What torchrun has to say comes behind it.
        told = next((line for line in lines if line.startswith("gip-gpu:")), lines[-1])
        raise RuntimeError(f"{' '.join(command[1:4])} failed with status {result.returncode}: {told}")
    chosen = Selection.load(target)
    return Run(chosen.timings["total"], chosen.peak_bytes, chosen.indices.tolist(), {"process": process})
