"""The passes over the items of the projecting objectives: `step`, and the window in float64.

`step`, `candidates` and `distances` are launched by a host that decides a pick. If the device decides, `gated_step`,
`gated_candidates` and `gated_distances` do the same with numbers from its header (`kernels/pick`).

Arrays: `gip_gpu/backends/gpu/items.py`; the bounds are derived in `gip_gpu/greedy/projecting.py` and
`gip_gpu/numerics/error_bounds.py`. No kernel uses float64 roots or divisions, which are calls that spill: `scales`
holds inverse norms.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import Code, PickF64, PickI64
from gip_gpu.kernels.bounds_triton import OFF, interval, lowest_bound, positive, projecting_floor, ratio_interval
from gip_gpu.kernels.exact_triton import double

REASON, RUNNING = tl.constexpr(int(PickI64.REASON)), tl.constexpr(int(Code.RUNNING))
RESIDUAL_BOUND, DISTANCE_BOUND, SHRINK, FARTHEST = (
    tl.constexpr(int(place))
    for place in (PickF64.RESIDUAL_BOUND, PickF64.DISTANCE_BOUND, PickF64.SHRINK, PickF64.FARTHEST)
)


@triton.jit
def _column(rows, h, start, count, d, length, ITEMS: tl.constexpr, DEPTH: tl.constexpr):
    """Computes the products (ITEMS,) of h with the first `length` of d elements of the rows from `start` on."""
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
    """Computes squared norms (ITEMS,) of W_j metric, WIDE entries at a time: outer products, no sum over threads."""
    squares = tl.zeros((ITEMS,), tl.float32)
    for low in range(0, SIGNALS, WIDE):
        k = low + tl.arange(0, WIDE)
        y = tl.zeros((WIDE, ITEMS), tl.float32)
        for i in range(SIGNALS):
            w = tl.load(W + i * tl.cast(m, tl.int64) + items, mask=inside, other=0.0)
            y += tl.load(metric + i * SIGNALS + k, mask=k < SIGNALS, other=0.0)[:, None] * w[None, :]
        squares += tl.sum(y * y, axis=0)
    return squares


@triton.jit
def _step(m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count, moves, dr, dd, a, b,
          shrink, SIGNALS: tl.constexpr, MEASURE: tl.constexpr, POSITIVE: tl.constexpr, METRIC: tl.constexpr,
          WEIGHTED: tl.constexpr, ITEMS: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    """Projects a pick out of W~ and d2~ of items first to first + count, with these rows, and bounds their scores.

    If `moves` is 0, no row is read, and `weights` and `shrink` are 0. Programs take blocks of ITEMS in turn, so that at
    any time all of them read from neighbouring places. A program holds WIDE signals at a time.
    """
    p = tl.program_id(0).to(tl.int64)
    own = tl.arange(0, ITEMS)
    best = tl.full((ITEMS,), -1.0, tl.float32)
    energy = tl.zeros((ITEMS,), tl.float64)
    for start in range(p * ITEMS, count, tl.num_programs(0) * ITEMS):
        inside = own < count - start
        items = first + start + own
        # If a tile has fewer items than the program has threads, several threads hold each item: all of them read it,
        # one writes it, and a late thread must not read the written value. So reads come first, then a barrier.
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
                # Other threads of this program read it again.
                tl.debug_barrier()
                seen = _measured(m, W, metric, items, inside, SIGNALS, ITEMS, WIDE)
            norm = tl.sqrt(seen if POSITIVE or METRIC else squares)
            lower, high = interval(norm, dr)
        if MEASURE == "ratio":
            lower, high = ratio_interval(lower, high, far, dd, a, b)
        kept = tl.load(weight + items, mask=inside, other=-1.0)
        if WEIGHTED:
            # Weights multiply distances, and their roots norms and ratios; OFF covers the rounding.
            weighted = (kept > 0) & (kept < 1)
            share = tl.where(weighted, kept, 1.0)
            if MEASURE != "distance":
                share = tl.sqrt(share)
            lower = tl.where(weighted, lower * (share * (1 - OFF)), lower)
            high = tl.where(weighted, high * (share * (1 + OFF)), high)
        tl.store(upper + items, tl.where(kept > 0, high, -1.0), mask=inside)
        # NaN, the result of an overflow, counts as infinite: the host then reports that the residual diverges.
        lower = tl.where(lower == lower, lower, float("inf"))
        best = tl.maximum(best, tl.where(kept > 0, lower, -1.0))
        energy += tl.where(kept >= 0, squares, 0.0).to(tl.float64)
    tl.store(parts + 2 * p, tl.max(best).to(tl.float64))
    tl.store(parts + 2 * p + 1, tl.sum(energy))


# `moves` is 0 or 1. Triton would specialise the integer 1 to a constant and compile a second kernel.
@triton.jit(do_not_specialize=["moves"])
def step(m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count, moves, dr, dd, a, b,
         shrink, SIGNALS: tl.constexpr, MEASURE: tl.constexpr, POSITIVE: tl.constexpr, METRIC: tl.constexpr,
         ITEMS: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    """Makes the step of a pick that the host has decided, with its numbers as arguments; see `_step`."""
    _step(m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count, moves, dr, dd, a, b,
          shrink, SIGNALS, MEASURE, POSITIVE, METRIC, True, ITEMS, DEPTH, WIDE)  # fmt: skip


@triton.jit
def gated_step(m, d, rows, inverse, h, weights, W, distance, weight, upper, parts, picks_f64, picks_i64, a, b,
               SIGNALS: tl.constexpr, MEASURE: tl.constexpr, POSITIVE: tl.constexpr, ITEMS: tl.constexpr,
               DEPTH: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    """Makes the step of a pick that the device has decided; see `_step`. Returns at once unless the device decides."""
    if tl.load(picks_i64 + REASON) == RUNNING:
        dr = tl.load(picks_f64 + RESIDUAL_BOUND).to(tl.float32)
        dd = tl.load(picks_f64 + DISTANCE_BOUND).to(tl.float32)
        shrink = tl.load(picks_f64 + SHRINK).to(tl.float32)
        _step(m, d, rows, inverse, h, weights, weights, W, distance, weight, upper, parts, 0, m, 1, dr, dd, a, b,
              shrink, SIGNALS, MEASURE, POSITIVE, False, False, ITEMS, DEPTH, WIDE)  # fmt: skip


@triton.jit
def _rescore(item, d, rows, scales, scores, A, candidate_index, candidate_value, count, SIGNALS: tl.constexpr,
             WIDE: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Appends an item, ||x||^2 and its exact residual to the list.

    All items have the same sums in the same order: identical rows get identical bits.
    """
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
def _candidates(m, d, rows, scales, scores, A, weight, upper, floor, candidate_index, candidate_value, count,
                SIGNALS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Lists the items with an upper bound of at least `floor`, with exact residuals, and distances as long as S is I.

    x = row * scale is exact up to one rounding. A program takes BLOCK items and rescores its own candidates.
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
def candidates(m, d, rows, scales, scores, A, weight, upper, floor, candidate_index, candidate_value, count,
               SIGNALS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Lists the candidates of a pick for the host, with the floor as argument; see `_candidates`."""
    _candidates(m, d, rows, scales, scores, A, weight, upper, floor, candidate_index, candidate_value, count, SIGNALS,
                WIDE, BLOCK, DEPTH)  # fmt: skip


@triton.jit
def gated_candidates(m, d, rows, scales, scores, A, weight, upper, parts, candidate_index, candidate_value, count,
                     picks_f64, picks_i64, SIGNALS: tl.constexpr, MEASURE: tl.constexpr, WIDE: tl.constexpr,
                     BLOCK: tl.constexpr, DEPTH: tl.constexpr, PARTS: tl.constexpr,
                     PARTS_BLOCK: tl.constexpr):  # fmt: skip
    """Lists the candidates of a pick for the device; see `_candidates`. Returns at once unless the device decides."""
    if tl.load(picks_i64 + REASON) == RUNNING:
        best = lowest_bound(parts, PARTS, PARTS_BLOCK)
        # Rounded to nearest: every float32 bound that reaches the floor reaches that too.
        floor = projecting_floor(best, tl.load(picks_f64 + FARTHEST), MEASURE).to(tl.float32)
        _candidates(m, d, rows, scales, scores, A, weight, upper, floor, candidate_index, candidate_value, count,
                    SIGNALS, WIDE, BLOCK, DEPTH)  # fmt: skip


@triton.jit
def _share(row, scale, d, S, low, WIDE: tl.constexpr, DEPTH: tl.constexpr):
    """Computes the part of ||S'x||^2 from WIDE columns of S from `low` on."""
    e = low + tl.arange(0, WIDE)
    phi = tl.zeros((DEPTH, WIDE), tl.float64)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        x = double(tl.load(row + c, mask=c < d, other=0.0)) * scale
        # 64-bit addresses; 2^31 entries would be a projector of 17 GB.
        held = (c < d)[:, None] & (e < d)[None, :]
        phi += x[:, None] * tl.load(S + c[:, None] * tl.cast(d, tl.int64) + e[None, :], mask=held, other=0.0)
    root = tl.sum(phi, axis=0)
    return tl.sum(root * root)


@triton.jit
def _distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, SIGNALS: tl.constexpr,
               PARTIAL: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr, PLACES: tl.constexpr,
               SHARES: tl.constexpr):  # fmt: skip
    """Computes exact distances ||S'x||^2 of the listed items, which replace ||x||^2.

    S is read once for each candidate, which takes one multiprocessor 50 microseconds at d = 768 and 1.5 milliseconds at
    4096. So up to PARTIAL shares of WIDE columns each are distributed over the programs, and the one that finishes last
    adds them up. If there are more, each candidate goes to one program. The sums have the same order either way.
    """
    p, programs = tl.program_id(0), tl.num_programs(0)
    # In 32 bits, because a 64-bit division is a call too.
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
    # The writes of this program are visible before its ticket; the program with the last ticket sees all writes.
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


@triton.jit
def distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, SIGNALS: tl.constexpr,
              PARTIAL: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr, PLACES: tl.constexpr,
              SHARES: tl.constexpr):  # fmt: skip
    """Computes the distances of the candidates for the host; see `_distances`."""
    _distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, SIGNALS, PARTIAL, WIDE,
               DEPTH, PLACES, SHARES)  # fmt: skip


@triton.jit
def gated_distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, picks_i64,
                    SIGNALS: tl.constexpr, PARTIAL: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr,
                    PLACES: tl.constexpr, SHARES: tl.constexpr):  # fmt: skip
    """Computes the distances for the device; see `_distances`. Returns at once unless the device decides."""
    if tl.load(picks_i64 + REASON) == RUNNING:
        _distances(d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, SIGNALS, PARTIAL,
                   WIDE, DEPTH, PLACES, SHARES)  # fmt: skip
