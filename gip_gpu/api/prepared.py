"""Rows prepared on a device, with the Gram columns of earlier selections."""

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import backends
from gip_gpu.api.options import SelectOptions
from gip_gpu.api.progress import reporting
from gip_gpu.api.request import Request
from gip_gpu.api.result import Outcome, selection_of
from gip_gpu.api.score_checks import Traits, check, check_left, check_order, sign_matters
from gip_gpu.api.selection import Selection
from gip_gpu.backends.base import Backend
from gip_gpu.backends.devices import resolve
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.checkpoint import fingerprint
from gip_gpu.checkpoint.writer import CheckpointWriter
from gip_gpu.data.center import Center
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu, to_host
from gip_gpu.data.missing_values import Kept, keep_finite
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.gram.columns import Columns
from gip_gpu.greedy import loop
from gip_gpu.greedy.admission import Admission
from gip_gpu.greedy.float64.stepper import Float64Stepper
from gip_gpu.greedy.included import rate_included
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import State
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.greedy.steppers import stepper_for
from gip_gpu.planning.cpu_costs import GRAM_COLUMNS, ITEMS, entry_bytes
from gip_gpu.planning.plan import Plan, log
from gip_gpu.problem.formulation import Problem, first_measures, first_squares, pose
from gip_gpu.problem.objectives import MEASURES
from gip_gpu.strategies.choose import build_columns, plan_for
from gip_gpu.strategies.setting import Demand
from gip_gpu.validation.settings import as_bytes


@dataclass(frozen=True)
class Built:
    """Backend, its Gram columns if it keeps any, and the plan of both."""

    backend: Backend
    columns: Columns | None
    plan: Plan


