"""The CuPy backend: CuPy memory, CUDA C++ compiled by NVRTC when first used, one cooperative launch for many steps."""

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy import float32 as _float
from numpy import float64 as _double
from numpy import int32 as _int
from numpy import int64 as _long

from gip_gpu.backends.cuda import source as cuda_source
from gip_gpu.backends.cuda.tuning import FAMILY, GRAM, LOOP
from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.backend import GpuBackend, too_old
from gip_gpu.numerics import error_bounds
from gip_gpu.system import cuda_driver

if TYPE_CHECKING:
    from gip_gpu.backends.gpu.items import GpuItems
    from gip_gpu.backends.items import Doubt, Items, Move, Rules

# A pointer to nothing. None would not do: what CuPy makes of it is no null pointer (its issue 9046).
NULL = _long(0)


def advice() -> str:
    """How to install CuPy: the extras that bring it, and the one that fits the CUDA driver."""
    either = " or ".join(f"'gip_gpu[{extra}]' ({package})" for extra, package in cuda_driver.EXTRAS.values())
    return f"pip install {either}, with no other CuPy package beside it; {cuda_driver.fitting()}"


@cache
def _module(op: str, defines: tuple[tuple[str, object], ...]) -> Any:
    import cupy

    return cupy.RawModule(
        code=cuda_source.expanded(op),
        options=cuda_source.options(dict(defines)),
        enable_cooperative_groups=op == "loop",
    )


class CupyBackend(GpuBackend):
    """On a CUDA device."""

    name: ClassVar[str] = "cupy"

    arrays: Any  # CupyArrays, whose module imports its library.

    @classmethod
    def missing(cls, device: str) -> str:
        try:
            import cupy
        except Exception as error:  # A library that is broken is as good as absent.
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

    def _kernel(self, op: str, name: str, defines: dict[str, Any]) -> Any:
        return _module(op, tuple(sorted(defines.items()))).get_function(name)

    def _parts(self) -> int:
        return max(self.blocks, self._refresh_blocks())

    def _refresh_blocks(self) -> int:
        return 4 * int(self.arrays.multiprocessors)

    @property
    def blocks(self) -> int:
        """Blocks of the loop, all of which run at once."""
        return LOOP.blocks(self.m, self.arrays.multiprocessors)

    def _begin(self) -> None:
        empty = self.arrays.empty
        self.best, self.energy = empty((self.blocks,), "fp32"), empty((self.blocks,), "fp64")
        limit = self.arrays.shared_of_block
        self.shared = LOOP.shared_bytes(self.m, self.n, self.blocks, limit)
        self.loop = self._kernel("loop", "loop", LOOP.macros("loop", self.n, self.given, self.storage))
        if self.shared:
            self.loop.max_dynamic_shared_size_bytes = self.shared
        self.refreshing = self._kernel("refresh", "refresh", LOOP.macros("refresh", self.n, self.given, self.storage))

    def _cast(self, rows: Any, norms: Any) -> Any:
        kind = "fp32" if self.multiply == "tf32" else self.multiply
        defines = {f"ROWS_{self.given.upper()}": "", f"OUTPUT_{kind.upper()}": "", "THREADS": LOOP.cast_threads}
        if self.multiply == "tf32":
            defines["ROUND_TF32"] = ""
        out = self.arrays.empty(rows.shape, self.multiply)
        arguments = (rows, norms, out, _long(len(rows)), _int(self.d), _double(self.factor))
        blocks = min(len(rows), 8 * int(self.arrays.multiprocessors))
        self._kernel("cast", "cast", defines)((blocks,), (LOOP.cast_threads,), arguments)
        return out

    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        self.refreshing(
            (self._refresh_blocks(),), (LOOP.refresh_threads,),
            (_long(self.m), _int(self.d), rows, self.norms, self.scores, self.A, self.W, self.weight, largest,
             _long(first), _long(count)),
        )  # fmt: skip

    def _run(self, columns: Any) -> None:
        self.loop(
            (self.blocks,), (LOOP.threads,),
            (_long(self.m), _int(self.d), self.stored, self.norms, self.scores, self.A, self.W, self.score, self.weight,
             self.slots, columns, self.best, self.energy, self.found, self.value, self.real, self.whole, self.record,
             _int(self.shared > 0)),
            shared_mem=self.shared,
        )  # fmt: skip

    def _gram(self, rows: Any, out: Any) -> None:
        tuning = GRAM[self.multiply]
        kernel = self._kernel("gram", "gram", tuning.macros(self.multiply, self.storage))
        arguments = (rows, self.inverse, out, _long(self.m), _int(self.d), _long(0))
        kernel((tuning.tiles(self.m),), (tuning.threads,), arguments)

    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        tuning = GRAM[self.multiply]
        kernel = self._kernel("gram", "products", tuning.macros(self.multiply, self.storage))
        count, m = len(left), len(right)
        stride = out.strides[0] // out.itemsize
        arguments = (left, by_row, right, by_column, out, _long(count), _long(m), _int(self.d), _long(stride))
        kernel(tuning.products_grid(count, m), (tuning.threads,), arguments)

    def items(self, rules: "Rules", n: int) -> "Items":
        made = super().items(rules, n)
        with self.arrays.here():
            self.partial = self.arrays.empty((FAMILY.partial,), "fp64")
            self.ticket = self._upload(np.zeros(1, np.int64), "int64")
            defines = FAMILY.macros(max(n, 1), self.given, self.multiply, rules.measure, rules.positive)
            names = ("step", "candidates", "distances")
            self.stepping, self.listing, self.measuring = (self._kernel("family", name, defines) for name in names)
        return made

    def _step_terms(self) -> int:
        # A lane's fused products of 16 bytes at a time, then five exchanges.
        chunk = 16 // error_bounds.FORMATS[self.multiply].bytes
        return chunk * -(-self.d // (32 * chunk)) + 6

    def _step_parts(self, count: int) -> int:
        return FAMILY.blocks(count, self.arrays.multiprocessors)

    def _family_step(
        self, items: "GpuItems", rows: Any, first: int, count: int, parts: Any, move: "Move | None", doubt: "Doubt"
    ) -> None:
        rows, shrink = (NULL, 0.0) if move is None else (rows, move.shrink)
        metric = NULL if doubt.metric is None else items.metric
        numbers = (doubt.residual, doubt.distance, *items.rules.share, shrink)
        self.stepping(
            (len(parts),), (FAMILY.threads,),
            (_long(self.m), _int(self.d), rows, self.inverse, items.h, items.weights, metric, items.W, items.distance,
             items.weight, items.upper, parts, _long(first), _long(count), *map(_float, numbers)),
        )  # fmt: skip

    def _family_candidates(self, items: "GpuItems", floor: float) -> None:
        self.listing(
            (FAMILY.blocks(self.m, self.arrays.multiprocessors),), (FAMILY.threads,),
            (_long(self.m), _int(self.d), self.stored, self.norms, items.scores, items.A, items.weight, items.upper,
             items.found, items.value, items.count, _double(floor), _double(self.factor), _int(items.identity)),
        )  # fmt: skip
        if items.identity:
            return
        self.measuring(
            (FAMILY.most_blocks(self.arrays.multiprocessors),), (FAMILY.threads,),
            (_int(self.d), self.stored, self.norms, items.S, items.found, items.value, items.count, self.partial,
             _long(len(self.partial)), self.ticket, _double(self.factor)),
        )  # fmt: skip
