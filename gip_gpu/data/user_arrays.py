"""User arrays (matrices, scores, queries, initial indices): conversion and validation, with errors in user terms."""

import math
import reprlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.conversion import as_array
from gip_gpu.data.device_arrays import on_gpu, to_host
from gip_gpu.data.tables import check_scores
from gip_gpu.sources import Source, as_source
from gip_gpu.sources.in_memory import InMemorySource
from gip_gpu.sources.unnamed import check_identifiers, check_not_embeddings, check_unnamed
from gip_gpu.system.files import NoRows
from gip_gpu.validation.settings import LARGEST

# Largest memory map, in bytes, that may become resident when it is read.
SMALL_MAP = 1 << 26


def as_matrix(value: Any, name: str, memory_limit: int | float | str | None = None) -> NDArray[Any] | Source:
    """Converts `value` to a 2-d real array of any float or integer type, without a copy where possible.

    Accepts arrays of any strides, nested lists, CPU tensors (with gradients too), table columns, and any object with
    `__dlpack__`, `__array_interface__` or `__array__`. A path, a large memory map or a `Source` becomes a `Source` that
    is read in blocks; a file that must be read whole becomes an array.

    Args:
        value: rows.
        name: name of the argument, for messages.
        memory_limit: limit for a file that must be read whole, as in `gip_gpu.sources.open_matrix`.

    Raises:
        TypeError: complex, object, string or other values that are not real numbers; a tensor on another device.
        ValueError: the value is not 2-d, or has no rows or columns.
    """
    # The pages of a small map may stay resident: its rows are then read without delay.
    small = isinstance(value, np.memmap) and value.nbytes <= SMALL_MAP
    source = None if small else as_source(value, dimensions=(2,), memory_limit=memory_limit)
    if isinstance(source, InMemorySource):
        if source.origin is not None and source.origin.what == "column":
            check_identifiers(source, source.array, name)
        return source.array
    return _in_memory(value, name) if source is None else source


def as_scores(
    value: Any,
    shape: tuple[int, int],
    names: tuple[str, str] = ("F", "G"),
    *,
    missing: bool = False,
    reads: Sequence[str] = (),
) -> NDArray[np.float64]:
    """Copies `value` to (m, n) float64 scores, and checks that they fit F.

    Args:
        value: scores, (m,) or (m, n).
        shape: (m, d), the shape of F.
        names: names of F and G, for messages.
        missing: allow non-finite values.
        reads: `gip_gpu.sources.places` of F.

    Raises:
        TypeError: the value is None or does not hold real numbers.
        ValueError: the shape is not (m,) or (m, n); a value is NaN or infinite (the message names the first five such
            rows) or beyond 1e150.
    """
    if value is None:
        raise TypeError("G is None; it must be scores of shape (m,) or (m, n); where there are none, "
                        "gip_gpu.signals.self_compression(F) makes them from F")  # fmt: skip
    G = names[1]
    source = as_source(value)
    if source is None:
        check_scores(value, G)
    else:
        check_unnamed(source, G)
        check_not_embeddings(source, shape, reads, names)
    array = as_array(to_host(value, G) if on_gpu(value) else value, G) if source is None else source
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{G} has shape {array.shape}; it must be (m,) or (m, n), one row an item")
    check_rows_of_scores(array.shape, shape, names)
    if array.shape[1] == 0:
        raise ValueError(f"{G} has shape {array.shape}; it must have at least one column")
    scores = array.as_float64() if isinstance(array, Source) else array.astype(np.float64)
    if source is not None:
        check_identifiers(source, scores, G)
    finite = np.isfinite(scores)
    if not missing and not finite.all():
        raise ValueError(_not_finite(G, scores, np.asarray(finite.all(axis=1))))
    largest = max(scores.max(where=finite, initial=0.0), -scores.min(where=finite, initial=0.0))
    if 0 < largest < 1 / LARGEST:
        raise ValueError(f"{G} has no value beyond {1 / LARGEST:g} in size; scale the scores up")
    if largest > LARGEST:
        row = int(np.flatnonzero(((np.abs(scores) > LARGEST) & finite).any(axis=1))[0])
        raise ValueError(
            f"{G} has a value beyond {LARGEST:g} in row {row} ({_brief(scores[row])}); scale the scores down"
        )
    return scores


