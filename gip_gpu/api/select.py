"""select: the k most informative examples of a pool, in one call."""

import os

from numpy.typing import ArrayLike

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.prepared import PreparedRows
from gip_gpu.api.progress import Progress
from gip_gpu.api.request import ask
from gip_gpu.api.selection import Selection
from gip_gpu.data.device_arrays import DeviceMatrix, on_gpu
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.sources import Matrix, places


def select(
    F: Matrix,
    G: Matrix | None,
    k: int | float | str,
    *,
    device: str = "auto",
    backend: str | None = None,
    objective: str | None = None,
    epsilon: float = 0.0,
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: int | float | str | None = None,
    normalize: bool = True,
    query: str = "direct",
    sign: str | None = None,
    standardize: str | None = None,
    on_nan: str = "error",
    on_exhausted: str = "restart",
    initial: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | float | None = None,
    progress: Progress = None,
) -> Selection:
    """Selects the k items that carry the most information, by Greedy Information Projection.

    Each pick is the item of the largest score, whose part is then projected out of what the others have to give. The
    indices are those of the float64 algorithm on F and G as given, whatever precision the products are computed in;
    scores that agree to about 1e-12 are ties (`gip_gpu.numerics.ties`), and the lowest index wins. F and G are never
    modified.

    Args:
        F: (m, d) embeddings, one row an item: array, memory map, nested list or tensor of any float or integer type
            and any strides; on a CUDA device also torch CUDA tensors, CuPy arrays and what else offers `__dlpack__`
            there; the path of a file or of a folder of shards, or `gip_gpu.sources.open_matrix(path, key)`, read in
            blocks. float16 and bfloat16 values are taken as exact.
        G: (m,) or (m, n) scores, one column a signal, in any of these forms; `gip_gpu.signals` makes some. A file may
            also be .csv, .tsv or .jsonl; what in it may be embeddings or identifiers is scores only where it is named:
            `open_matrix(path, "quality,length")`. None: no scores, the choice is by the embeddings alone (objective
            "entropy").
        k: number of picks, 1 to m, or a share of m: a float in (0, 1), or text such as "5%".
        device: "auto" (the CUDA device that F lies on, or the first if one works, else the CPU), "cpu", "cuda" or
            "cuda:1".
        backend: "numpy" (CPU), "triton" or "cupy" (CUDA), one that was registered, or None for the device's default:
            on CUDA Triton if torch sees the device, else CuPy.
        objective: what is maximised at each step (arXiv 2603.13790). With the residual W of the scores and the distance
            d2_j of row j from the span of the picks, for an epsilon of 0 (eq. 3.3, 4.2 and F.1):
            "mp", greedy matching pursuit, algorithm 1: ||W_j||^2, W_j -= (f_j . f_s) W_s; the default with scores;
            "omp", orthogonal matching pursuit: ||W_j||^2, the scores' part in the span of the picks taken out;
            "lr", Greedy LR, algorithm 2: ||W_j||^2 / (epsilon + d2_j), which lowers the trace of Q'(I - P)Q most;
            "mi", the mutual information of the picks and the query itself: W_j M^-1 W_j' / (epsilon + d2_j) with
            M = Q'(I - P)Q; for a single column of scores it picks what "lr" picks, from the same scores;
            "entropy", without scores: d2_j, which is greedy MAP of a determinantal point process; the default for None.
        epsilon: ridge, in the unit of squared norms of rows: 0 to 1e150. In "lr", "mi", "omp" and "entropy" it softens
            the projector, P = epsilon (epsilon I + F_S'F_S)^-1 in place of I - P, and more than d picks have something
            to add; with 0 the choice is exhausted at the rank of F, and so it is with less than 1e-10 of the squared
            norm of the rows. With query "ridge" it is that of the fit too; with "direct" a fit has none.
        precision: what Gram columns are computed and kept in: "fp32", "fp16" (computed so only on a GPU), on a GPU also
            "tf32" (kept in float32) and "bf16" (kept in float16), or "auto", which on a CPU runs small pools
            in float64 throughout. Changes time and memory, not the answer.
        columns: "gram" (the whole Gram matrix, m * m * 4 bytes), "lazy" (columns on demand, m * a few hundred), or
            "auto" (what the cost model finds faster within the memory). Where picks are projected out of the rows, and
            with sign "positive", no column serves twice: each costs a matrix-vector product, and "gram" is refused.
        memory_limit: what the run may allocate beyond its input: bytes, "2GB", "500 MiB", or a share in (0, 1) of what
            is free. None: what is free.
        normalize: divide each row by its l2 norm, in float64. Without it "lr" and "mi" refuse rows whose norms, but for
            those of zero rows, spread by more than 1e40.
        query: "direct", the scores as they are, or "ridge", in their place F Q with the query that fits them,
            Q = (F'F + epsilon I)^-1 F'G (eq. 3.1). "mi" is about a query in any case: scores that no query gives
            (outside the range of F) are replaced by their least-squares fit, with a warning. The certificate is about
            the fitted scores as float64 has them.
        sign: "any", a score counts whatever the sign of a residual, as is right for scores F Q of a query, or
            "positive", only its positive part does, so that an item is not picked for being very bad; for "mp", "omp"
            and "lr". None is "any", with a `gip_gpu.exceptions.ScoreSignWarning` where these objectives are given
            negative scores that are not those of a query.
        standardize: brings columns of G to one scale first, where the one with the largest spread decides otherwise:
            "rank", the average rank of a score among those of its column, from 0 to 1, keeps the direction of ratings;
            "zscore", less the mean and over the standard deviation, makes half of the scores negative and goes with
            sign "positive". Constant columns become 0. Gains, weights and shares are then of these scores;
            `Selection.preparation` records what was done.
        on_nan: "error", or "drop": rows with a value that is not finite in F or G are never chosen; the choice is that
            from the other rows, of which k may be a share, and indices are those of F as given. Of large pools no copy
            is made; of those on a GPU one is.
        on_exhausted: what to do when nothing but float64 rounding is left (scores fallen to 1e-7 of the round's largest
            in their norms, or grown to 1e7 of it where nearly dependent rows contradict in their scores, or every row
            in the span of the picks): "restart" on the original scores of the items left, "stop" with fewer than k, or
            for "mp" with sign "any" "continue" with the paper's literal loop.
        initial: indices that are chosen already, in this order: as if they had been the first picks of the first round.
            What they share with the others is projected out, and the result holds only the k picks after them, so that
            `k + len(initial) <= m`. An item that adds nothing to those before it is just taken out. A `Selection` is
            such indices too.
        checkpoint: a file that the run is written to from time to time, when it ends, and when Ctrl-C or SIGTERM ends
            it (a second one ends it at once). If it exists, the run goes on from it, also with another k or on another
            device: k picks of it, or what it lacks to them. A file that is damaged, or of another F, G or settings, is
            refused, and so is a place that F or G is read from.
        checkpoint_every: an int of picks or a float of seconds between two times; None for 60.0. Without a checkpoint
            it is refused.
        progress: True for a bar on standard error, or a function called with (picks made, k).

    Returns:
        A `Selection`: indices in order of choice, exact gains, a certificate.

    Raises:
        TypeError, ValueError: bad input; the message names the argument, what it got and what it wants.
        OSError: the checkpoint cannot be written; the one before it is intact.

    Warns:
        gip_gpu.exceptions.ScoreSignWarning: see `sign`.
        gip_gpu.exceptions.TiedScoresWarning: scores are the same for all items, or picks were taken in the order of
            rows as nothing distinguishes them.

    >>> import numpy as np
    >>> F = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]])
    >>> select(F, [3.0, 2.9, 1.0, 3.0], k=2, device="cpu").indices
    array([0, 2])
    >>> select(F, [3.0, 2.9, 1.0, 3.0], k=2, objective="lr", epsilon=0.1, device="cpu").indices
    array([0, 1])
    >>> select(F, None, k=2, device="cpu").indices
    array([0, 2])
    >>> select(F, [3.0, 2.9, 1.0, 3.0], k=1, initial=[0], device="cpu").indices
    array([2])
    """
    options = SelectOptions(
        device=device,
        backend=backend,
        precision=precision,
        columns=columns,
        memory_limit=memory_limit,
        normalize=normalize,
        on_nan=on_nan,
        objective=objective,
        epsilon=epsilon,
        query=query,
        sign=sign,
        standardize=standardize,
        on_exhausted=on_exhausted,
        initial=initial,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
    matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F", memory_limit)
    request = ask(matrix, G, k, options, reads=places(F))
    whole = F if isinstance(matrix, DeviceMatrix) else matrix
    rows = whole if request.view is None else request.view.view(matrix)
    return PreparedRows(rows, options).select(request, False)
