"""stability: the picks that a change of scores or embeddings may change."""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.select import select
from gip_gpu.api.selection import Selection
from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import ties
from gip_gpu.sources import Matrix
from gip_gpu.validation.settings import LARGEST
from gip_gpu.verification import stability_bounds
from gip_gpu.verification.inputs import Inputs, inputs_of
from gip_gpu.verification.replay import Replay
from gip_gpu.verification.rounded import RoundedRows, largest_move
from gip_gpu.verification.stability_result import SecondRun, Stability

Floats = NDArray[np.float64]


def stability(
    selection: Selection,
    F: Matrix,
    G: Matrix | None = None,
    *,
    score_noise: float = 0.0,
    embeddings: str | None = None,
    runs: int = 3,
    seed: int = 0,
    device: str = "auto",
    memory_limit: int | float | str | None = None,
) -> Stability:
    """Finds the picks that would change if scores moved by a given noise, or embeddings were rounded.

    The certificate's margins show the leading picks that no such change alters, by bounds that need the picks' rows
    and, for rounded embeddings, one pass over F (`gip_gpu.verification.stability_bounds` derives them). Margins of runs
    in float32 bound the leads loosely; where they do not suffice for all picks, a replay of the selection computes the
    leads themselves. If these do not suffice either, selections from changed input show what happens to the others: one
    from rounded embeddings, or `runs` with random noise. These are examples; only picks counted as certain are proved.

    Args:
        selection, F, G: as in `gip_gpu.verify`.
        score_noise: largest change of any single score, in the unit of G; of the standardised scores if the selection
            standardised them.
        embeddings: format that F is rounded to: "bf16", "fp16" or "fp32"; None leaves F unchanged.
        runs: number of second runs with random noise, uniform up to `score_noise`; 0 for no second run of either kind.
        seed: seed of the noise.
        device, memory_limit: of the second runs, as in `gip_gpu.select`.

    Returns:
        A `Stability`.

    Raises:
        TypeError, ValueError: as `gip_gpu.verify`; neither `score_noise` nor `embeddings`; a selection that extends
            another; noise for a selection without scores.

    >>> import numpy as np, gip_gpu
    >>> F, g = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), np.array([3.0, 2.6, 1.0])
    >>> chosen = gip_gpu.select(F, g, 1, device="cpu")
    >>> stability(chosen, F, g, score_noise=0.1).certain, stability(chosen, F, g, score_noise=0.3).certain
    (1, 0)
    """
    noise, count = _noise(score_noise), _count(runs)
    if not noise and embeddings is None:
        raise TypeError("no change is given; pass score_noise=, embeddings= or both")
    if selection.provenance is not None and selection.provenance.constraints is not None:
        raise ValueError("the stability of a selection under constraints is not known; verify() checks its picks")
    inputs = inputs_of(selection, F, G)
    if noise and inputs.request.scores is None:
        raise ValueError(f"score_noise is {noise:g}, and the selection has no scores; pass embeddings= alone")
    if inputs.problems:
        raise ValueError(f"{inputs.problems[0]}; gip_gpu.verify lists the differences")
    changed = None if embeddings is None else RoundedRows(inputs.rows.given, embeddings)
    what = " and ".join(
        ([f"scores moved by up to {noise:g}"] if noise else [])
        + ([f"embeddings in {embeddings}"] if embeddings else [])
    )
    leads = np.sqrt(selection.gains) * (1 - np.sqrt(1 - selection.certificate.margins))
    reach, why = _reach(selection, inputs, noise, changed)
    by_margins = certain = _leading(selection, leads, reach)
    k = len(selection)
    if certain < k and np.isfinite(reach).any():
        replay = Replay(selection, inputs)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            replay.run()
        leads = np.maximum(leads, replay.leads)
        certain = _leading(selection, leads, reach)
    if certain < k and not why:
        why = "its lead is smaller than the change"
        if selection.certificate.ties[certain] > 1:
            why = f"{selection.certificate.ties[certain]} items tie"
        elif certain in selection.rounds[1:]:
            why = "a new round begins, when scores are exhausted"
    made = _second_runs(selection, inputs, noise, changed, embeddings, count, seed, device, memory_limit)
    reruns = tuple(made) if certain < k and count else ()
    kept = np.where(np.arange(k) < certain, 1.0, np.nan)
    if reruns:
        kept = np.mean([np.isin(selection.indices, run.indices) for run in reruns], axis=0)
    return Stability(what, k, certain, by_margins, leads, reach, kept, reruns, "" if certain == k else why)


