"""Processes for tests/distributed/test_distributed.py: forks the ranks of a job once torch is loaded.

`python -m tests.support.ranks JOB FOLDER`. Each rank writes its results to FOLDER/RANK.json.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from gip_gpu import signals

# Number of rows of each rank, by the number of ranks.
CUTS = {
    1: lambda m: [m],
    2: lambda m: [1, m - 1],
    3: lambda m: [m // 2, 1, m - m // 2 - 1],
    4: lambda m: [m // 7, m // 3, 1, m - m // 7 - m // 3 - 1],
}


def pool(m=900, d=16, seed=0):
    """Returns (m, d) rows in a cone, with duplicates of the first fifty at the end."""
    rng = np.random.default_rng(seed)
    scales = 1 / np.arange(1, d + 1)
    F = (rng.standard_normal((m, d)) * scales + scales).astype(np.float32)
    F[-50:] = F[:50]
    return F


def ratings(m=900, n=4):
    return np.random.default_rng(1).integers(1, 6, (m, n)).astype(float)


def uneven_scores():
    """Returns scores that are so small for the rows in the middle that these never win."""
    G = signals.self_compression(pool())
    G[300:600] *= 1e-6
    return G


def lacking(F, G):
    """Returns rows and scores with missing values: in the last row and in neighbours; of two ranks only on rank 1."""
    F, G = F.copy(), np.array(G, dtype=np.float64)
    F[[5, 430, 431, 899], 2] = np.nan
    G[[6, 7, 430, 600]] = np.inf
    return F, G


def uneven_scales():
    """Returns columns of ratings and fine scores of different scales, whose sums depend on their order."""
    fine = np.random.default_rng(3).random(900) ** 9 * 1e6
    return np.column_stack([ratings(n=2), fine, np.full(900, 0.1)])


def cases():
    """Returns F, G, k and options by name."""
    F = pool()
    G = signals.self_compression(F)
    small, flat = pool(120, 3, 2), np.zeros(900)
    flat[[7, 450, 880]] = 1, 2, 2
    return {
        "one signal": (F, G, 120, {}),
        "a share": (F, G, 0.1, {}),
        "four signals": (F, ratings(), 120, {}),
        "ties": (F, ratings(n=1), 120, {}),
        "fp16": (F, G, 120, {"precision": "fp16"}),
        "fp16, four signals": (F, ratings(), 60, {"precision": "fp16"}),
        "lengths kept": (F / np.float32(6), ratings(), 100, {"normalize": False}),
        "duplicates": (np.repeat(F[:9], 100, axis=0), np.ones(900), 60, {}),
        "small scores": (F, uneven_scores(), 120, {}),
        "all, restarted": (small, signals.self_compression(small), 120, {}),
        "stopped": (small, signals.self_compression(small), 120, {"on_exhausted": "stop"}),
        "zeros": (F, flat, 40, {}),
        "no memory": (F, G, 40, {"memory_limit": 8_470_000}),
        "positive": (F, G - 400, 60, {"sign": "positive"}),
        "lr": (F, G, 60, {"objective": "lr"}),
        "lr, lengths kept": (
            F * np.logspace(-5, 7, 900)[::-1, None],
            ratings(),
            20,
            {"objective": "lr", "normalize": False},
        ),
        "omp": (F, ratings(), 60, {"objective": "omp", "epsilon": 0.01}),
        "mi": (F, G, 30, {"objective": "mi"}),
        "entropy": (F, None, 40, {"epsilon": 0.1}),
        "entropy, lengths kept": (F, None, 16, {"normalize": False}),
        "centred": (F, ratings(), 60, {"center": True}),
        "centred, lr": (F, G, 40, {"objective": "lr", "center": "auto"}),
        "centred, lengths kept": (F / np.float32(6), ratings(), 40, {"normalize": False, "center": True}),
        "centred, values missing": (*lacking(F, ratings()), 40, {"on_nan": "drop", "center": True}),
        "no cone": (F - F.mean(axis=0), ratings(), 40, {"center": "auto"}),
        "z-scores": (F, uneven_scales(), 60, {"standardize": "zscore", "sign": "positive"}),
        "ranks": (F, uneven_scales(), 60, {"standardize": "rank"}),
        "values missing": (*lacking(F, ratings()), 60, {"on_nan": "drop", "initial": [8, 700]}),
        "half missing": (
            np.where(np.arange(900)[:, None] < 451, np.float32(np.nan), F),
            ratings(),
            60,
            {"on_nan": "drop"},
        ),
        "values missing, ranks": (*lacking(F, uneven_scales()), 0.1, {"on_nan": "drop", "standardize": "rank"}),
    }


# Ranks 0 and 2 have no rows.
EMPTY = (0, 0.4, 0, 0.6)
WITH_EMPTY = (
    *("one signal", "four signals", "lengths kept", "zeros", "all, restarted", "positive", "lr", "lr, lengths kept"),
    *("omp", "entropy, lengths kept", "z-scores", "ranks", "values missing", "centred", "centred, lengths kept"),
)
# For the test that is made often.
TWO = ("one signal", "lr", "positive")
FEW = ("one signal", "ties", "all, restarted", "lr", "z-scores", "ranks", "values missing", "centred")


def real():
    F = np.load(os.environ["GIP_GPU_REAL"])
    return F, signals.self_compression(F), 747, {}


def part(F, G, rank, sizes):
    start = sum(sizes[:rank])
    own = slice(start, start + sizes[rank])
    return F[own], None if G is None else G[own]


def told(selection):
    """Returns a digest of the results that all ranks must share."""
    proof = selection.certificate
    arrays = (selection.indices, selection.gains, selection.weights, selection.explained)
    arrays += (proof.margins, proof.candidates, proof.ties)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays) + repr(selection).encode())
    return {
        "indices": selection.indices.tolist(),
        "digest": digest.hexdigest(),
        "rounds": list(selection.rounds),
        "explained": selection.explained.tolist(),
        "plan": str(selection.plan),
        "cache": selection.plan.cache,
        "preparation": repr(selection.preparation),
    }


def attempt(function, *arguments, **options):
    try:
        return told(function(*arguments, **options))
    except (Exception, KeyboardInterrupt) as error:
        return {"error": type(error).__name__, "text": str(error)}


def job_cases(rank, results):
    import torch.distributed as dist

    from gip_gpu.distributed import select

    for size, names in ((4, FEW), (2, FEW), (3, tuple(cases()))):
        group = dist.new_group(range(size))
        for name in names if rank < size else ():
            F, G, k, options = cases()[name]
            mine = part(F, G, rank, CUTS[size](len(F)))
            results[f"{size} {name}"] = attempt(select, *mine, k, group=group, timeout=60, **options)
    if rank < 3:
        for name, (arrays, k, options) in wrong(rank).items():
            results[name] = attempt(select, *arrays, k, group=group, **{"timeout": 60, **options})
        results["late"], results["after"] = late(rank, group)
        results["interrupted"], results["no room"] = interrupted(rank, group), no_room(rank, group)
        if "GIP_GPU_REAL" in os.environ:
            F, G, k, _ = real()
            mine = part(F, G, rank, [1000, 5000, len(F) - 6000])
            results["real"] = attempt(select, *mine, k, group=group, timeout=60)
    for name in WITH_EMPTY:
        F, G, k, options = cases()[name]
        mine = part(F, G, rank, [int(share * len(F)) for share in EMPTY])
        if rank == 2:  # it does not know the length of the others' rows
            mine = [], []
        results[f"empty {name}"] = attempt(select, *mine, k, timeout=60, **options)
    results["all empty"] = attempt(select, F[:0], None if G is None else G[:0], 3, objective="entropy", timeout=60)
    dist.barrier()


def job_two(rank, results):
    from gip_gpu.distributed import select

    for name in TWO:
        F, G, k, options = cases()[name]
        results[name] = attempt(select, *part(F, G, rank, CUTS[2](len(F))), k, timeout=60, **options)


def wrong(rank):
    """Returns by name input that is bad on some rank."""
    F, G, _, _ = cases()["one signal"]
    mine = part(F, G, rank, CUTS[3](900))
    bad = mine[0].copy()
    if rank == 2:
        bad[5, 3] = np.nan
    negative = (mine[0], -mine[1][:-1] if rank == 0 else mine[1])
    long = mine[0] * np.float32(2)
    return {
        "not finite": ((bad, mine[1]), 10, {}),
        "short scores": (negative, 10, {}),
        "k differs": (mine, 10 + (rank == 1), {}),
        "d differs": ((mine[0][:, : 16 - (rank == 2)], mine[1]), 10, {}),
        "n differs": ((mine[0], np.column_stack([mine[1]] * (1 + (rank == 1)))), 10, {}),
        "no scores on one": ((mine[0], None if rank == 1 else mine[1]), 10, {}),
        "sign differs": (mine, 10, {"sign": "positive" if rank == 1 else "any"}),
        "too many": (mine, 901, {}),
        "gram": (mine, 10, {"columns": "gram"}),
        "continue": (mine, 10, {"on_exhausted": "continue"}),
        "mi of two": ((mine[0], np.column_stack([mine[1]] * 2)), 10, {"objective": "mi"}),
        "diverges": ((long, mine[1]), 900, {"normalize": False}),
        "memory": (mine, 10, {"memory_limit": 1000 if rank == 1 else "1GB"}),
        "timeout": (mine, 10, {"timeout": -1}),
        "timeout of one": (mine, 10, {"timeout": -1 if rank == 1 else 60}),
        "ridge": (mine, 10, {"query": "ridge"}),
        # The message has more bytes than an alarm can hold.
        "long": (mine, 10, {"backend": "\N{GRINNING FACE}" * 3000 if rank == 2 else None}),
        "no checkpoint": (mine, 10, {"checkpoint_every": 5}),
        "standardize differs": (mine, 10, {"standardize": "rank" if rank == 1 else None}),
        "all missing": ((mine[0] * np.float32(np.nan), mine[1]), 10, {"on_nan": "drop"}),
        "initial missing": ((bad, mine[1]), 10, {"on_nan": "drop", "initial": [4, 456]}),
    }


def late(rank, group):
    """Selects twice: rank 1 joins after the others have stopped waiting, then all join at once."""
    from gip_gpu.distributed import select

    F, G, k, _ = cases()["one signal"]
    mine = part(F, G, rank, CUTS[3](900))
    if rank == 1:
        time.sleep(3)
    return [attempt(select, *mine, k, group=group, timeout=timeout) for timeout in (1, 60)]


def interrupted(rank, group):
    from gip_gpu.distributed import select

    def progress(done, total):
        if done > 10:
            raise KeyboardInterrupt

    F, G, k, _ = cases()["one signal"]
    return attempt(select, *part(F, G, rank, CUTS[3](900)), k, group=group, timeout=60, progress=progress)


def no_room(rank, group):
    """Selects while rank 1 runs out of memory in the middle."""
    from gip_gpu.backends.numpy.residual import NumpyResidual
    from gip_gpu.distributed import select

    update = NumpyResidual.update

    def failing(self, *args):
        self.updates = getattr(self, "updates", 0) + 1
        if rank == 1 and self.updates == 10:
            raise MemoryError("no room")
        return update(self, *args)

    NumpyResidual.update = failing
    try:
        F, G, k, _ = cases()["one signal"]
        return attempt(select, *part(F, G, rank, CUTS[3](900)), k, group=group, timeout=60)
    finally:
        NumpyResidual.update = update


def job_failing(what):
    """Returns a job in which a rank is lost in the middle of a selection."""

    def job(rank, results):
        import torch.distributed as dist

        from gip_gpu.distributed import select

        pids = [None] * 3
        dist.all_gather_object(pids, os.getpid())
        F = pool(3000, 32)
        F, G = part(F, signals.self_compression(F), rank, [1000, 1000, 1000])

        def progress(done, total):
            if done >= 20:
                victim, number = {"kill": (2, 9), "kill 0": (0, 9), "stop": (1, signal.SIGSTOP)}[what]
                os.kill(pids[victim], number)

        timeout = 3 if what == "stop" else 60
        results["select"] = attempt(select, F, G, 1000, progress=progress, timeout=timeout)

    return job


JOBS = {
    "cases": (4, job_cases),
    "two": (2, job_two),
    **{what: (3, job_failing(what)) for what in ("kill", "kill 0", "stop")},
}


def main(name, folder):
    import torch.distributed as dist

    import gip_gpu.distributed  # noqa: F401

    size, job = JOBS[name]
    ranks = []
    for rank in range(size):
        pid = os.fork()
        if pid:
            ranks.append(pid)
            continue
        results = {}
        try:
            dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
            job(rank, results)
        except BaseException as error:
            results["job"] = repr(error)
        Path(folder, f"{rank}.json").write_text(json.dumps(results))
        os._exit(0)
    while ranks:
        pid, _ = os.wait()
        ranks.remove(pid)
        # A stopped rank does not exit by itself.
        if name == "stop" and len(ranks) == 1:
            os.kill(ranks[0], signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
