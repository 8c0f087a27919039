"""Rows in the format in which they are multiplied, by torch: normalised in float64, rounded through float32."""

from typing import Any

import torch


def cast(rows: Any, norms: Any, factor: float, out: Any, multiply: str) -> None:
    """Computes out (count, d) in `multiply` = rows / norms * factor; `factor` is a power of two."""
    single = (rows.double() / norms[:, None] * factor).float()
    if multiply == "tf32":
        # Rounds to nearest, ties to even, in the upper 19 bits.
        bits = single.view(torch.int32)
        single = ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
    out.copy_(single)
