"""Pool: embeddings on a device with their Gram columns, prepared once and selected from many times."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu import backends, engine, memory
from gip_gpu.backends.base import Backend
from gip_gpu.columns import Columns, GramColumns, LazyColumns
from gip_gpu.device import resolve
from gip_gpu.interop import format_of
from gip_gpu.objectives import OBJECTIVES
from gip_gpu.plan import COLUMNS, PRECISIONS, Plan, log, make_plan
from gip_gpu.selection import Certificate, Selection
from gip_gpu.state import State
from gip_gpu.validate import as_bytes, as_count, as_scores, flag, one_of

QUERIES = ("direct",)
ON_EXHAUSTED = ("restart", "stop", "continue")

Progress = bool | Callable[[int, int], None] | None


class Pool:
    """Embeddings to select from, with their Gram matrix or the columns computed so far.

    Many budgets and many score sets on one pool pay for the preparation once. `gip_gpu.select` is a Pool used once.
    Threads may share a pool; their selections take turns.

    Args:
        F, device, backend, precision, columns, memory_limit, normalize: as in `gip_gpu.select`. F is kept by reference
            and must not change while the pool is in use.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.

    >>> pool = Pool([[1, 0], [1, 0.1], [0, 1]], device="cpu")
    >>> pool.select([3, 2, 1], 2).indices.tolist(), pool.select([0, 2, 1], 1).indices.tolist()
    ([0, 2], [1])
    """

    def __init__(
        self,
        F: ArrayLike,
        *,
        device: str = "auto",
        backend: str | None = None,
        precision: str = "auto",
        columns: str = "auto",
        memory_limit: int | float | str | None = None,
        normalize: bool = True,
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        one_of("columns", columns, COLUMNS)
        self._device = resolve(device, backend, F)
        self._backend_type = backends.load(backend, self._device)
        as_bytes(memory_limit, self._backend_type.available(self._device))
        self._settings: dict[str, Any] = {
            "device": self._device,
            "backend": self._backend_type.name,
            "precision": precision,
            "columns": columns,
            "memory_limit": memory_limit,
        }
        flag("normalize", normalize)
        began = time.perf_counter()
        self._rows = self._backend_type.open(F, normalize=normalize)
        # Counted to the first selection, which is what had to wait for it.
        self._waited = time.perf_counter() - began
        self._turn, self._busy = threading.RLock(), False
        self._plan: Plan | None = None
        self._backend: Backend | None = None
        self._columns: Columns | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d): items and length of a row."""
        return self._rows.shape

    def select(
        self,
        G: ArrayLike,
        k: int | float,
        *,
        objective: str = "mp",
        query: str = "direct",
        on_exhausted: str = "restart",
        progress: Progress = None,
    ) -> Selection:
        """The k most informative items for these scores; arguments, result and errors as in `gip_gpu.select`."""
        scores, count = as_scores(G, self.shape), as_count(k, self.shape[0])
        check_options(objective, query, on_exhausted, progress)
        with self._turn:
            if self._busy:
                raise RuntimeError("this pool is in the middle of a selection, whose progress function called it")
            self._busy = True
            try:
                return self._select(scores, count, objective, on_exhausted, progress, keep=True)
            finally:
                self._busy = False

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "_turn"}
        if not self._backend_type.portable:
            state.update(_backend=None, _columns=None, _plan=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = threading.RLock()

    def _select(
        self,
        scores: NDArray[np.float64],
        k: int,
        objective: str,
        on_exhausted: str,
        progress: Progress,
        keep: bool,
    ) -> Selection:
        began = time.perf_counter() - self._waited
        self._waited = 0.0
        backend, columns, plan = self._prepare(scores.shape[1], k, keep)
        prepared = time.perf_counter()
        state = State(scores, k, self.shape[1], OBJECTIVES[objective])
        with reporting(progress, k) as report:
            timings = engine.run(backend, columns, state, on_exhausted, report)
        done = time.perf_counter()
        t = state.t
        return Selection(
            indices=state.indices[:t],
            gains=state.gains[:t],
            weights=state.weights[:t],
            explained=state.explained[:t],
            certificate=Certificate(
                state.margins[:t], state.candidates[:t], state.ties[:t], state.refreshes, tuple(state.rounds)
            ),
            plan=plan,
            timings={"prepare": prepared - began, **timings, "total": done - began},
            peak_bytes=memory.peak(),
        )

    def _prepare(self, n: int, k: int, keep: bool) -> tuple[Backend, Columns, Plan]:
        """The backend and the columns for such a selection; those at hand where they serve."""
        m, d = self.shape
        held = self._plan
        plan = make_plan(
            m, d, n, k, keep=keep, held=held.total if held else 0, given=format_of(self._rows.values), **self._settings
        )
        if held is not None and (held.columns == "gram" or _same_storage(held, plan)):
            shared = "scores and residual"
            kept = replace(held, n=n, k=k, memory={**held.memory, shared: plan.memory[shared]})
            # More signals can take what the columns had; then those are made anew within the limit.
            if plan.limit is None or kept.total <= plan.limit:
                plan = kept
        log.info("plan: %s", plan)
        if self._backend is None or held is None or not (_same_storage(held, plan) and held.cache == plan.cache):
            # Let go of the old arrays before the new ones are made.
            self._backend = self._columns = self._plan = None
            self._backend = self._backend_type(self._rows, plan)
            if plan.columns == "gram":
                self._columns = GramColumns(self._backend)
            else:
                self._columns = LazyColumns(self._backend, plan.cache)
            self._plan = plan
        assert self._columns is not None
        return self._backend, self._columns, plan


def _same_storage(held: Plan, plan: Plan) -> bool:
    """Whether what was stored for one plan serves another."""
    return all(getattr(held, name) == getattr(plan, name) for name in ("columns", "precision", "lookahead", "resident"))


def check_options(objective: Any, query: Any, on_exhausted: Any, progress: Any) -> None:
    """Raises TypeError or ValueError for an unknown option of a selection."""
    one_of("objective", objective, tuple(OBJECTIVES))
    one_of("query", query, QUERIES)
    one_of("on_exhausted", on_exhausted, ON_EXHAUSTED)
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress is {progress!r}; it must be None, a bool, or a function of (done, total)")


@contextmanager
def reporting(progress: Progress, total: int) -> Iterator[engine.Progress | None]:
    """The function to report picks to: the caller's own, a bar on standard error for True, or none."""
    if not isinstance(progress, bool) or not progress:
        yield progress or None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="pick", desc="select") as bar:
        yield lambda done, _: bar.update(done - bar.n)
