"""Batches of Gram columns: a device's state before one is listed, and the state that must follow."""

from dataclasses import dataclass

import numpy as np

from gip_gpu.backends.gpu.layout import LARGEST_BATCH, PIECES, PLACES, Code, HeaderI64

# Items, columns of a batch, slots in use, and kinds of scores. Pieces have 1, 1, 1, 2 and 4 items.
CASES = [
    (1, 1, 4, "positive"),
    (7, 4, 8, "some zero"),
    (200, 16, 32, "positive"),
    (200, 256, 256, "some zero"),
    (1500, 64, 128, "tied"),
    (1500, 1, 2, "positive"),
    (3000, 32, 64, "one piece"),
    (3000, 128, 256, "all equal"),
    (300, 16, 64, "infinite"),
    (300, 16, 64, "none"),
]


@dataclass
class Listing:
    """Arrays of `nominate` and `choose`, named as in `gip_gpu.backends.gpu.layout`."""

    score: np.ndarray
    slots: np.ndarray
    held: np.ndarray
    header_i64: np.ndarray
    piece_keys: np.ndarray
    nominees: np.ndarray
    chosen: np.ndarray

    @property
    def pending(self):
        return int(self.header_i64[HeaderI64.PENDING])


def scores(kind, m, rng):
    found = rng.random(m).astype(np.float32)
    if kind == "some zero":
        found[rng.random(m) < 0.4] = 0
    if kind == "tied":
        found = np.float32(1) + rng.integers(0, 3, m).astype(np.float32)
    if kind == "one piece":
        # The best items are neighbours: most pieces have none of them.
        found[m // 2 : m // 2 + 40] += 5
    if kind == "all equal":
        found[:] = 0.7
    if kind == "infinite":
        found[:3] = np.inf
    if kind == "none":
        found[:] = 0
    return found


def listing(m, size, room, kind, reason=Code.NEED_COLUMN):
    """Returns a state in which the pending pick lacks its column, and other items have theirs in some of the slots."""
    rng = np.random.default_rng([m, size, room])
    slots, held = np.full(m, -1, np.int32), np.full(room + 3, -1, np.int32)
    order = rng.permutation(m)
    pending, others = int(order[0]), order[1 : 1 + min(m - 1, room // 2)]
    places = rng.permutation(room)[: len(others)]
    slots[others], held[places] = places, others
    header = np.full(PLACES, -7)
    header[[HeaderI64.REASON, HeaderI64.PENDING]] = reason, pending
    header[[HeaderI64.COMPUTED, HeaderI64.BATCHES, HeaderI64.TICKET, HeaderI64.ARRIVED]] = 100, 9, 0, 5
    header[HeaderI64.NEXT] = rng.integers(0, room + 1)
    return Listing(scores(kind, m, rng), slots, held, header, np.full(PIECES, -1), np.full(m, -1),
                   np.full(LARGEST_BATCH, -1))  # fmt: skip


def check(before, after, size, room):
    """Checks the batch: the pending pick, then the items with the largest scores, the lowest index first of equals."""
    open_ = (before.slots < 0) & (before.score > 0)
    open_[before.pending] = False
    ranked = np.argsort(-before.score, kind="stable")
    batch = [before.pending, *ranked[open_[ranked]][: size - 1].tolist()]
    count, following = len(batch), before.header_i64[HeaderI64.NEXT]
    first = following if following + count <= room else 0
    held = before.held.copy()
    held[first : first + count] = batch
    np.testing.assert_array_equal(after.held, held)
    slots = np.full(len(before.slots), -1)
    slots[held[held >= 0]] = np.flatnonzero(held >= 0)
    np.testing.assert_array_equal(after.slots, slots)
    wanted = {
        HeaderI64.REASON: Code.LISTED, HeaderI64.FIRST: first, HeaderI64.BATCH: count, HeaderI64.NEXT: first + count,
        HeaderI64.COMPUTED: 100 + count, HeaderI64.BATCHES: 10, HeaderI64.TICKET: 0, HeaderI64.PENDING: before.pending,
    }  # fmt: skip
    assert {place: after.header_i64[place] for place in wanted} == wanted
