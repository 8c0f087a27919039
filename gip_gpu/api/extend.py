"""extend: more picks from rows that joined a pool, after those that a selection chose from it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from numpy.typing import ArrayLike

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.prepared import PreparedRows
from gip_gpu.api.progress import Progress
from gip_gpu.api.request import ask
from gip_gpu.api.selection import Selection
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
    sign: str | None = None,
    on_nan: str = "error",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | float | None = None,
    progress: Progress = None,
) -> Selection:
    """Chooses k of the rows that joined a pool, after what a selection chose from the rows before.

    What the selection's picks share with the new rows is taken out of their scores first; the old rows are not needed.
    The picks are those of `select` on the chosen rows and the new ones together, with the chosen ones as `initial`,
    minus the chosen. Where the selection went through several rounds, the chosen ones are those of its last round, for
    a round begins with nothing projected out. What is chosen here can be extended again.

    Args:
        selection: of `select`, `Pool.select` or `extend`, or one that was loaded. It says how to choose: objective,
            epsilon, sign, on_exhausted, and for standardize="zscore" the means and deviations of its own pool.
        F_new: (m, d) embeddings of the new rows, in any form that `select` takes.
        G_new: (m,) or (m, n) scores of the new rows, for as many signals; None for "entropy".
        k: number of picks, 1 to m, or a share of m: a float in (0, 1), or text such as "5%".
        normalize, sign: as for the selection, which None takes over; sign="any" says that negative scores are meant, as
            in `gip_gpu.select`.
        on_nan: as in `gip_gpu.select`, for the new rows.
        device, backend, precision, columns, memory_limit, checkpoint, checkpoint_every, progress: as in
            `gip_gpu.select`.

    Returns:
        A `Selection`: indices are rows of F_new; `explained` is over these rows, and starts with what the earlier picks
        explain of them.

    Raises:
        TypeError, ValueError: bad input, another d, n or normalize, or a selection that cannot be extended: its scores
            were a fitted query (query "ridge", or "mi" with several columns) or ranks (standardize "rank"), which
            change as rows join; it ended with items taken in order or by the literal loop; it is the beginning of a
            longer checkpoint; or it was saved by a version that did not keep what is needed. Then select from all rows
            with `initial`.

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
        rows = PreparedRows(whole if request.view is None else request.view.view(matrix), options)
        return rows.select(request, False, prior, NAMES[1])


def _standardized(selection: Selection) -> Standardization | None:
    """How the scores of its pool were brought to one scale."""
    return None if selection.preparation is None else selection.preparation.standardized


@contextmanager
def _naming() -> Iterator[None]:
    """Errors of a pool, whose rows are F, name the rows of this one."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not str(error).startswith("F has "):
            raise
        raise type(error)(f"F_new{str(error)[1:]}") from error


def _extensible(selection: Selection) -> Projection:
    """What to go on from."""
    done = _standardized(selection)
    ranked = done is not None and done.method == "rank"
    if selection.projection is not None and not ranked:
        known: Projection = selection.projection
        return known
    why = (
        "its scores were ranks (standardize='rank'), which change as rows join"
        if ranked
        else "its scores were a fitted query, which changes as rows join"
        if selection.range_share is not None
        else "it chose nothing, ended with items taken in order or by the literal loop, is the beginning of a longer "
        "checkpoint, or was saved by a version that did not keep what was projected out"
    )
    raise ValueError(f"the selection cannot be extended: {why}; select from all rows with initial= instead")
