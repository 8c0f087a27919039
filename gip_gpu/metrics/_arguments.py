"""Checked arguments of the measures: indices and chosen rows."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import row_norms
from gip_gpu.data.user_arrays import as_matrix, bad_rows
from gip_gpu.validation.settings import flag


def as_indices(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Returns indices as int64; raises TypeError or ValueError unless they are a one-dimensional array of ints >= 0."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise TypeError(f"{name} must be integers, got a {type(values).__name__} that is no array: {error}") from None
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be below 2^63, got {array.max()}")
    return array.astype(np.int64)


def as_choice(values: ArrayLike, m: int) -> NDArray[np.int64]:
    """Returns the indices of a choice out of m items as int64; ValueError unless they are in range and distinct."""
    chosen = as_indices(values, "indices")
    if len(chosen) and chosen.max() >= m:
        raise ValueError(f"indices must be below the number of rows {m}, got {chosen.max()}")
    if len(np.unique(chosen)) < len(chosen):
        raise ValueError("indices must be distinct, got repeated ones")
    return chosen


def chosen_rows(F: ArrayLike, indices: ArrayLike, normalize: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the chosen rows of F as directions (k, d), unit or zero, and lengths (k,), all 1 if `normalize`.

    Only the chosen rows are read.
    """
    flag("normalize", normalize)
    matrix = as_matrix(F, "F")
    chosen = as_choice(indices, len(matrix))
    rows = matrix[chosen].astype(np.float64)
    lengths = row_norms(rows)
    norms = np.ones(len(matrix))  # of all rows, so that a message names the row of F
    norms[chosen] = lengths
    bad_rows("F", matrix, norms, zero_allowed=not normalize)
    directions: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)[:, None]
    return directions, np.ones(len(chosen)) if normalize else lengths
