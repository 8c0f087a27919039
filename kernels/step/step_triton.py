"""The certified step on the device: two kernels, launched alternately (captured in a graph).

`pick` finds the window, rescores its items in float64 and, in the program that finishes last, takes the argmax, records
it and projects it out of A; `update` projects it out of the residual W~. The end of a kernel is the barrier. Each
returns at once if `header_i64[REASON]` says that the host is needed. Arrays and places:
`gip_gpu/backends/gpu/layout.py`; the steps are those of `gip_gpu/greedy/matching_pursuit.py`, the bounds those of
`bounds_triton.py`. Float64 divisions and square roots are calls, and values that live across calls are spilled. So a
row is multiplied by the inverse of its norm, two roundings instead of one, and the host divides by gains.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import CONSTANTS, Code, HeaderF64, HeaderI64, Record
from gip_gpu.kernels.bounds_triton import (
    cast_error,
    drift_after,
    energy_after,
    gain_outside,
    lowest_tied,
    noise_of,
    rival_above,
    root_above,
    step_error,
    window_floor,
)
from gip_gpu.kernels.exact_triton import double

ERROR, DRIFT, ENERGY_A = (tl.constexpr(int(place)) for place in (HeaderF64.ERROR, HeaderF64.DRIFT, HeaderF64.ENERGY_A))
GAMMA, SQUARE, SCALE = (tl.constexpr(int(place)) for place in (HeaderF64.GAMMA, HeaderF64.SQUARE, HeaderF64.SCALE))
GAIN, RIVAL, RESIDUAL = (tl.constexpr(int(place)) for place in (HeaderF64.GAIN, HeaderF64.RIVAL, HeaderF64.RESIDUAL))
PROJECTED, ROUNDING = (tl.constexpr(int(place)) for place in (HeaderF64.PROJECTED, HeaderF64.ROUNDING))
AT_LARGEST, AT_FLOOR = (tl.constexpr(int(place)) for place in (HeaderF64.LARGEST, HeaderF64.FLOOR))
REACH = tl.constexpr(int(HeaderF64.REACH))
REASON, PICKS, UNTIL, BASE = (
    tl.constexpr(int(place)) for place in (HeaderI64.REASON, HeaderI64.PICKS, HeaderI64.UNTIL, HeaderI64.BASE)
)
EXCESS, PENDING, SLOT, COUNT = (
    tl.constexpr(int(place)) for place in (HeaderI64.EXCESS, HeaderI64.PENDING, HeaderI64.SLOT, HeaderI64.COUNT)
)
CANDIDATES, TIES, ARRIVED = (
    tl.constexpr(int(place)) for place in (HeaderI64.CANDIDATES, HeaderI64.TIES, HeaderI64.ARRIVED)
)
RUNNING, DONE, NEED_COLUMN = (tl.constexpr(int(code)) for code in (Code.RUNNING, Code.DONE, Code.NEED_COLUMN))
NEED_REFRESH, EXHAUSTED, DIVERGED, EMPTY_WINDOW, LISTED = (
    tl.constexpr(int(code))
    for code in (Code.NEED_REFRESH, Code.EXHAUSTED, Code.DIVERGED, Code.EMPTY_WINDOW, Code.LISTED)
)
AT_INDEX, AT_GAIN, AT_RIVAL = (tl.constexpr(int(place)) for place in (Record.INDEX, Record.GAIN, Record.RIVAL))
AT_CANDIDATES, AT_TIES, AT_ENERGY, AT_WEIGHTS = (
    tl.constexpr(int(place)) for place in (Record.CANDIDATES, Record.TIES, Record.ENERGY, Record.WEIGHTS)
)
FLOOR, DIVERGED_NORM = (tl.constexpr(CONSTANTS[name]) for name in ("FLOOR", "DIVERGED_NORM"))
USUAL_WINDOW = tl.constexpr(CONSTANTS["USUAL_WINDOW"])


@triton.jit
def update(m, W, columns, stride, weight, score, best, energy, header_f64, header_i64, blocks, SIGNALS: tl.constexpr,
           BLOCK: tl.constexpr):  # fmt: skip
    """Computes the fused step: W~ -= column * square * w, squared norms and the largest score, in one pass.

    Each element of W~ is read and written once, each entry of the column read once. Program p takes `blocks` blocks of
    items and writes entry p of `best` and `energy`. Without a pick to project out (SLOT -1) it only scores.
    """
    p = tl.program_id(0).to(tl.int64)
    if tl.load(header_i64 + REASON) == RUNNING:
        slot = tl.load(header_i64 + SLOT)
        square = tl.load(header_f64 + SQUARE)
        covered = tl.where(slot >= 0, m, 0)
        top, total = tl.full((BLOCK,), -1.0, tl.float32), tl.cast(0.0, tl.float64)
        for block in range(blocks):
            items = (p * blocks + block) * BLOCK + tl.arange(0, BLOCK)
            inside = items < m
            column = tl.load(columns + slot * stride + items, mask=items < covered, other=0.0).to(tl.float32)
            squares = tl.zeros((BLOCK,), tl.float32)
            for i in range(SIGNALS):
                w = tl.where(slot >= 0, tl.load(header_f64 + RESIDUAL + i) * square, 0.0).to(tl.float32)
                at = W + i * tl.cast(m, tl.int64) + items
                left = tl.load(at, mask=inside, other=0.0) - column * w
                tl.store(at, left, mask=inside)
                squares += left * left
            held = tl.load(weight + items, mask=inside, other=-1.0)
            scored = tl.where(held > 0, squares * held, 0.0)
            tl.store(score + items, scored, mask=inside)
            total += tl.sum(tl.where(held >= 0, squares, 0.0)).to(tl.float64)
            # Ineligible items have score 0, but never win against eligible ones. A maximum ignores NaN, the result of
            # an overflow, so NaN counts as infinite here, and `pick` reports that the residual diverges.
            ranked = tl.where(held > 0, tl.where(scored == scored, scored, float("inf")), -1.0)
            top = tl.maximum(top, ranked)
        tl.store(best + p, tl.max(top))
        tl.store(energy + p, total)


@triton.jit
def _noise(header_f64):
    """Returns the bound on the float64 rounding of an exact residual, as State.noise."""
    scale, projected = tl.load(header_f64 + SCALE), tl.load(header_f64 + PROJECTED)
    return noise_of(tl.load(header_f64 + DRIFT), tl.load(header_f64 + ROUNDING), projected, scale)


@triton.jit
def _norms(best, header_f64, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr, SIGNALS: tl.constexpr):
    """Computes the norms that follow from the largest score.

    Returns the largest ||W~_j||, a bound on float64 rounding, the norm from which an item is a candidate, and its
    square, the floor of float32 scores.
    """
    parts = tl.arange(0, PARTS_BLOCK)
    top = tl.max(tl.load(best + parts, mask=parts < PARTS, other=-1.0))
    largest = tl.sqrt(tl.maximum(top, 0.0)).to(tl.float64)
    error, scale, noise = tl.load(header_f64 + ERROR), tl.load(header_f64 + SCALE), _noise(header_f64)
    norm, floor = window_floor(largest, error, scale, noise, SIGNALS)
    return largest, noise, norm, floor


@triton.jit
def _rescore(item, m, d, rows, inverses, scores, A, weight, candidate_index, candidate_value, header_i64,
             SIGNALS: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Appends the exact gain of an item times its weight, and its residual, to the list of candidates."""
    i = tl.arange(0, WIDE)
    scale = tl.load(inverses + item)
    # All items have the same sums in the same order: identical rows get identical bits.
    products = tl.zeros((WIDE, DEPTH), tl.float64)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        x = double(tl.load(rows + item * d + c, mask=c < d, other=0.0)) * scale
        a = tl.load(A + i[:, None] * d + c[None, :], mask=(i[:, None] < SIGNALS) & (c[None, :] < d), other=0.0)
        products += a * x[None, :]
    initial = tl.load(scores + item * SIGNALS + i, mask=i < SIGNALS, other=0.0)
    residual = initial - tl.sum(products, axis=1)
    place = tl.atomic_add(header_i64 + COUNT, 1)
    tl.store(candidate_index + place, item)
    gain = tl.sum(residual * residual) * tl.load(weight + item).to(tl.float64)
    tl.store(candidate_value + place * (SIGNALS + 1), gain)
    tl.store(candidate_value + place * (SIGNALS + 1) + 1 + i, residual, mask=i < SIGNALS)


