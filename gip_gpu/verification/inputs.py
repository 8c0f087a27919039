"""Input of a verification, prepared as the selection prepared it, and its differences from what the file records."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.provenance import Provenance
from gip_gpu.api.request import Request, ask
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint import fingerprint
from gip_gpu.checkpoint.file import digest
from gip_gpu.data.center import Center
from gip_gpu.data.device_arrays import DeviceMatrix, on_gpu
from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.greedy.projection import Projection
from gip_gpu.problem.formulation import Problem, pose
from gip_gpu.problem.options import Options
from gip_gpu.sources import places

# A selection of a version that stored no settings.
UNKNOWN = "not stored by the version that saved the selection"
EQUAL, OTHER, MISSING = "equal", "differs", "not stored"


@dataclass(frozen=True, eq=False)
class Inputs:
    """Input of a verification.

    Attributes:
        rows: the exact rows that take part.
        problem: the problem that the options pose.
        request: scores, options, initial rows and the rows that take part.
        options, normalize: of the selection.
        picks: (k,) int64, positions of the picks among the rows that take part.
        prior: projection of the selection that this one extends, or None.
        fingerprints: "equal", "differs" or "not stored", for "F" and, with scores, for "G".
        problems: differences from what the selection records, in words.
    """

    rows: Rows
    problem: Problem
    request: Request
    options: Options
    normalize: bool
    picks: NDArray[np.int64]
    prior: Projection | None
    fingerprints: dict[str, str]
    problems: list[str] = field(default_factory=list)


def settings_of(selection: Selection) -> tuple[Options, bool, Provenance | None]:
    """Returns how the items were chosen, whether rows were normalised, and the provenance, if it is stored.

    Raises:
        ValueError: another method made the selection; neither settings nor a projection is stored.
    """
    if selection.plan.method:
        raise ValueError(
            f"the selection was made by {selection.plan.method}, which certifies nothing; only selections of "
            "gip_gpu.select can be verified"
        )
    stored = selection.provenance
    if stored is not None:
        return stored.options, stored.normalize, stored
    if selection.projection is None:
        raise ValueError(
            "the selection was saved by a version that stored no settings, and it has no projection that holds them; "
            "select again to verify"
        )
    return selection.projection.options, selection.projection.normalize, None


def inputs_of(
    selection: Selection, F: Any, G: Any, prior: Selection | None = None, constraints: Mapping[str, Any] | None = None
) -> Inputs:
    """Prepares F and G as the selection's run did.

    Args:
        selection: to verify.
        F, G: as in `gip_gpu.verify`.
        prior: the selection that this one extends.
        constraints: arguments of the selection's constraints, as in `gip_gpu.select`.

    Raises:
        TypeError, ValueError: as `gip_gpu.verify`.
    """
    if not isinstance(selection, Selection):
        raise TypeError(f"selection is a {type(selection).__name__}; it must be a gip_gpu.Selection")
    options, normalize, stored = settings_of(selection)
    projection = _prior(selection, stored, prior)
    done = selection.preparation
    standardized = None if done is None else done.standardized
    asked = SelectOptions(
        normalize=normalize,
        on_nan="drop" if done is not None and done.dropped else "error",
        initial=() if stored is None else stored.initial,
        **(constraints or {}),
    ).choosing(options)
    matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F")
    _check_sizes(selection, matrix, G)
    with warnings.catch_warnings():
        # The selection has warned of its scores.
        warnings.simplefilter("ignore", UserWarning)
        before = standardized if projection is not None else None
        # Constraints may leave fewer picks than were wanted.
        k = selection.plan.k if constraints else len(selection)
        request = ask(matrix, G, max(1, k), asked, reads=places(F), before=before)
        whole = F if isinstance(matrix, DeviceMatrix) else matrix
        taking_part = whole if request.view is None else request.view.view(matrix)
        if on_gpu(taking_part):
            taking_part = DeviceMatrix(taking_part)
        parts = list[tuple[int, int]]()
        center: bool | Center = done is not None and done.centered is not None
        if done is not None and done.centered is not None and projection is not None:
            center = done.centered
        rows = Rows(
            taking_part,
            normalize=normalize,
            center=center,
            watch=lambda block, first: parts.append(fingerprint.of_rows(block, first)),
        )
        if rows.shape[0] != selection.plan.m:
            raise ValueError(
                f"{rows.shape[0]} rows of F and G are finite; the selection was made from {selection.plan.m}"
            )
        problem = pose(rows, request.scores, options, rows.exponent)
    found = {"F": fingerprint.joined(parts), "G": request.fingerprint}
    wanted = {"F": None if stored is None else stored.F, "G": None if stored is None else stored.G}
    states = {
        name: MISSING if wanted[name] is None else EQUAL if found[name] == wanted[name] else OTHER
        for name in (("F",) if request.scores is None else ("F", "G"))
    }
    problems = [
        f"{name} is not the input of the selection: its fingerprint differs (other values, another order of rows or "
        "another type)"
        for name, state in states.items()
        if state == OTHER
    ]
    limits = None if stored is None else stored.constraints
    if limits is not None and not request.constraints:
        raise ValueError(
            "the selection was made under constraints; pass the same exclude=, groups=, group_limits=, dedup=, "
            "must_include=, costs=, budget= and weights= (--exclude, --groups, --group-min, --group-max, --dedup, "
            "--must-include, --costs, --budget, --weights)"
        )
    if request.constraints.digest(request.k) != limits:
        problems.append("the constraints are not those of the selection")
    recorded = None if done is None else done.center
    if rows.center is not None and recorded != tuple(rows.center.mean.tolist()):
        problems.append("the mean row of F is not the recorded center")
    if request.input.standardized != standardized:
        problems.append(f"the scores are standardised by {request.input.standardized}, and recorded is {standardized}")
    kept = request.input.kept
    picks = selection.indices if kept is None else kept.places_of(selection.indices, "the selection")
    return Inputs(rows, problem, request, options, normalize, picks, projection, states, problems)


def _prior(selection: Selection, stored: Provenance | None, prior: Selection | None) -> Projection | None:
    """Returns the projection that the selection extends, or None."""
    wanted = None if stored is None else stored.prior
    if prior is None and wanted is None:
        return None
    if prior is None:
        raise ValueError("the selection extends another (gip_gpu.extend); pass that one as prior= (--prior)")
    if wanted is None:
        raise ValueError("prior is given, and the selection extends no other")
    if prior.projection is None or digest(prior.projection) != wanted:
        raise ValueError("prior is not the selection that this one extends")
    known: Projection = prior.projection
    return known


def _check_sizes(selection: Selection, matrix: Any, G: Any) -> None:
    """Raises ValueError or TypeError for an input of another size than that of the selection."""
    done, plan = selection.preparation, selection.plan
    m = plan.m if done is None else done.rows
    if matrix.shape != (m, plan.d):
        raise ValueError(f"F has shape {matrix.shape}; the selection was made from {(m, plan.d)}")
    if (G is None) != (plan.n == 0):
        wants = "None" if plan.n == 0 else f"scores of {plan.n} signals"
        raise TypeError(f"G is {'None' if G is None else 'given'}; for this selection it must be {wants}")
    n = G.shape[1] if getattr(G, "ndim", 1) == 2 else None
    if n is not None and n != plan.n:
        raise ValueError(f"G has {n} columns; the selection was made with {plan.n}")
