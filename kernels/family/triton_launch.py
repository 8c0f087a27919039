"""Launches of the Triton kernels of family_triton.py. Arrays as `gip_gpu/backends/gpu/items.py` lists them."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.family import family_triton, tuning


def step(
    rows: Any, inverse: Any, h: Any, weights: Any, metric: Any, W: Any, distance: Any, weight: Any, upper: Any,
    parts: Any, first: int, count: int, *, moves: bool, errors: tuple[float, float], share: tuple[float, float],
    shrink: float, measure: str, positive: bool, measured: bool, capability: int,
) -> None:  # fmt: skip
    """Projects a pick out of W~ and d2~ of `count` items from `first` with these `rows`, and bounds their scores.

    Args:
        moves: False: nothing is projected out and no row read; `weights` and `shrink` are 0.
        errors: bounds on the errors of W~ and d2~.
        share: (a, b) in the denominator sqrt(a + b d2~) of a score.
        shrink: factor of the square of a column's entry in the step of d2~.
        measure, positive, measured: "norm", "ratio" or "distance"; whether only positive residuals count; whether
            residuals are measured by `metric`.
    """
    (n, m), d = W.shape, len(h)
    values = tuned(tuning.TRITON, capability)
    # Plain Python floats, which Triton certainly accepts.
    scalars = map(float, (*errors, *share, shrink))
    family_triton.step[(len(parts),)](
        m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count, int(moves), *scalars,
        SIGNALS=n, MEASURE=measure, POSITIVE=positive, METRIC=measured, ITEMS=values.items,
        DEPTH=values.depth(d, rows.element_size()), WIDE=values.wide(n), num_warps=values.warps, **FUSED,
    )  # fmt: skip


def candidates(
    rows: Any, scales: Any, scores: Any, A: Any, weight: Any, upper: Any, floor: float, candidate_index: Any,
    candidate_value: Any, count: Any, capability: int,
) -> None:  # fmt: skip
    """Lists the items with an upper bound of at least `floor`, with exact residuals and ||x||^2, x = row * scale."""
    (m, n), d = scores.shape, rows.shape[1]
    values = tuned(tuning.TRITON, capability)
    wide, depth = values.window_tile(n)
    family_triton.candidates[(-(-m // values.window_block),)](
        m, d, rows, scales, scores, A, weight, upper, float(floor), candidate_index, candidate_value, count, SIGNALS=n,
        WIDE=wide, BLOCK=values.window_block, DEPTH=depth, num_warps=values.warps, **FUSED,
    )  # fmt: skip


def distances(
    rows: Any, scales: Any, S: Any, candidate_index: Any, candidate_value: Any, count: Any, partial: Any, arrived: Any,
    capability: int,
) -> None:  # fmt: skip
    """Replaces ||x||^2 of the listed items by exact distances ||S'x||^2; `arrived` is 0 before and after."""
    values = tuned(tuning.TRITON, capability)
    places, shares = values.distance_tile
    family_triton.distances[(values.distance_programs,)](
        rows.shape[1], rows, scales, S, candidate_index, candidate_value, count, partial, arrived,
        SIGNALS=candidate_value.shape[1] - 1, PARTIAL=len(partial), WIDE=values.distance_wide,
        DEPTH=values.distance_depth, PLACES=places, SHARES=shares, num_warps=values.warps, **FUSED,
    )  # fmt: skip
