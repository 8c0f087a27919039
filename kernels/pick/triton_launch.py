"""Launches of pick_triton.py and of the gated kernels of family_triton.py, for a graph; arrays as of `DevicePicks`."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.family import family_triton
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.pick import pick_triton, tuning


def candidates(
    rows: Any, scales: Any, scores: Any, A: Any, S: Any, weight: Any, upper: Any, parts: Any, candidate_index: Any,
    candidate_value: Any, count: Any, partial: Any, arrived: Any, picks_f64: Any, picks_i64: Any, *, measure: str,
    projects: bool, capability: int,
) -> None:  # fmt: skip
    """Lists the window of the next pick, with exact residuals and distances."""
    (m, n), d = scores.shape, rows.shape[1]
    values = tuned(family_tuning.TRITON, capability)
    wide, depth = values.window_tile(n)
    family_triton.gated_candidates[(-(-m // values.window_block),)](
        m, d, rows, scales, scores, A, weight, upper, parts, candidate_index, candidate_value, count, picks_f64,
        picks_i64, SIGNALS=n, MEASURE=measure, WIDE=wide, BLOCK=values.window_block, DEPTH=depth, PARTS=len(parts),
        PARTS_BLOCK=_power(len(parts)), num_warps=values.warps, **FUSED,
    )  # fmt: skip
    if projects:
        places, shares = values.distance_tile
        family_triton.gated_distances[(values.distance_programs,)](
            d, rows, scales, S, candidate_index, candidate_value, count, partial, arrived, picks_i64, SIGNALS=n,
            PARTIAL=len(partial), WIDE=values.distance_wide, DEPTH=values.distance_depth, PLACES=places,
            SHARES=shares, num_warps=values.warps, **FUSED,
        )  # fmt: skip


def decide(
    d: int, parts: Any, candidate_index: Any, candidate_value: Any, count: Any, row_squares: Any, weight: Any,
    weights: Any, picks_f64: Any, picks_i64: Any, record: Any, *, measure: str, projects: bool, positive: bool,
    capability: int,
) -> None:  # fmt: skip
    """Decides the pick, or leaves it to the host."""
    n, values = len(weights), tuned(tuning.TRITON, capability)
    pick_triton.decide[(1,)](
        len(weight), d, parts, candidate_index, candidate_value, count, row_squares, int(len(row_squares) > 1), weight,
        weights, picks_f64, picks_i64, record, SIGNALS=n, WIDE=_power(n), MEASURE=measure, PROJECTS=projects,
        POSITIVE=positive, PARTS=len(parts), PARTS_BLOCK=_power(len(parts)), CHUNK=values.chunk,
        num_warps=values.warps, maxnreg=values.registers, **FUSED,
    )  # fmt: skip


def project(
    rows: Any, scales: Any, S: Any, A: Any, phi: Any, g: Any, g_squares: Any, h: Any, record: Any, picks_f64: Any,
    picks_i64: Any, *, projects: bool, capability: int,
) -> None:  # fmt: skip
    """Projects the pick out of S and A, and writes the factor h of its column."""
    d, values = rows.shape[1], tuned(tuning.TRITON, capability)
    tile = {"WIDE": values.wide, "DEPTH": values.depth, "num_warps": values.warps, **FUSED}
    parts = values.parts(d)
    if projects:
        pick_triton.remaining[(parts,)](d, rows, scales, S, phi, picks_i64, **tile)
        pick_triton.lifted[(parts,)](d, S, phi, g, g_squares, picks_i64, **tile)
    pick_triton.project[(values.tiles(d, projects),)](
        d, rows, scales, S, A, phi, g, g_squares, h, record, picks_f64, picks_i64, SIGNALS=len(A), PROJECTS=projects,
        ROWS=values.rows, COLUMNS=values.columns, PARTS=parts, PARTS_BLOCK=_power(parts), num_warps=values.warps,
        **FUSED,
    )  # fmt: skip


def step(
    rows: Any, inverse: Any, h: Any, weights: Any, W: Any, distance: Any, weight: Any, upper: Any, parts: Any,
    picks_f64: Any, picks_i64: Any, *, share: tuple[float, float], measure: str, positive: bool, capability: int,
) -> None:  # fmt: skip
    """Projects the pick out of W~ and d2~ of all items, and bounds their scores."""
    (n, m), d = W.shape, len(h)
    values = tuned(family_tuning.TRITON, capability)
    family_triton.gated_step[(len(parts),)](
        m, d, rows, inverse, h, weights, W, distance, weight, upper, parts, picks_f64, picks_i64, *map(float, share),
        SIGNALS=n, MEASURE=measure, POSITIVE=positive, ITEMS=values.items, DEPTH=values.depth(d, rows.element_size()),
        WIDE=values.wide(n), num_warps=values.warps, **FUSED,
    )  # fmt: skip


def _power(count: int) -> int:
    """Returns the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()
