"""Launches of family.cu. Arrays as `gip_gpu/backends/gpu/items.py` lists them."""

from typing import Any

from numpy import float32, float64, int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.family import tuning

# Null pointer. CuPy does not convert None to one (its issue 9046).
NULL = int64(0)


class Family:
    """The three kernels, built for n signals, rows given in `input_dtype`, multiplied in `multiply`, and one score."""

    def __init__(self, n: int, input_dtype: str, multiply: str, measure: str, positive: bool, chip: Chip) -> None:
        self.values, self.multiprocessors = tuned(tuning.CUDA, chip.capability), chip.multiprocessors
        defines = self.values.macros(n, input_dtype, multiply, measure, positive)
        names = ("step", "candidates", "distances")
        self._step, self._candidates, self._distances = (cuda_source.kernel("family", name, defines) for name in names)

    def step(
        self, rows: Any, inverse: Any, h: Any, weights: Any, metric: Any, W: Any, distance: Any, weight: Any,
        upper: Any, parts: Any, first: int, count: int, *, errors: tuple[float, float], share: tuple[float, float],
        shrink: float,
    ) -> None:  # fmt: skip
        """Projects a pick out of W~ and d2~ of `count` items from `first`, and bounds their scores.

        Args:
            rows: rows of these items, in the format in which they are multiplied; None: nothing is projected out.
            metric: metric of the residuals; None for the identity.
            errors: bounds on the errors of W~ and d2~.
            share: (a, b) in the denominator sqrt(a + b d2~) of a score.
            shrink: factor of the square of a column's entry in the step of d2~.
        """
        m, d = W.shape[1], len(h)
        self._step(
            (len(parts),), (self.values.threads,),
            (int64(m), int32(d), _or_null(rows), inverse, h, weights, _or_null(metric), W, distance, weight, upper,
             parts, int64(first), int64(count), *map(float32, (*errors, *share, shrink))),
        )  # fmt: skip

    def candidates(
        self, rows: Any, norms: Any, scores: Any, A: Any, weight: Any, upper: Any, candidate_index: Any,
        candidate_value: Any, count: Any, floor: float, factor: float, identity: bool,
    ) -> None:  # fmt: skip
        """Lists the items with an upper bound of at least `floor`, with exact residuals, for x = row / norm * factor.

        `identity`: S is the identity, so that ||x||^2 are exact distances; else `distances` writes them.
        """
        m, d = rows.shape
        self._candidates(
            (self.values.blocks(m, self.multiprocessors),), (self.values.threads,),
            (int64(m), int32(d), rows, norms, scores, A, weight, upper, candidate_index, candidate_value, count,
             float64(floor), float64(factor), int32(identity)),
        )  # fmt: skip

    def distances(
        self, rows: Any, norms: Any, S: Any, candidate_index: Any, candidate_value: Any, count: Any, partial: Any,
        ticket: Any, factor: float,
    ) -> None:  # fmt: skip
        """Computes the exact distances ||S'x||^2 of the listed items; `ticket` is 0 before and after."""
        self._distances(
            (self.values.most_blocks(self.multiprocessors),), (self.values.threads,),
            (int32(rows.shape[1]), rows, norms, S, candidate_index, candidate_value, count, partial,
             int64(len(partial)), ticket, float64(factor)),
        )  # fmt: skip


def _or_null(array: Any) -> Any:
    return NULL if array is None else array
