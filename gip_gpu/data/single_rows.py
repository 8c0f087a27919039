"""Rows of F in float32 for matrix products: converted block by block from the input, at memory speed."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows

Single = NDArray[np.float32]

# Norms in this range have a reciprocal in float32's range, also after multiplication by `WIDEN`.
SMALLEST, LARGEST = 2.0**-14, 2.0**100
# Values converted at a time: input and output of a conversion stay in a core's L2 cache.
VALUES = 1 << 17
# Values in a chunk of streamed rows: 8 MiB in float32, enough for a product to run at its full rate.
CHUNK = 1 << 21
# Threads that read and convert such chunks ahead of the product.
READERS = min(3, os.cpu_count() or 1)

# The bits of a float16 (sign, exponent, mantissa), shifted to float32's positions, are a float32 of 2**-112 its value.
WIDEN = np.float32(2.0**112)
BITS = np.array(0x8FFFE000, np.uint32).view(np.int32)[()]


class SingleRows:
    """Rows x_j = f_j / 2**exponent in float32, normalised if those of `rows` are.

    float16 and float32 values are multiplied in float32 by the reciprocal of their norm. This rounds twice; conversion
    through float64 rounds once and takes several times as long.

    Args:
        rows: the exact rows.
        exponent: exponent such that no norm of x_j exceeds 1.

    Attributes:
        shape: (m, d).
        roundings: number of times that a value is rounded.

    >>> SingleRows(Rows([[3, 4], [0, 2]]), 0).take([0])
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(self, rows: Rows, exponent: int) -> None:
        self.rows, self.exponent = rows, exponent
        self.shape = rows.shape
        self.half = rows.values.dtype == np.float16 and _subnormals_count()
        norms = rows.norms
        self.quick = bool(
            (self.half or rows.values.dtype == np.float32)
            and rows.values.dtype.isnative
            and norms.max() <= LARGEST
            and (norms.min() >= SMALLEST or not rows.normalize)
        )
        self.roundings = 2 if self.quick else 1
        if self.quick:
            factors = 1 / norms if rows.normalize else np.full(1, 2.0**-exponent)
            # A column, to multiply rows; without normalisation all its entries are equal.
            self.factors = np.broadcast_to(factors.astype(np.float32)[:, None], (len(norms), 1))

    def block(self, start: int, stop: int, out: Single) -> None:
        """Writes rows start to stop into `out`, (stop - start, d)."""
        step = max(1, VALUES // self.shape[1])
        for first in range(start, stop, step):
            last = min(first + step, stop)
            part = out[first - start : last - start]
            if self.quick:
                self._convert(self.rows.values[first:last], self.factors[first:last], part)
            else:
                exact = self.rows.block(first, last)
                np.multiply(exact, 2.0**-self.exponent, out=part, casting="same_kind")

    def take(self, indices: Any) -> Single:
        """Returns the rows with these indices, (len(indices), d) float32."""
        indices = np.asarray(indices, np.int64)
        found = np.empty((len(indices), self.shape[1]), np.float32)
        step = max(1, VALUES // self.shape[1])
        for first in range(0, len(indices), step):
            wanted = indices[first : first + step]
            part = found[first : first + step]
            if self.quick:
                self._convert(self.rows.values[wanted], self.factors[wanted], part)
            else:
                np.multiply(self.rows.take(wanted), 2.0**-self.exponent, out=part, casting="same_kind")
        return found

    def _convert(self, given: NDArray[Any], factors: Single, out: Single) -> None:
        if self.half:
            bits = out.view(np.int32)
            bits[:] = given.view(np.int16)
            np.left_shift(bits, 13, out=bits)
            np.bitwise_and(bits, BITS, out=bits)
            np.multiply(out, factors * WIDEN, out=out)
        else:
            np.multiply(given, factors, out=out)


def _subnormals_count() -> bool:
    """Returns whether this process computes with subnormal numbers; some libraries set flush-to-zero."""
    smallest = np.array([1 << 13], np.int32).view(np.float32)
    return bool((smallest * WIDEN == np.float32(2.0**-24)).all())
