"""Pool: embeddings on a device with their Gram columns, prepared once and selected from many times."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu import backends
from gip_gpu.api.progress import Progress, reporting
from gip_gpu.api.request import Request, ask
from gip_gpu.api.result import selection_of
from gip_gpu.api.score_checks import Traits, check, check_order, sign_matters
from gip_gpu.api.selection import Selection
from gip_gpu.backends.base import Backend
from gip_gpu.backends.devices import resolve
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.checkpoint.writer import CheckpointWriter
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu
from gip_gpu.data.missing_values import Kept, as_on_nan, keep_finite
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.gram.columns import Columns, GramColumns, LazyColumns
from gip_gpu.greedy import loop
from gip_gpu.greedy.float64.stepper import Float64Stepper
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import State
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.greedy.steppers import stepper_for
from gip_gpu.planning.cpu_costs import GRAM_COLUMNS, ITEMS, entry_bytes
from gip_gpu.planning.plan import COLUMNS, PRECISIONS, Plan, log, make_plan, stepwise
from gip_gpu.problem.formulation import Problem, first_measures, first_squares, pose
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.problem.options import Options, as_sign
from gip_gpu.sources import Matrix, places
from gip_gpu.validation.settings import as_bytes, flag, one_of

# A backend, columns where they are kept, and the plan.
Prepared = tuple[Backend, Columns | None, Plan]


class Pool:
    """Embeddings to select from, with their Gram matrix or the columns computed so far.

    Many budgets and many score sets on one pool pay for the preparation once. `gip_gpu.select` is a Pool used once.
    Threads may share a pool; their selections take turns.

    Args:
        F, device, backend, precision, columns, memory_limit, normalize: as in `gip_gpu.select`. F is kept by reference
            and must not change while the pool is in use.
        on_nan: as in `gip_gpu.select`, for F and for the scores of each selection. A selection whose scores are not
            finite in other rows than F is prepared anew, without the columns that the pool has.

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
        on_nan: str = "error",
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        one_of("columns", columns, COLUMNS)
        self._device = resolve(device, backend, F)
        self._backend_type = backends.load(backend, self._device)
        if memory_limit is not None:
            as_bytes(memory_limit, self._backend_type.available(self._device))
        self._settings: dict[str, Any] = {
            "device": self._device,
            "backend": self._backend_type.name,
            "precision": precision,
            "columns": columns,
            "memory_limit": memory_limit,
        }
        flag("normalize", normalize)
        self._places, self._on_nan = places(F), on_nan
        if isinstance(F, (str, os.PathLike)):
            F = as_matrix(F, "F", memory_limit)
        began = time.perf_counter()
        self._kept: Kept | None = None
        if as_on_nan(on_nan):
            matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F")
            self._kept = keep_finite(matrix, None)
            F = F if self._kept is None else self._kept.view(matrix)
        # Not beside a plan within a limit.
        self._rows = self._backend_type.open(F, normalize=normalize, widen=memory_limit is None)
        # Counted to the first selection, which is what had to wait for it.
        self._waited = time.perf_counter() - began
        self._turn, self._busy = threading.RLock(), False
        self._plan: Plan | None = None
        self._backend: Backend | None = None
        self._columns: Columns | None = None
        # Of the plain float64 loop.
        self._exact: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d): rows of F as given, and their length."""
        m, d = self._rows.shape
        return (m if self._kept is None else self._kept.m), d

    def select(
        self,
        G: Matrix | None,
        k: int | float | str,
        *,
        objective: str | None = None,
        epsilon: float = 0.0,
        query: str = "direct",
        sign: str | None = None,
        standardize: str | None = None,
        on_exhausted: str = "restart",
        initial: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | float | None = None,
        progress: Progress = None,
    ) -> Selection:
        """The k most informative items for these scores; arguments, result and errors as in `gip_gpu.select`."""
        options = Options(objective, epsilon, query, as_sign(sign), on_exhausted, standardize)
        request = ask(
            self._rows.values, G, k, options, sign=sign, on_nan=self._on_nan, initial=initial, checkpoint=checkpoint,
            checkpoint_every=checkpoint_every, reads=self._places, progress=progress, known=self._kept, looked=True,
        )  # fmt: skip
        with self._turn:
            if self._busy:
                raise RuntimeError("this pool is in the middle of a selection, whose progress function called it")
            self._busy = True
            try:
                if request.view is not None:
                    rows = request.view.view(self._rows.values)
                    return Pool(rows, **self._settings, normalize=self._rows.normalize)._select(request, False)
                return self._select(request, True)
            finally:
                self._busy = False

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "_turn"}
        # Made anew from the rows.
        state["_exact"] = None
        if not self._backend_type.portable:
            state.update(_backend=None, _columns=None, _plan=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = threading.RLock()

    def _select(self, request: Request, keep: bool, prior: Projection | None = None, name: str = "G") -> Selection:
        began = time.perf_counter() - self._waited
        self._waited = 0.0
        scores, k, options, initial = request.scores, request.k, request.options, request.initial
        total = len(initial) + k
        traits = self._checked(request, name, prior is None)
        keeper = None
        if request.saving is not None:
            subject = checkpoint.subject(self._rows, scores, options, initial, prior)
            keeper = CheckpointWriter(*request.saving, subject)
        name = options.choose(scores is not None).name
        one_by_one = stepwise(name, options.sign)
        width = 0 if scores is None else scores.shape[1]
        at_hand = keeper is not None and keeper.holds(total)
        held = self._columns
        before = 0 if held is None else held.computed
        prepare = partial(self._prepare, width, k, keep, name, options)
        fresh = keeper is None and prior is None and not len(initial)
        small = fresh and self._may_be_direct(keep, one_by_one, OBJECTIVES[name].projects)
        plan = self._planned(width, k, keep, name, options, small)
        if plan.direct:
            log.info("plan: %s", plan)
            self._exact = self._rows.exact() if self._exact is None else self._exact
        else:
            self._rows.widened = None
        prepared = None if at_hand or plan.direct else prepare()
        if prepared is not None:
            plan = prepared[2]
        ready = time.perf_counter()
        problem = pose(self._rows, scores, options, self._rows.exponent)
        posed = time.perf_counter()
        squares = first_squares(problem, self._rows)
        measures = first_measures(problem, self._rows, squares)
        if prior is not None:
            prior = prior.measured(self._rows.exponent)
        state = State(problem.scores, total, self._rows.shape[1], problem.objective, squares, measures, initial, prior)
        computed, resumed = 0, 0 if keeper is None else keeper.resumed(state.first, total)
        if plan.direct or prepared is not None:
            columns: Columns | None = None
            if prepared is None:
                stepper: Stepper = self._direct(state, problem, prepare)
            else:
                backend, columns, _ = prepared
                stepper = stepper_for(backend, columns, state, problem)
            with reporting(request.progress, k, resumed) as report, keeper.signals if keeper else nullcontext():
                timings = loop.run(stepper, state, options.on_exhausted, report, keeper)
            carried = stepper.carry(state) if state.projecting else None
            if columns is not None:
                computed = columns.computed - (before if columns is held else 0)
            if isinstance(columns, LazyColumns) and columns.whole:
                plan = self._changed(plan)
        else:
            assert keeper is not None
            assert keeper.stored is not None
            state.restore(keeper.stored)
            whole = state.t == keeper.saved
            carried, timings = keeper.stored if whole else None, {"columns": 0.0, "refresh": 0.0, "steps": 0.0}
        done = time.perf_counter()
        check_order(state, traits)
        return selection_of(
            state,
            carried,
            plan=plan,
            options=options,
            normalize=self._rows.normalize,
            exponent=self._rows.exponent,
            rows_of=request.rows_of,
            preparation=request.preparation,
            timings={"prepare": ready - began, "query": posed - ready, **timings, "total": done - began},
            computed=computed,
            resumed=resumed,
            weights=problem.weights,
            range_share=problem.range_share,
        )

    def _checked(self, request: Request, name: str, fresh: bool) -> Traits | None:
        """Warns of scores that are probably not what the caller means."""
        if request.scores is None:
            return None
        directed = not request.sign_given and sign_matters(request.options, True)
        traits = Traits.of(self._rows, request.scores, directed=directed)
        check(traits, len(request.scores), request.options, sign_given=request.sign_given, fresh=fresh, name=name)
        return traits

    def _changed(self, plan: Plan) -> Plan:
        """The plan of a run that computed the whole Gram matrix in the end."""
        matrix = self._rows.shape[0] ** 2 * entry_bytes(plan.precision)
        parts = {**{part: size for part, size in plan.memory.items() if part != GRAM_COLUMNS}, "Gram matrix": matrix}
        reason = "columns on demand lasted for few picks"
        changed = replace(plan, columns="gram", cache=0, memory=parts, reason=reason, gram_seconds=0.0)
        self._plan = None if self._plan is None else changed
        return changed

    def _may_be_direct(self, keep: bool, one_by_one: bool, projects: bool) -> bool:
        """Whether the plain float64 loop may run: not where Gram columns are kept or wait to be used again."""
        return self._backend is None and (projects or self._rows.normalize) and (one_by_one or not keep)

    def _direct(self, state: State, problem: Problem, prepare: Callable[[], Prepared]) -> Float64Stepper:
        """The plain float64 loop."""

        def other() -> Stepper:
            backend, columns, _ = prepare()
            return stepper_for(backend, columns, state, problem)

        assert self._exact is not None
        return Float64Stepper(self._rows, self._exact, problem, other)

    def _planned(self, n: int, k: int, keep: bool, objective: str, options: Options, small: bool = False) -> Plan:
        """What a selection would do and take."""
        m, d = self._rows.shape
        held = 0 if self._plan is None else self._plan.total
        return make_plan(
            m, d, n, k, keep=keep, held=held, given=format_of(self._rows.values), objective=objective,
            sign=options.sign, query=options.query, small=small, **self._settings,
        )  # fmt: skip

    def _prepare(self, n: int, k: int, keep: bool, objective: str, options: Options) -> Prepared:
        """The backend and the columns for such a selection; those of the last one where they serve."""
        held = self._plan
        plan = self._planned(n, k, keep, objective, options)
        none = plan.columns == "none"
        if held is not None and (none or held.columns == "gram" or _same_storage(held, plan)):
            changing = (ITEMS, "projector", "query") if none else ("scores and residual", "query")
            parts = {**held.memory, **{part: size for part, size in plan.memory.items() if part in changing}}
            kept = replace(held, n=n, k=k, objective=objective, memory=parts)
            # More signals can take what the columns had; then those are made anew within the limit.
            if plan.limit is None or kept.total <= plan.limit:
                if none and self._backend is not None:
                    # Columns that are kept wait for a selection that has a use for them.
                    kept = replace(kept, columns="none", cache=0, reason=plan.reason)
                    log.info("plan: %s", kept)
                    return self._backend, None, kept
                plan = kept
        log.info("plan: %s", plan)
        if self._backend is None or held is None or not (_same_storage(held, plan) and held.cache == plan.cache):
            # Let go of the old arrays before the new ones are made.
            self._backend = self._columns = self._plan = None
            self._backend = self._backend_type(self._rows, plan)
            if none:
                self._columns = None
            elif plan.columns == "gram":
                self._columns = GramColumns(self._backend)
            else:
                self._columns = LazyColumns(self._backend, plan.cache, keep, plan.gram_seconds)
            self._plan = plan
        return self._backend, self._columns, plan


def _same_storage(held: Plan, plan: Plan) -> bool:
    """Whether what was stored for one plan serves another."""
    return all(getattr(held, name) == getattr(plan, name) for name in ("columns", "precision", "lookahead", "resident"))
