"""Scores that nobody named: what of a file is taken for scores only by its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.base import Source
from gip_gpu.sources.names import Origin, like_identifier, listing

# Fewer integers may well be consecutive, or in order, by chance: 1 in 120 where five are all different.
FEWEST_CONSECUTIVE, FEWEST_ASCENDING = 3, 5


def check_unnamed(source: Source, name: str) -> None:
    """Raises ValueError where what a file holds would be taken for scores without a name, and may be the embeddings.

    Args:
        source: that nothing was read from.
        name: of the argument, for messages.
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
    """Raises ValueError where scores that nobody named are the matrix that F is, from the file of F.

    Args:
        source: the scores.
        shape: of F.
        reads: `gip_gpu.sources.places` of F.
        names: of F and G, for messages.
    """
    asked = source.origin is not None and source.origin.request.key is not None
    if not asked and shape[1] > 1 and source.shape == shape and set(source.places()) <= set(reads):
        F, G = names
        raise ValueError(
            f"{G} is {source.name}, the file of {F} itself; it must be that of the scores, or, where the embeddings "
            f"are the scores, an array: gip_gpu.sources.open_matrix({source.name!r})[:]"
        )


def check_identifiers(source: Source, scores: NDArray[Any], name: str) -> None:
    """Raises ValueError where a column that was not named has the name or the values of an identifier.

    Args:
        source: that the scores were read from.
        scores: (m, n), all of them or consecutive rows.
        name: of the argument, for messages.
    """
    origin = source.origin
    if origin is None or origin.request.key is not None:
        return
    for column in range(scores.shape[1]):
        if why := _suspicion(origin, column, scores[:, column]):
            raise ValueError(f"{name}: {_label(origin, column)} of {source.name} {why}{_way_out(origin, scores)}")


def ascending(column: NDArray[Any]) -> str | None:
    """What integers in order look like, None for other values.

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
    """Why a column with this name and these values may be an identifier; None where nothing says so."""
    if like_identifier(name):
        return "has the name of an identifier"
    if name.lower().endswith(("id", "idx")) and len(values) >= FEWEST_ASCENDING and ascending(np.sort(values)):
        # Of valid, grid and paid the values tell.
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
    """The call that works."""
    if not origin.names:
        call = origin.request.call(("quality",))
        return f"; name the columns in a first line, and the scores, if they are called quality, by {call}"
    good = [name for j, name in enumerate(origin.names) if not _suspicion(origin, j, scores[:, j])]
    return f"; name the scores by {origin.request.call(good or origin.names)}"
