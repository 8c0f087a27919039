"""Processes for tests/distributed/test_distributed_files.py: `python -m tests.support.ranks_files JOB FOLDER`."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

import gip_gpu
from gip_gpu import signals
from gip_gpu.checkpoint import file as checkpoint
from tests.support import ranks
from tests.support.ranks import CUTS, attempt, lacking, part, pool, ratings, uneven_scales

# Numbers of picks at which other processes resume a run: few, and after the first round for rows of few columns.
STAGES = (7, 20, 29, 40)
# Selections that are resumed to 50 picks.
TAKEN_ON = ("mp, initial", "lr", "entropy")
FIRST = [880, 5, 450, 855, 300]


class Stop(Exception):
    """Exception by which a progress function interrupts a run."""


def kinds():
    """Returns F, G and options by name; changing numbers of processes make 40 picks of each."""
    F = pool()
    G = signals.self_compression(F)
    plane = pool(d=2)
    # The longest row of all is on one rank, the others have less than a quarter of its length.
    long = F / np.float32(30)
    long[700] *= 6
    return {
        "mp": (F, G, {}),
        "mp, initial": (F, ratings(), {"initial": FIRST}),
        "rounds": (plane, signals.self_compression(plane), {}),
        "rounds, initial": (plane, signals.self_compression(plane), {"initial": FIRST}),
        "stop": (plane, signals.self_compression(plane), {"on_exhausted": "stop"}),
        "zeros": (F, np.zeros(900), {}),
        "zeros, initial": (F, np.zeros(900), {"initial": FIRST}),
        "lengths kept": (long, G, {"normalize": False, "precision": "fp16"}),
        # Picks of short rows hardly change scores, so the best remaining scores are those of items already taken.
        "positive": (long, G, {"sign": "positive", "normalize": False, "initial": np.argsort(-G)[:5].tolist()}),
        "lr": (F, G, {"objective": "lr", "epsilon": 0.01}),
        "lr, rounds": (pool(d=8), ratings(), {"objective": "lr"}),
        "omp": (F, ratings(), {"objective": "omp", "epsilon": 0.01, "initial": FIRST}),
        "mi": (F, G, {"objective": "mi", "epsilon": 0.1}),
        "z-scores": (F, uneven_scales(), {"standardize": "zscore", "sign": "positive"}),
        "ranks": (F, uneven_scales(), {"standardize": "rank"}),
        "values missing": (
            *lacking(F, uneven_scales()),
            {"on_nan": "drop", "standardize": "zscore", "initial": FIRST[2:]},
        ),
        "entropy": (long, None, {"epsilon": 1e-4, "normalize": False, "initial": FIRST}),
    }


def broken_off(at):
    def progress(done, total):
        if done >= at:
            raise Stop

    return progress


def job_stages(rank, results):
    """Runs two processes, then three that are interrupted, then one with all rows, then three."""
    import torch.distributed as dist

    from gip_gpu.distributed import select

    two = dist.new_group(range(2))
    folder = Path(os.environ["GIP_GPU_FOLDER"])
    for name, (F, G, options) in kinds().items():
        path = folder / f"{name}.ckpt"
        # Only rank 0 uses the checkpoint.
        file = {"checkpoint": path if rank == 0 else None, **options}
        mine = part(F, G, rank, CUTS[3](900))
        if rank < 2:
            results[f"{name} 2"] = attempt(select, *part(F, G, rank, CUTS[2](900)), STAGES[0], group=two, **file)
        progress = broken_off(STAGES[1] - 5) if rank == 0 else None
        results[f"{name} broken"] = attempt(select, *mine, STAGES[1], checkpoint_every=6, progress=progress, **file)
        if rank == 0:
            results[f"{name} 1"] = attempt(gip_gpu.select, F, G, STAGES[2], device="cpu", **file)
        dist.barrier()
        results[f"{name} 3"] = attempt(select, *mine, STAGES[3], **file)
        before = path.stat().st_mtime_ns
        results[f"{name} again"] = attempt(select, *mine, STAGES[1], **file)
        assert path.stat().st_mtime_ns == before
        # The stored picks again, and their projection without steps.
        results[f"{name} joined"] = attempt(joined, select(*mine, STAGES[3], **file))
        if name in TAKEN_ON:
            # The first of the ranks that resume has no rows.
            results[f"{name} empty"] = attempt(select, *part(F, G, rank, [0, 400, 500]), 50, **file)


def joined(chosen):
    """Returns the first picks among rows that join."""
    d = len(chosen.projection.A)
    rows = np.random.default_rng(9).standard_normal((50, d)) / 6
    scores = np.random.default_rng(9).integers(1, 6, (50, chosen.weights.shape[1])) if chosen.weights.size else None
    return gip_gpu.extend(chosen, rows, scores, min(d - 1, 8), device="cpu")


def job_refused(rank, results):
    from gip_gpu.distributed import select

    F, G, _ = kinds()["mp"]
    path = Path(os.environ["GIP_GPU_FOLDER"], "run.ckpt")
    mine = part(F, G, rank, CUTS[3](900))
    results["made"] = attempt(select, *mine, 5, checkpoint=path)
    before = path.read_bytes()
    swapped, scores = F.copy(), G.copy()
    # Swap the last row of a rank and the first of the next.
    swapped[[449, 450]] = swapped[[450, 449]]
    scores[800] += 1
    file = {"checkpoint": path}
    for name, (rows, k, options) in {
        "F": (part(swapped, G, rank, CUTS[3](900)), 5, file),
        "G": (part(F, scores, rank, CUTS[3](900)), 5, file),
        "objective": (mine, 5, {**file, "objective": "omp"}),
        "initial": (mine, 5, {**file, "initial": [3]}),
        "initial differs": (mine, 5, {**file, "initial": [3 + (rank == 2)]}),
        "no row": (mine, 5, {"initial": [3, 900]}),
        "twice": (mine, 5, {"initial": [3, 3]}),
        "too many": (mine, 899, {"initial": [3, 4]}),
        "no folder": (mine, 5, {"checkpoint": "none/run.ckpt"}),
        "every": (mine, 5, {**file, "checkpoint_every": 0}),
    }.items():
        results[name] = attempt(select, *rows, k, **options)
    assert path.read_bytes() == before


def job_dropped(rank, results):
    """Resumes after an item on the last rank is marked as dropped from the round."""
    from gip_gpu.distributed import select

    F, G, options = kinds()["lr"]
    path = Path(os.environ["GIP_GPU_FOLDER"], "dropped.ckpt")
    mine = part(F, G, rank, CUTS[3](900))
    first = select(*mine, 10, checkpoint=path, **options)
    results["dropped"] = next(i for i in select(*mine, 40, **options) if i > 451 and i not in first)
    if rank == 0:
        stored = checkpoint.read(path)
        eligible = np.unpackbits(stored["eligible"])
        assert eligible[results["dropped"]]
        eligible[results["dropped"]] = 0
        checkpoint.write(path, {**stored, "eligible": np.packbits(eligible)})
    results["without it"] = attempt(select, *mine, 40, checkpoint=path, **options)


def job_ended(what):
    """Returns a job that sends a signal in the middle of a selection, to all ranks or to one."""

    def job(rank, results):
        import torch.distributed as dist

        from gip_gpu.distributed import select

        pids = [None] * 3
        dist.all_gather_object(pids, os.getpid())
        # A process with this handler exits without a message.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        F = pool(3000, 32)
        G = signals.self_compression(F)
        options = {"objective": "lr", "epsilon": 1e-6} if "lr" in what else {}
        mine = part(F, G, rank, [1000, 1000, 1000])
        number, to = {
            "all": (signal.SIGINT, pids * 2),
            "one": (signal.SIGTERM, pids[2:]),
            "kill": (signal.SIGKILL, pids[2:]),
        }[what.split()[0]]
        sent = []

        def progress(done, total):
            if done >= 60 and not sent:
                sent.append(done)
                for pid in to:
                    os.kill(pid, number)

        file = {"checkpoint": Path(os.environ["GIP_GPU_FOLDER"], f"{what}.ckpt"), "checkpoint_every": 25}
        try:
            results[what] = attempt(select, *mine, 1500, progress=progress, **file, **options)
        except SystemExit as error:
            results[what] = {"error": "SystemExit", "text": str(error)}
        results[f"{what} sent"] = sent

    return job


def job_file(rank, results):
    """Selects from files: the rows of the first rank do not fit its memory limit, those of the second do."""
    from gip_gpu.backends.numpy import products
    from gip_gpu.distributed import select
    from gip_gpu.sources import Part, open_matrix

    used = []
    for kind in (products.Resident, products.Streamed):
        made = kind.__init__

        def noting(self, single, made=made):
            used.append(type(self).__name__)
            assert isinstance(single.rows.values, Part)
            made(self, single)

        kind.__init__ = noting
    folder = Path(os.environ["GIP_GPU_FOLDER"])
    span = ((0, 45_000), (45_000, 65_000))[rank]
    F, G = (Part(open_matrix(folder / name), *span) for name in ("F.npy", "G.npy"))
    results["mp"] = attempt(select, F, G, 60, device="cpu", memory_limit="64MB")
    results["lr"] = attempt(select, F, G, 6, device="cpu", memory_limit="64MB", objective="lr")
    results["used"] = used


def lengths():
    F = pool().astype(np.float16)
    return np.concatenate([F[:300] / 64, F[300:600] / 8, F[600:] / 4096]).astype(np.float16), ratings(n=2)


def job_paths(rank, results):
    """Selects from one file per rank, each in another float format and with rows of another length."""
    from gip_gpu.distributed import select

    F, G = lengths()
    folder = Path(os.environ["GIP_GPU_FOLDER"])
    mine = folder / f"F{rank}.npy", folder / f"G{rank}.npy"
    own = slice(300 * rank, 300 * rank + 300)
    np.save(mine[0], F[own].astype((np.float64, np.float16, np.float32)[rank]))
    np.save(mine[1], G[own])
    for precision in ("fp32", "fp16"):
        options = {"normalize": False, "precision": precision, "columns": "lazy"}
        results[precision] = attempt(select, *mine, 60, **options)
    results["omp"] = attempt(select, *mine, 30, normalize=False, objective="omp")


def job_together(rank, results):
    for job in (job_stages, job_refused, job_dropped, job_paths, *map(job_ended, ("all", "all lr", "one"))):
        job(rank, results)


ranks.JOBS.update(
    together=(3, job_together), file=(2, job_file), **{what: (3, job_ended(what)) for what in ("kill", "kill lr")}
)

if __name__ == "__main__":
    ranks.main(*sys.argv[1:])
