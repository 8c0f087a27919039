"""Selection of a finished run, built in one place for one process and for many."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.certificate import Certificate
from gip_gpu.api.provenance import Provenance
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint.file import digest
from gip_gpu.data.center import Center
from gip_gpu.data.missing_values import Kept
from gip_gpu.data.preparation import Preparation
from gip_gpu.data.rows import Rows
from gip_gpu.data.standardize import Standardization
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import State, Stored
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.formulation import Problem
from gip_gpu.problem.options import Options
from gip_gpu.system import memory


@dataclass(frozen=True)
class Input:
    """Record of how the given rows and scores were prepared.

    Attributes:
        m: number of rows given.
        kept: the rows that take part, None for all.
        standardized: standardization of the scores, None without.
    """

    m: int
    kept: Kept | None
    standardized: Standardization | None

    def preparation(self, centered: Center | None) -> Preparation | None:
        """Returns the preparation that the `Selection` records, for rows reduced by this center; None for none."""
        return Preparation.of(self.m, 0 if self.kept is None else len(self.kept.dropped), self.standardized, centered)

    def rows_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns rows of the input from positions among the rows that take part."""
        return indices if self.kept is None else self.kept.rows_of(indices)


@dataclass(frozen=True)
class Outcome:
    """Results of a run other than its picks.

    Attributes:
        carried: projection of the stepper; None if it is not known.
        plan: the final plan.
        timings, computed, resumed: as in `Selection`.
        constraints: fingerprint of the constraints on the picks, None without.
    """

    carried: Stored | None
    plan: Plan
    timings: dict[str, float]
    computed: int
    resumed: int
    constraints: str | None = None


def selection_of(
    state: State,
    problem: Problem | None,
    outcome: Outcome,
    how: Options,
    rows: Rows,
    given: Input,
    fingerprints: tuple[str, str | None],
    prior: Projection | None = None,
) -> Selection:
    """Returns the result of a run.

    Args:
        state: state after the last pick.
        problem: None if the scores are used unchanged.
        outcome: other results of the run.
        how: options that decided which items were chosen.
        rows: the rows that were chosen from.
        given: record of the input that the rows come from.
        fingerprints: of F and of G, as `Provenance` has them.
        prior: projection of the selection that this one extends, or None.
    """
    picks = slice(state.first, state.t)
    factor, share = (None, None) if problem is None else (problem.weights, problem.range_share)
    projection = None
    if outcome.carried is not None and state.projecting and share is None:
        projection = Projection.of(state, outcome.carried, how, rows.normalize, rows.exponent)
    residuals = state.weights[picks]
    return Selection(
        indices=given.rows_of(state.indices[picks]),
        gains=state.gains[picks],
        weights=residuals if factor is None else residuals @ factor,
        explained=state.explained[picks],
        certificate=Certificate(
            state.margins[picks], state.candidates[picks], state.ties[picks], state.refreshes, state.chosen_rounds
        ),
        plan=outcome.plan,
        timings=outcome.timings,
        peak_bytes=memory.peak(),
        range_share=share,
        projection=projection,
        computed=outcome.computed,
        resumed=outcome.resumed,
        preparation=given.preparation(rows.center),
        provenance=Provenance(
            *fingerprints,
            options=how,
            normalize=rows.normalize,
            initial=tuple(given.rows_of(state.initial[: state.first]).tolist()),
            prior=None if prior is None else digest(prior),
            constraints=outcome.constraints,
        ),
    )
