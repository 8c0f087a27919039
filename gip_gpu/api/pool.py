"""Pool: embeddings on a device with their Gram columns, prepared once and selected from many times."""

import os
import threading
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.prepared import PreparedRows
from gip_gpu.api.progress import Progress
from gip_gpu.api.request import ask
from gip_gpu.api.selection import Selection
from gip_gpu.problem.groups import Limits
from gip_gpu.sources import Matrix, places


class Pool:
    """Embeddings to select from, with their Gram matrix or the columns computed so far.

    Selections with different k or scores share the preparation. `gip_gpu.select` is a Pool used once. Threads may share
    a pool; its selections run one after another.

    Args:
        F, device, backend, precision, columns, memory_limit, normalize, center: as in `gip_gpu.select`. F is kept by
            reference and must not change while the pool is in use.
        on_nan: as in `gip_gpu.select`, for F and for the scores of each selection. If the scores are not finite in
            further rows, that selection prepares its own rows, with their own center, and does not use the pool's
            columns.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.

    >>> pool = Pool([[1, 0], [1, 0.1], [0, 1]], device="cpu")
    >>> pool.select([3, 2, 1], 2).indices.tolist(), pool.select([0, 2, 1], 1).indices.tolist()
    ([0, 2], [1])
    """

    def __init__(
        self,
        F: Matrix,
        *,
        device: str = "auto",
        backend: str | None = None,
        precision: str = "auto",
        columns: str = "auto",
        memory_limit: int | float | str | None = None,
        normalize: bool = True,
        center: bool | str = False,
        on_nan: str = "error",
    ) -> None:
        options = SelectOptions(
            device=device,
            backend=backend,
            precision=precision,
            columns=columns,
            memory_limit=memory_limit,
            normalize=normalize,
            center=center,
            on_nan=on_nan,
        )
        self._places = places(F)
        self._prepared = PreparedRows(F, options, drop=options.drops)
        self._turn, self._busy = threading.RLock(), False

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d): number of rows of F as given, and their length."""
        (m, d), kept = self._prepared.rows.shape, self._prepared.kept
        return (m if kept is None else kept.m), d

    def select(
        self,
        G: Matrix | None,
        k: int | float | str | None,
        *,
        objective: str | None = None,
        epsilon: float = 0.0,
        query: str = "direct",
        sign: str | None = None,
        standardize: str | None = None,
        on_exhausted: str = "restart",
        initial: ArrayLike | None = None,
        exclude: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        group_limits: Limits | None = None,
        dedup: float | None = None,
        must_include: ArrayLike | None = None,
        costs: ArrayLike | None = None,
        budget: int | None = None,
        weights: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | float | None = None,
        progress: Progress = None,
    ) -> Selection:
        """Selects the k most informative items for the scores G; arguments, result, errors as in `gip_gpu.select`."""
        prepared = self._prepared
        options = replace(
            prepared.options,
            objective=objective,
            epsilon=epsilon,
            query=query,
            sign=sign,
            standardize=standardize,
            on_exhausted=on_exhausted,
            initial=initial,
            exclude=exclude,
            groups=groups,
            group_limits=group_limits,
            dedup=dedup,
            must_include=must_include,
            costs=costs,
            budget=budget,
            weights=weights,
            ids=ids,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            progress=progress,
        )
        values = prepared.rows.values
        request = ask(values, G, k, options, reads=self._places, known=prepared.kept, looked=True)
        with self._turn:
            if self._busy:
                raise RuntimeError("this pool is in the middle of a selection, whose progress function called it")
            self._busy = True
            try:
                if request.view is not None:
                    return PreparedRows(request.view.view(prepared.rows.given), options).select(request, False)
                return prepared.select(request, True)
            finally:
                self._busy = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = threading.RLock()
