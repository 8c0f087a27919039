"""The passes over the items of the GIP family when the host decides each pick: `step`, and the window in float64.

Arrays: `gip_gpu/backends/gpu/items.py`; the bounds are derived in `gip_gpu/greedy/projecting.py` and
`gip_gpu/numerics/error_bounds.py`. Nothing here needs a float64 root or division, which are calls that spill: `scales`
holds inverse norms.
"""

import triton
import triton.language as tl

from gip_gpu.kernels.bounds_triton import interval, positive, ratio_interval
from gip_gpu.kernels.exact_triton import double


@triton.jit
def _column(rows, h, start, count, d, length, ITEMS: tl.constexpr, DEPTH: tl.constexpr):
    """Products (ITEMS,) of h with the first `length` of d elements of the rows from `start` on."""
    own = tl.arange(0, ITEMS)
    inside = own < count - start
    rows += start * d
    total = tl.zeros((ITEMS,), tl.float32)
    for low in range(0, length, DEPTH):
        at = low + tl.arange(0, DEPTH)
        x = tl.load(rows + own[:, None] * d + at[None, :], mask=inside[:, None] & (at < d)[None, :], other=0.0)
        total += tl.sum(x.to(tl.float32) * tl.load(h + at, mask=at < d, other=0.0)[None, :], axis=1)
    return total


@triton.jit
def _measured(m, W, metric, items, inside, SIGNALS: tl.constexpr, ITEMS: tl.constexpr, WIDE: tl.constexpr):
    """Squared norms (ITEMS,) of W_j metric, WIDE of its entries at a time: outer products, no sum over threads."""
    squares = tl.zeros((ITEMS,), tl.float32)
    for low in range(0, SIGNALS, WIDE):
        k = low + tl.arange(0, WIDE)
        y = tl.zeros((WIDE, ITEMS), tl.float32)
        for i in range(SIGNALS):
            w = tl.load(W + i * tl.cast(m, tl.int64) + items, mask=inside, other=0.0)
            y += tl.load(metric + i * SIGNALS + k, mask=k < SIGNALS, other=0.0)[:, None] * w[None, :]
        squares += tl.sum(y * y, axis=0)
    return squares


