"""extend: continues a selection with rows that joined its pool."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from numpy.typing import ArrayLike

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.prepared import PreparedRows
from gip_gpu.api.progress import Progress
from gip_gpu.api.request import ask
from gip_gpu.api.selection import Selection
from gip_gpu.data.center import Center
from gip_gpu.data.device_arrays import DeviceMatrix, on_gpu
from gip_gpu.data.standardize import Standardization
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.greedy.projection import Projection
from gip_gpu.problem.options import SIGNS
from gip_gpu.sources import places
from gip_gpu.validation.settings import flag, one_of

NAMES = ("F_new", "G_new")


def extend(
    selection: Selection,
    F_new: ArrayLike,
    G_new: ArrayLike | None,
    k: int | float | str,
    *,
    device: str = "auto",
    backend: str | None = None,
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: int | float | str | None = None,
    normalize: bool | None = None,
    center: bool | None = None,
    sign: str | None = None,
    on_nan: str = "error",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | float | None = None,
    progress: Progress = None,
) -> Selection:
    """Chooses k of the rows that joined a pool, given the picks of a selection from its earlier rows.

    The selection's picks are first projected out of the scores of the new rows; the old rows are not needed. The picks
    equal those of `select` on the chosen and the new rows together, with the chosen rows as `initial`. If the selection
    ran several rounds, only the picks of its last round count as chosen, because a round starts with nothing projected
    out. Constraints and weights of the selection do not hold for the new rows. The result can be extended again.

    Args:
        selection: result of `select`, `Pool.select`, `extend` or `Selection.load`. It fixes objective, epsilon, sign
            and on_exhausted, and for standardize="zscore" the means and deviations, which are those of its own pool. If
            its rows were centred, the same center, the mean row of its own pool, is subtracted from the new rows.
        F_new: (m, d) embeddings of the new rows, in any form that `select` takes.
        G_new: (m,) or (m, n) scores of the new rows, for as many signals; None for "entropy".
        k: number of picks, 1 to m, or a share of m: a float in (0, 1), or text such as "5%".
        normalize, center, sign: None for the selection's own value; any other value must equal it. An explicit
            sign="any" silences the warning about negative scores, as in `gip_gpu.select`.
        on_nan: as in `gip_gpu.select`, for the new rows.
        device, backend, precision, columns, memory_limit, checkpoint, checkpoint_every, progress: as in
            `gip_gpu.select`.

    Returns:
        A `Selection`: `indices` are rows of F_new; `explained` is the share over these rows and includes the part that
        the earlier picks explain.

    Raises:
        TypeError, ValueError: bad input, another d, n, normalize, center or sign, or a selection that cannot be
            extended: its scores were a fitted query (query "ridge", or "mi" with several columns) or ranks (standardize
            "rank"), which change as rows join; it ended with items taken in order or by the literal loop; it is the
            beginning of a longer checkpoint; or the version that saved it did not store the projection. Then select
            from all rows with `initial`.

    >>> import gip_gpu
    >>> chosen = gip_gpu.select([[1, 0], [0.8, 0.6]], [3, 2], 1, device="cpu")
    >>> extend(chosen, [[1, 0.1], [0, 1]], [3, 1], 1, device="cpu").indices
    array([1])
    """
    if not isinstance(selection, Selection):
        raise TypeError(f"selection is a {type(selection).__name__}; it must be a gip_gpu.Selection")
    prior = _extensible(selection)
    options = SelectOptions(
        device=device,
        backend=backend,
        precision=precision,
        columns=columns,
        memory_limit=memory_limit,
        normalize=prior.normalize,
        on_nan=on_nan,
        sign=sign,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    ).choosing(prior.options)
    if normalize is not None and flag("normalize", normalize) != prior.normalize:
        raise ValueError(f"normalize is {normalize}; the selection was made with normalize={prior.normalize}")
    mean = _center(selection)
    if center is not None and flag("center", center) != (mean is not None):
        raise ValueError(f"center is {center}; the selection was made with center={mean is not None}")
    if sign is not None and one_of("sign", sign, SIGNS) != prior.options.sign:
        raise ValueError(f"sign is {sign!r}; the selection was made with sign={prior.options.sign!r}")
    with _naming():
        matrix = DeviceMatrix(F_new) if on_gpu(F_new) else as_matrix(F_new, "F_new", memory_limit)
    d = matrix.shape[1]
    wanted, n = prior.A.shape
    if d != wanted:
        raise ValueError(f"F_new has {d} columns; the selection was made on rows of length {wanted}")
    if (G_new is None) != (n == 0):
        wants = "None" if n == 0 else f"scores of {n} signals"
        raise TypeError(f"G_new is {'None' if G_new is None else 'given'}; for this selection it must be {wants}")
    request = ask(matrix, G_new, k, options, reads=places(F_new), names=NAMES, width=n, before=_standardized(selection))
    whole = F_new if isinstance(matrix, DeviceMatrix) else matrix
    with _naming():
        rows = PreparedRows(whole if request.view is None else request.view.view(matrix), options, center=mean)
        return rows.select(request, False, prior, NAMES[1])


def _standardized(selection: Selection) -> Standardization | None:
    """Returns the standardization of the selection's scores, or None."""
    return None if selection.preparation is None else selection.preparation.standardized


def _center(selection: Selection) -> Center | None:
    """Returns the center that the selection's rows were reduced by, or None."""
    return None if selection.preparation is None else selection.preparation.centered


@contextmanager
def _naming() -> Iterator[None]:
    """Renames F to F_new at the start of an error message."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not str(error).startswith("F has "):
            raise
        raise type(error)(f"F_new{str(error)[1:]}") from error


def _extensible(selection: Selection) -> Projection:
    """Returns the projection to extend from; ValueError if the selection cannot be extended."""
    done = _standardized(selection)
    ranked = done is not None and done.method == "rank"
    if selection.projection is not None and not ranked:
        known: Projection = selection.projection
        return known
    why = (
        f"it was made by {selection.plan.method}, not by gip_gpu.select"
        if selection.plan.method
        else "its scores were ranks (standardize='rank'), which change as rows join"
        if ranked
        else "its scores were a fitted query, which changes as rows join"
        if selection.range_share is not None
        else "it chose nothing, ended with items taken in order or by the literal loop, is the beginning of a longer "
        "checkpoint, or was saved by a version that did not store the projection"
    )
    raise ValueError(f"the selection cannot be extended: {why}; select from all rows with initial= instead")