def check_rows_of_scores(scores: tuple[int, ...], shape: tuple[int, int], names: tuple[str, str] = ("F", "G")) -> None:
    """Raises ValueError if scores of shape `scores` and F of shape `shape` differ in their number of rows."""
    (m, d), (F, G) = shape, names
    if scores[0] != m:
        hint = ""
        if scores[0] == d:
            hint = f"; {F} looks transposed: it must have one row an item, so give {F}.T"
        elif m in scores:
            hint = f"; {G} looks transposed: give {G}.T"
        raise ValueError(f"{G} has {scores[0]} rows and {F} has {m} (shapes {scores} and {shape}); "
                         f"row i of {G} belongs to row i of {F}{hint}")  # fmt: skip


def bad_rows(name: str, values: Any, norms: NDArray[np.float64], *, zero_allowed: bool, centred: bool = False) -> None:
    """Raises ValueError if rows are not finite (it names the first five), too large, or zero and not `zero_allowed`.

    Args:
        name: name of the rows, for messages.
        values: the rows.
        norms: (m,) their norms.
        zero_allowed: whether zero rows are allowed.
        centred: whether the mean row was subtracted, so that a zero row equals it.
    """
    usable = norms <= LARGEST if zero_allowed else (norms <= LARGEST) & (norms > 0)
    if usable.all():
        return
    finite = np.isfinite(norms)
    if not finite.all():
        raise ValueError(_not_finite(name, values, finite))
    row = int(np.flatnonzero(~usable)[0])
    shown = f"row {row} ({_brief(values[row])})"
    if norms[row] > LARGEST:
        raise ValueError(f"{name} has norm {norms[row]:g} in {shown}; at most {LARGEST:g} is possible")
    zero = np.flatnonzero(norms == 0)
    count = len(zero)
    if centred:
        named = ", ".join(map(str, zero[:5].tolist())) + (", ..." if count > 5 else "")
        raise ValueError(
            f"{name} has {count} row{'s' * (count > 1)} equal to the mean row ({named}): centring makes zero rows, "
            "which cannot be normalised; drop such rows, do not centre (center=False, --no-center) or do not normalise "
            "(normalize=False, --no-normalize)"
        )
    raise ValueError(f"{name} has a zero row, {shown}, {count} in all, which cannot be normalised; "
                     "drop such rows or do not normalise (normalize=False, --no-normalize)")  # fmt: skip


def as_columns(value: Any, name: str, *, scores: bool = False) -> NDArray[np.float64]:
    """Copies `value` to a (rows, n) float64 array; (rows,) is one column.

    Args:
        value: columns.
        name: name of the argument, for messages.
        scores: the columns are scores; columns that the user did not name and that may be embeddings or an identifier
            are rejected.

    Raises:
        TypeError: complex, object, string or other values that are not real numbers.
        ValueError: the value is neither 1-d nor 2-d, or has no rows or columns; scores may be something else.
    """
    if (source := as_source(value)) is not None:
        if scores:
            check_unnamed(source, name)
        found = source.as_float64()
        if scores:
            check_identifiers(source, found, name)
        return found
    if scores:
        check_scores(value, name)
    if on_gpu(value):
        value = to_host(value, name)
    array = as_array(value, name)
    matrix = _in_memory(array.reshape(-1, 1) if array.ndim == 1 else array, name)
    return matrix.astype(np.float64, order="C")


