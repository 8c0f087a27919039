"""Launches of the Triton Gram kernels."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.gram import gram_triton, tuning


def gram(rows: Any, inverse: Any, out: Any, multiply: str, capability: int) -> None:
    """Computes the Gram matrix `out` (m, m) of `rows` (m, d) in `multiply`.

    `inverse` (m,) float32 has the inverse norms of the rows.
    """
    m, d = rows.shape
    tile = tuned(tuning.TRITON, capability).tile(multiply, d)
    gram_triton.gram[(tile.programs(m),)](
        rows, inverse, out, m, d, TILE=tile.tile, WIDE=tile.wide, DEPTH=tile.depth, **_factors(rows, multiply),
        num_warps=tile.warps, num_stages=tile.stages, **FUSED,
    )  # fmt: skip


def products(
    left: Any, left_inverse: Any, rows: Any, inverse: Any, out: Any, multiply: str, capability: int
) -> None:  # fmt: skip
    """Computes Gram columns `out` (count, m), of any row stride: products of `left` (count, d) and `rows` (m, d)."""
    (count, d), m = left.shape, len(rows)
    tile = tuned(tuning.TRITON, capability).tile(multiply, d)
    gram_triton.products[(tile.batch_programs(count, m),)](
        left, left_inverse, rows, inverse, out, count, m, d, out.stride(0), TILE=tile.batch_tile, WIDE=tile.tile,
        DEPTH=tile.depth, **_factors(rows, multiply), num_warps=tile.warps, num_stages=tile.stages, **FUSED,
    )  # fmt: skip


def listed(
    rows: Any, inverse: Any, columns: Any, held: Any, header_i64: Any, size: int, multiply: str, capability: int
) -> None:
    """Computes the columns of the batch that the device has listed, of up to `size`, into their slots of `columns`."""
    m, d = rows.shape
    tile = tuned(tuning.TRITON, capability).tile(multiply, d)
    gram_triton.listed[(tile.batch_programs(size, m),)](
        rows, inverse, columns, held, header_i64, m, d, columns.stride(0), TILE=tile.batch_tile, WIDE=tile.tile,
        DEPTH=tile.depth, **_factors(rows, multiply), num_warps=tile.warps, num_stages=tile.stages, **FUSED,
    )  # fmt: skip


def _factors(rows: Any, multiply: str) -> dict[str, Any]:
    """Returns the precision constants of the kernels; Triton's interpreter multiplies bf16 as float32."""
    return {"PRECISION": "tf32" if multiply == "tf32" else "ieee", "WIDEN": multiply == "bf16" and not rows.is_cuda}
