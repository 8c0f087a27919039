"""embed: the vectors of texts in a file, resumed after a kill and never computed twice."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gip_gpu.embedding.batches import batches
from gip_gpu.embedding.encoder import Encoder, unit_rows
from gip_gpu.embedding.hashing import WIDTH, HashingEncoder
from gip_gpu.embedding.ranks import Ranks
from gip_gpu.embedding.vector_file import DTYPE, VectorFile
from gip_gpu.system.files import AnyPath

log = logging.getLogger("gip_gpu")


@dataclass(frozen=True)
class Embedded:
    """Result of `embed`.

    Attributes:
        path: the .npy file, (m, d) float16.
        shape: (m, d).
        fingerprint: fingerprint of texts and encoder.
        resumed: rows that an earlier run had made; m if the file was complete.
    """

    path: Path
    shape: tuple[int, int]
    fingerprint: str
    resumed: int


def load_encoder(
    name: str | os.PathLike[str] = "hashing",
    *,
    max_tokens: int = 2048,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
) -> Encoder:
    """Returns an encoder by name.

    Args:
        name: "hashing", also with its width as "hashing:4096"; or the folder of a model, or its name on the Hugging
            Face hub (extra "embed").
        max_tokens, device, dtype: as in `gip_gpu.embedding.sentence.SentenceEncoder`; hashing has no use for them.
        batch_size: most texts in a batch; None for the encoder's default.

    Raises:
        ImportError: a library is missing.
        ValueError: there is no such model, or a setting is unknown.

    >>> load_encoder("hashing:256").width
    256
    """
    kind, _, width = os.fspath(name).partition(":")
    if kind == "hashing" and not os.path.isdir(os.fspath(name)):
        if width and not width.isdecimal():
            raise ValueError(f"encoder is {name!r}; the width after the colon must be a count, as in 'hashing:1024'")
        return HashingEncoder(int(width) if width else WIDTH, batch_size)
    from gip_gpu.embedding.sentence import SentenceEncoder

    return SentenceEncoder(name, max_tokens=max_tokens, device=device, dtype=dtype, batch_size=batch_size)


def fingerprint_of(texts: str, encoder: Encoder) -> str:
    """Returns the fingerprint of vectors from that of their texts (`TextSurvey.fingerprint`) and their encoder."""
    whole = json.dumps([texts, encoder.identity, encoder.width, DTYPE.str])
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def embed(
    texts: Iterable[str],
    count: int,
    fingerprint: str,
    encoder: Encoder,
    path: AnyPath,
    *,
    ranks: Ranks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Writes the vectors of texts to a .npy file, as unit rows of float16.

    Each batch is on disk before the next begins, so that a run that was killed encodes at most one batch twice, and its
    file is the same. A complete file with the same fingerprint is left as it is.

    Args:
        texts: the texts, read once from first to last.
        count: their number m.
        fingerprint: fingerprint of the texts; the encoder's identity is added.
        encoder: the encoder.
        path: the file; beside it stand `path`.json with the fingerprint, and while it is made `path`.part and
            `path`.rows.
        ranks: this process among several that share the batches.
        progress: function called with (texts done, m).

    Returns:
        An `Embedded`.

    Raises:
        ValueError: a text cannot be read, or a vector is not finite; the message names the text.
        OSError: the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> with TemporaryDirectory() as folder:
    ...     made = [embed(["a b", "c"], 2, "0", HashingEncoder(8), folder + "/v.npy") for _ in range(2)]
    ...     np.load(folder + "/v.npy").shape, [each.resumed for each in made]
    ((2, 8), [0, 2])
    """
    ranks = ranks or Ranks()
    shape, whole = (count, encoder.width), fingerprint_of(fingerprint, encoder)
    vectors = VectorFile(path, shape, whole)
    if vectors.complete():
        return Embedded(vectors.path, shape, whole, count)
    if ranks.rank == 0:
        vectors.create()
    ranks.wait()
    vectors.open()
    resumed = int(vectors.done.sum())
    if resumed and ranks.rank == 0:
        log.info("%s: %d of %d vectors are there already", vectors.path, resumed, count)
    seen = 0
    try:
        for number, batch in enumerate(batches(texts, encoder.batch)):
            seen += len(batch.rows)
            if number % ranks.size == ranks.rank and not vectors.done[batch.rows].all():
                try:
                    vectors.write(batch.rows, unit_rows(encoder.encode(batch.texts)))
                except ValueError as error:
                    raise ValueError(f"texts {batch.rows[0]} to {batch.rows[-1]}: {error}") from error
            if progress is not None:
                progress(seen, count)
    finally:
        vectors.close()
    if seen != count:
        raise ValueError(f"there are {seen} texts; count says {count}")
    ranks.wait()
    if ranks.rank == 0:
        vectors.finish({"encoder": encoder.identity, "texts": fingerprint})
    ranks.wait()
    return Embedded(vectors.path, shape, whole, resumed)
