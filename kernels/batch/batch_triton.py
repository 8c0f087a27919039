"""Batch of Gram columns, listed on the device: `nominate` and `choose`; `listed` of gram_triton.py computes them.

The batch holds the pending pick and the items with the largest scores among those without a column. `nominate` finds a
threshold: as many pieces of the items as the batch has columns to come hold an item that reaches it, so the items of
the batch do. `choose` lists the items that reach it, usually few more; its last program takes exactly the largest keys,
claims slots of the ring for them, and changes the reason from NEED_COLUMN to LISTED. With any other reason both return
at once. Keys, arrays and places: `gip_gpu/backends/gpu/layout.py`.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import Code, HeaderI64

REASON, PENDING, TICKET = (
    tl.constexpr(int(place)) for place in (HeaderI64.REASON, HeaderI64.PENDING, HeaderI64.TICKET)
)
FIRST, BATCH, NEXT = (tl.constexpr(int(place)) for place in (HeaderI64.FIRST, HeaderI64.BATCH, HeaderI64.NEXT))
COMPUTED, BATCHES = (tl.constexpr(int(place)) for place in (HeaderI64.COMPUTED, HeaderI64.BATCHES))
THRESHOLD, NOMINEES = (tl.constexpr(int(place)) for place in (HeaderI64.THRESHOLD, HeaderI64.NOMINEES))
NEED_COLUMN, LISTED = (tl.constexpr(int(code)) for code in (Code.NEED_COLUMN, Code.LISTED))


@triton.jit
def _keys(items, m, score, slots, pending):
    """Returns the keys of items, 0 for those that may not be in a batch."""
    inside = items < m
    value = tl.load(score + items, mask=inside, other=0.0)
    slot = tl.load(slots + items, mask=inside, other=0)
    open_ = inside & (value > 0) & (slot < 0) & (items != pending)
    bits = value.to(tl.int32, bitcast=True).to(tl.int64)
    return tl.where(open_, (bits << 32) | (4294967295 - items), 0)


@triton.jit
def _reaching(keys, count, threshold, CHUNK: tl.constexpr):
    """Returns how many of `count` keys reach the threshold, and the largest key."""
    found, largest = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    for start in range(0, count, CHUNK):
        at = start + tl.arange(0, CHUNK)
        key = tl.load(keys + at, mask=at < count, other=0)
        found += tl.sum((key >= threshold).to(tl.int64))
        largest = tl.maximum(largest, tl.max(key))
    return found, largest


@triton.jit
def _threshold(keys, count, wanted, CHUNK: tl.constexpr):
    """Returns a threshold that `wanted` of `count` different keys reach, or all positive keys if there are fewer."""
    threshold = tl.cast(1, tl.int64)
    found, largest = _reaching(keys, count, threshold, CHUNK)
    low, high = threshold, largest + 1
    # More than `wanted` keys reach low, fewer reach high, or none is wanted.
    searching = found > wanted
    while searching:
        threshold = low + ((high - low) >> 1)
        found, _ = _reaching(keys, count, threshold, CHUNK)
        low = tl.where(found > wanted, threshold, low)
        high = tl.where(found < wanted, threshold, high)
        searching = (found != wanted) & (high - low > 1)
        threshold = tl.where((found != wanted) & (high - low <= 1), high, threshold)
    return threshold


@triton.jit
def nominate(m, score, slots, piece_keys, header_i64, pieces, wanted, PIECE: tl.constexpr, BLOCK: tl.constexpr,
             CHUNK: tl.constexpr):  # fmt: skip
    """Finds the largest key of each of the `pieces`; the last program finds the threshold that `wanted` of them reach.

    A program takes BLOCK items, or one piece if that is longer.
    """
    p = tl.program_id(0).to(tl.int64)
    if tl.load(header_i64 + REASON) == NEED_COLUMN:
        pending = tl.load(header_i64 + PENDING)
        if PIECE < BLOCK:
            keys = _keys(p * BLOCK + tl.arange(0, BLOCK), m, score, slots, pending)
            largest = tl.max(tl.reshape(keys, (BLOCK // PIECE, PIECE)), axis=1)
            at = p * (BLOCK // PIECE) + tl.arange(0, BLOCK // PIECE)
            tl.store(piece_keys + at, largest, mask=at < pieces)
        else:
            best = tl.zeros((BLOCK,), tl.int64)
            for start in range(0, PIECE, BLOCK):
                best = tl.maximum(best, _keys(p * PIECE + start + tl.arange(0, BLOCK), m, score, slots, pending))
            tl.store(piece_keys + p, tl.max(best))
        # The writes of this program are visible before its ticket; the program with the last ticket sees all writes.
        tl.debug_barrier()
        if tl.atomic_add(header_i64 + TICKET, 1, sem="acq_rel") == tl.num_programs(0) - 1:
            tl.debug_barrier()
            tl.store(header_i64 + THRESHOLD, _threshold(piece_keys, pieces, wanted, CHUNK))
            tl.store(header_i64 + NOMINEES, tl.cast(0, tl.int64))
            tl.store(header_i64 + TICKET, tl.cast(0, tl.int64))


@triton.jit
def choose(m, score, slots, held, nominees, chosen, header_i64, wanted, room, span, BLOCK: tl.constexpr,
           CHUNK: tl.constexpr, COMPARED: tl.constexpr, SIZE: tl.constexpr):  # fmt: skip
    """Lists the nominees; the last program takes the `wanted` largest keys and claims slots for their items.

    Args:
        room: slots of the ring in use.
        span: items of a program.
        SIZE: a power of two, at least `wanted`.
    """
    p = tl.program_id(0).to(tl.int64)
    if tl.load(header_i64 + REASON) == NEED_COLUMN:
        pending, threshold = tl.load(header_i64 + PENDING), tl.load(header_i64 + THRESHOLD)
        for start in range(0, span, BLOCK):
            keys = _keys(p * span + start + tl.arange(0, BLOCK), m, score, slots, pending)
            reaching = keys >= threshold
            count = tl.sum(reaching.to(tl.int64))
            if count > 0:
                place = tl.atomic_add(header_i64 + NOMINEES, count) + tl.cumsum(reaching.to(tl.int64)) - 1
                tl.store(nominees + place, keys, mask=reaching)
        tl.debug_barrier()
        if tl.atomic_add(header_i64 + TICKET, 1, sem="acq_rel") == tl.num_programs(0) - 1:
            tl.debug_barrier()
            found = _collect(nominees, chosen, header_i64, wanted, CHUNK)
            _claim(slots, held, chosen, header_i64, found, room, COMPARED, SIZE)


@triton.jit
def _collect(nominees, chosen, header_i64, wanted, CHUNK: tl.constexpr):
    """Copies the `wanted` largest keys to `chosen`, in any order; returns how many there are."""
    count = tl.load(header_i64 + NOMINEES)
    threshold = _threshold(nominees, count, wanted, CHUNK)
    found = tl.cast(0, tl.int64)
    for start in range(0, count, CHUNK):
        at = start + tl.arange(0, CHUNK)
        key = tl.load(nominees + at, mask=at < count, other=0)
        reaching = key >= threshold
        tl.store(chosen + found + tl.cumsum(reaching.to(tl.int64)) - 1, key, mask=reaching)
        found += tl.sum(reaching.to(tl.int64))
    # Other threads of this program read them again.
    tl.debug_barrier()
    return found


@triton.jit
def _claim(slots, held, chosen, header_i64, found, room, COMPARED: tl.constexpr, SIZE: tl.constexpr):
    """Gives the pending pick and the chosen items the next slots, the largest key first, and drops the items there."""
    pending, following = tl.load(header_i64 + PENDING), tl.load(header_i64 + NEXT)
    computed, batches = tl.load(header_i64 + COMPUTED), tl.load(header_i64 + BATCHES)
    count = found + 1
    first = tl.where(following + count <= room, following, 0)
    i = tl.arange(0, SIZE)
    key = tl.load(chosen + i, mask=i < found, other=0)
    place = tl.zeros((SIZE,), tl.int64)
    for start in range(0, found, COMPARED):
        at = start + tl.arange(0, COMPARED)
        others = tl.load(chosen + at, mask=at < found, other=0)
        place += tl.sum((others[None, :] > key[:, None]).to(tl.int64), axis=1)
    # The items there now; slot `first` goes to the pending pick.
    dropped = tl.load(held + first + 1 + i, mask=i < found, other=-1).to(tl.int64)
    before = tl.load(held + first).to(tl.int64)
    tl.store(slots + dropped, -1, mask=dropped >= 0)
    tl.store(slots + before, -1, mask=before >= 0)
    # All threads have read what is overwritten now.
    tl.debug_barrier()
    item, slot = 4294967295 - (key & 4294967295), first + 1 + place
    tl.store(held + slot, item.to(tl.int32), mask=i < found)
    tl.store(slots + item, slot.to(tl.int32), mask=i < found)
    tl.store(held + first, pending.to(tl.int32))
    tl.store(slots + pending, first.to(tl.int32))
    tl.store(header_i64 + FIRST, first)
    tl.store(header_i64 + BATCH, count)
    tl.store(header_i64 + NEXT, first + count)
    tl.store(header_i64 + COMPUTED, computed + count)
    tl.store(header_i64 + BATCHES, batches + 1)
    tl.store(header_i64 + TICKET, tl.cast(0, tl.int64))
    tl.store(header_i64 + REASON, tl.cast(LISTED, tl.int64))