def _leading(selection: Selection, leads: Floats, reach: Floats) -> int:
    """Returns the number of leading picks whose leads exceed the movement of two scores, and the tie rule."""
    sure = leads > 2 * reach + 4 * ties.TIE * np.sqrt(selection.gains)
    return len(sure) if sure.all() else int(sure.argmin())


def _reach(selection: Selection, inputs: Inputs, noise: float, changed: RoundedRows | None) -> tuple[Floats, str]:
    """Returns bounds on the movement of the root of a score before each pick, and why they are infinite, or ""."""
    problem, rows, k = inputs.problem, inputs.rows, len(selection)
    kind, initial = problem.objective, inputs.request.initial
    nothing = np.full(k, math.inf)
    if problem.range_share is not None:
        return nothing, "its scores are a fitted query, which changes with every score and row"
    if changed is not None and (kind.projects or not kind.scored):
        return nothing, f"the certificate of objective {kind.name!r} does not bound the turn of projected rows"
    if kind.measure == "ratio" and not problem.epsilon:
        return nothing, "objective 'lr' without a ridge divides by distances that the certificate does not bound"
    first = selection.rounds[1] if len(selection.rounds) > 1 else k
    items = np.concatenate([initial, inputs.picks[:first]])
    reach = np.zeros(len(items))
    e, largest = noise * math.sqrt(max(1, problem.scores.shape[1])), max(1.0, rows.largest)
    if noise and kind.projects:
        reach += stability_bounds.projected_score_moves(e, rows.take(items), problem.epsilon)
        if kind.measure == "ratio":
            reach /= math.sqrt(problem.epsilon)
    elif noise:
        reach += stability_bounds.score_moves(e, len(items), largest)
    if changed is not None:
        others = Rows(changed, normalize=rows.normalize, center=rows.center is not None)
        residuals = _residuals(inputs, items)
        largest = max(largest, others.largest)
        reach += stability_bounds.embedding_moves(largest_move(rows, others), rows.take(items), residuals, largest)
    # A later round begins when scores are exhausted, which a change may bring forward or delay.
    return np.concatenate([reach[len(initial) :], nothing[first:]]), ""


def _residuals(inputs: Inputs, items: NDArray[np.int64]) -> Floats:
    """Returns the residuals (c, n) of these items under matching pursuit, each before it is projected out."""
    rows, found = inputs.rows.take(items), inputs.problem.scores[items].copy()
    gram = rows @ rows.T
    for place in range(len(items)):
        found[place + 1 :] -= gram[place + 1 :, place, None] * found[place]
    return found


def _second_runs(
    selection: Selection, inputs: Inputs, noise: float, changed: RoundedRows | None, embeddings: str | None, runs: int,
    seed: int, device: str, memory_limit: Any,
) -> Any:  # fmt: skip
    """Yields selections from changed input."""
    rng, options, request = np.random.default_rng(seed), inputs.options, inputs.request
    matrix = inputs.rows.given if changed is None else changed
    for number in range(runs if noise else 1):
        scores = request.scores
        if noise and scores is not None:
            scores = scores + rng.uniform(-noise, noise, scores.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = select(
                matrix.array if isinstance(matrix, DeviceMatrix) else matrix,
                scores,
                len(selection),
                device=device,
                memory_limit=memory_limit,
                normalize=inputs.normalize,
                center=inputs.rows.center is not None,
                objective=options.objective,
                epsilon=options.epsilon,
                query=options.query,
                sign=options.sign,
                on_exhausted=options.on_exhausted,
                initial=request.initial,
            )
        what = ([f"noise {number + 1}"] if noise else []) + ([str(embeddings)] if embeddings else [])
        indices = request.input.rows_of(found.indices)
        count = min(len(indices), len(selection))
        differs = np.flatnonzero(indices[:count] != selection.indices[:count])
        first = int(differs[0]) if len(differs) else (None if len(indices) == len(selection) else count)
        overlap = float(np.isin(selection.indices, indices).mean()) if len(selection) else 1.0
        yield SecondRun(", ".join(what), indices, overlap, first)


def _noise(value: Any) -> float:
    wanted = f"score_noise must be a number from 0 to {LARGEST:g}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"score_noise is {value!r}, a {type(value).__name__}; {wanted}")
    if not 0 <= float(value) <= LARGEST:
        raise ValueError(f"score_noise is {value!r}; {wanted}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"runs is {value!r}, a {type(value).__name__}; it must be an int, 0 or more")
    if value < 0:
        raise ValueError(f"runs is {value}; it must be an int, 0 or more")
    return int(value)