# `moves` is 0 or 1, and an integer that is 1 would be a constant, in a second kernel.
@triton.jit(do_not_specialize=["moves"])
def step(m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count, moves, dr, dd, a, b,
         shrink, SIGNALS: tl.constexpr, MEASURE: tl.constexpr, POSITIVE: tl.constexpr, METRIC: tl.constexpr,
         ITEMS: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    """Projects a pick out of W~ and d2~ of items first to first + count, with these rows, and bounds their scores.

    Where `moves` is 0 no row is read; `weights` and `shrink` are 0 then. Blocks of ITEMS go round the programs, so that
    at any time all of them read from neighbouring places. WIDE signals are held at a time.
    """
    p = tl.program_id(0).to(tl.int64)
    own = tl.arange(0, ITEMS)
    best = tl.full((ITEMS,), -1.0, tl.float32)
    energy = tl.zeros((ITEMS,), tl.float64)
    for start in range(p * ITEMS, count, tl.num_programs(0) * ITEMS):
        inside = own < count - start
        items = first + start + own
        # Several threads hold each item where a tile has fewer items than the program has threads: all of them read it,
        # one writes it, and one that is late must not read what that one wrote. So reads come first, then a barrier.
        if MEASURE != "norm":
            far = tl.load(distance + items, mask=inside, other=0.0)
        c = _column(rows, h, start, count, d, d * moves, ITEMS, DEPTH)
        c *= tl.load(inverse + items, mask=inside, other=0.0)
        squares = tl.zeros((ITEMS,), tl.float32)
        if MEASURE != "norm":
            far -= c * c * shrink
        if MEASURE == "distance":
            tl.debug_barrier()
            tl.store(distance + items, far, mask=inside)
            squares = far
            lower, high = interval(far, dd)
        else:
            seen = tl.zeros((ITEMS,), tl.float32)
            for low in range(0, SIGNALS, WIDE):
                i = low + tl.arange(0, WIDE)
                at = W + i[:, None] * tl.cast(m, tl.int64) + items[None, :]
                held = (i < SIGNALS)[:, None] & inside[None, :]
                moved = tl.load(weights + i, mask=i < SIGNALS, other=0.0)[:, None] * c[None, :]
                w = tl.load(at, mask=held, other=0.0) - moved
                tl.debug_barrier()
                tl.store(at, w, mask=held)
                squares += tl.sum(w * w, axis=0)
                if POSITIVE:
                    above = positive(w)
                    seen += tl.sum(above * above, axis=0)
            if MEASURE != "norm":
                tl.store(distance + items, far, mask=inside)
            if METRIC:
                # Read again by other threads of this program.
                tl.debug_barrier()
                seen = _measured(m, W, metric, items, inside, SIGNALS, ITEMS, WIDE)
            norm = tl.sqrt(seen if POSITIVE or METRIC else squares)
            lower, high = interval(norm, dr)
        if MEASURE == "ratio":
            lower, high = ratio_interval(lower, high, far, dd, a, b)
        kept = tl.load(weight + items, mask=inside, other=-1.0)
        tl.store(upper + items, tl.where(kept > 0, high, -1.0), mask=inside)
        # No number, which comes of an overflow, counts as infinite: the host says then that the residual diverges.
        lower = tl.where(lower == lower, lower, float("inf"))
        best = tl.maximum(best, tl.where(kept > 0, lower, -1.0))
        energy += tl.where(kept >= 0, squares, 0.0).to(tl.float64)
    tl.store(parts + 2 * p, tl.max(best).to(tl.float64))
    tl.store(parts + 2 * p + 1, tl.sum(energy))


@triton.jit
def _rescore(item, d, rows, scales, scores, A, candidate_index, candidate_value, count, SIGNALS: tl.constexpr,
             WIDE: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Enters an item, ||x||^2 and its exact residual into the list. The same sums in the same order for every item:
    identical rows get identical bits."""
    place = tl.atomic_add(count, 1)
    tl.store(candidate_index + place, item)
    scale = tl.load(scales + item)
    rows += item * d
    candidate_value += place * (SIGNALS + 1)
    squares = tl.zeros((DEPTH,), tl.float64)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        x = double(tl.load(rows + c, mask=c < d, other=0.0)) * scale
        squares += x * x
    tl.store(candidate_value, tl.sum(squares))
    for low in range(0, SIGNALS, WIDE):
        i = low + tl.arange(0, WIDE)
        products = tl.zeros((WIDE, DEPTH), tl.float64)
        for start in range(0, d, DEPTH):
            c = start + tl.arange(0, DEPTH)
            x = double(tl.load(rows + c, mask=c < d, other=0.0)) * scale
            held = (i < SIGNALS)[:, None] & (c < d)[None, :]
            products += tl.load(A + i[:, None] * d + c[None, :], mask=held, other=0.0) * x[None, :]
        initial = tl.load(scores + item * SIGNALS + i, mask=i < SIGNALS, other=0.0)
        tl.store(candidate_value + 1 + i, initial - tl.sum(products, axis=1), mask=i < SIGNALS)


@triton.jit
def candidates(m, d, rows, scales, scores, A, weight, upper, floor, candidate_index, candidate_value, count,
               SIGNALS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Lists the items whose upper bound reaches `floor`, with exact residuals, and distances as long as S is I.

    x = row * scale is exact but for a rounding; BLOCK items a program, which rescores those of its own.
    """
    items = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = items < m
    high = tl.load(upper + items, mask=inside, other=-1.0) >= floor
    marked = high & (tl.load(weight + items, mask=inside, other=-1.0) > 0)
    open_ = tl.sum(marked.to(tl.int32))
    while open_ > 0:
        item = tl.min(tl.where(marked, items, m))
        _rescore(item, d, rows, scales, scores, A, candidate_index, candidate_value, count, SIGNALS, WIDE, DEPTH)
        marked = marked & (items != item)
        open_ -= 1


@triton.jit
def _share(row, scale, d, S, low, WIDE: tl.constexpr, DEPTH: tl.constexpr):
    """What WIDE columns of S from `low` on add to ||S'x||^2."""
    e = low + tl.arange(0, WIDE)
    phi = tl.zeros((DEPTH, WIDE), tl.float64)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        x = double(tl.load(row + c, mask=c < d, other=0.0)) * scale
        # d^2 entries: 2^31 are a projector of 17 GB.
        held = (c < d)[:, None] & (e < d)[None, :]
        phi += x[:, None] * tl.load(S + c[:, None] * tl.cast(d, tl.int64) + e[None, :], mask=held, other=0.0)
    root = tl.sum(phi, axis=0)
    return tl.sum(root * root)


@triton.jit
def distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, SIGNALS: tl.constexpr,
              PARTIAL: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr, PLACES: tl.constexpr,
              SHARES: tl.constexpr):  # fmt: skip
    """Exact distances ||S'x||^2 of the listed items, in place of ||x||^2.

    S is read once a candidate, which takes one multiprocessor 50 microseconds at d = 768 and 1.5 milliseconds at 4096.
    So up to PARTIAL shares of WIDE columns each are spread over the programs, and the one that finishes last adds them
    up; more candidates than that are spread whole. Either way all of them are summed alike.
    """
    p, programs = tl.program_id(0), tl.num_programs(0)
    # In 32 bits, for a division in 64 is a call too.
    listed, shares = tl.load(count).to(tl.int32), tl.cdiv(d, WIDE)
    split = listed * shares <= PARTIAL
    of_item, each = tl.where(split, shares, 1), tl.where(split, 1, shares)
    for work in range(p, listed * of_item, programs):
        place = work // of_item
        item = tl.load(candidate_index + place)
        begin = work % of_item * each
        total = tl.cast(0.0, tl.float64)
        for share in range(begin, begin + each):
            total += _share(rows + item * d, tl.load(scales + item), d, S, share * WIDE, WIDE, DEPTH)
        if split:
            tl.store(partial + work, total)
        else:
            tl.store(candidate_value + place * (SIGNALS + 1), total)
    # What this program wrote is visible before its ticket is; who draws the last one sees all.
    tl.debug_barrier()
    if tl.atomic_add(arrived, 1, sem="acq_rel") == programs - 1:
        tl.debug_barrier()
        tl.store(arrived, 0)
        if split:
            for start in range(0, listed, PLACES):
                place = start + tl.arange(0, PLACES)
                sums = tl.zeros((PLACES,), tl.float64)
                for low in range(0, shares, SHARES):
                    at = low + tl.arange(0, SHARES)
                    held = (place < listed)[:, None] & (at < shares)[None, :]
                    sums += tl.sum(
                        tl.load(partial + place[:, None] * shares + at[None, :], mask=held, other=0.0), axis=1
                    )
                tl.store(candidate_value + place * (SIGNALS + 1), sums, mask=place < listed)
