"""A pick of a projecting objective without the host: its decision, and its projection out of S and A.

`decide` makes the pick among the candidates that `gated_candidates` and `gated_distances` of family_triton.py have
listed, if it is beyond doubt: the rule is that of `gip_gpu/greedy/projecting.py`, where exactly one candidate is close
to the best. Else it only changes the reason, so that the host goes on from the same arrays. `remaining`, `lifted` and
`project` then update S, A and the column's factor h, and `gated_step` all items. Each kernel returns at once unless the
reason is RUNNING. Arrays: `gip_gpu/backends/gpu/items.py`; places: `gip_gpu/backends/gpu/layout.py`.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import CONSTANTS, Code, PickF64, PickI64, Record
from gip_gpu.kernels.bounds_triton import (
    LARGEST,
    OFF,
    SMALLEST,
    TIE,
    above,
    cast_error,
    distance_bound,
    distance_error,
    drift_after,
    inverse_root,
    lowest_bound,
    noise_of,
    projecting_floor,
    residual_bound,
    root,
    root_error,
    spread_of,
    step_error,
)
from gip_gpu.kernels.exact_triton import double

REASON, PICKS, BASE, ROUND = (
    tl.constexpr(int(place)) for place in (PickI64.REASON, PickI64.PICKS, PickI64.BASE, PickI64.ROUND)
)
EXCESS, ALWAYS, UNSETTLED, ITEM = (
    tl.constexpr(int(place)) for place in (PickI64.EXCESS, PickI64.ALWAYS, PickI64.UNSETTLED, PickI64.ITEM)
)
BLOCKED = tl.constexpr(int(PickI64.BLOCKED))
ERROR, DISTANCE_ERROR, DRIFT, PROJECTED = (
    tl.constexpr(int(place)) for place in (PickF64.ERROR, PickF64.DISTANCE_ERROR, PickF64.DRIFT, PickF64.PROJECTED)
)
LARGEST_RESIDUAL, INVERSE_LEAST, LARGEST_ROOT = (
    tl.constexpr(int(place)) for place in (PickF64.LARGEST_RESIDUAL, PickF64.INVERSE_LEAST, PickF64.LARGEST_ROOT)
)
RESIDUAL_BOUND, DISTANCE_BOUND = (
    tl.constexpr(int(place)) for place in (PickF64.RESIDUAL_BOUND, PickF64.DISTANCE_BOUND)
)
SHRINK, UNIT, Q = (tl.constexpr(int(place)) for place in (PickF64.SHRINK, PickF64.UNIT, PickF64.Q))
FIRST, INVERSE_FIRST, FARTHEST, SCALE = (
    tl.constexpr(int(place)) for place in (PickF64.FIRST, PickF64.INVERSE_FIRST, PickF64.FARTHEST, PickF64.SCALE)
)
RIDGE, PLAIN_Q, GAMMA, DOT_ERROR = (
    tl.constexpr(int(place)) for place in (PickF64.RIDGE, PickF64.PLAIN_Q, PickF64.GAMMA, PickF64.DOT_ERROR)
)
ROOT_UNIT, NORM_ERROR, FLUSHED_NORM, OWN_SQUARE = (
    tl.constexpr(int(place))
    for place in (PickF64.ROOT_UNIT, PickF64.NORM_ERROR, PickF64.FLUSHED_NORM, PickF64.OWN_SQUARE)
)
SHARE, SHARE_ROOT = (tl.constexpr(int(place)) for place in (PickF64.SHARE, PickF64.SHARE_ROOT))
AT_INDEX, AT_GAIN, AT_RIVAL = (tl.constexpr(int(place)) for place in (Record.INDEX, Record.GAIN, Record.RIVAL))
AT_CANDIDATES, AT_TIES, AT_ENERGY, AT_WEIGHTS = (
    tl.constexpr(int(place)) for place in (Record.CANDIDATES, Record.TIES, Record.ENERGY, Record.WEIGHTS)
)
RUNNING, NEED_HOST = tl.constexpr(int(Code.RUNNING)), tl.constexpr(int(Code.NEED_HOST))
FLOOR, DEPENDENT = (tl.constexpr(CONSTANTS[name]) for name in ("FLOOR", "DEPENDENT"))
DIVERGED_NORM, USUAL_WINDOW = (tl.constexpr(CONSTANTS[name]) for name in ("DIVERGED_NORM", "USUAL_WINDOW"))
# A little wider than the tie of the host, whose roots are correctly rounded.
WIDER = tl.constexpr(1 + 2.0**-6)


@triton.jit
def _judged(at, count, candidate_index, candidate_value, row_squares, each, residual_noise, root_noise, grown,
            picks_f64, SIGNALS: tl.constexpr, MEASURE: tl.constexpr, PROJECTS: tl.constexpr, POSITIVE: tl.constexpr,
            CHUNK: tl.constexpr):  # fmt: skip
    """Judges listed items as `Judge.judged`: returns values, slack, rounding, distances, squares, and which are safe.

    Not safe are dependent items, and those with numbers outside the range of `root`.
    """
    ridge, scale = tl.load(picks_f64 + RIDGE), tl.load(picks_f64 + SCALE)
    real = at < count
    value = candidate_value + at * (SIGNALS + 1)
    far = tl.load(value, mask=real, other=1.0)
    square = tl.load(row_squares + tl.load(candidate_index + at, mask=real, other=0) * each)
    energy = tl.zeros((CHUNK,), tl.float64)
    if MEASURE != "distance":
        for i in range(SIGNALS):
            w = tl.load(value + 1 + i, mask=real, other=0.0)
            if POSITIVE:
                w = tl.where(w < 0, 0.0, w)
            energy += w * w
    safe = (energy <= LARGEST) & (square <= LARGEST)
    q = ridge + far
    if PROJECTS:
        safe = safe & (q > DEPENDENT * square) & (q >= SMALLEST) & (q <= LARGEST)
    noise = tl.zeros((CHUNK,), tl.float64)
    if MEASURE == "distance":
        found = root(far)
        terms = scale
        noise += root_noise
    elif MEASURE == "norm":
        found = root(energy)
        terms = scale
        noise += residual_noise + grown
    else:
        inverse, length = inverse_root(tl.where(safe, q, 1.0)), root(square)
        found = root(energy) * inverse
        own = root((ridge + square) * tl.load(picks_f64 + SHARE))
        terms = (scale * own + found * length) * inverse
        noise += (residual_noise * own + found * root_noise * length) * inverse + grown
    return found, TIE * WIDER * (found + terms), above(noise), far, square, safe | (real == 0)


@triton.jit
def _rounding(picks_f64, picks_i64, PROJECTS: tl.constexpr):
    """Returns the estimates of float64 rounding before a pick, `gip_gpu.greedy.judging.Rounding`."""
    drift, projected = tl.load(picks_f64 + DRIFT), tl.load(picks_f64 + PROJECTED)
    root_unit, largest_root = tl.load(picks_f64 + ROOT_UNIT), tl.load(picks_f64 + LARGEST_ROOT)
    spread, root_noise = tl.cast(1.0, tl.float64), tl.cast(0.0, tl.float64)
    if PROJECTS:
        before = tl.load(picks_i64 + ROUND).to(tl.float64)
        spread = spread_of(before, tl.load(picks_f64 + INVERSE_LEAST))
        root_noise = root_error(root_unit, before, spread)
    residual = spread * noise_of(drift, tl.load(picks_f64 + DOT_ERROR), projected, tl.load(picks_f64 + SCALE))
    return residual, root_noise, root_unit * largest_root * largest_root * tl.load(picks_f64 + INVERSE_FIRST)


# `each` is 0 or 1. Triton would specialise the integer 1 to a constant and compile a second kernel.
@triton.jit(do_not_specialize=["each"])
def decide(m, d, parts, candidate_index, candidate_value, count, row_squares, each, weight, weights, picks_f64,
           picks_i64, record, SIGNALS: tl.constexpr, WIDE: tl.constexpr, MEASURE: tl.constexpr, PROJECTS: tl.constexpr,
           POSITIVE: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    """Makes the pick, in one program, if it is beyond doubt; else changes the reason to NEED_HOST.

    Args:
        parts: of `step`: the lower bounds, and the energy after the last pick.
        row_squares, each: squared norms of the rows x, `each` apart: 0 if one value is that of all rows.
        WIDE: SIGNALS to a power of two.
    """
    if tl.load(picks_i64 + REASON) == RUNNING:
        picks, base, listed = tl.load(picks_i64 + PICKS), tl.load(picks_i64 + BASE), tl.load(count)
        # All threads have read the values that one of them overwrites next; so too for each barrier before stores.
        tl.debug_barrier()
        tl.store(count, tl.cast(0, tl.int64))
        if picks > base:
            at = tl.arange(0, PARTS_BLOCK)
            energy = tl.sum(tl.load(parts + 2 * at + 1, mask=at < PARTS, other=0.0))
            tl.store(record + (picks - 1 - base) * (AT_WEIGHTS + SIGNALS) + AT_ENERGY, energy)
        residual_noise, root_noise, grown = _rounding(picks_f64, picks_i64, PROJECTS)
        sure, unsafe = tl.cast(-1.0, tl.float64), tl.cast(0, tl.int32)
        for start in range(0, listed, CHUNK):
            at = start + tl.arange(0, CHUNK)
            found, slack, noise, _, _, safe = _judged(
                at, listed, candidate_index, candidate_value, row_squares, each, residual_noise, root_noise, grown,
                picks_f64, SIGNALS, MEASURE, PROJECTS, POSITIVE, CHUNK,
            )  # fmt: skip
            sure = tl.maximum(sure, tl.max(tl.where(at < listed, found - slack - noise, -1.0)))
            unsafe += tl.sum((safe == 0).to(tl.int32))
        close, place, rival = tl.cast(0, tl.int32), tl.cast(0, tl.int64), tl.cast(0.0, tl.float64)
        top, own_noise, distance, square = rival, rival, rival, rival
        for start in range(0, listed, CHUNK):
            at = start + tl.arange(0, CHUNK)
            found, slack, noise, far, squares, _ = _judged(
                at, listed, candidate_index, candidate_value, row_squares, each, residual_noise, root_noise, grown,
                picks_f64, SIGNALS, MEASURE, PROJECTS, POSITIVE, CHUNK,
            )  # fmt: skip
            real = at < listed
            near = real & (found + slack + noise >= sure)
            close += tl.sum(near.to(tl.int32))
            place = tl.maximum(place, tl.max(tl.where(near, at, 0)).to(tl.int64))
            rival = tl.maximum(rival, tl.max(tl.where(real & (near == 0), found + noise, 0.0)))
            top = tl.maximum(top, tl.max(tl.where(near, found, 0.0)))
            own_noise = tl.maximum(own_noise, tl.max(tl.where(near, noise, 0.0)))
            distance = tl.maximum(distance, tl.max(tl.where(near, far, 0.0)))
            square = tl.maximum(square, tl.max(tl.where(near, squares, 0.0)))

        # Loaded again: numbers that live across the loops would take many registers.
        tl.debug_barrier()
        best, farthest = lowest_bound(parts, PARTS, PARTS_BLOCK), tl.load(picks_f64 + FARTHEST)
        picks, base = tl.load(picks_i64 + PICKS), tl.load(picks_i64 + BASE)
        largest_root, first = tl.load(picks_f64 + LARGEST_ROOT), tl.load(picks_f64 + FIRST)
        error, far_error = tl.load(picks_f64 + ERROR), tl.load(picks_f64 + DISTANCE_ERROR)
        largest = tl.load(picks_f64 + LARGEST_RESIDUAL)
        always = tl.minimum(tl.load(picks_i64 + ALWAYS), listed)
        usual = tl.maximum(tl.cast(USUAL_WINDOW, tl.int64), 2 * always)
        excess = tl.load(picks_i64 + EXCESS) + tl.maximum(listed - usual, 0)
        wide = (error > 4 * (cast_error(largest) + residual_noise)) | (far_error > 4 * cast_error(farthest))
        refresh = (2 * excess >= m) & (tl.load(picks_i64 + UNSETTLED) != 0) & wide
        largest_root = tl.maximum(largest_root, top)
        # A comparison with NaN is false.
        certain = (best > 0) & (best < DIVERGED_NORM) & (unsafe == 0) & (close == 1) & (refresh == 0)
        certain = certain & (top * first > FLOOR * (1 + 2.0**-20) * largest_root * largest_root)
        if PROJECTS:
            certain = certain & (distance >= SMALLEST)
        if certain == 0:
            tl.store(picks_i64 + REASON, tl.cast(NEED_HOST, tl.int64))
        else:
            if listed < m - picks - tl.load(picks_i64 + BLOCKED):
                outside = projecting_floor(best, farthest, MEASURE) * (1 + OFF)
                if MEASURE == "distance":
                    outside = root(outside + OFF * farthest)
                elif MEASURE == "ratio":
                    outside *= tl.load(picks_f64 + SHARE_ROOT)
                rival = tl.maximum(rival, outside)
            rival = above(rival + own_noise)
            item = tl.load(candidate_index + place)
            i = tl.arange(0, WIDE)
            w = tl.load(candidate_value + place * (SIGNALS + 1) + 1 + i, mask=i < SIGNALS, other=0.0)
            row = record + (picks - base) * (AT_WEIGHTS + SIGNALS)
            tl.store(row + AT_INDEX, item.to(tl.float64))
            tl.store(row + AT_GAIN, top * top)
            tl.store(row + AT_RIVAL, above(rival * rival))
            tl.store(row + AT_CANDIDATES, listed.to(tl.float64))
            tl.store(row + AT_TIES, tl.cast(1.0, tl.float64))
            tl.store(row + AT_WEIGHTS + i, w, mask=i < SIGNALS)
            tl.store(weight + item, 0.0)

            # The bounds of `Projecting._widen` and `ProjectingRound._count`.
            drift, projected = tl.load(picks_f64 + DRIFT), tl.load(picks_f64 + PROJECTED)
            scale, dot = tl.load(picks_f64 + SCALE), tl.load(picks_f64 + DOT_ERROR)
            root_unit, before = tl.load(picks_f64 + ROOT_UNIT), tl.load(picks_i64 + ROUND)
            ridge, gamma = tl.load(picks_f64 + RIDGE), tl.load(picks_f64 + GAMMA)
            inverse_least, own_square = tl.load(picks_f64 + INVERSE_LEAST), tl.load(picks_f64 + OWN_SQUARE)
            q, length = tl.load(picks_f64 + PLAIN_Q), tl.cast(1.0, tl.float64)
            if PROJECTS:
                q, length = ridge + distance, root(distance) * (1 + 1e-9)
            inverse_root_q = inverse_root(q)
            inverse_q = inverse_root_q * inverse_root_q
            # The power of two above `length`.
            unit = (((length.to(tl.int64, bitcast=True) >> 52) + 1) << 52).to(tl.float64, bitcast=True)
            norm = above(root(tl.sum(w * w)))
            if POSITIVE == 0:
                longest = top
                if MEASURE == "ratio":
                    longest = top * root(ridge + farthest)
                if MEASURE != "distance":
                    largest = tl.minimum(largest, longest * (1 + 1e-9))
            moved = above(norm * unit * inverse_q)
            error = above(step_error(error, gamma, largest, moved))
            largest = above(largest + moved * (1 + gamma))
            moved = above(norm * length * inverse_q)
            projected = above(projected + moved)
            drift = above(drift_after(drift, projected, moved))
            spread = tl.cast(1.0, tl.float64)
            square = tl.where(own_square > 0, own_square, square)
            inverse_least = tl.maximum(inverse_least, above(root(square) * inverse_root_q))
            if PROJECTS:
                far_error = above(distance_error(far_error, gamma, unit, inverse_q, distance, farthest))
                picked = (before + 1).to(tl.float64)
                spread = spread_of(picked, inverse_least)
                root_noise = root_error(root_unit, picked, spread)
            residual_noise = spread * noise_of(drift, dot, projected, scale)
            norm_error, flushed = tl.load(picks_f64 + NORM_ERROR), tl.load(picks_f64 + FLUSHED_NORM)
            tl.debug_barrier()
            tl.store(weights + i, (w * (unit * inverse_q)).to(tl.float32), mask=i < SIGNALS)
            tl.store(picks_f64 + ERROR, error)
            tl.store(picks_f64 + DISTANCE_ERROR, far_error)
            tl.store(picks_f64 + DRIFT, drift)
            tl.store(picks_f64 + PROJECTED, projected)
            tl.store(picks_f64 + LARGEST_RESIDUAL, largest)
            tl.store(picks_f64 + INVERSE_LEAST, inverse_least)
            tl.store(picks_f64 + LARGEST_ROOT, largest_root)
            tl.store(
                picks_f64 + RESIDUAL_BOUND, residual_bound(error, largest, residual_noise, scale, norm_error, flushed)
            )
            tl.store(picks_f64 + DISTANCE_BOUND, distance_bound(far_error, root_noise, farthest))
            tl.store(picks_f64 + SHRINK, unit * unit * inverse_q)
            tl.store(picks_f64 + UNIT, unit)
            tl.store(picks_f64 + Q, q)
            tl.store(picks_i64 + PICKS, picks + 1)
            tl.store(picks_i64 + ROUND, before + 1)
            tl.store(picks_i64 + EXCESS, excess)
            tl.store(picks_i64 + ALWAYS, always)
            tl.store(picks_i64 + UNSETTLED, tl.cast(1, tl.int64))
            tl.store(picks_i64 + ITEM, item)


@triton.jit
def remaining(d, rows, scales, S, phi, picks_i64, WIDE: tl.constexpr, DEPTH: tl.constexpr):
    """Computes phi = S'x of the pick, WIDE columns of S in each program."""
    if tl.load(picks_i64 + REASON) == RUNNING:
        item = tl.load(picks_i64 + ITEM)
        scale = tl.load(scales + item)
        e = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
        total = tl.zeros((DEPTH, WIDE), tl.float64)
        for start in range(0, d, DEPTH):
            c = start + tl.arange(0, DEPTH)
            x = double(tl.load(rows + item * d + c, mask=c < d, other=0.0)) * scale
            held = (c < d)[:, None] & (e < d)[None, :]
            total += x[:, None] * tl.load(S + c[:, None] * tl.cast(d, tl.int64) + e[None, :], mask=held, other=0.0)
        tl.store(phi + e, tl.sum(total, axis=0), mask=e < d)


