"""Selections with recorded results: indices, gains and certificates over objectives, options, columns and files.

`python -m tests.support.golden` records them again, with a checkpoint and saved selections. Run it only if results are
meant to change.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import gip_gpu
from gip_gpu import Selection

DATA = Path(__file__).with_name("golden_data")
RECORD = DATA / "golden.npz"
# Suffixes of saved selections.
SAVED = (".npz", ".json")

# Results that are equal on every machine; the others depend on the order of the BLAS's sums.
EXACT = ("indices", "ties", "rounds")
CLOSE = ("gains", "weights", "explained", "margins")
ROUNDED = ("candidates", "refreshes")

Run = Callable[[], Selection]


def machine() -> str:
    """Returns the facts on which bits of floats depend: processor, NumPy, its BLAS and threads."""
    blas = np.show_config("dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload]
    features = np.show_config("dicts")["SIMD Extensions"]  # type: ignore[call-overload]
    return json.dumps(
        [platform.machine(), sys.platform, features, np.__version__, blas["name"], blas["version"], os.cpu_count()]
    )


def pools() -> dict[str, Any]:
    """Returns pools by name, bit-equal on every machine."""
    rng = np.random.default_rng(14)
    F = rng.standard_normal((420, 24))
    wide = rng.standard_normal((150, 40)).astype(np.float32)
    half = (rng.standard_normal((500, 12)) + 1.5).astype(np.float16)
    twins = rng.standard_normal((180, 6))
    twins[90:] = twins[:90]
    G = rng.standard_normal((420, 3))
    return {
        "F": F,
        "wide": wide,
        "half": half,
        "twins": twins,
        "long": F * np.exp(rng.standard_normal((420, 1))) / 40,
        "G": G,
        "g": np.abs(G[:, 0]),
        "ratings": rng.integers(1, 6, (420, 2)).astype(np.float64),
        "queried": F @ rng.standard_normal((24, 2)),
        "wide_g": rng.standard_normal(150),
        "half_g": rng.random(500).astype(np.float32),
        "twins_g": np.repeat(rng.random(9), 20),
    }


def write_files(folder: Path, pool: dict[str, Any]) -> None:
    """Writes the pool F and the scores g in the formats that need no extra package, and a folder of shards."""
    np.save(folder / "F.npy", pool["F"])
    np.save(folder / "half.npy", pool["half"])
    np.savez(folder / "both.npz", embeddings=pool["F"], quality=pool["g"])
    names = [f"{value!r}" for value in pool["g"].tolist()]
    (folder / "g.csv").write_text("\n".join(["quality", *names]) + "\n")
    (folder / "g.jsonl").write_text("".join(json.dumps({"quality": v}) + "\n" for v in pool["g"].tolist()))
    (folder / "shards").mkdir()
    for number, part in enumerate(np.array_split(pool["F"], 3)):
        np.save(folder / "shards" / f"{number}.npy", part)


def runs(folder: Path) -> Iterator[tuple[str, Run]]:
    """Each selection by name."""
    p = pools()
    write_files(folder, p)
    select = partial(gip_gpu.select, device="cpu")
    for objective in ("mp", "omp", "lr"):
        for columns in ("auto", "lazy"):
            for name in ("g", "G"):
                yield (
                    f"{objective} {name} {columns}",
                    partial(select, p["F"], p[name], 60, objective=objective, columns=columns, sign="any"),
                )
        for columns in ("auto", "lazy"):
            yield (
                f"{objective} positive {columns}",
                partial(select, p["F"], p["G"], 40, objective=objective, columns=columns, sign="positive"),
            )
        yield (
            f"{objective} ridge",
            partial(select, p["F"], p["G"], 50, objective=objective, query="ridge", epsilon=0.1, sign="any"),
        )
        yield f"{objective} twins", partial(select, p["twins"], p["twins_g"], 60, objective=objective, columns="lazy")
    for columns in ("auto", "lazy"):
        for epsilon in (0.0, 0.01):
            yield f"entropy {epsilon} {columns}", partial(select, p["F"], None, 60, epsilon=epsilon, columns=columns)
            yield (
                f"mi {epsilon} {columns}",
                partial(select, p["F"], p["queried"], 40, objective="mi", epsilon=epsilon, columns=columns),
            )
    yield "mi ridge", partial(select, p["F"], p["G"], 50, objective="mi", query="ridge", epsilon=0.05)
    yield "mi one column", partial(select, p["F"], p["g"], 30, objective="mi")
    yield "entropy wide", partial(select, p["wide"], None, 100, epsilon=0.1, columns="lazy")
    for objective in ("mp", "omp", "lr", "entropy"):
        G = None if objective == "entropy" else p["g"]
        yield (
            f"{objective} long",
            partial(select, p["long"], G, 30, objective=objective, normalize=False, columns="lazy"),
        )
    for columns in ("gram", "lazy"):
        for precision in ("fp32", "fp16"):
            yield (
                f"mp {columns} {precision}",
                partial(select, p["wide"], p["wide_g"], 120, columns=columns, precision=precision, sign="any"),
            )
    yield "mp half lazy", partial(select, p["half"], p["half_g"], 90, columns="lazy")
    yield "lr half", partial(select, p["half"], p["half_g"], 90, objective="lr")
    yield "mp continue", partial(select, p["twins"], p["twins_g"], 30, on_exhausted="continue")
    yield "mp stop", partial(select, p["twins"], p["twins_g"], 170, on_exhausted="stop", columns="lazy")
    yield "omp stop", partial(select, p["twins"], p["twins_g"], 170, objective="omp", on_exhausted="stop")
    for objective in ("mp", "lr"):
        yield f"{objective} initial", partial(select, p["F"], p["g"], 30, objective=objective, initial=[5, 17, 300, 2])
    for standardize in ("rank", "zscore"):
        yield f"mp {standardize}", partial(select, p["F"], p["ratings"], 30, standardize=standardize, sign="positive")
    broken = p["F"].copy()
    broken[[3, 77]] = np.nan
    yield "mp drop", partial(select, broken, p["g"], "10%", on_nan="drop")
    yield "mp limited", partial(select, folder / "half.npy", p["half_g"], 60, memory_limit="9MB")
    yield "mp file", partial(select, folder / "F.npy", folder / "g.csv", 50)
    yield "lr file", partial(select, folder / "shards", folder / "g.jsonl", 50, objective="lr")
    yield "entropy shards", partial(select, folder / "shards", None, 24)
    yield (
        "omp archive",
        partial(
            select,
            gip_gpu_open(folder / "both.npz", "embeddings"),
            gip_gpu_open(folder / "both.npz", "quality"),
            30,
            objective="omp",
        ),
    )
    if find_spec("torch"):
        for objective in ("mp", "lr"):
            yield f"distributed {objective}", partial(alone, p, objective)
    yield "pool twice", partial(pool_twice, p)
    yield "extended", partial(extended, p)
    yield "resumed", partial(resumed, p, folder)


def gip_gpu_open(path: Path, key: str) -> Any:
    """Returns an array of a file by name."""
    from gip_gpu.sources import open_matrix

    return open_matrix(path, key)


def alone(p: dict[str, Any], objective: str) -> Selection:
    """Selects in a process group of one."""
    import torch.distributed as dist

    from gip_gpu import distributed

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return distributed.select(p["F"], p["g"], 30, objective=objective, device="cpu")
    finally:
        dist.destroy_process_group()


def pool_twice(p: dict[str, Any]) -> Selection:
    """Returns the second selection of a pool, which has the columns of the first."""
    pool = gip_gpu.Pool(p["F"], device="cpu", columns="lazy")
    pool.select(p["g"], 20)
    return pool.select(p["G"], 40, sign="any")


def extended(p: dict[str, Any]) -> Selection:
    """Returns picks from rows that joined a pool."""
    first = gip_gpu.select(p["F"][:300], p["g"][:300], 20, device="cpu", objective="lr")
    return gip_gpu.extend(first, p["F"][300:], p["g"][300:], 15, device="cpu")


def resumed(p: dict[str, Any], folder: Path) -> Selection:
    """Returns picks after a checkpoint."""
    path = folder / "golden checkpoint"
    gip_gpu.select(p["F"], p["g"], 15, device="cpu", objective="lr", checkpoint=path)
    return gip_gpu.select(p["F"], p["g"], 40, device="cpu", objective="lr", checkpoint=path)


def found(selection: Selection) -> dict[str, Any]:
    """Returns the results that are compared."""
    certificate = selection.certificate
    fields = {name: getattr(selection, name) for name in ("indices", "gains", "weights", "explained")}
    for name in ("margins", "candidates", "ties", "refreshes", "rounds"):
        fields[name] = getattr(certificate, name)
    return {name: np.asarray(value) for name, value in fields.items()}


def checkpointed(path: Path) -> Selection:
    """Makes 15 picks with a checkpoint; resumes to 30 if the file exists."""
    p = pools()
    return gip_gpu.select(p["F"], p["g"], 45 if path.exists() else 15, device="cpu", checkpoint=path)


def record() -> None:
    """Writes the record: results, the checkpoint and the saved selections."""
    DATA.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {"machine": np.array(machine())}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, run in runs(Path(folder)):
            selection = run()
            for field, value in found(selection).items():
                arrays[f"{name}/{field}"] = value
        checkpoint = Path(folder) / "checkpoint"
        checkpointed(checkpoint)
        shutil.copy(checkpoint, DATA / "mp.checkpoint")
        saved = gip_gpu.select(pools()["F"], pools()["g"], 12, device="cpu", objective="lr")
        for suffix in SAVED:
            saved.save(DATA / f"lr{suffix}")
    np.savez_compressed(RECORD, **arrays)
    print(f"{len({name.split('/')[0] for name in arrays}) - 1} selections in {RECORD}")


if __name__ == "__main__":
    record()