def as_query(Q: Any, d: int, m: int | None = None) -> NDArray[np.float64]:
    """Copies `Q` to a (d, n) float64 array; (d,) is one column.

    Args:
        Q: a query.
        d: number of columns of F.
        m: number of rows of F, to recognise scores passed as a query.

    Raises:
        TypeError: Q is None or does not hold real numbers.
        ValueError: the shape is not (d,) or (d, n), a value is not finite, or a column has a norm beyond 1e150.
    """
    if Q is None:
        raise TypeError(
            "Q is None; it must be a query of shape (d,) or (d, n); entropy and entropy_path measure without one"
        )
    query = as_columns(Q, "Q")
    if len(query) != d:
        hint = ""
        if query.shape[1] == d:
            hint = "; Q looks transposed: give Q.T"
        elif len(query) == m:
            hint = "; F looks transposed, or Q holds scores, of which gip_gpu.signals.ridge_query makes a query"
        raise ValueError(f"Q has shape {query.shape} and F has {d} columns; a query is (d,) or (d, n){hint}")
    lengths = np.array([math.hypot(*column) for column in query.T.tolist()])
    if not (lengths <= LARGEST).all():
        column = int(np.flatnonzero(~(lengths <= LARGEST))[0])
        if not np.isfinite(query[:, column]).all():
            raise ValueError(f"Q has a value that is not finite in column {column}; all must be finite")
        raise ValueError(f"Q has norm {lengths[column]:g} in column {column}; at most {LARGEST:g} is possible")
    return query


def as_initial(initial: Any, m: int, k: int) -> NDArray[np.int64]:
    """Converts `initial`, as `as_indices` does.

    Args:
        initial: indices of rows, or a selection.
        m: number of rows.
        k: number of picks wanted in addition.

    Raises:
        TypeError, ValueError: as `as_indices`; too many.
    """
    indices = as_indices(initial, m, "initial")
    if k + len(indices) > m:
        raise ValueError(f"k is {k} and initial has {len(indices)}; together they must be at most m = {m}")
    return indices


def as_indices(given: Any, m: int, name: str) -> NDArray[np.int64]:
    """Converts indices of rows to (n,) int64; None and an empty sequence give none.

    Args:
        given: indices of rows, or a selection.
        m: number of rows.
        name: of the argument, for messages.

    Raises:
        TypeError: the values are not indices; bools are not.
        ValueError: not 1-d, out of range, or a duplicate.
    """
    wanted = f"{name} must be a 1-d sequence of indices of rows, all different"
    if isinstance(given, (str, bytes, Set, Mapping)):
        raise TypeError(f"{name} is {reprlib.repr(given)} ({type(given).__name__}); {wanted}")
    try:
        array = as_array(() if given is None else given, name)
    except TypeError as error:
        raise TypeError(f"{error}; {wanted}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; {wanted}")
    if not len(array):
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; {wanted}, ints")
    outside = np.flatnonzero((array < 0) | (array >= m))
    if len(outside):
        raise ValueError(f"{name} has {array[outside[0]]} at place {outside[0]}; {wanted}, from 0 to {m - 1}")
    indices = array.astype(np.int64)
    again = np.setdiff1d(np.arange(len(indices)), np.unique(indices, return_index=True)[1])
    if len(again):
        raise ValueError(f"{name} has {indices[again[0]]} at place {again[0]} for the second time; {wanted}")
    return indices


def _in_memory(value: Any, name: str) -> NDArray[Any]:
    """Converts a value in memory as `as_matrix` does."""
    array = as_array(value, name)
    error = NoRows if array.shape[:1] == (0,) else ValueError
    if array.ndim != 2:
        hint = f"; a single column is {name}.reshape(-1, 1)" if array.ndim == 1 else ""
        raise error(f"{name} has shape {array.shape}; it must be a 2-d array, one row an item{hint}")
    if 0 in array.shape:
        raise error(f"{name} has shape {array.shape}; it must have at least one row and one column")
    return array


def _not_finite(name: str, values: Any, finite: NDArray[np.bool_]) -> str:
    """Returns the message that names the rows that are not finite."""
    rows = np.flatnonzero(~finite)
    shown = f"row {rows[0]} ({_brief(values[rows[0]])})"
    if len(rows) > 1:
        named = ", ".join(map(str, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")
        shown += f", {len(rows)} such rows in all ({named})"
    return (
        f"{name} has a value that is not finite in {shown}; all must be finite; select with on_nan='drop' "
        "(--on-nan drop) leaves such rows out"
    )


def _brief(row: NDArray[Any]) -> str:
    """Returns the first values of a row, for a message."""
    shown = ", ".join(f"{float(value):g}" for value in row[:3])
    return f"[{shown}{', ...' if len(row) > 3 else ''}]"
