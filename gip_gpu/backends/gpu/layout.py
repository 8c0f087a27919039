"""Layout shared by the host and the device kernels of a selection: places in the shared arrays, codes, constants.

One source for both kernel languages: Triton kernels read these as constants, CUDA kernels get them as macros.

The device arrays of a selection (n signals, m items, rows of length d):

    rows             (m, d)  as given: fp16, bf16, fp32 or fp64
    norms            (m,)    float64, divisor of each row; `inverses` has the reciprocals
    scores           (m, n)  float64, in `State.unit`; zero for items that left the pool in an earlier round
    A                (n, d)  float64
    W                (n, m)  float32, the residual W~
    weight           (m,)    float32: at most 1, of an eligible item; 0 picked in this round, -1 in an earlier one
    score            (m,)    float32, ||W~_j||^2 times the weight where that is positive, else 0
    slots            (m,)    int32, slot of the item's Gram column; -1: none
    columns          (slots, m) fp32, fp16 or bf16
    best             (parts,) float32, the largest score of each part of the items
    energy           (parts,) float64, ||W~||^2 over the items with weight >= 0 of each part
    candidate_index  (m,)    int64, the candidates of a step, in any order
    candidate_value  (m, 1 + n) float64, their exact gains times weights, and residuals
    header_f64       (HEADER_F64_RESIDUAL + n,) float64, numbers of the selection at the places of `HeaderF64`
    header_i64       (PLACES,) int64, numbers of the selection at the places of `HeaderI64`
    record           (steps, RECORD_WEIGHTS + n) float64, the record of each pick; gain and rival times weights

If the device computes missing columns by itself, in batches, they form a ring: consecutive slots, the oldest first.

    held             (slots,) int32, the item whose column is in each slot; -1: none
    piece_keys       (pieces,) int64, the largest key of each piece of the items
    nominees         (m,)    int64, keys of the items that may belong to a batch, in any order; shares `candidate_index`
    chosen           (LARGEST_BATCH,) int64, keys of the items of a batch, without the pending pick, in any order

For the projecting objectives `gip_gpu.backends.gpu.items` lists the arrays. If the device makes picks, there are also

    picks_f64        (PICK_NUMBERS,) float64, at the places of `PickF64`
    picks_i64        (PICK_PLACES,) int64, at the places of `PickI64`
    record           (steps, RECORD_WEIGHTS + n) float64, as above; gains and rivals in the unit of `judged` values
    phi, g           (d,)    float64, of the last pick
    g_squares        (parts,) float64, ||g||^2 by part
    row_squares      (m,) or (1,) float64, squared norms of the rows x, or that of all of them

The key of an item with a positive score and no column is its score's bits above those of 2^32 - 1 - item, so that the
larger of two keys has the larger score, or the lower index among equal ones; other items have key 0.
"""

from enum import IntEnum

from gip_gpu.backends.residual import USUAL_WINDOW
from gip_gpu.numerics import error_bounds, ties


class HeaderF64(IntEnum):
    """Places in `header_f64`."""

    ERROR = 0  # State.error
    DRIFT = 1  # State.drift
    ENERGY_A = 2  # an upper bound on ||A||^2
    GAMMA = 3  # Backend.gamma
    SQUARE = 4  # Backend.square
    SCALE = 5  # State.scale
    GAIN = 6  # of the pending pick
    RIVAL = 7  # the gain that no other item exceeds, float64 rounding included
    PROJECTED = 8  # bound on |f_j A| over all items
    ROUNDING = 9  # error_bounds.dot_error of a rescored row
    LARGEST = 10  # the largest ||W~_j||, if a window was empty
    FLOOR = 11  # the squared norm from which an item is a candidate, if a window was empty
    REACH = 12  # State.reach; negative if all weights are 1
    RESIDUAL = 16  # from here: the exact residual of the pending pick


class HeaderI64(IntEnum):
    """Places in `header_i64`."""

    REASON = 0
    PICKS = 1  # picks made
    UNTIL = 2  # picks to make
    BASE = 3  # picks made when the launch began: record 0 is this pick
    EXCESS = 4  # State.excess
    PENDING = 5  # the item found to be the argmax, or -1
    SLOT = 6  # the slot of its column, or -1: nothing to project out
    COUNT = 7  # candidates found in this step
    CANDIDATES = 8  # of the pending pick
    TIES = 9
    ARRIVED = 10  # of the grid barrier
    FIRST = 11  # the first slot of the last batch
    BATCH = 12  # its columns
    NEXT = 13  # the slot after them
    COMPUTED = 14  # columns of all batches
    BATCHES = 15  # batches
    THRESHOLD = 16  # the smallest key of a nominee
    NOMINEES = 17  # items with this key or a larger one
    TICKET = 18  # blocks that have listed their items


