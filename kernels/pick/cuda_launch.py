"""Launches of pick.cu and of the gated kernels of family.cu, for a graph; arrays as of `DevicePicks`."""

from typing import Any

from numpy import float32, float64, int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.pick import tuning


class Pick:
    """The kernels of a pick, built for n signals, rows in `input_dtype`, multiplied in `multiply`, and one score."""

    def __init__(
        self, n: int, input_dtype: str, multiply: str, measure: str, projects: bool, positive: bool, chip: Chip
    ) -> None:
        self.family, self.values = tuned(family_tuning.CUDA, chip.capability), tuned(tuning.CUDA, chip.capability)
        self.multiprocessors, self.projects = chip.multiprocessors, projects
        passes = self.family.macros(n, input_dtype, multiply, measure, positive)
        own = self.values.macros(n, input_dtype, measure, projects, positive)
        self._candidates, self._distances, self._step = (
            cuda_source.kernel("family", name, passes) for name in ("gated_candidates", "gated_distances", "gated_step")
        )
        self._decide, self._remaining, self._lifted, self._project = (
            cuda_source.kernel("pick", name, own) for name in ("decide", "remaining", "lifted", "project")
        )

    def candidates(
        self, rows: Any, norms: Any, scores: Any, A: Any, S: Any, weight: Any, upper: Any, parts: Any,
        candidate_index: Any, candidate_value: Any, count: Any, partial: Any, ticket: Any, picks_f64: Any,
        picks_i64: Any, factor: float,
    ) -> None:  # fmt: skip
        """Lists the window of the next pick, with exact residuals and distances."""
        (m, d), block = rows.shape, (self.family.threads,)
        listed = (candidate_index, candidate_value, count)
        self._candidates(
            (self.family.blocks(m, self.multiprocessors),), block,
            (int64(m), int32(d), rows, norms, scores, A, weight, upper, parts, *listed, picks_f64, picks_i64,
             int64(len(parts)), float64(factor), int32(not self.projects)),
        )  # fmt: skip
        if self.projects:
            self._distances(
                (self.family.most_blocks(self.multiprocessors),), block,
                (int32(d), rows, norms, S, *listed, partial, int64(len(partial)), ticket, picks_i64, float64(factor)),
            )  # fmt: skip

    def decide(
        self, d: int, parts: Any, candidate_index: Any, candidate_value: Any, count: Any, row_squares: Any, weight: Any,
        weights: Any, picks_f64: Any, picks_i64: Any, record: Any,
    ) -> None:  # fmt: skip
        """Decides the pick, or leaves it to the host."""
        self._decide(
            (1,), (self.values.threads,),
            (int64(len(weight)), int32(d), parts, int64(len(parts)), candidate_index, candidate_value, count,
             row_squares, int64(len(row_squares) > 1), weight, weights, picks_f64, picks_i64, record),
        )  # fmt: skip

    def project(
        self, rows: Any, norms: Any, S: Any, A: Any, phi: Any, g: Any, g_squares: Any, h: Any, record: Any,
        picks_f64: Any, picks_i64: Any, factor: float,
    ) -> None:  # fmt: skip
        """Projects the pick out of S and A, and writes the factor h of its column."""
        d, block = rows.shape[1], (self.values.threads,)
        if self.projects:
            columns = -(-d // self.values.columns)
            self._remaining((columns,), block, (int32(d), rows, norms, S, phi, picks_i64, float64(factor)))
            self._lifted((len(g_squares),), block, (int32(d), S, phi, g, g_squares, picks_i64))
        self._project(
            self.values.tiles(d, self.projects), block,
            (int32(d), rows, norms, S, A, phi, g, g_squares, h, record, picks_f64, picks_i64, int32(len(g_squares)),
             float64(factor)),
        )  # fmt: skip

    def step(
        self, rows: Any, inverse: Any, h: Any, weights: Any, W: Any, distance: Any, weight: Any, upper: Any, parts: Any,
        picks_f64: Any, picks_i64: Any, share: tuple[float, float],
    ) -> None:  # fmt: skip
        """Projects the pick out of W~ and d2~ of all items, and bounds their scores."""
        m, d = W.shape[1], len(h)
        self._step(
            (len(parts),), (self.family.threads,),
            (int64(m), int32(d), rows, inverse, h, weights, W, distance, weight, upper, parts, picks_f64, picks_i64,
             *map(float32, share)),
        )  # fmt: skip