@triton.jit
def pick(m, d, rows, inverses, scores, A, weight, score, slots, best, energy, candidate_index, candidate_value,
         header_f64, header_i64, record, blocks, SIGNALS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
         DEPTH: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    """Finds the window, rescores it and chooses, in the last of the PARTS programs. WIDE: SIGNALS to a power of two."""
    p = tl.program_id(0).to(tl.int64)
    entered = tl.load(header_i64 + REASON)
    if (entered == RUNNING) | (entered == LISTED):
        if (tl.load(header_i64 + PENDING) < 0) & (tl.load(header_i64 + PICKS) < tl.load(header_i64 + UNTIL)):
            _, _, _, floor = _norms(best, header_f64, PARTS, PARTS_BLOCK, SIGNALS)
            # Rounded to nearest: every float32 score that reaches the floor reaches the threshold.
            threshold = floor.to(tl.float32)
            for block in range(blocks):
                items = (p * blocks + block) * BLOCK + tl.arange(0, BLOCK)
                inside = items < m
                high = tl.load(score + items, mask=inside, other=0.0) >= threshold
                marked = high & (tl.load(weight + items, mask=inside, other=-1.0) > 0)
                open_ = tl.sum(marked.to(tl.int32))
                while open_ > 0:
                    item = tl.min(tl.where(marked, items, m))
                    _rescore(item, m, d, rows, inverses, scores, A, weight, candidate_index, candidate_value,
                             header_i64, SIGNALS, WIDE, DEPTH)  # fmt: skip
                    marked = marked & (items != item)
                    open_ -= 1
        # The writes of this program are visible before its ticket; the program with the last ticket sees all writes.
        tl.debug_barrier()
        if tl.atomic_add(header_i64 + ARRIVED, 1, sem="acq_rel") == PARTS - 1:
            tl.debug_barrier()
            tl.store(header_i64 + ARRIVED, 0)
            _choose(m, d, rows, inverses, scores, A, weight, slots, best, energy, candidate_index, candidate_value,
                    header_f64, header_i64, record, SIGNALS, WIDE, DEPTH, PARTS, PARTS_BLOCK, CHUNK)  # fmt: skip


@triton.jit
def _choose(m, d, rows, inverses, scores, A, weight, slots, best, energy, candidate_index, candidate_value, header_f64,
            header_i64, record, SIGNALS: tl.constexpr, WIDE: tl.constexpr, DEPTH: tl.constexpr, PARTS: tl.constexpr,
            PARTS_BLOCK: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    parts = tl.arange(0, PARTS_BLOCK)
    picks, base = tl.load(header_i64 + PICKS), tl.load(header_i64 + BASE)
    if picks > base:
        total = tl.sum(tl.load(energy + parts, mask=parts < PARTS, other=0.0))
        tl.store(record + (picks - 1 - base) * (AT_WEIGHTS + SIGNALS) + AT_ENERGY, total)
    reason, slot = tl.cast(RUNNING, tl.int64), tl.cast(-1, tl.int64)
    if tl.load(header_i64 + PENDING) < 0:
        if picks >= tl.load(header_i64 + UNTIL):
            reason = tl.cast(DONE, tl.int64)
        else:
            reason = _argmax(m, best, candidate_index, candidate_value, header_f64, header_i64, SIGNALS, WIDE, PARTS,
                             PARTS_BLOCK, CHUNK)  # fmt: skip
    if reason == RUNNING:
        item = tl.load(header_i64 + PENDING)
        slot = tl.load(slots + item).to(tl.int64)
        if slot < 0:
            reason = tl.cast(NEED_COLUMN, tl.int64)
        else:
            _project_out(
                item, d, rows, inverses, scores, A, weight, header_f64, header_i64, record, SIGNALS, WIDE, DEPTH
            )
    tl.debug_barrier()
    tl.store(header_i64 + SLOT, slot)
    tl.store(header_i64 + REASON, reason)


@triton.jit
def _argmax(m, best, candidate_index, candidate_value, header_f64, header_i64, SIGNALS: tl.constexpr,
            WIDE: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    """Makes the exact argmax of the candidates the pending pick; returns RUNNING, or the code why it cannot."""
    largest, noise, norm, floor = _norms(best, header_f64, PARTS, PARTS_BLOCK, SIGNALS)
    error, scale = tl.load(header_f64 + ERROR), tl.load(header_f64 + SCALE)
    count = tl.load(header_i64 + COUNT)
    excess = tl.load(header_i64 + EXCESS) + tl.maximum(count - tl.cast(USUAL_WINDOW, tl.int64), 0)
    # All threads have read the values that one of them overwrites next; so too for each barrier before stores below.
    tl.debug_barrier()
    tl.store(header_i64 + COUNT, tl.cast(0, tl.int64))
    tl.store(header_i64 + EXCESS, excess)
    highest = tl.cast(-1.0, tl.float64)
    for start in range(0, count, CHUNK):
        at = start + tl.arange(0, CHUNK)
        gains = tl.load(candidate_value + at * (SIGNALS + 1), mask=at < count, other=-1.0)
        highest = tl.maximum(highest, tl.max(gains))
    tied = lowest_tied(highest, scale)
    item, ties = tl.cast(m, tl.int64), tl.cast(0, tl.int64)
    for start in range(0, count, CHUNK):
        at = start + tl.arange(0, CHUNK)
        equal = tl.load(candidate_value + at * (SIGNALS + 1), mask=at < count, other=-1.0) >= tied
        item = tl.minimum(item, tl.min(tl.where(equal, tl.load(candidate_index + at, mask=at < count, other=0), m)))
        ties += tl.sum(equal.to(tl.int64))
    place, runner_up = tl.cast(0, tl.int64), tl.cast(0.0, tl.float64)
    for start in range(0, count, CHUNK):
        at = start + tl.arange(0, CHUNK)
        this = tl.load(candidate_index + at, mask=at < count, other=-1) == item
        place = tl.maximum(place, tl.max(tl.where(this, at, 0)).to(tl.int64))
        others = tl.load(candidate_value + at * (SIGNALS + 1), mask=(at < count) & (this == 0), other=0.0)
        runner_up = tl.maximum(runner_up, tl.max(others))
    if count < m - tl.load(header_i64 + PICKS):
        runner_up = tl.maximum(runner_up, gain_outside(norm, error, SIGNALS))
    gain = tl.load(candidate_value + place * (SIGNALS + 1))
    rival = rival_above(runner_up, noise)
    wide = error > 4 * (cast_error(largest + error) + noise)
    reason = tl.cast(RUNNING, tl.int64)
    if (largest < DIVERGED_NORM) == 0:
        reason = tl.cast(DIVERGED, tl.int64)
    elif count == 0:
        reason = tl.cast(EMPTY_WINDOW, tl.int64)
        tl.store(header_f64 + AT_LARGEST, largest)
        tl.store(header_f64 + AT_FLOOR, floor)
    elif (2 * excess >= m) & wide:
        reason = tl.cast(NEED_REFRESH, tl.int64)
    elif highest <= FLOOR * scale * (FLOOR * scale):
        reason = tl.cast(EXHAUSTED, tl.int64)
    else:
        tl.store(header_i64 + PENDING, item)
        tl.store(header_i64 + CANDIDATES, count)
        tl.store(header_i64 + TIES, ties)
        tl.store(header_f64 + GAIN, gain)
        tl.store(header_f64 + RIVAL, rival)
        i = tl.arange(0, WIDE)
        residual = tl.load(candidate_value + place * (SIGNALS + 1) + 1 + i, mask=i < SIGNALS, other=0.0)
        tl.store(header_f64 + RESIDUAL + i, residual, mask=i < SIGNALS)
        # Other threads of this program read it again.
        tl.debug_barrier()
    return reason


@triton.jit
def _project_out(item, d, rows, inverses, scores, A, weight, header_f64, header_i64, record, SIGNALS: tl.constexpr,
                 WIDE: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
    """Records the pending pick, adds it to A and updates the bounds; `update` does the rest."""
    i = tl.arange(0, WIDE)
    w = tl.load(header_f64 + RESIDUAL + i, mask=i < SIGNALS, other=0.0)
    inverse = tl.load(inverses + item)
    for start in range(0, d, DEPTH):
        c = start + tl.arange(0, DEPTH)
        x = double(tl.load(rows + item * d + c, mask=c < d, other=0.0)) * inverse
        at = A + i[:, None] * d + c[None, :]
        inside = (i[:, None] < SIGNALS) & (c[None, :] < d)
        tl.store(at, tl.load(at, mask=inside, other=0.0) + w[:, None] * x[None, :], mask=inside)
    square, gamma, drift = tl.load(header_f64 + SQUARE), tl.load(header_f64 + GAMMA), tl.load(header_f64 + DRIFT)
    before, scale, noise = tl.load(header_f64 + ENERGY_A), tl.load(header_f64 + SCALE), _noise(header_f64)
    picks, base = tl.load(header_i64 + PICKS), tl.load(header_i64 + BASE)
    candidates, ties = tl.load(header_i64 + CANDIDATES), tl.load(header_i64 + TIES)
    initial = tl.load(scores + item * SIGNALS + i, mask=i < SIGNALS, other=0.0)
    # Without the item's weight.
    gain = tl.sum(w * w)
    norm = root_above(gain)
    moved = norm * square
    energy = energy_after(before, d, initial, w, gain, norm, square, scale, noise, SIGNALS)
    projected = root_above(energy * square)
    tl.debug_barrier()
    tl.store(header_f64 + ENERGY_A, energy)
    tl.store(header_f64 + PROJECTED, projected)
    tl.store(header_f64 + DRIFT, drift_after(drift, projected, moved))
    # No residual of an eligible item is longer than the pick's, unless weights have decided.
    reach = tl.load(header_f64 + REACH)
    error = step_error(tl.load(header_f64 + ERROR), gamma, tl.where(reach >= 0, reach, norm), moved)
    tl.debug_barrier()
    tl.store(header_f64 + ERROR, error)
    tl.store(header_f64 + REACH, tl.where(reach >= 0, reach + moved * (1 + gamma), reach))
    row = record + (picks - base) * (AT_WEIGHTS + SIGNALS)
    tl.store(row + AT_INDEX, item.to(tl.float64))
    tl.store(row + AT_GAIN, tl.load(header_f64 + GAIN))
    tl.store(row + AT_RIVAL, tl.load(header_f64 + RIVAL))
    tl.store(row + AT_CANDIDATES, candidates.to(tl.float64))
    tl.store(row + AT_TIES, ties.to(tl.float64))
    tl.store(row + AT_WEIGHTS + i, w, mask=i < SIGNALS)
    tl.store(weight + item, 0.0)
    tl.store(header_i64 + PICKS, picks + 1)
    tl.store(header_i64 + PENDING, tl.cast(-1, tl.int64))
