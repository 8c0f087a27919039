"""Checks of scores without a key: data that may be embeddings or an identifier must be named to be used as scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.base import Source
from gip_gpu.sources.names import Origin, like_identifier, listing

# Fewer integers may be consecutive or ascending by chance; five distinct ones are ascending with probability 1/120.
FEWEST_CONSECUTIVE, FEWEST_ASCENDING = 3, 5


def check_unnamed(source: Source, name: str) -> None:
    """Raises ValueError if scores were chosen without a key and may be the embeddings.

    Args:
        source: the scores; no row is read.
        name: name of the argument, for messages.
    """
    origin = source.origin
    if origin is not None and origin.matrix and origin.request.key is None:
        better = [other for other in origin.plain if not like_identifier(other)] or origin.names
        raise ValueError(
            f"{name}: the {origin.what} {origin.names[0]!r} of {source.name} is taken for scores only by its name, as "
            f"it may be the embeddings; the file holds {listing(origin.held)}; name the scores by "
            f"{origin.request.call(better[:1])}"
        )


def check_not_embeddings(
    source: Source, shape: tuple[int, int], reads: Sequence[str], names: tuple[str, str] = ("F", "G")
) -> None:
    """Raises ValueError if scores without a key are the matrix F itself, from the file of F.

    Args:
        source: the scores.
        shape: (m, d), the shape of F.
        reads: `gip_gpu.sources.places` of F.
        names: names of F and G, for messages.
    """
    asked = source.origin is not None and source.origin.request.key is not None
    if not asked and shape[1] > 1 and source.shape == shape and set(source.places()) <= set(reads):
        F, G = names
        raise ValueError(
            f"{G} is {source.name}, the file of {F} itself; it must be that of the scores, or, where the embeddings "
            f"are the scores, an array: gip_gpu.sources.open_matrix({source.name!r})[:]"
        )


def check_identifiers(source: Source, scores: NDArray[Any], name: str) -> None:
    """Raises ValueError if a column chosen without a key has the name or the values of an identifier.

    Args:
        source: the source of the scores.
        scores: (m, n), all scores or consecutive rows of them.
        name: name of the argument, for messages.
    """
    origin = source.origin
    if origin is None or origin.request.key is not None:
        return
    for column in range(scores.shape[1]):
        if why := _suspicion(origin, column, scores[:, column]):
            raise ValueError(f"{name}: {_label(origin, column)} of {source.name} {why}{_way_out(origin, scores)}")


def ascending(column: NDArray[Any]) -> str | None:
    """Describes consecutive or ascending integers, for a message; returns None for other values.

    >>> import numpy as np
    >>> ascending(np.arange(10.0)), ascending(np.array([3.0, 7, 9, 20, 31])), ascending(np.array([3.0, 3, 4, 5, 6]))
    ('0 to 9, as row numbers do', '5 different integers in ascending order', None)
    """
    m = len(column)
    if m < FEWEST_CONSECUTIVE or not np.isfinite(column).all() or (column != np.floor(column)).any():
        return None
    steps = np.diff(column)
    if (steps == 1).all():
        return f"{column[0]:.0f} to {column[-1]:.0f}, as row numbers do"
    return f"{m} different integers in ascending order" if m >= FEWEST_ASCENDING and (steps > 0).all() else None


def suspicion(name: str, values: NDArray[Any]) -> str | None:
    """Returns the reason why a column with this name and these values may be an identifier, or None."""
    if like_identifier(name):
        return "has the name of an identifier"
    if name.lower().endswith(("id", "idx")) and len(values) >= FEWEST_ASCENDING and ascending(np.sort(values)):
        # Names such as valid, grid and paid end in "id" too; the values distinguish them.
        return f"has a name like an identifier and {len(values)} different integers"
    order = ascending(values)
    return None if order is None else f"holds {order}"


def _suspicion(origin: Origin, column: int, values: NDArray[Any]) -> str | None:
    return suspicion(origin.names[min(column, len(origin.names) - 1)] if origin.names else "", values)


def _label(origin: Origin, column: int) -> str:
    if not origin.names:
        return f"column {column + 1}"
    if origin.what in ("array", "tensor"):
        return f"{origin.what} {origin.names[0]!r}" if column == 0 else f"column {column} of {origin.names[0]!r}"
    return f"{origin.what} {origin.names[column]!r}"


def _way_out(origin: Origin, scores: NDArray[Any]) -> str:
    """Returns a hint with the call that works."""
    if not origin.names:
        call = origin.request.call(("quality",))
        return f"; name the columns in a first line, and the scores, if they are called quality, by {call}"
    good = [name for j, name in enumerate(origin.names) if not _suspicion(origin, j, scores[:, j])]
    return f"; name the scores by {origin.request.call(good or origin.names)}"
