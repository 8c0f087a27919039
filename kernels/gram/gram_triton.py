"""Gram matrices of rows on the tensor cores: the whole matrix, or the columns of a batch of items.

    out[i, j] = (x_i . x_j) * inverse_i * inverse_j

with float32 accumulation; `inverse` normalises the rows in passing. An entry takes d flops, because half of the entries
are mirrored, and 2 or 4 bytes written. If the rows stay in the cache, an A100 (312 Tflop/s in 16 bits, 2 TB/s) is bound
by writes up to a d of about 300 for 2 bytes or 600 for 4, and by arithmetic beyond.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import Code, HeaderI64

REASON, FIRST, BATCH = (tl.constexpr(int(place)) for place in (HeaderI64.REASON, HeaderI64.FIRST, HeaderI64.BATCH))
LISTED = tl.constexpr(int(Code.LISTED))


@triton.jit
def _tile(left, right, left_at, right_at, left_count, right_count, d, TILE: tl.constexpr, WIDE: tl.constexpr,
          DEPTH: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """Computes products of rows left_at.. of `left` with rows right_at.. of `right`, (TILE, WIDE) float32.

    WIDEN: converts bf16 to float32, because dot in Triton's interpreter reads the bits of bf16 as integers.
    """
    i, j = tl.arange(0, TILE), tl.arange(0, WIDE)
    left, right = left + left_at * d, right + right_at * d
    of_left, of_right = i < left_count - left_at, j < right_count - right_at
    total = tl.zeros((TILE, WIDE), tl.float32)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        a = tl.load(left + i[:, None] * d + c[None, :], mask=of_left[:, None] & (c[None, :] < d), other=0.0)
        b = tl.load(right + j[None, :] * d + c[:, None], mask=of_right[None, :] & (c[:, None] < d), other=0.0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit
def _store(out, row, column, m, entry, TILE: tl.constexpr, WIDE: tl.constexpr):
    """Writes a tile of the whole matrix at (row, column).

    The address of the tile has 64 bits. Within a tile 32 bits suffice for m below 2^24, and no memory holds a wider
    matrix.
    """
    i, j = tl.arange(0, TILE), tl.arange(0, WIDE)
    inside = (i < m - row)[:, None] & (j < m - column)[None, :]
    corner = out + row * tl.cast(m, tl.int64) + column
    tl.store(corner + i[:, None] * tl.cast(m, tl.int32) + j[None, :], entry, mask=inside)


@triton.jit
def gram(rows, inverse, out, m, d, TILE: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr,
         PRECISION: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """Computes the whole matrix (m, m): only tiles on or above the diagonal, each written twice.

    TILE / WIDE programs share a square tile, because the addresses of a whole one and of its mirror image overflow the
    registers. Square p is the p-th of the upper triangle. The rows of the triangle are paired, first with last, so that
    each pair has tiles + 1 squares: no square root, no rounding.
    """
    tiles = tl.cast(tl.cdiv(m, TILE), tl.int64)
    p = tl.program_id(0).to(tl.int64)
    part = p % (TILE // WIDE) * WIDE
    square = p // (TILE // WIDE)
    pair, place = square // (tiles + 1), square % (tiles + 1)
    upper = place < tiles - pair
    row = tl.where(upper, pair, tiles - 1 - pair)
    column = tl.where(upper, pair + place, place - 1)
    if (row == pair) != upper:
        return  # The middle row of an odd number has no partner.
    top, left = row * TILE, column * TILE + part
    total = _tile(rows, rows, top, left, m, m, d, TILE, WIDE, DEPTH, PRECISION, WIDEN)
    i, j = tl.arange(0, TILE), tl.arange(0, WIDE)
    by_row = tl.load(inverse + top + i, mask=i < m - top, other=0.0)
    by_column = tl.load(inverse + left + j, mask=j < m - left, other=0.0)
    # The inverse norms are multiplied first: their product is the same on both sides of the diagonal.
    entry = (total * (by_row[:, None] * by_column[None, :])).to(out.dtype.element_ty)
    _store(out, top, left, m, entry, TILE, WIDE)
    if row != column:
        _store(out, left, top, m, tl.trans(entry), WIDE, TILE)


@triton.jit
def products(left, left_inverse, rows, inverse, out, count, m, d, stride, TILE: tl.constexpr, WIDE: tl.constexpr,
             DEPTH: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """Computes the Gram columns of a batch: out[b, j], (count, m), rows of `out` `stride` apart; tiles of (TILE, WIDE).

    Programs that share a tile of `rows` are neighbours, so that the tile is read from memory once.
    """
    p = tl.program_id(0).to(tl.int64)
    batches = tl.cdiv(count, TILE)
    row, column = (p % batches) * TILE, (p // batches) * WIDE
    total = _tile(left, rows, row, column, count, m, d, TILE, WIDE, DEPTH, PRECISION, WIDEN)
    b, j = tl.arange(0, TILE), tl.arange(0, WIDE)
    by_row = tl.load(left_inverse + row + b, mask=b < count - row, other=0.0)
    by_column = tl.load(inverse + column + j, mask=j < m - column, other=0.0)
    entry = (total * (by_row[:, None] * by_column[None, :])).to(out.dtype.element_ty)
    # 64 rows of 2^25 items are 2^31 entries.
    starts = out + column + (row + b)[:, None] * tl.cast(stride, tl.int64)
    inside = (b < count - row)[:, None] & (j < m - column)[None, :]
    tl.store(starts + j[None, :], entry, mask=inside)


@triton.jit
def listed(rows, inverse, columns, held, header_i64, m, d, stride, TILE: tl.constexpr, WIDE: tl.constexpr,
           DEPTH: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """Computes the Gram columns of the batch that the device has listed, into its slots of `columns`.

    Returns at once unless the header says that a batch is listed; the grid may be that of a larger batch.
    """
    if tl.load(header_i64 + REASON) == LISTED:
        count, first, p = tl.load(header_i64 + BATCH), tl.load(header_i64 + FIRST), tl.program_id(0).to(tl.int64)
        tiles = tl.cdiv(m, WIDE)
        row, column = (p // tiles) * TILE, (p % tiles) * WIDE
        if row < count:
            b, j = tl.arange(0, TILE), tl.arange(0, WIDE)
            real, inside = b < count - row, j < m - column
            item = tl.load(held + first + row + b, mask=real, other=0).to(tl.int64)
            left, right = rows + item * d, rows + column * d
            total = tl.zeros((TILE, WIDE), tl.float32)
            for start in range(0, d, DEPTH):
                c = start + tl.arange(0, DEPTH)
                x = tl.load(left[:, None] + c[None, :], mask=real[:, None] & (c[None, :] < d), other=0.0)
                y = tl.load(right + j[None, :] * d + c[:, None], mask=inside[None, :] & (c[:, None] < d), other=0.0)
                if WIDEN:
                    x, y = x.to(tl.float32), y.to(tl.float32)
                total = tl.dot(x, y, total, input_precision=PRECISION)
            by_row = tl.load(inverse + item, mask=real, other=0.0)
            by_column = tl.load(inverse + column + j, mask=inside, other=0.0)
            entry = (total * (by_row[:, None] * by_column[None, :])).to(columns.dtype.element_ty)
            starts = columns + column + (first + row + b)[:, None] * tl.cast(stride, tl.int64)
            tl.store(starts + j[None, :], entry, mask=real[:, None] & inside[None, :])
