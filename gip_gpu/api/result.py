"""The Selection of a run that has ended, built in one place for one process and for many."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.certificate import Certificate
from gip_gpu.api.selection import Selection
from gip_gpu.data.preparation import Preparation
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import State, Stored
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.options import Options
from gip_gpu.system import memory


def selection_of(
    state: State,
    carried: Stored | None,
    *,
    plan: Plan,
    options: Options,
    normalize: bool,
    exponent: int,
    rows_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    preparation: Preparation | None,
    timings: dict[str, float],
    computed: int,
    resumed: int,
    weights: NDArray[np.float64] | None = None,
    range_share: float | None = None,
) -> Selection:
    """The result of a run.

    Args:
        state: of the selection, its picks made.
        carried: what the stepper projected out; None where that is not all, or not known.
        plan: of the run, as it was in the end.
        options: how items were chosen.
        normalize, exponent: of the rows.
        rows_of: returns rows of the input, from places among those that took part.
        preparation, timings, computed, resumed, range_share: as in `Selection`.
        weights: (n, n) factor that turns residuals into those of the scores as given; None where they are.
    """
    picks = slice(state.first, state.t)
    projection = None
    if carried is not None and state.projecting and range_share is None:
        projection = Projection.of(state, carried, options, normalize, exponent)
    residuals = state.weights[picks]
    return Selection(
        indices=rows_of(state.indices[picks]),
        gains=state.gains[picks],
        weights=residuals if weights is None else residuals @ weights,
        explained=state.explained[picks],
        certificate=Certificate(
            state.margins[picks], state.candidates[picks], state.ties[picks], state.refreshes, state.chosen_rounds
        ),
        plan=plan,
        timings=timings,
        peak_bytes=memory.peak(),
        range_share=range_share,
        projection=projection,
        computed=computed,
        resumed=resumed,
        preparation=preparation,
    )