@triton.jit
def lifted(d, S, phi, g, g_squares, picks_i64, WIDE: tl.constexpr, DEPTH: tl.constexpr):
    """Computes g = S phi and by part ||g||^2, WIDE rows of S in each program."""
    p = tl.program_id(0)
    if tl.load(picks_i64 + REASON) == RUNNING:
        r = p * WIDE + tl.arange(0, WIDE)
        total = tl.zeros((WIDE, DEPTH), tl.float64)
        for start in range(0, d, DEPTH):
            c = start + tl.arange(0, DEPTH)
            held = (r < d)[:, None] & (c < d)[None, :]
            factor = tl.load(phi + c, mask=c < d, other=0.0)
            total += tl.load(S + r[:, None] * tl.cast(d, tl.int64) + c[None, :], mask=held, other=0.0) * factor[None, :]
        found = tl.sum(total, axis=1)
        tl.store(g + r, found, mask=r < d)
        tl.store(g_squares + p, tl.sum(found * found))


@triton.jit
def _pick_g(c, d, rows, scales, g, factor, item, PROJECTS: tl.constexpr):
    """Returns elements c of g, or of the pick's row if nothing is projected out of the rows."""
    if PROJECTS:
        found = tl.load(g + c, mask=c < d, other=0.0) * factor
    else:
        found = double(tl.load(rows + item * d + c, mask=c < d, other=0.0)) * tl.load(scales + item)
    return found


