"""verify: a selection checked against its input, on any machine."""

import numpy as np
from numpy.typing import ArrayLike

from gip_gpu.api.selection import Selection
from gip_gpu.problem.groups import Limits
from gip_gpu.sources import Matrix
from gip_gpu.verification import included
from gip_gpu.verification.inputs import inputs_of
from gip_gpu.verification.replay import Replay, codes
from gip_gpu.verification.result import Verification


def verify(
    selection: Selection,
    F: Matrix,
    G: Matrix | None = None,
    *,
    prior: Selection | None = None,
    exclude: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    group_limits: Limits | None = None,
    dedup: float | None = None,
    must_include: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    budget: int | None = None,
    weights: ArrayLike | None = None,
    ids: ArrayLike | None = None,
) -> Verification:
    """Checks a selection against its input: fingerprints, and a replay of its certificate in float64.

    The replay takes the recorded picks one after the other and compares each with all other items, given those before:
    it must be the one with the largest score, or the first of those that tie (`gip_gpu.numerics.ties`). Gain, weights,
    explained share and margin must be those of the input, and rounds must begin where scores are exhausted. It uses
    neither float32 nor a GPU nor the bounds of the run, needs a pass over F for every 512 picks, and reads files in
    blocks.

    A pick hangs on rounding if it leads or trails by no more than two float64 evaluations may differ; identical items
    never do, as the lowest index wins.

    Args:
        selection: result of a selection, or `Selection.load(path)`.
        F: the rows that it was made from, in any form that `gip_gpu.select` takes.
        G: the scores, or None for none. As given to `select`, before they are standardised.
        prior: the selection that this one extends (`gip_gpu.extend`), whose picks are projected out first.
        exclude, groups, group_limits, dedup, must_include, costs, budget, weights, ids: the constraints that it was
            made under, as in `gip_gpu.select`. A selection holds only a fingerprint of them.

    Returns:
        A `Verification`. A selection of a version that stored no fingerprint has "not stored" for it and is replayed by
        the settings of its projection.

    Raises:
        TypeError, ValueError: F or G has another shape, or values that `gip_gpu.select` refuses; the file holds no
            settings; `prior` is missing or another selection; the constraints are missing.

    >>> import numpy as np, gip_gpu
    >>> F, g = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), np.array([3.0, 2.9, 1.0])
    >>> chosen = gip_gpu.select(F, g, 2, device="cpu")
    >>> print(verify(chosen, F, g))
    verified: 2 of 2 picks hold, 0 hang on rounding, 0 differ
    >>> g[1] = 3.1
    >>> verify(chosen, F, g).ok
    False
    """
    given = {"exclude": exclude, "groups": groups, "group_limits": group_limits, "dedup": dedup,
             "must_include": must_include, "costs": costs, "budget": budget, "weights": weights,
             "ids": ids}  # fmt: skip
    inputs = inputs_of(selection, F, G, prior, {name: value for name, value in given.items() if value is not None})
    replay = Replay(*included.chosen(selection, inputs))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        replay.run()
        verdicts = included.verdicts(selection, inputs) + replay.verdicts
    return Verification(
        codes(verdicts),
        {t: verdict.why for t, verdict in enumerate(verdicts) if verdict.code},
        inputs.fingerprints,
        (*inputs.problems, *replay.problems),
        replay.claims.largest_gain_error,
    )