class Code(IntEnum):
    """Values of `header_i64[HeaderI64.REASON]`; RUNNING means that more steps may be taken."""

    RUNNING = 0
    DONE = 1
    NEED_COLUMN = 2
    NEED_REFRESH = 3
    EXHAUSTED = 4
    DIVERGED = 5
    EMPTY_WINDOW = 6  # no candidate, though items are eligible: a fault
    LISTED = 7  # as RUNNING; the next kernel computes the columns of a batch, the pending pick's among them
    NEED_HOST = 8  # a pick of a projecting objective that is not beyond doubt


class Record(IntEnum):
    """Places in a row of `record`."""

    INDEX = 0
    GAIN = 1
    RIVAL = 2  # the gain that no other item exceeds, float64 rounding included
    CANDIDATES = 3
    TIES = 4
    ENERGY = 5  # ||W~||^2 over the pool after the pick
    WEIGHTS = 6  # from here: the residual


class PickI64(IntEnum):
    """Places in `picks_i64`, for the picks of a projecting objective that the device makes."""

    REASON = 0
    PICKS = 1  # picks made
    BASE = 2  # picks made when the run began: record 0 is this pick
    ROUND = 3  # picks projected out in this round
    EXCESS = 4  # State.excess
    ALWAYS = 5  # fewest candidates of a pick since the last refresh
    UNSETTLED = 6  # whether a pick was made since the last refresh
    ITEM = 7  # the last pick
    BLOCKED = 8  # State.blocked


class PickF64(IntEnum):
    """Places in `picks_f64`. The first ones change with each pick; attributes are those of `ProjectingRound`."""

    ERROR = 0  # State.error
    DISTANCE_ERROR = 1
    DRIFT = 2  # State.drift
    PROJECTED = 3
    LARGEST_RESIDUAL = 4
    INVERSE_LEAST = 5  # 1 / least
    LARGEST_ROOT = 6
    RESIDUAL_BOUND = 7  # ErrorBounds.residual
    DISTANCE_BOUND = 8  # ErrorBounds.distance
    SHRINK = 9  # RankOneUpdate.shrink
    UNIT = 10  # h = g / unit
    Q = 11  # of the last pick
    FIRST = 12
    INVERSE_FIRST = 13  # 1 / first
    FARTHEST = 14  # largest: the largest distance at the last refresh
    SCALE = 15  # State.scale
    RIDGE = 16  # Rules.ridge
    PLAIN_Q = 17  # q of every pick if nothing is projected out of the rows
    GAMMA = 18  # Items.gamma
    DOT_ERROR = 19  # error_bounds.dot_error of a row, float64
    ROOT_UNIT = 20  # 4 U64 sqrt(d)
    NORM_ERROR = 21  # (2 n + 8) U32
    FLUSHED_NORM = 22  # sqrt(n TINY32)
    OWN_SQUARE = 23  # squared norm of a pick's row, for `least`; 0: that in `row_squares`
    SHARE = 24  # 1 / (ridge + 1)
    SHARE_ROOT = 25  # its root


# Lengths of `picks_i64`, even so that `picks_f64` after it starts at a multiple of 16 bytes, and of `picks_f64`.
PICK_PLACES, PICK_NUMBERS = 10, len(PickF64)
# Length of `header_i64`.
PLACES = 24
# Most columns of a batch, and most pieces of the items: what the program that chooses a batch holds at once.
LARGEST_BATCH, PIECES = 256, 1024

CONSTANTS = {
    "U32": error_bounds.U32,
    "U64": error_bounds.U64,
    "FLUSHED": error_bounds.TINY32,
    "TIE_RELATIVE": ties.RELATIVE,
    "TIE_ABSOLUTE": ties.ABSOLUTE,
    "FLOOR": ties.FLOOR,
    "TIE": ties.TIE,
    "DEPENDENT": ties.DEPENDENT,
    "OFF": error_bounds.OFF,
    "DIVERGED_NORM": error_bounds.DIVERGED,
    "USUAL_WINDOW": USUAL_WINDOW,
}


KINDS: dict[str, type[IntEnum]] = {
    "HEADER_F64": HeaderF64,
    "HEADER_I64": HeaderI64,
    "CODE": Code,
    "RECORD": Record,
    "PICK_F64": PickF64,
    "PICK_I64": PickI64,
}


def macros() -> dict[str, str]:
    """Returns places, codes and constants as C macros; floating-point values as exact hexadecimal literals."""
    places = {f"{prefix}_{place.name}": str(int(place)) for prefix, kind in KINDS.items() for place in kind}
    sizes = {"LARGEST_BATCH": str(LARGEST_BATCH), "PIECES": str(PIECES)}
    return {**places, **sizes, **{name: float(value).hex() for name, value in CONSTANTS.items()}}