@triton.jit
def project(d, rows, scales, S, A, phi, g, g_squares, h, record, picks_f64, picks_i64, SIGNALS: tl.constexpr,
            PROJECTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr,
            PARTS_BLOCK: tl.constexpr):  # fmt: skip
    """Projects the pick out of a tile of S, as `Projector.project`; the first tiles also write columns of A, and of h.

    Without projection of rows, only the first tiles are launched. PARTS: of `g_squares`.
    """
    if tl.load(picks_i64 + REASON) == RUNNING:
        item, picks, base = tl.load(picks_i64 + ITEM), tl.load(picks_i64 + PICKS), tl.load(picks_i64 + BASE)
        q, ridge = tl.load(picks_f64 + Q), tl.load(picks_f64 + RIDGE)
        inverse_root_q = inverse_root(q)
        inverse_q = inverse_root_q * inverse_root_q
        across = tl.cdiv(d, COLUMNS)
        down = tl.program_id(0) // across
        c = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
        factor = tl.cast(1.0, tl.float64)
        if PROJECTS:
            if ridge == 0:
                parts = tl.arange(0, PARTS_BLOCK)
                total = tl.sum(tl.load(g_squares + parts, mask=parts < PARTS, other=0.0))
                factor = q * inverse_root_q * inverse_root(total)
            r = down * ROWS + tl.arange(0, ROWS)
            # 1 / (q + sqrt(ridge q)), with a quotient of sqrt(q) + sqrt(ridge) <= 2 sqrt(q).
            both = 1 + root(ridge * inverse_q)
            inverse_both = inverse_root(both)
            scaled = factor * inverse_q * inverse_both * inverse_both
            step = tl.load(g + r, mask=r < d, other=0.0) * scaled
            own = tl.load(phi + c, mask=c < d, other=0.0)
            if ridge == 0:
                own = tl.load(g + c, mask=c < d, other=0.0) * factor
            at = S + r[:, None] * tl.cast(d, tl.int64) + c[None, :]
            held = (r < d)[:, None] & (c < d)[None, :]
            before = tl.load(at, mask=held, other=0.0)
            # A thread may hold an element of another thread's.
            tl.debug_barrier()
            tl.store(at, before - step[:, None] * own[None, :], mask=held)
        if down == 0:
            found = _pick_g(c, d, rows, scales, g, factor, item, PROJECTS)
            unit = tl.load(picks_f64 + UNIT)
            # A power of two.
            inverse_unit = ((tl.cast(2046 << 52, tl.int64)) - unit.to(tl.int64, bitcast=True)).to(
                tl.float64, bitcast=True
            )
            tl.store(h + c, (found * inverse_unit).to(tl.float32), mask=c < d)
            w = record + (picks - 1 - base) * (AT_WEIGHTS + SIGNALS) + AT_WEIGHTS
            for i in range(SIGNALS):
                held_by = A + i * d + c
                share = tl.load(w + i) * inverse_q
                sum_before = tl.load(held_by, mask=c < d, other=0.0)
                tl.debug_barrier()
                tl.store(held_by, sum_before + share * found, mask=c < d)
