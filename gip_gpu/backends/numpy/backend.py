"""The NumPy backend: BLAS for products; fused array operations, on blocks that stay in cache, for steps."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.base import Backend
from gip_gpu.backends.items import Items, Rules
from gip_gpu.backends.numpy.items import NumpyItems
from gip_gpu.backends.numpy.lookahead import Lookahead
from gip_gpu.backends.numpy.products import Resident, Streamed
from gip_gpu.backends.numpy.residual import NumpyResidual
from gip_gpu.data.rows import Rows
from gip_gpu.data.single_rows import SingleRows
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import HOST_PRECISIONS
from gip_gpu.planning.plan import Plan

Array = NDArray[Any]


class NumpyBackend(Backend):
    """Backend on the CPU: float32 products by BLAS, Gram columns stored in float32 or float16."""

    name: ClassVar[str] = "numpy"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = HOST_PRECISIONS
    shards: ClassVar[bool] = True

    def __init__(self, rows: Rows, plan: Plan) -> None:
        super().__init__(rows, plan)
        single = SingleRows(rows, self.exponent)
        self.gamma = error_bounds.gram_entry_error(self.d, plan.precision, roundings=single.roundings)
        self.dtype = np.dtype(np.float16 if plan.precision == "fp16" else np.float32)
        self.products: Resident | Streamed = Resident(single) if plan.resident else Streamed(single)
        self.single, self.size = single, plan.lookahead
        self.lookahead: Lookahead | None = None

    def residual(self, n: int) -> NumpyResidual:
        return NumpyResidual(self.rows_of, self.square, n, self._foreseeing)

    def _foreseeing(self) -> Lookahead | None:
        """Returns the lookahead, with the rows that earlier batches read; None if the plan has none."""
        if self.lookahead is None and self.size:
            self.lookahead = Lookahead(self.single, self.products, self.size)
        return self.lookahead

    def columns(self, indices: Sequence[int], out: Array) -> None:
        self.columns_of(self.rows(indices), out)

    def columns_of(self, rows: NDArray[np.float64], out: Array) -> None:
        self.products.multiply((rows * 2.0**-self.exponent).astype(np.float32), out)

    def empty_columns(self, count: int) -> Array:
        return np.empty((count, self.m), self.dtype)

    def touch(self, columns: Array) -> None:
        columns.fill(0)

    def gram(self) -> Array:
        assert isinstance(self.products, Resident)
        return self.products.gram(self.dtype)

    def items(self, rules: Rules, n: int) -> Items:
        return NumpyItems(rules, self.rows_of, self.products, self.exponent, n)
