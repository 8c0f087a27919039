"""Stage embed: the vectors of a data set, made in a folder or given."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.checkpoint.fingerprint import of_matrix
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.embedding import Embedded, Encoder, Ranks, embed, fingerprint_of, load_encoder
from gip_gpu.records import Records, Texts
from gip_gpu.sources import Source, open_matrix
from gip_gpu.system import memory
from gip_gpu.system.files import AnyPath
from gip_gpu.validation.settings import as_bytes

# Largest share of the free memory that vectors may take, and the rows read at a time.
SHARE, STEP = 0.25, 4096


@dataclass(frozen=True)
class Vectors:
    """Vectors of a data set.

    Attributes:
        F: (m, d) array or source, row i for row i of the data set.
        fingerprint: fingerprint of what they are made from, or of their values.
        said: names and values for a summary.
        path: their file; None for vectors in memory.
        stored: the vectors in that file, if they were read into memory as float32.
    """

    F: NDArray[Any] | Source
    fingerprint: str
    said: list[tuple[str, str]]
    path: Path | None = None
    stored: Source | None = None


def encoder_of(encoder: str | os.PathLike[str] | Encoder, **settings: Any) -> Encoder:
    """Returns an encoder as it is, or by name with the settings of `load_encoder`.

    Raises:
        TypeError: neither a name nor an encoder.
    """
    if isinstance(encoder, (str, os.PathLike)):
        return load_encoder(encoder, **settings)
    if not isinstance(encoder, Encoder):
        raise TypeError(
            f"encoder is {encoder!r}; it must be 'hashing', the folder or name of a model, or an object with identity, "
            "width, batch and encode(texts), as gip_gpu.embedding.Encoder describes"
        )
    return encoder


def made_vectors(
    texts: Texts,
    encoder: Encoder,
    folder: AnyPath,
    *,
    memory_limit: int | float | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Vectors:
    """Makes the vectors of texts in a file of the folder, or finds them there.

    Args:
        texts: the texts, read twice.
        encoder: the encoder.
        folder: folder of the file, whose name has the fingerprint of texts and encoder.
        memory_limit: as in `gip_gpu.select`; small vectors are read into memory.
        progress: function called with (texts done, m).
    """
    survey = texts.survey()
    name = f"vectors-{fingerprint_of(survey.fingerprint, encoder)}.npy"
    path = Path(folder, name)
    made = embed(texts, survey.count, survey.fingerprint, encoder, path, progress=progress)
    said = [*said_of(texts, survey.empty), ("vectors", made_of(made))]
    stored = open_matrix(made.path)
    return Vectors(_loaded(stored, memory_limit), made.fingerprint, said, made.path, stored)


def given_vectors(records: Records, embeddings: Any, key: str | None = None) -> Vectors:
    """Opens vectors that were made before.

    Args:
        records: the data set.
        embeddings: (m, d) array, tensor, source, or the path of a file as in `gip_gpu.sources.open_matrix`.
        key: name of the array or column in the file.

    Raises:
        ValueError: there are not as many rows as in the data set.
    """
    path = Path(embeddings) if isinstance(embeddings, (str, os.PathLike)) else None
    if path is not None:
        embeddings = open_matrix(path, key, dimensions=(2,))
    F = as_matrix(embeddings, "embeddings")
    if len(F) != len(records):
        raise ValueError(f"embeddings have {len(F)} rows and the data set has {len(records)}; row i belongs to row i")
    return Vectors(F, of_matrix(F), [("vectors", f"given, {len(F):,} of length {F.shape[1]:,}")], path)


def _loaded(F: Source, limit: int | float | str | None) -> NDArray[Any] | Source:
    """Returns vectors as float32 in memory if they are small, which a selection reads three times as fast."""
    (m, d), free = F.shape, memory.available()
    if 4 * m * d > SHARE * min(free, as_bytes(limit, free) or free):
        return F
    held = np.empty((m, d), np.float32)
    for start in range(0, m, STEP):
        held[start : start + STEP] = F.read(start, min(start + STEP, m))
    return held


def embedded_file(
    texts: Texts, encoder: Encoder, path: AnyPath, ranks: Ranks, progress: Callable[[int, int], None] | None
) -> tuple[Embedded, list[tuple[str, str]]]:
    """Writes the vectors of texts to a file of this name; returns them with the summary."""
    survey = texts.survey()
    made = embed(texts, survey.count, survey.fingerprint, encoder, path, ranks=ranks, progress=progress)
    return made, [*said_of(texts, survey.empty), ("vectors", made_of(made))]


def said_of(texts: Texts, empty: int) -> list[tuple[str, str]]:
    """Returns the lines of a summary on texts."""
    files = len(texts.records.files)
    said = [
        ("rows", f"{len(texts):,}" + (f" in {files:,} files" if files > 1 else "")),
        ("text", f"{texts}"),
    ]
    return [*said, ("empty texts", f"{empty:,}")] if empty else said


def made_of(made: Embedded) -> str:
    """Describes the vectors of `embed` in a line."""
    count, width = made.shape
    resumed = "all found" if made.resumed == count else f"{made.resumed:,} found" if made.resumed else ""
    return f"{count:,} of length {width:,}" + (f", {resumed}" if resumed else "")
