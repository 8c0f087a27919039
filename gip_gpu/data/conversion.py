"""Conversion of other libraries' tensors, columns and tables, and of nested lists, to NumPy arrays of real numbers."""

import numbers
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.device_arrays import dense, to_numpy
from gip_gpu.data.tables import check_all_numbers, library_of
from gip_gpu.sources.base import NUMERIC_KINDS
from gip_gpu.sources.columns import array_of


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Converts `value` to a NumPy array of real numbers, without a copy where possible.

    Args:
        value: an array or tensor in the host's memory, a column or a table of numbers, a column of lists or arrays of
            equal length, or nested lists.
        name: name of the argument, for messages.

    Raises:
        TypeError: the values are not real numbers; a table has other columns; an array is sparse, masked or on a
            device. The message shows the call that works.
        ValueError: the rows differ in length.

    >>> import numpy as np
    >>> column = np.empty(2, object)
    >>> column[:] = [np.array([1.0, 2.0]), [3, 4]]
    >>> as_array(column, "F")
    array([[1., 2.],
           [3., 4.]])
    """
    value = _unwrapped(value, name)
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise TypeError(f"{name} is a masked array with masked values; fill them or drop the rows")
        value = value.data
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        value = _from_dlpack(value, name)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name} is a sparse {type(value).__name__}; it must be dense: {name}.toarray()")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{name} is a {type(value).__name__} that is no array of numbers: {error}") from None
    if array.dtype == object and array.ndim == 1 and len(array):
        array = _stacked(array, name)
    if array.dtype == object:
        array = _with_missing(array)
    if array.dtype.kind == "V" and array.dtype.names is None and np.can_cast(array.dtype, np.float32):
        # Types of ml_dtypes, such as bfloat16 and 8-bit floats: float32 represents all their values.
        array = array.astype(np.float32)
    if array.dtype.kind not in NUMERIC_KINDS:
        hint = f"; {name}.astype(float) makes them of other numbers" if array.dtype == object else ""
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers, any float or integer type{hint}")
    return array


def _unwrapped(value: Any, name: str) -> Any:
    """Returns the array inside a tensor, column or table, and other values unchanged; imports no library to check."""
    torch = sys.modules.get("torch")
    if torch is not None:
        rows = value if isinstance(value, (list, tuple)) else ()
        if rows and all(isinstance(row, torch.Tensor) for row in rows):
            # NumPy would convert the tensors one by one, and it has no bfloat16 or 8-bit floats.
            same = len({(row.shape, row.dtype, row.device) for row in rows if row.layout == torch.strided}) == 1
            value = torch.stack(list(rows)) if same else value
        if isinstance(value, torch.Tensor):
            if value.device.type != "cpu":
                raise TypeError(f"{name} is a tensor on {value.device}; the CPU needs {name}.cpu()")
            return to_numpy(dense(value, name), name)
    check_all_numbers(value, name)
    library = library_of(value)
    if library == "pyarrow" and hasattr(value, "type"):
        array = array_of(value, name)
        if array is None:
            raise TypeError(
                f"{name} is a {type(value).__name__} of {value.type}; it must hold numbers or lists of them"
            )
        return array
    if library == "datasets" and hasattr(value, "__getitem__"):
        # Reading a column row by row takes a hundred times as long.
        return _unwrapped(value[:], name)
    return value


def _stacked(column: NDArray[Any], name: str) -> NDArray[Any]:
    """Stacks a column of arrays or lists of equal length into a matrix; returns a column of scalars unchanged."""
    rows = [np.asarray(_unwrapped(row, f"{name}[{i}]")) for i, row in enumerate(column)]
    lengths = {row.shape for row in rows}
    if lengths == {()}:
        return column
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.shape != rows[0].shape:
            what = "None" if column[i] is None else f"of shape {row.shape}"
            raise ValueError(
                f"{name} is a column of arrays, and row {i} is {what}, where row 0 has shape {rows[0].shape}; all must "
                "be 1-d and of one length"
            )
        if row.dtype.kind not in NUMERIC_KINDS:
            raise TypeError(
                f"{name} is a column of arrays, and row {i} has dtype {row.dtype}; all must be real numbers"
            )
    return np.stack(rows)


def _with_missing(array: NDArray[Any]) -> NDArray[Any]:
    """Converts numbers mixed with None or pandas' NA to floats with NaN; returns other arrays unchanged."""
    missing = np.array([_is_missing(value) for value in array.flat], bool).reshape(array.shape)
    if not missing.any() or missing.all():
        return array
    if not all(isinstance(value, numbers.Real) for value in array[~missing]):
        return array
    floats = np.full(array.shape, np.nan)
    floats[~missing] = array[~missing].astype(np.float64)
    return floats


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"


def _from_dlpack(value: Any, name: str) -> Any:
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
            return value
        raise TypeError(f"{name} is a {type(value).__name__} that NumPy cannot take: {error}") from None
