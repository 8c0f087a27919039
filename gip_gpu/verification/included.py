"""Picks that the caller included: they are checked by themselves, and count as initial items for the others."""

from dataclasses import replace

import numpy as np

from gip_gpu.api.certificate import Certificate
from gip_gpu.api.selection import Selection
from gip_gpu.greedy.admission import Admission
from gip_gpu.greedy.included import rate_included
from gip_gpu.greedy.state import State
from gip_gpu.problem.formulation import first_measures, first_squares
from gip_gpu.verification.claims import SHARE
from gip_gpu.verification.inputs import Inputs
from gip_gpu.verification.judge import DIFFERS, HOLDS, Verdict

# Largest relative difference of a gain or of weights.
CLOSE = 1e-6


def chosen(selection: Selection, inputs: Inputs) -> tuple[Selection, Inputs]:
    """Returns the selection, and its input, without the picks that were included."""
    count = len(inputs.request.constraints.include)
    if not count:
        return selection, inputs
    proof = selection.certificate
    rounds = tuple(sorted({max(0, start - count) for start in proof.rounds}))
    rest = replace(
        selection,
        indices=selection.indices[count:],
        gains=selection.gains[count:],
        weights=selection.weights[count:],
        explained=selection.explained[count:],
        certificate=Certificate(
            proof.margins[count:], proof.candidates[count:], proof.ties[count:], proof.refreshes, rounds
        ),
        plan=replace(selection.plan, k=selection.plan.k - count),
    )
    return rest, replace(inputs, picks=inputs.picks[count:])


def verdicts(selection: Selection, inputs: Inputs) -> list[Verdict]:
    """Returns the verdicts on the picks that were included: their order, gains, weights and explained shares."""
    request, rows, problem = inputs.request, inputs.rows, inputs.problem
    include = request.constraints.include
    if not len(include):
        return []
    squares = first_squares(problem, rows)
    state = State(
        scores=problem.scores,
        k=len(request.initial) - len(include) + selection.plan.k,
        d=rows.shape[1],
        objective=problem.objective,
        squares=squares,
        measures=first_measures(problem, rows, squares),
        initial=request.initial,
        included=len(include),
    )
    if request.constraints.limiting:
        Admission(request.constraints, rows, state).update()
    largest, state.energy = state.open_round()
    state.unit = float(2.0 ** np.frexp(np.sqrt(largest))[1]) if problem.objective.scaled and largest else 1.0
    state.skip(request.initial)
    if largest:
        rate_included(state, problem, rows)
    picks = slice(state.first, len(request.initial))
    weights = state.weights[picks] if problem.weights is None else state.weights[picks] @ problem.weights
    found, proof = list[Verdict](), selection.certificate
    for t, (row, gain, own) in enumerate(zip(include.tolist(), state.gains[picks], weights, strict=True)):
        size = float(np.linalg.norm(own))
        if t >= len(inputs.picks) or int(inputs.picks[t]) != row:
            found.append(Verdict(DIFFERS, f"row {row} is included at this place"))
        elif abs(selection.gains[t] - gain) > CLOSE * gain:
            found.append(
                Verdict(DIFFERS, f"its gain is recorded as {float(selection.gains[t])!r}, and is {float(gain)!r}")
            )
        elif np.linalg.norm(selection.weights[t] - own) > CLOSE * size:
            found.append(Verdict(DIFFERS, f"its weights are recorded as {selection.weights[t].tolist()}"))
        elif proof.margins[t] or proof.candidates[t] or proof.ties[t]:
            found.append(Verdict(DIFFERS, "it was included, and its margin, candidates and ties are not 0"))
        elif largest and abs(selection.explained[t] - state.explained[picks][t]) > SHARE:
            found.append(Verdict(DIFFERS, f"the share explained after it is recorded as {selection.explained[t]:.6g}"))
        else:
            found.append(Verdict(HOLDS))
    return found
