"""8-bit floats, which NumPy does not have; float32 represents all their values."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# By name in .safetensors: exponent bits, bias, whether it has no infinity and one NaN bit pattern for each sign ("FN"),
# whether the sign bit alone is the only NaN ("UZ": no negative zero). OCP 8-bit floating point specification, 2023, and
# arXiv 2206.02915.
FLOAT8 = {
    "F8_E4M3": (4, 7, True, False),
    "F8_E5M2": (5, 15, False, False),
    "F8_E4M3FNUZ": (4, 8, True, True),
    "F8_E5M2FNUZ": (5, 16, True, True),
}


@lru_cache(maxsize=len(FLOAT8))
def float8_values(kind: str) -> NDArray[np.float32]:
    """Returns the values of a type, (256,) float32, indexed by their bits.

    >>> float8_values("F8_E4M3")[[0x00, 0x38, 0xB8, 0x7E]].tolist()
    [0.0, 1.0, -1.0, 448.0]
    """
    exponent_bits, bias, finite, unsigned_zero = FLOAT8[kind]
    mantissa_bits = 7 - exponent_bits
    bits = np.arange(256)
    exponent, mantissa = (bits & 0x7F) >> mantissa_bits, bits & (2**mantissa_bits - 1)
    fraction = np.ldexp(mantissa.astype(np.float64), -mantissa_bits)
    values = np.ldexp(fraction + (exponent > 0), np.maximum(exponent, 1) - bias)
    if not finite:
        highest = exponent == 2**exponent_bits - 1
        values[highest] = np.where(mantissa[highest] > 0, np.nan, np.inf)
    elif not unsigned_zero:
        values[0x7F] = values[0xFF] = np.nan
    values = np.where(bits >= 128, -values, values)
    if unsigned_zero:
        values[0x80] = np.nan
    single: NDArray[np.float32] = values.astype(np.float32)
    return single
