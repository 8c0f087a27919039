"""Selection of a run in a file that `gip-gpu verify` and `gip-gpu report` take, and the files that it belongs to."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint.fingerprint import of_matrix
from gip_gpu.data.missing_values import keep_finite
from gip_gpu.data.user_arrays import as_columns
from gip_gpu.pipeline.run import RunResult, Stages
from gip_gpu.system.atomic_write import atomic_write


def save_selection(stages: Stages, result: RunResult, path: str | os.PathLike[str]) -> list[str] | None:
    """Writes the selection of a run, and in the work folder its scores and groups if they are in no file of their own.

    Args:
        stages: the inputs of the run.
        result: its result.
        path: the .npz or .json to write.

    Returns:
        The arguments of `gip-gpu verify` for the files of this selection, without those of its constraints; None if
        vectors, scores or groups are in no file that it reads.

    Raises:
        OSError: a file cannot be written.
    """
    checkable(result).save(path)
    scores, groups = _scores_of(stages, result), _groups_of(stages, result)
    if result.vectors.path is None or scores is None or groups is None:
        return None
    key = [] if stages.key is None else ["--key", stages.key]
    return [os.fspath(path), str(result.vectors.path), *key, *scores, *groups, *_numbers_of(stages, result)]


def checkable(result: RunResult) -> Selection:
    """Returns the selection with the fingerprint of the file of vectors, where the run read them into memory.

    Vectors in memory are float32 and in their file float16: equal numbers, and fingerprints are of a type.
    """
    selection, vectors = result.selection, result.vectors
    if selection.provenance is None or vectors.stored is None or vectors.stored.dtype == vectors.F.dtype:
        return selection
    stored: Any = vectors.stored
    done = selection.preparation
    if done is not None and done.dropped:
        scores = None if result.scores is None else as_columns(result.scores, "scores", scores=True)
        kept = keep_finite(vectors.stored, scores)
        stored = vectors.stored if kept is None else kept.view(vectors.stored)
    provenance = dataclasses.replace(selection.provenance, F=of_matrix(stored))
    return dataclasses.replace(selection, provenance=provenance)


def _scores_of(stages: Stages, result: RunResult) -> list[str] | None:
    """Returns the options that name the scores; None if they are in no file."""
    if result.scores is None:
        return []
    if isinstance(stages.scores, (str, os.PathLike)):
        key = [] if stages.scores_key is None else ["--scores-key", stages.scores_key]
        return ["--scores", os.fspath(stages.scores), *key]
    if result.score_names is None:
        return None
    scores = np.asarray(result.scores, np.float64)
    place = Path(stages.work, f"scores-{of_matrix(scores)}.npz")
    with atomic_write(place) as file:
        np.savez(file, scores=scores, names=np.array(result.score_names))
    return ["--scores", str(place)]


def _groups_of(stages: Stages, result: RunResult) -> list[str] | None:
    """Returns the option that names the groups; None if a label holds what a line of UTF-8 cannot."""
    groups = result.limits.get("groups")
    if groups is None:
        return []
    try:
        content = "".join(f"{label}\n" for label in groups).encode()
    except UnicodeEncodeError:
        return None
    if content.count(b"\n") != len(groups) or b"\r" in content:
        return None
    place = Path(stages.work, f"groups-{hashlib.blake2b(content, digest_size=16).hexdigest()}.txt")
    with atomic_write(place) as file:
        file.write(content)
    return ["--groups", str(place)]


def _numbers_of(stages: Stages, result: RunResult) -> list[str]:
    """Returns the options that name costs, weights, and rows to exclude and to include, in files of the work folder."""
    named = {name: stages.select.get(name) for name in ("exclude", "must_include")}
    given = {**{name: result.limits.get(name) for name in ("costs", "weights")}, **named}
    found: list[str] = []
    for name, values in given.items():
        if values is None:
            continue
        array = np.asarray(values)
        digest = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
        place = Path(stages.work, f"{name}-{digest}.npy")
        with atomic_write(place) as file:
            np.save(file, array, allow_pickle=False)
        found += [f"--{name.replace('_', '-')}", str(place)]
    return found
