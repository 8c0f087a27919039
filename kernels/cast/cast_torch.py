"""Rows as they are multiplied, by array operations of torch: normalised in float64, then rounded by way of float32."""

from typing import Any

import torch


def cast(rows: Any, norms: Any, factor: float, out: Any, multiply: str) -> None:
    """out (count, d) in `multiply` = rows / norms * factor; `factor` is a power of two."""
    single = (rows.double() / norms[:, None] * factor).float()
    if multiply == "tf32":
        # To nearest even in the upper 19 bits.
        bits = single.view(torch.int32)
        single = ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
    out.copy_(single)
