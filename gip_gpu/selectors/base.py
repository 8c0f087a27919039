"""Base class of the selectors without a certificate: the checked pool, and the Selection of their picks."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.api.certificate import Certificate
from gip_gpu.api.selection import Selection
from gip_gpu.data.device_arrays import DeviceMatrix, on_gpu
from gip_gpu.data.rows import WIDENED, Rows
from gip_gpu.data.user_arrays import as_columns, as_indices, as_matrix, as_scores
from gip_gpu.planning.plan import Plan
from gip_gpu.sources import Matrix, places
from gip_gpu.system import memory
from gip_gpu.validation.settings import as_count

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CandidatePool:
    """Pool that a selector chooses from.

    Attributes:
        m: number of rows.
        rows: the embeddings as unit rows in float64, read in blocks; None without.
        scores: (m, n) float64 scores, NaN or infinite where missing; None without.
        free: (m,) whether a row takes part.
    """

    m: int
    rows: Rows | None
    scores: Floats | None
    free: NDArray[np.bool_]

    @property
    def candidates(self) -> Ints:
        """(c,) rows that take part, ascending."""
        return np.flatnonzero(self.free)

    @property
    def embeddings(self) -> Rows:
        """The rows, of a method that needs them."""
        assert self.rows is not None
        return self.rows


class UncertifiedSelector(ABC):
    """Selector whose picks have no certificate.

    A subclass chooses among rows that are checked as `gip_gpu.select` checks them: finite, and none of them zero.

    Attributes:
        name: name of the method, the objective of its plans.
        embedded, scored: whether it needs embeddings, and a single column of scores.
    """

    name: ClassVar[str]
    embedded: ClassVar[bool] = False
    scored: ClassVar[bool] = False

    @abstractmethod
    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        """Returns the rows in order of choice, and their gains; k is at most the number of candidates."""

    def _count(self, k: Any, m: int) -> int | None:
        return as_count(k, m)

    def select(
        self, F: Matrix | None, G: Matrix | None, k: int | float | str | None, *, exclude: ArrayLike | None = None
    ) -> Selection:
        """Chooses k rows.

        Args:
            F: (m, d) embeddings in any form that `gip_gpu.select` takes, or None if the method needs none. They are
                checked where they are given: all finite, and no row zero.
            G: (m,) or (m, n) scores, or None if the method needs none.
            k: number of rows, 1 to m, or a share of m, as in `gip_gpu.select`.
            exclude: rows that do not take part, neither as picks nor as rows to represent; or a `Selection`.

        Returns:
            A `Selection` with `Certificate.none`; `plan.method` names the method and its settings.

        Raises:
            TypeError, ValueError: bad input; the message names the argument, what it got and what it wants.
        """
        began = time.perf_counter()
        rows, scores = self._opened(F, G)
        m, d = (0, 0) if rows is None else rows.shape
        if rows is None:
            assert scores is not None
            m = len(scores)
        wanted = self._count(k, m)
        free = np.ones(m, bool)
        free[as_indices(exclude, m, "exclude")] = False
        left = int(free.sum())
        if wanted is not None and wanted > left:
            raise ValueError(f"k is {wanted}; exclude leaves {left} of {m} rows")
        indices, gains = self._choose(CandidatePool(m, rows, scores, free), wanted)
        used = scores if self.scored and scores is not None else np.empty((m, 0))
        plan = Plan(
            device="cpu", backend="numpy", m=m, d=d, n=used.shape[1], k=wanted or max(1, len(indices)), columns="none",
            precision="fp64", cache=0, lookahead=0, resident=True, memory={}, limit=None, seconds=0.0,
            reason="not a run of gip_gpu.select", objective=self.name, method=repr(self),
        )  # fmt: skip
        return Selection(
            indices=indices.astype(np.int64),
            gains=gains,
            weights=used[indices],
            explained=np.full(len(indices), np.nan),
            certificate=Certificate.none(len(indices)),
            plan=plan,
            timings={"total": time.perf_counter() - began},
            peak_bytes=memory.peak(),
        )

    def _opened(self, F: Any, G: Any) -> tuple[Rows | None, Floats | None]:
        """Returns the rows and the scores, checked."""
        method = type(self).__name__
        if F is None and self.embedded:
            raise TypeError(f"F is None; {method} needs embeddings of shape (m, d)")
        if G is None and self.scored:
            raise TypeError(f"G is None; {method} needs scores of shape (m,) or (m, 1)")
        if F is None and G is None:
            raise TypeError(f"F and G are None; {method} needs one of them, to know the number of rows")
        rows = None
        if F is not None:
            rows = Rows(DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F"))
            if self.embedded and rows.shape[0] * rows.shape[1] <= WIDENED:
                # Later reads reuse them.
                rows.exact()
        scores = None
        if G is not None:
            scores = (
                as_columns(G, "G", scores=True)
                if rows is None
                else as_scores(G, rows.shape, missing=True, reads=places(F))
            )
        if self.scored and scores is not None and scores.shape[1] != 1:
            raise ValueError(
                f"G has {scores.shape[1]} columns; {method} needs a single one, such as G[:, 0] or their mean"
            )
        return rows, scores
