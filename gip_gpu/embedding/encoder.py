"""Encoder: a function from texts to vectors, with a name for all that decides their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchLimits:
    """How texts are grouped.

    Attributes:
        texts: most texts in a batch.
        characters: most characters in a batch, each text counted as long as the longest; one text may have more.
        longest: characters after which the length of a text makes no difference, as the encoder cuts it off.
    """

    texts: int
    characters: int = 1 << 62
    longest: int = 1 << 62


@runtime_checkable
class Encoder(Protocol):
    """Encoder of texts; any object with these attributes is one.

    Attributes:
        identity: text that changes whenever the vectors would: the encoder, its weights, its settings.
        width: length d of a vector.
        batch: default size of a batch.
    """

    @property
    def identity(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def batch(self) -> BatchLimits: ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors of some texts, (texts, d) float32; their lengths are lost later.

        A vector may depend on the other texts of the call by rounding alone.
        """
        ...


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Returns the vectors, each divided by its length, (rows, d) float16; a zero vector stays zero.

    float16 rounds each entry of a unit row by at most 2^-12 of its size, or 2^-25: a cosine changes by about 1e-4.

    Raises:
        ValueError: a vector is not finite; the message has its number.
    """
    wide = vectors.astype(np.float64)
    finite = np.isfinite(wide).all(axis=1)
    if not finite.all():
        raise ValueError(f"text {int(np.argmin(finite))} of a batch has a vector that is not finite")
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float16)
