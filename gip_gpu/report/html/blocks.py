"""Arrays inside a page: compressed, in base64, with their type."""

import base64
import sys
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# JavaScript's typed arrays.
TYPES = {"uint8": "Uint8Array", "uint16": "Uint16Array", "uint32": "Uint32Array", "float32": "Float32Array"}


def block(values: NDArray[Any] | bytes) -> dict[str, str]:
    """Returns an array, or bytes, as JSON: the name of its JavaScript type, and its zlib stream in base64.

    Raises:
        TypeError: a dtype without a JavaScript array.

    >>> block(np.array([1, 2], np.uint8))["type"]
    'Uint8Array'
    """
    if isinstance(values, bytes):
        return {"type": "Uint8Array", "data": _packed(values)}
    kind = TYPES.get(values.dtype.name)
    if kind is None:
        raise TypeError(f"a block has dtype {values.dtype}; it must be one of {', '.join(TYPES)}")
    little = values.astype(values.dtype.newbyteorder("<")) if sys.byteorder == "big" else values
    return {"type": kind, "data": _packed(np.ascontiguousarray(little).tobytes())}


def smallest(values: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Returns integers of at least 0 in the smallest type that holds them."""
    largest = int(values.max(initial=0))
    return values.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32)


def quantised(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint16]:
    """Returns values in [low, high] as whole steps from 0 to 65,535."""
    span = high - low if high > low else 1.0
    return np.clip(np.rint((values - low) / span * 65535), 0, 65535).astype(np.uint16)


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
