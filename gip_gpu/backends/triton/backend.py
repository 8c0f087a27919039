"""The Triton backend: torch memory, Triton kernels, steps captured in a CUDA graph.

Each step has two kernels, and the end of each is a barrier. A captured graph starts a kernel within about a microsecond
of the previous one. Unlike a barrier inside a Triton kernel, it does not require all programs of a grid to run at once.
"""

import os
from typing import Any, ClassVar

from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.backend import GpuBackend, Ring, too_old
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import Code, HeaderI64
from gip_gpu.backends.gpu.picks import DevicePicks
from gip_gpu.backends.items import ErrorBounds, Items, RankOneUpdate, Rules
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.loop import tuning as loop_tuning
from gip_gpu.kernels.pick import tuning as pick_tuning
from gip_gpu.kernels.refresh import tuning as refresh_tuning
from gip_gpu.kernels.step import tuning as step_tuning
from gip_gpu.numerics import error_bounds
from gip_gpu.system import cuda_driver


class TritonBackend(GpuBackend):
    """Backend on a CUDA device; for tests also on the CPU under Triton's slow interpreter (`TRITON_INTERPRET=1`)."""

    name: ClassVar[str] = "triton"
    devices: ClassVar[tuple[str, ...]] = ("cuda", "cpu")
    graph: ClassVar[bool] = True

    arrays: Any  # TorchArrays; its module imports torch.

    @classmethod
    def missing(cls, device: str) -> str:
        if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
            return "on the CPU it runs under Triton's interpreter only, for tests: set TRITON_INTERPRET=1"
        try:
            import torch
            import triton  # noqa: F401
        except Exception as error:  # A broken library counts as absent.
            either = " or ".join(f"'gip_gpu[{extra}]'" for extra, _ in cuda_driver.EXTRAS.values())
            return f"it needs torch and triton ({error}); pip install {either} brings them; {cuda_driver.fitting()}"
        if device == "cpu":
            return ""
        if not torch.cuda.is_available():
            built = (
                f", and is built for CUDA {torch.version.cuda}" if torch.version.cuda else ", and is built without CUDA"
            )
            return f"torch {torch.__version__} sees no CUDA device{built}"
        return too_old(*torch.cuda.get_device_capability(int(device.partition(":")[2] or 0)))

    @classmethod
    def make_arrays(cls, device: str) -> Arrays:
        from gip_gpu.backends.triton.arrays import TorchArrays

        return TorchArrays(device)

    @classmethod
    def available(cls, device: str) -> int:
        return cls.make_arrays(device).free()

    def _cast(self, rows: Any, norms: Any) -> Any:
        from gip_gpu.kernels.cast import cast_torch

        out = self.arrays.empty(rows.shape, self.multiply)
        cast_torch.cast(rows, norms, self.factor, out, self.multiply)
        return out

    def _parts(self) -> int:
        capability = self.arrays.capability
        return max(self.parts, tuned(refresh_tuning.TRITON, capability).programs(self.m))

    @property
    def parts(self) -> int:
        """Number of programs of the step kernels."""
        return tuned(step_tuning.TRITON, self.arrays.capability).programs(self.m)

    def _begin(self) -> None:
        empty = self.arrays.empty
        self.inverses = 1 / self.norms
        self.best, self.energy = empty((self.parts,), "fp32"), empty((self.parts,), "fp64")

    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        from gip_gpu.kernels.refresh import triton_launch

        triton_launch.refresh(
            rows, self.norms, self.scores, self.A, self.W, self.weight, largest, first, count, self.arrays.capability
        )

    def _pick(self) -> None:
        from gip_gpu.kernels.step import triton_launch

        triton_launch.pick(
            self.stored, self.inverses, self.scores, self.A, self.weight, self.score, self.slots, self.best,
            self.energy, self.candidate_index, self.candidate_value, self.header_f64, self.header_i64, self.record,
            self.arrays.capability,
        )  # fmt: skip

    def _update(self, columns: Any) -> None:
        from gip_gpu.kernels.step import triton_launch

        triton_launch.update(
            self.W, columns, self.weight, self.score, self.best, self.energy, self.header_f64, self.header_i64,
            self.arrays.capability,
        )  # fmt: skip

    def _start(self, columns: Any) -> None:
        # No pick has a slot yet, so that it only scores.
        self.arrays.visits += 1
        self._update(columns)

    def _take(self, count: int, columns: Any) -> None:
        """Launches `count` steps."""
        for _ in range(count):
            self._pick()
            self._update(columns)

    def _steps(self, columns: Any) -> None:
        self._take(tuned(loop_tuning.TRITON, self.arrays.capability).batch_steps, columns)

    def _run(self, columns: Any) -> None:
        values, key = tuned(loop_tuning.TRITON, self.arrays.capability), (self.arrays.address(columns),)
        if key not in self.graphs:
            self._idle()
            self.graphs[key] = self.arrays.captured(lambda: self._take(values.graph_steps, columns))
            self._load()
        self._start(columns)
        ahead = 1
        while True:
            for _ in range(ahead):
                self.graphs[key]()
                if self.arrays.immediate and int(self.header_i64[HeaderI64.REASON]) != Code.RUNNING:
                    break
            if int(self.arrays.get(self.header_i64[HeaderI64.REASON : HeaderI64.REASON + 1])[0]) != Code.RUNNING:
                return
            # As long as no column is missing, the host checks less and less often.
            ahead = min(2 * ahead, values.graphs_ahead)

    def _choose_batch(self, ring: Ring, size: int, room: int) -> None:
        from gip_gpu.kernels.batch import triton_launch

        triton_launch.choose(
            self.score, self.slots, ring.held, ring.piece_keys, self.candidate_index, ring.chosen, self.header_i64,
            size, room, self.arrays.capability,
        )  # fmt: skip

    def _listed_products(self, ring: Ring, size: int) -> None:
        from gip_gpu.kernels.gram import triton_launch

        triton_launch.listed(
            self.products, self.inverse, ring.columns, ring.held, self.header_i64, size, self.multiply,
            self.arrays.capability,
        )  # fmt: skip

    def items(self, rules: Rules, n: int) -> Items:
        made = super().items(rules, n)
        with self.arrays.device_scope():
            self.scales = self.factor / self.norms
            self.partial = self.arrays.empty((self._family_values().distance_partial,), "fp64")
            self.arrived = self.arrays.empty((1,), "int64")
            self.arrived[:] = 0
        return made

    def _family_values(self) -> family_tuning.TritonFamily:
        return tuned(family_tuning.TRITON, self.arrays.capability)

    def _step_terms(self) -> int:
        return self._family_values().terms(self.d, error_bounds.FORMATS[self.multiply].bytes)

    def _step_parts(self, count: int) -> int:
        return self._family_values().programs(count)

    def _family_step(
        self,
        items: GpuItems,
        rows: Any,
        first: int,
        count: int,
        parts: Any,
        move: RankOneUpdate | None,
        errors: ErrorBounds,
    ) -> None:
        from gip_gpu.kernels.family import triton_launch

        rules = items.rules
        triton_launch.step(
            rows, self.inverse, items.h, items.weights, items.metric, items.W, items.distance, items.weight,
            items.upper, parts, first, count, moves=move is not None, errors=(errors.residual, errors.distance),
            share=rules.share, shrink=0.0 if move is None else move.shrink, measure=rules.measure,
            positive=rules.positive, measured=errors.metric is not None, capability=self.arrays.capability,
        )  # fmt: skip

    def _family_candidates(self, items: GpuItems, floor: float) -> None:
        from gip_gpu.kernels.family import triton_launch

        listed, capability = (items.candidate_index, items.candidate_value, items.count), self.arrays.capability
        triton_launch.candidates(
            self.stored, self.scales, items.scores, items.A, items.weight, items.upper, floor, *listed, capability
        )
        if not items.identity:
            triton_launch.distances(self.stored, self.scales, items.S, *listed, self.partial, self.arrived, capability)

    def _pick_parts(self) -> int:
        return tuned(pick_tuning.TRITON, self.arrays.capability).parts(self.d)

    def _device_pick(self, picks: DevicePicks) -> None:
        from gip_gpu.kernels.pick import triton_launch

        items, rules, capability = picks.items, picks.items.rules, self.arrays.capability
        given, header = (self.stored, self.scales), (picks.picks_f64, picks.picks_i64)
        listed = (items.candidate_index, items.candidate_value, items.count)
        triton_launch.candidates(
            *given, items.scores, items.A, items.S, items.weight, items.upper, items.parts, *listed, self.partial,
            self.arrived, *header, measure=rules.measure, projects=rules.projects, capability=capability,
        )  # fmt: skip
        triton_launch.decide(
            self.d, items.parts, *listed, picks.row_squares, items.weight, items.weights, *header, picks.record,
            measure=rules.measure, projects=rules.projects, positive=rules.positive, capability=capability,
        )  # fmt: skip
        triton_launch.project(
            *given, items.S, items.A, items.phi, items.g, picks.g_squares, items.h, picks.record, *header,
            projects=rules.projects, capability=capability,
        )  # fmt: skip
        triton_launch.step(
            self.products, self.inverse, items.h, items.weights, items.W, items.distance, items.weight, items.upper,
            items.parts, *header, share=rules.share, measure=rules.measure, positive=rules.positive,
            capability=capability,
        )  # fmt: skip

    def _gram(self, rows: Any, out: Any) -> None:
        from gip_gpu.kernels.gram import triton_launch

        triton_launch.gram(rows, self.inverse, out, self.multiply, self.arrays.capability)

    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        from gip_gpu.kernels.gram import triton_launch

        triton_launch.products(left, by_row, right, by_column, out, self.multiply, self.arrays.capability)