class PreparedRows:
    """Rows on a device, with their Gram matrix or the columns computed so far.

    Args:
        F: as in `gip_gpu.select`.
        options: where and how to run, and `normalize`.
        drop: whether to leave out rows that are not finite.
        center: the center to subtract, that of the selection that will be extended; None for `options.center`.

    Attributes:
        options: those given, with device and backend resolved.
        rows: the exact rows.
        kept: the rows of F that take part, None for all.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.
    """

    def __init__(self, F: Any, options: SelectOptions, *, drop: bool = False, center: Center | None = None) -> None:
        device = resolve(options.device, options.backend, F)
        self.kind = backends.load(options.backend, device)
        if options.memory_limit is not None:
            as_bytes(options.memory_limit, self.kind.available(device))
        self.options = replace(options, device=device, backend=self.kind.name)
        if isinstance(F, (str, os.PathLike)):
            F = as_matrix(F, "F", options.memory_limit)
        began = time.perf_counter()
        self.kept: Kept | None = None
        if drop:
            matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F")
            self.kept = keep_finite(matrix, None)
            F = F if self.kept is None else self.kept.view(matrix)
        printed = fingerprint.Background()
        self.rows = self.kind.open(
            F,
            normalize=options.normalize,
            center=options.center if center is None else center,
            # A plan within a memory limit has no room for a float64 copy.
            widen=options.memory_limit is None,
            watch=printed.add,
        )
        self._printed = printed.result
        if self.rows.measured is not None:
            log.info("center=%r: %s", options.center, self.rows.measured.said)
        # Added to the time of the first selection, which waited for it.
        self.waited = time.perf_counter() - began
        self.plan: Plan | None = None
        self.backend: Backend | None = None
        self.columns: Columns | None = None
        # Float64 rows of the plain float64 loop.
        self.exact: NDArray[np.float64] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the rows as given, which a thread has computed."""
        return self._printed()

    def __getstate__(self) -> dict[str, Any]:
        # The float64 rows can be recomputed from `rows`.
        state = {**self.__dict__, "exact": None, "fingerprint": self.fingerprint, "_printed": None}
        if not self.kind.portable:
            state.update(backend=None, columns=None, plan=None)
        return state

    def select(self, request: Request, keep: bool, prior: Projection | None = None, name: str = "G") -> Selection:
        """Runs the requested selection.

        Args:
            request: checked arguments of the call.
            keep: whether other selections will follow.
            prior: projection of picks from other rows, or None.
            name: name of the scores in messages.
        """
        began = time.perf_counter() - self.waited
        self.waited = 0.0
        constraints = request.constraints
        how, total = request.options.how, len(request.initial) - len(constraints.include) + request.k
        objective = how.choose(request.scores is not None)
        traits = self._checked(request, name, prior is None)
        writer = None
        if request.saving is not None:
            subject = checkpoint.subject(
                self.rows,
                request.scores,
                how,
                request.initial,
                prior,
                self.fingerprint,
                constraints.digest(request.k),
            )
            writer = CheckpointWriter(*request.saving, subject)
        m, d = self.rows.shape
        n = 0 if request.scores is None else request.scores.shape[1]
        given = format_of(self.rows.values)
        demand = Demand(m, d, n, request.k, objective, how.sign, how.query, given, keep)
        computed = 0 if self.columns is None else self.columns.computed
        held = self.columns
        weighted = constraints.item_weights is not None
        if weighted and objective.metric and n > 1 and self.kind.device_loop:
            log.info("weighted information of several signals is computed on the CPU: no kernel weighs it")
            return self._on_the_host().select(request, False, prior, name)
        fresh = writer is None and prior is None and not len(request.initial) and not weighted
        plan = self._planned(demand, small=fresh and self._may_run_in_float64(demand))
        if plan.direct:
            log.info("plan: %s", plan)
            self.exact = self.rows.exact() if self.exact is None else self.exact
        else:
            self.rows.widened = None
        whole = writer is not None and writer.holds(total)
        built = None if whole or plan.direct else self._build(demand)
        if built is not None:
            plan = built.plan
        ready = time.perf_counter()
        problem = pose(self.rows, request.scores, how, self.rows.exponent)
        posed = time.perf_counter()
        state = self._state(problem, total, request, prior)
        resumed = 0 if writer is None else writer.resumed(state.first, total)
        if whole:
            assert writer is not None
            carried, timings = writer.recall(state), loop.NO_TIME
        else:
            stepper = self._in_float64(state, problem, demand) if built is None else _stepper(built, state, problem)
            with reporting(request.options.progress, request.k, resumed) as report, writer or nullcontext():
                visits = 0 if built is None else built.backend.visits
                limited = constraints.limiting
                admission = Admission(constraints, self.rows, state) if limited else None
                rate = partial(rate_included, problem=problem, rows=self.rows)
                timings = loop.run(stepper, state, how.on_exhausted, report, writer, admission, rate)
            if built is not None and built.backend.device_loop:
                timings["host_visits"] = built.backend.visits - visits
            carried = stepper.carry(state) if state.projecting else None
        columns = None if built is None else built.columns
        if columns is not None:
            computed = columns.computed - (computed if columns is held else 0)
        if columns is not None and columns.whole:
            plan = self._changed(plan)
        done = time.perf_counter()
        check_order(state, traits)
        check_left(state, constraints)
        return selection_of(
            state,
            problem,
            Outcome(
                carried=carried,
                plan=plan,
                timings={"prepare": ready - began, "query": posed - ready, **timings, "total": done - began},
                computed=0 if columns is None else computed,
                resumed=resumed,
                constraints=constraints.digest(request.k),
            ),
            how,
            self.rows,
            request.input,
            (self.fingerprint, request.fingerprint),
            prior,
        )

    def _on_the_host(self) -> "PreparedRows":
        """Returns the same rows prepared for the CPU."""
        given = self.rows.given
        options = replace(self.options, device="cpu", backend=None, precision="auto", columns="auto")
        host = PreparedRows(
            to_host(given.array) if isinstance(given, DeviceMatrix) else given, options, center=self.rows.center
        )
        # That of the rows as given, which may have a type that NumPy lacks.
        host.fingerprint = self.fingerprint
        return host

    def _state(self, problem: Problem, total: int, request: Request, prior: Projection | None) -> State:
        squares = first_squares(problem, self.rows)
        return State(
            scores=problem.scores,
            k=total,
            d=self.rows.shape[1],
            objective=problem.objective,
            squares=squares,
            measures=first_measures(problem, self.rows, squares),
            initial=request.initial,
            included=len(request.constraints.include),
            item_weights=request.constraints.item_weights,
            prior=None if prior is None else prior.measured(self.rows.exponent),
        )

    def _checked(self, request: Request, name: str, fresh: bool) -> Traits | None:
        """Warns of scores that the caller probably did not intend; returns their traits, None without scores."""
        if request.scores is None:
            return None
        how, sign_given = request.options.how, request.options.sign is not None
        directed = not sign_given and sign_matters(how, True)
        traits = Traits.of(self.rows, request.scores, directed=directed)
        check(traits, len(request.scores), how, sign_given=sign_given, fresh=fresh, name=name)
        return traits

    def _changed(self, plan: Plan) -> Plan:
        """Returns the plan of a run that ended up computing the whole Gram matrix."""
        matrix = self.rows.shape[0] ** 2 * entry_bytes(plan.precision)
        parts = {**{part: size for part, size in plan.memory.items() if part != GRAM_COLUMNS}, "Gram matrix": matrix}
        reason = "columns on demand lasted for few picks"
        changed = replace(plan, columns="gram", cache=0, memory=parts, reason=reason, gram_seconds=0.0)
        self.plan = None if self.plan is None else changed
        return changed

    def _may_run_in_float64(self, demand: Demand) -> bool:
        """Returns whether the plain float64 loop may run: not with a backend built before, nor if columns are kept."""
        keeps_columns = demand.objective.keeps_columns(demand.sign)
        sound = MEASURES[demand.objective.measure].small and (demand.objective.projects or self.rows.normalize)
        return self.backend is None and sound and not (keeps_columns and demand.keep)

    def _in_float64(self, state: State, problem: Problem, demand: Demand) -> Float64Stepper:
        """Returns the stepper of the plain float64 loop."""
        assert self.exact is not None
        other = partial(self._other, state, problem, demand)
        return Float64Stepper(self.rows, self.exact, problem, other)

    def _other(self, state: State, problem: Problem, demand: Demand) -> Stepper:
        """Returns the stepper that takes over where the plain float64 loop stops."""
        return _stepper(self._build(demand), state, problem)

    def _planned(self, demand: Demand, *, small: bool = False) -> Plan:
        """Returns the plan of a selection: its method, time and memory."""
        held = 0 if self.plan is None else self.plan.total
        return plan_for(demand, small=small, held=held, **self.options.settings)

    def _build(self, demand: Demand) -> Built:
        """Returns backend and columns for a selection; reuses those of the last one where they fit."""
        held = self.plan
        plan = self._planned(demand)
        none = plan.columns == "none"
        if held is not None and (none or held.columns == "gram" or _same_storage(held, plan)):
            changing = (ITEMS, "projector", "query") if none else ("scores and residual", "query")
            parts = {**held.memory, **{part: size for part, size in plan.memory.items() if part in changing}}
            kept = replace(held, n=plan.n, k=plan.k, objective=plan.objective, memory=parts)
            # More signals may need memory that the columns use; then the columns are rebuilt within the limit.
            if plan.limit is None or kept.total <= plan.limit:
                if none and self.backend is not None:
                    # The columns stay for a later selection that uses them.
                    kept = replace(kept, columns="none", cache=0, reason=plan.reason)
                    log.info("plan: %s", kept)
                    return Built(self.backend, None, kept)
                plan = kept
        log.info("plan: %s", plan)
        if self.backend is None or held is None or not (_same_storage(held, plan) and held.cache == plan.cache):
            # Free the old arrays before allocating new ones.
            self.backend = self.columns = self.plan = None
            self.backend = self.kind(self.rows, plan)
            self.columns = build_columns(self.backend, plan, demand.keep)
            self.plan = plan
        return Built(self.backend, self.columns, plan)


def _stepper(built: Built, state: State, problem: Problem) -> Stepper:
    """Returns the stepper of a selection."""
    return stepper_for(built.backend, built.columns, state, problem)


def _same_storage(held: Plan, plan: Plan) -> bool:
    """Returns whether storage built for one plan fits another."""
    return all(getattr(held, name) == getattr(plan, name) for name in ("columns", "precision", "lookahead", "resident"))
