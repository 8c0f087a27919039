"""One selection by several processes of one machine, started by torchrun, each with its share of the rows."""

import importlib.util
import sys
import time
from pathlib import Path

from bench.runner import child
from bench.runner.report import Section, table
from bench.runner.runs import Run, Runs, parted, ratio
from bench.scale import inputs
from bench.scale.inputs import Done, Sizes
from gip_gpu.api.selection import Selection
from gip_gpu.system.cpu import cores

TITLE = "Several processes"
ALONE = "one, without torchrun"
HEADER = (
    *("processes", "threads each", "select, s, median (min to max)", "whole command, s"),
    *("against one without torchrun", "peak memory of rank 0"),
)
NOTES = """\
`torchrun --standalone --nproc-per-node N -m gip_gpu select F.npy --scores G.npy`. "select" is the time recorded in the
result; the whole command also starts Python, torch and the process group. The processes share the cores: "threads each"
is the number of threads for the products of one. So the table shows the cost of the exchange, not the gain of more
machines. A ratio is shown only if the indices of all runs are equal."""


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures the section of several processes."""
    if importlib.util.find_spec("torch") is None:
        return Section(TITLE, "Not measured: torch is not installed.", "", ())
    pool = inputs.alpaca(folder, sizes.quick)
    arguments = ("-m", "gip_gpu", "select", str(pool.F), "--scores", str(pool.G), "-k", str(sizes.processes_k))
    commands = {ALONE: (cores(), arguments)}
    for count in sizes.processes:
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *arguments)
        commands[str(count)] = (max(1, cores() // count), launch)
    found, threads = {name: Runs() for name in commands}, {name: count for name, (count, _) in commands.items()}
    for _ in range(sizes.runs):
        for name, (count, command) in commands.items():
            found[name].runs.append(once(command, count, folder))
            done(f"processes: {name}")
    return section(f"{pool}, self-compression, k = {sizes.processes_k:,}; {cores()} cores.", found, threads)


def section(basis: str, found: dict[str, Runs], threads: dict[str, int]) -> Section:
    """Returns the section with the measured figures."""
    alone, rows, failures = found[ALONE], [], []
    for name, of_name in found.items():
        first = [name, str(threads[name])]
        if reason := parted(alone, of_name):
            rows.append([*first, f"withheld: {reason}"])
            failures.append(f"{name} processes: {reason}")
            continue
        against = "" if name == ALONE else f"{ratio(alone, of_name):.2f} x"
        rows.append([*first, of_name.spread(), of_name.spread("process"), against, of_name.size])
    equal = "The picks differ." if failures else "All runs made the same picks."
    return Section(TITLE, equal, basis, (table(rows, HEADER), NOTES), failures=failures)


def once(command: tuple[str, ...], threads: int, folder: Path) -> Run:
    """Runs a command that selects, once; raises RuntimeError if it fails."""
    target = folder / "chosen.npz"
    target.unlink(missing_ok=True)
    began = time.perf_counter()
    try:
        whole = [sys.executable, *command, "--device", "cpu", "-o", str(target), "--quiet"]
        # torchrun appends its own messages after the line of gip-gpu.
        child.output(whole, "gip-gpu:", OMP_NUM_THREADS=str(threads))
    except RuntimeError as error:
        raise RuntimeError(f"{' '.join(command[1:4])} {error}") from error
    process = time.perf_counter() - began
    chosen = Selection.load(target)
    return Run(chosen.timings["total"], chosen.peak_bytes, chosen.indices.tolist(), {"process": process})
