"""The CuPy backend: CuPy memory, CUDA C++ compiled by NVRTC on first use, one cooperative launch for many steps."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.backend import GpuBackend, too_old
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.batch import cuda_launch as batch_launch
from gip_gpu.kernels.cast import cuda_launch as cast_launch
from gip_gpu.kernels.family import cuda_launch as family_launch
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.gram import cuda_launch as gram_launch
from gip_gpu.kernels.loop import cuda_launch as loop_launch
from gip_gpu.kernels.pick import cuda_launch as pick_launch
from gip_gpu.kernels.pick import tuning as pick_tuning
from gip_gpu.kernels.refresh import cuda_launch as refresh_launch
from gip_gpu.numerics import error_bounds
from gip_gpu.system import cuda_driver

if TYPE_CHECKING:
    from gip_gpu.backends.gpu.backend import Ring
    from gip_gpu.backends.gpu.items import GpuItems
    from gip_gpu.backends.gpu.picks import DevicePicks
    from gip_gpu.backends.items import ErrorBounds, Items, RankOneUpdate, Rules


def advice() -> str:
    """Returns advice on installing CuPy: the extras that include it, and the one that fits the CUDA driver."""
    either = " or ".join(f"'gip_gpu[{extra}]' ({package})" for extra, package in cuda_driver.EXTRAS.values())
    return f"pip install {either}, with no other CuPy package beside it; {cuda_driver.fitting()}"


class CupyBackend(GpuBackend):
    """Backend on a CUDA device."""

    name: ClassVar[str] = "cupy"

    arrays: Any  # CupyArrays; its module imports CuPy.

    @classmethod
    def missing(cls, device: str) -> str:
        try:
            import cupy
        except Exception as error:  # A broken library counts as absent.
            return f"it needs cupy ({error}); {advice()}"
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            why = f"cupy {cupy.__version__} sees no CUDA device ({error})"
            return f"{why}; {advice()}" if "cudaErrorInsufficientDriver" in str(error) else why
        if not count:
            return f"cupy {cupy.__version__} sees no CUDA device"
        capability = cupy.cuda.Device(int(device.partition(":")[2] or 0)).compute_capability
        return too_old(int(capability[:-1]), int(capability[-1]))

    @classmethod
    def make_arrays(cls, device: str) -> Arrays:
        from gip_gpu.backends.cuda.arrays import CupyArrays

        return CupyArrays(device)

    @classmethod
    def available(cls, device: str) -> int:
        return cls.make_arrays(device).free()

    def _parts(self) -> int:
        return max(loop_launch.blocks(self.m, self.arrays), refresh_launch.blocks(self.arrays))

    def _begin(self) -> None:
        blocks = loop_launch.blocks(self.m, self.arrays)
        self.best, self.energy = self.arrays.empty((blocks,), "fp32"), self.arrays.empty((blocks,), "fp64")
        self.loop = loop_launch.Loop(self.m, self.n, self.input_dtype, self.storage, self.arrays)
        self.shared = self.loop.shared

    def _cast(self, rows: Any, norms: Any) -> Any:
        out = self.arrays.empty(rows.shape, self.multiply)
        cast_launch.cast(rows, self.input_dtype, norms, self.factor, out, self.multiply, self.arrays)
        return out

    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        refresh_launch.refresh(
            rows, self.input_dtype, self.norms, self.scores, self.A, self.W, self.weight, largest, first, count,
            self.arrays,
        )  # fmt: skip

    def _start(self, columns: Any) -> None:
        pass

    def _run(self, columns: Any) -> None:
        self.arrays.visits += 1
        self._steps(columns)

    def _choose_batch(self, ring: "Ring", size: int, room: int) -> None:
        batch_launch.choose(
            self.score, self.slots, ring.held, ring.piece_keys, self.candidate_index, self.header_i64, size, room,
            self.arrays,
        )  # fmt: skip

    def _listed_products(self, ring: "Ring", size: int) -> None:
        gram_launch.listed(
            self.products, self.inverse, ring.columns, ring.held, self.header_i64, size, self.multiply, self.storage,
            self.arrays,
        )  # fmt: skip

    def _steps(self, columns: Any) -> None:
        self.loop.run(
            self.stored, self.norms, self.scores, self.A, self.W, self.score, self.weight, self.slots, columns,
            self.best, self.energy, self.candidate_index, self.candidate_value, self.header_f64, self.header_i64,
            self.record,
        )  # fmt: skip

    def _gram(self, rows: Any, out: Any) -> None:
        gram_launch.gram(rows, self.inverse, out, self.multiply, self.storage, self.arrays)

    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        gram_launch.products(left, by_row, right, by_column, out, self.multiply, self.storage, self.arrays)

    def items(self, rules: "Rules", n: int) -> "Items":
        made = super().items(rules, n)
        with self.arrays.device_scope():
            self.partial = self.arrays.empty((self._family_values().partial,), "fp64")
            self.ticket = self._upload(np.zeros(1, np.int64), "int64")
            self.family = family_launch.Family(
                max(n, 1), self.input_dtype, self.multiply, rules.measure, rules.positive, self.arrays
            )
        return made

    def _family_values(self) -> family_tuning.CudaFamily:
        return tuned(family_tuning.CUDA, self.arrays.capability)

    def _step_terms(self) -> int:
        return self._family_values().terms(self.d, error_bounds.FORMATS[self.multiply].bytes)

    def _step_parts(self, count: int) -> int:
        return self._family_values().blocks(count, self.arrays.multiprocessors)

    def _family_step(
        self,
        items: "GpuItems",
        rows: Any,
        first: int,
        count: int,
        parts: Any,
        move: "RankOneUpdate | None",
        errors: "ErrorBounds",
    ) -> None:
        self.family.step(
            None if move is None else rows, self.inverse, items.h, items.weights,
            None if errors.metric is None else items.metric, items.W, items.distance, items.weight, items.upper, parts,
            first, count, errors=(errors.residual, errors.distance), share=items.rules.share,
            shrink=0.0 if move is None else move.shrink,
        )  # fmt: skip

    def _family_candidates(self, items: "GpuItems", floor: float) -> None:
        listed = (items.candidate_index, items.candidate_value, items.count)
        self.family.candidates(
            self.stored, self.norms, items.scores, items.A, items.weight, items.upper, *listed, floor, self.factor,
            items.identity,
        )  # fmt: skip
        if not items.identity:
            self.family.distances(self.stored, self.norms, items.S, *listed, self.partial, self.ticket, self.factor)

    def _pick_parts(self) -> int:
        return tuned(pick_tuning.CUDA, self.arrays.capability).parts(self.d)

    def _device_pick(self, picks: "DevicePicks") -> None:
        items, rules, kernels = picks.items, picks.items.rules, self._pick_kernels(picks.items)
        given, header = (self.stored, self.norms), (picks.picks_f64, picks.picks_i64)
        listed = (items.candidate_index, items.candidate_value, items.count)
        kernels.candidates(
            *given, items.scores, items.A, items.S, items.weight, items.upper, items.parts, *listed, self.partial,
            self.ticket, *header, self.factor,
        )  # fmt: skip
        kernels.decide(
            self.d, items.parts, *listed, picks.row_squares, items.weight, items.weights, *header, picks.record
        )
        kernels.project(
            *given, items.S, items.A, items.phi, items.g, picks.g_squares, items.h, picks.record, *header, self.factor
        )
        kernels.step(
            self.products, self.inverse, items.h, items.weights, items.W, items.distance, items.weight, items.upper,
            items.parts, *header, rules.share,
        )  # fmt: skip

    def _pick_kernels(self, items: "GpuItems") -> pick_launch.Pick:
        rules = items.rules
        return pick_launch.Pick(
            items.n, self.input_dtype, self.multiply, rules.measure, rules.projects, rules.positive, self.arrays
        )
