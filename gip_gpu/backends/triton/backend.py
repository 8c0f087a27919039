"""The Triton backend: torch memory, Triton kernels, steps captured in a CUDA graph.

Two kernels a step, the end of each a barrier: a captured graph starts a kernel within about a microsecond of the last,
and needs no promise that all programs of a grid run at once, which a barrier inside a Triton kernel would.
"""

import os
from typing import Any, ClassVar

from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.backend import GpuBackend, too_old
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import Code, Whole
from gip_gpu.backends.items import Doubt, Items, Move, Rules
from gip_gpu.backends.triton.tuning import TRITON
from gip_gpu.numerics import error_bounds
from gip_gpu.system import cuda_driver

# Said, for Triton's default changes with its versions. The bounds hold with and without.
FUSED = {"enable_fp_fusion": True}


class TritonBackend(GpuBackend):
    """On a CUDA device, and on the CPU under Triton's interpreter (`TRITON_INTERPRET=1`), slowly and for tests."""

    name: ClassVar[str] = "triton"
    devices: ClassVar[tuple[str, ...]] = ("cuda", "cpu")
    graph: ClassVar[bool] = True

    arrays: Any  # TorchArrays, whose module imports its library.

    @classmethod
    def missing(cls, device: str) -> str:
        if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
            return "on the CPU it runs under Triton's interpreter only, for tests: set TRITON_INTERPRET=1"
        try:
            import torch
            import triton  # noqa: F401
        except Exception as error:  # A library that is broken is as good as absent.
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
        return self.arrays.cast(rows, norms, self.factor, self.multiply)

    def _parts(self) -> int:
        return max(self.parts, -(-self.m // TRITON.refresh_items))

    def _begin(self) -> None:
        from gip_gpu.kernels.step import step_triton

        self.kernels = step_triton
        empty = self.arrays.empty
        self.inverses = 1 / self.norms
        self.best, self.energy = empty((self.parts,), "fp32"), empty((self.parts,), "fp64")
        self.graphs: dict[int, Any] = {}

    @property
    def parts(self) -> int:
        """Programs of the step kernels: no more than run at once, each with whole blocks of items."""
        blocks = -(-self.m // TRITON.step_block)
        return -(-blocks // -(-blocks // TRITON.step_programs))

    @property
    def blocks(self) -> int:
        """Blocks of items of each program."""
        return -(-self.m // (TRITON.step_block * self.parts))

    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        from gip_gpu.kernels.refresh.refresh_triton import refresh

        refresh[(-(-count // TRITON.refresh_items),)](
            self.m, self.d, rows, self.norms, self.scores, self.A, self.W, self.weight, largest, first, count,
            SIGNALS=self.n, ITEMS=TRITON.refresh_items, DEPTH=TRITON.refresh_depth, num_warps=TRITON.refresh_warps,
            **FUSED,
        )  # fmt: skip

    def _pick(self) -> None:
        wide = 1 << (self.n - 1).bit_length()
        self.kernels.pick[(self.parts,)](
            self.m, self.d, self.stored, self.inverses, self.scores, self.A, self.weight, self.score, self.slots,
            self.best, self.energy, self.found, self.value, self.real, self.whole, self.record, self.blocks,
            SIGNALS=self.n, WIDE=wide, BLOCK=TRITON.step_block, DEPTH=TRITON.rescore_depth(wide), PARTS=self.parts,
            PARTS_BLOCK=1 << (self.parts - 1).bit_length(), CHUNK=TRITON.choose_chunk(wide),
            num_warps=TRITON.step_warps, **FUSED,
        )  # fmt: skip

    def _update(self, columns: Any) -> None:
        self.kernels.update[(self.parts,)](
            self.m, self.W, columns, columns.stride(0), self.weight, self.score, self.best, self.energy, self.real,
            self.whole, self.blocks, SIGNALS=self.n, BLOCK=TRITON.step_block, num_warps=TRITON.step_warps,
            **FUSED,
        )  # fmt: skip

    def _run(self, columns: Any) -> None:
        # A launch begins with the scores of the residual as it is, or of the pending pick's column once it is known.
        self._update(columns)
        ahead = 1
        while True:
            self._steps(columns, ahead)
            if int(self.arrays.get(self.whole[Whole.REASON : Whole.REASON + 1])[0]) != Code.RUNNING:
                return
            # Where no column is missing the host looks ever more seldom.
            ahead = min(2 * ahead, TRITON.graphs_ahead)

    def _steps(self, columns: Any, ahead: int) -> None:
        """Starts `ahead` graphs of steps, or as many steps where there are no graphs."""
        if not self.arrays.cuda:
            for _ in range(ahead):
                self._pick()
                self._update(columns)
            return
        graph = self.graphs.get(columns.data_ptr())
        if graph is None:
            graph = self.graphs[columns.data_ptr()] = self._capture(columns)
        for _ in range(ahead):
            graph.replay()

    def _capture(self, columns: Any) -> Any:
        """A graph of steps. The kernels are compiled by then or here, where they find nothing to do."""
        import torch

        held = self.whole.clone()
        self.whole[Whole.REASON] = int(Code.DONE)
        self._pick()
        torch.cuda.synchronize()
        self.whole.copy_(held)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for _ in range(TRITON.graph_steps):
                self._pick()
                self._update(columns)
        return graph

    def items(self, rules: Rules, n: int) -> Items:
        made = super().items(rules, n)
        with self.arrays.here():
            self.scales = self.factor / self.norms
            self.partial = self.arrays.empty((TRITON.distance_partial,), "fp64")
            self.arrived = self.arrays.empty((1,), "int64")
            self.arrived[:] = 0
        return made

    def _step_terms(self) -> int:
        # A product and its sum are rounded, a tile is added up in any order, and each tile's sum is added.
        depth = min(TRITON.family_depth(self.d, error_bounds.FORMATS[self.multiply].bytes), self.d)
        return depth + 1 + -(-self.d // depth)

    def _step_parts(self, count: int) -> int:
        return min(-(-count // TRITON.family_items), TRITON.family_programs)

    def _family_step(
        self, items: GpuItems, rows: Any, first: int, count: int, parts: Any, move: Move | None, doubt: Doubt
    ) -> None:
        from gip_gpu.kernels.family.family_triton import step

        rules, shrink = items.rules, 0.0 if move is None else move.shrink
        # Python's own floats, which Triton knows for sure.
        scalars = map(float, (doubt.residual, doubt.distance, *rules.share, shrink))
        step[(len(parts),)](
            self.m, self.d, rows, self.inverse, items.h, items.weights, items.metric, items.W, items.distance,
            items.weight, items.upper, parts, first, count, int(move is not None), *scalars, SIGNALS=items.n,
            MEASURE=rules.measure, POSITIVE=rules.positive, METRIC=doubt.metric is not None,
            ITEMS=TRITON.family_items, DEPTH=TRITON.family_depth(self.d, rows.element_size()),
            WIDE=TRITON.family_wide(items.n), num_warps=TRITON.family_warps, **FUSED,
        )  # fmt: skip

    def _family_candidates(self, items: GpuItems, floor: float) -> None:
        from gip_gpu.kernels.family.family_triton import candidates, distances

        wide, depth = TRITON.window_tile(items.n)
        candidates[(-(-self.m // TRITON.window_block),)](
            self.m, self.d, self.stored, self.scales, items.scores, items.A, items.weight, items.upper, float(floor),
            items.found, items.value, items.count, SIGNALS=items.n, WIDE=wide, BLOCK=TRITON.window_block,
            DEPTH=depth, num_warps=TRITON.step_warps, **FUSED,
        )  # fmt: skip
        if items.identity:
            return
        places, shares = TRITON.distance_tile
        distances[(TRITON.distance_programs,)](
            self.d, self.stored, self.scales, items.S, items.found, items.value, items.count, self.partial,
            self.arrived, SIGNALS=items.n, PARTIAL=TRITON.distance_partial, WIDE=TRITON.distance_wide,
            DEPTH=TRITON.distance_depth, PLACES=places, SHARES=shares, num_warps=TRITON.step_warps, **FUSED,
        )  # fmt: skip

    def _multiplying(self) -> dict[str, Any]:
        precision = "tf32" if self.multiply == "tf32" else "ieee"
        return {"PRECISION": precision, "WIDEN": self.multiply == "bf16" and not self.arrays.cuda}

    def _gram(self, rows: Any, out: Any) -> None:
        from gip_gpu.kernels.gram.gram_triton import gram

        tuning = TRITON.tile(self.multiply, self.d)
        tiles = -(-self.m // tuning.tile)
        gram[((tiles + 1) * -(-tiles // 2) * (tuning.tile // tuning.wide),)](
            rows, self.inverse, out, self.m, self.d, TILE=tuning.tile, WIDE=tuning.wide, DEPTH=tuning.depth,
            **self._multiplying(), num_warps=tuning.warps, num_stages=tuning.stages, **FUSED,
        )  # fmt: skip

    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        from gip_gpu.kernels.gram.gram_triton import products

        tuning = TRITON.tile(self.multiply, self.d)
        count, m = len(left), len(right)
        products[(-(-count // tuning.batch_tile) * -(-m // tuning.tile),)](
            left, by_row, right, by_column, out, count, m, self.d, out.stride(0), TILE=tuning.batch_tile,
            WIDE=tuning.tile, DEPTH=tuning.depth, **self._multiplying(), num_warps=tuning.warps,
            num_stages=tuning.stages, **FUSED,
        )  # fmt: skip
