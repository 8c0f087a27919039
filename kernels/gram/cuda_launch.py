"""Launches of gram.cu."""

from typing import Any

from numpy import int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.gram import tuning


def gram(rows: Any, inverse: Any, out: Any, multiply: str, storage: str, chip: Chip) -> None:
    """Computes the Gram matrix `out` (m, m) in `storage` of `rows` (m, d) in `multiply`.

    `inverse` (m,) float32 has the inverse norms of the rows.
    """
    m, d = rows.shape
    tile = tuned(tuning.CUDA, chip.capability)[multiply]
    kernel = cuda_source.kernel("gram", "gram", tile.macros(multiply, storage))
    kernel((tile.tiles(m),), (tile.threads,), (rows, inverse, out, int64(m), int32(d), int64(0)))


def products(
    left: Any, left_inverse: Any, rows: Any, inverse: Any, out: Any, multiply: str, storage: str, chip: Chip
) -> None:
    """Computes Gram columns `out` (count, m), of any row stride: products of `left` (count, d) and `rows` (m, d)."""
    (count, d), m = left.shape, len(rows)
    tile = tuned(tuning.CUDA, chip.capability)[multiply]
    kernel = cuda_source.kernel("gram", "products", tile.macros(multiply, storage))
    stride = out.strides[0] // out.itemsize
    arguments = (left, left_inverse, rows, inverse, out, int64(count), int64(m), int32(d), int64(stride))
    kernel(tile.products_grid(count, m), (tile.threads,), arguments)


def listed(
    rows: Any,
    inverse: Any,
    columns: Any,
    held: Any,
    header_i64: Any,
    size: int,
    multiply: str,
    storage: str,
    chip: Chip,
) -> None:
    """Computes the columns of the batch that the device has listed, of up to `size`, into their slots of `columns`."""
    m, d = rows.shape
    tile = tuned(tuning.CUDA, chip.capability)[multiply]
    kernel = cuda_source.kernel("gram", "listed", tile.macros(multiply, storage))
    kernel(tile.products_grid(size, m), (tile.threads,), (rows, inverse, columns, held, header_i64, int64(m), int32(d)))
