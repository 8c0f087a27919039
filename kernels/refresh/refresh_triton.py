"""Refresh of the residual in float64: W~ = G - F A for a chunk of rows, rounded to float32 once."""

import triton
import triton.language as tl

from gip_gpu.kernels.exact_triton import double


@triton.jit
def refresh(m, d, rows, norms, scores, A, W, weight, largest, first, count, SIGNALS: tl.constexpr,
            ITEMS: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Recomputes items first to first + count of the pool, ITEMS in each program; `rows` points at the first row.

    The kernel divides the sum by the row's norm, not each element: one rounding either way, and a float64 division
    costs twenty multiplications. `largest` has an entry for each program of the whole pool's grid: the largest ||W_j||
    of its items with a positive weight. Items with a negative weight (of earlier rounds) get 0.
    """
    p = tl.program_id(0).to(tl.int64)
    own = p * ITEMS + tl.arange(0, ITEMS)
    inside = own < count
    items = first + own
    held = tl.load(weight + items, mask=inside, other=-1.0)
    norm = tl.load(norms + items, mask=inside, other=1.0)
    squares = tl.zeros((ITEMS,), tl.float64)
    for i in range(SIGNALS):
        total = tl.zeros((ITEMS,), tl.float64)
        for start in range(0, d, DEPTH):
            c = start + tl.arange(0, DEPTH)
            x = tl.load(rows + own[:, None] * d + c[None, :], mask=inside[:, None] & (c[None, :] < d), other=0.0)
            a = tl.load(A + i * d + c, mask=c < d, other=0.0)
            total += tl.sum(double(x) * a[None, :], axis=1)
        score = tl.load(scores + items * SIGNALS + i, mask=inside, other=0.0)
        exact = tl.where(held >= 0, score - total / norm, 0.0)
        tl.store(W + i * tl.cast(m, tl.int64) + items, exact.to(tl.float32), mask=inside)
        squares += exact * exact
    tl.store(largest + first // ITEMS + p, tl.sqrt(tl.max(tl.where(held > 0, squares, 0.0))))
