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
from gip_gpu.problem.groups import Limits
from gip_gpu.sources import Matrix, places


def select(
    F: Matrix,
    G: Matrix | None,
    k: int | float | str | None,
    *,
    device: str = "auto",
    backend: str | None = None,
    objective: str | None = None,
    epsilon: float = 0.0,
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: int | float | str | None = None,
    normalize: bool = True,
    center: bool | str = False,
    query: str = "direct",
    sign: str | None = None,
    standardize: str | None = None,
    on_nan: str = "error",
    on_exhausted: str = "restart",
    initial: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    group_limits: Limits | None = None,
    dedup: float | None = None,
    must_include: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    budget: int | None = None,
    weights: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | float | None = None,
    progress: Progress = None,
) -> Selection:
    """Selects the k items that carry the most information, by Greedy Information Projection.

    Each step picks the item with the largest score and projects it out of the scores of the others. The indices equal
    those of the float64 algorithm on F and G as given, whatever precision the products are computed in. Scores that
    agree to about 1e-12 tie (`gip_gpu.numerics.ties`), and the lowest index wins. F and G are never modified.

    Args:
        F: (m, d) embeddings, one row per item: array, memory map, nested list or tensor of any float or integer type
            and any strides; on a CUDA device also a torch CUDA tensor, CuPy array or other object with `__dlpack__`
            there; or the path of a file or of a folder of shards, or `gip_gpu.sources.open_matrix(path, key)`, read in
            blocks. float16 and bfloat16 values are taken as exact.
        G: (m,) or (m, n) scores, one column per signal, in any of these forms; `gip_gpu.signals` computes some. A file
            may also be .csv, .tsv or .jsonl; columns in it that may be embeddings or identifiers count as scores only
            if they are named: `open_matrix(path, "quality,length")`. None: no scores; the embeddings alone decide
            (objective "entropy").
        k: number of picks, 1 to m, or a share of m: a float in (0, 1), or text such as "5%". None, with a budget: as
            many as it pays for.
        device: "auto" (the CUDA device that holds F, or the first if one works, else the CPU), "cpu", "cuda" or
            "cuda:1".
        backend: "numpy" (CPU), "triton" or "cupy" (CUDA), a registered name, or None for the device's default: on CUDA
            Triton if torch sees the device, else CuPy.
        objective: the quantity maximised at each step (arXiv 2603.13790). With the residual W of the scores and the
            squared distance d2_j of row j from the span of the picks, for an epsilon of 0 (eq. 3.3, 4.2 and F.1):
            "mp", greedy matching pursuit, algorithm 1: ||W_j||^2, W_j -= (f_j . f_s) W_s; the default with scores;
            "omp", orthogonal matching pursuit: ||W_j||^2, with the scores' part in the span of the picks projected out;
            "lr", Greedy LR, algorithm 2: ||W_j||^2 / (epsilon + d2_j), which lowers the trace of Q'(I - P)Q most;
            "mi", the mutual information of the picks and the query itself: W_j M^-1 W_j' / (epsilon + d2_j) with
            M = Q'(I - P)Q; for a single column of scores its picks equal those of "lr" on the same scores;
            "entropy", without scores: d2_j, which is greedy MAP of a determinantal point process; the default for None.
        epsilon: ridge, in the unit of squared norms of rows: 0 to 1e150. In "lr", "mi", "omp" and "entropy" it replaces
            the projector I - P by epsilon (epsilon I + F_S'F_S)^-1, so that more than d picks can add information. With
            0, or with less than 1e-10 of the squared norm of the rows, the choice is exhausted at the rank of F. Query
            "ridge" uses epsilon for its fit too; with "direct" a fit has no ridge.
        precision: format in which Gram columns are computed and stored: "fp32", "fp16" (computed in it only on a GPU),
            on a GPU also "tf32" (stored in float32) and "bf16" (stored in float16), or "auto", which on a CPU runs
            small pools in float64 throughout. Changes time and memory, not the answer.
        columns: "gram" (the whole Gram matrix, m * m * 4 bytes), "lazy" (columns on demand, m * a few hundred), or
            "auto" (the faster one by the cost model, within the memory). Where picks are projected out of the rows, and
            with sign "positive", no column is used twice: each costs a matrix-vector product, and "gram" is refused.
        memory_limit: memory that the run may allocate beyond its input: bytes, "2GB", "500 MiB", or a share in (0, 1)
            of the free memory. None: all free memory.
        normalize: divide each row by its l2 norm, in float64. Without it "lr" and "mi" refuse rows whose nonzero norms
            differ by a factor of more than 1e40.
        center: subtract the mean row of the rows that take part from each row, in float64, before they are normalised.
            Embeddings of text lie in a narrow cone; its axis is common to all rows and says nothing about any. "auto"
            centres if the mean row has more than 25 % of the energy: `||mean||^2` over the mean of `||f_j||^2`, less
            what chance gives (`gip_gpu.data.center`). The mean is exact, so the result is the same for an array, a file
            and shards. Centred rows are stored in float64. Scores are not centred: scores F Q of a query lie outside of
            the range of the centred rows.
        query: "direct" uses the scores unchanged; "ridge" replaces them by F Q with the query that fits them,
            Q = (F'F + epsilon I)^-1 F'G (eq. 3.1). "mi" measures information on a query with either value: scores that
            no query gives (outside the range of F) are replaced by their least-squares fit, with a warning. The
            certificate holds for the fitted scores as float64 computes them.
        sign: "any" counts a residual whatever its sign, which is right for scores F Q of a query; "positive" counts
            only the positive part of a residual, so that an item is not picked for being very bad; for "mp", "omp" and
            "lr". None is "any", with a `gip_gpu.exceptions.ScoreSignWarning` if these objectives get negative scores
            that are not those of a query.
        standardize: brings the columns of G to one scale first; without it the column with the largest spread
            dominates. "rank" replaces a score by its average rank in its column, from 0 to 1, and keeps the direction
            of ratings; "zscore" subtracts the mean and divides by the standard deviation, makes half of the scores
            negative and goes with sign "positive". Constant columns become 0. Gains, weights and shares then refer to
            the standardised scores; `Selection.preparation` records the standardization.
        on_nan: "error" raises; "drop" never chooses rows with a value that is not finite in F or G. The result is that
            of the other rows: a share k refers to them, and indices refer to F as given. Large pools are not copied;
            pools on a GPU are.
        on_exhausted: action when only float64 rounding is left: scores fell to 1e-7 of the round's largest in norm, or
            grew to 1e7 times it because nearly dependent rows have contradicting scores, or every row is in the span
            of the picks. "restart" begins a round on the original scores of the remaining items, "stop" returns fewer
            than k picks, and "continue", for "mp" with sign "any" only, runs the paper's literal loop.
        initial: indices that are already chosen, in this order, as if they were the first picks of the first round.
            They are projected out, and the result holds only the k picks after them, so that `k + len(initial) <= m`.
            An item that adds nothing to those before it is only removed from the pool. A `Selection` is accepted too.
        exclude: indices that are never picked, or a `Selection`. They do not count in `explained`; a fitted query takes
            them into account.
        groups: (m,) label of each row, any values that compare: the source of a row, its topic, its cluster.
        group_limits: fewest and most picks from a group: a pair for all groups, or a mapping from labels to pairs. An
            int is a count, a float a share of k (a minimum is rounded up, a maximum down), None no limit. Each pick is
            the one with the largest score among those that leave the limits satisfiable: once only the picks that the
            minimums ask for are left, only their groups are admitted. Rows of `initial` count for no group.
        dedup: a cosine, such as 0.95: after a pick, and after the rows of `initial`, rows whose cosine with it is at
            least as large are out, by exact comparison of the rows as float64 holds them. This costs a pass over F in
            float64 for each pick.
        must_include: indices that are chosen in any case, before all others and in this order. They count for k, for
            their groups and for the budget; the others are chosen given them. Their entries in the certificate are 0.
        costs: (m,) cost of each row, such as its number of tokens: ints from 1 to 2^53. Each pick is the one with the
            largest score per cost among the rows that what is left of the `budget` pays for.
        budget: what all picks together may cost, an int; sums are exact. The result has fewer than k picks if it is
            used up before. What group minimums still ask for is set aside.
        weights: (m,) positive factors of the scores of the rows. Weights over costs are divided by the largest and
            rounded to float32; they may differ by a factor of 1e10. Gains are those without them, margins with them.
            For "mi" they multiply the information in nats, which with several columns of scores runs on the CPU, also
            for a GPU. Weights that equal the costs make the plain scores decide, within the budget.
        ids: (m,) ids of the rows, any values that compare. `exclude` and `must_include` then name rows by them, unless
            they are a `Selection`. An id of several rows excludes all of them.
        checkpoint: path of a file that the run writes at each `checkpoint_every`, when it ends, and when Ctrl-C or
            SIGTERM ends it (a second signal ends it at once). If the file exists, the run resumes from it, also with
            another k or on another device: it takes the first k picks from the file and computes those that are
            missing. A damaged file, or one of another F, G or settings, is refused, and so is a path that F or G is
            read from.
        checkpoint_every: an int of picks or a float of seconds between two checkpoints; None for 60.0. Without a
            checkpoint it is refused.
        progress: True for a bar on standard error, or a function called with (picks made, k).

    Returns:
        A `Selection`: indices in order of choice, exact gains, a certificate.

    Raises:
        TypeError, ValueError: bad input; the message names the argument, what it got and what it wants.
        OSError: the checkpoint cannot be written; the one before it is intact.

    Warns:
        gip_gpu.exceptions.ConstraintWarning: `groups` or `dedup` leave no row for the last picks, or not enough for the
            minimums.
        gip_gpu.exceptions.ScoreSignWarning: see `sign`.
        gip_gpu.exceptions.TiedScoresWarning: scores are the same for all items, or picks were taken in the order of
            rows because nothing distinguishes them.

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
    >>> select(F, [3.0, 2.9, 1.0, 3.0], k=None, costs=[40, 10, 20, 30], budget=60, device="cpu").indices
    array([1, 2, 3])
    """
    options = SelectOptions(
        device=device,
        backend=backend,
        precision=precision,
        columns=columns,
        memory_limit=memory_limit,
        normalize=normalize,
        center=center,
        on_nan=on_nan,
        objective=objective,
        epsilon=epsilon,
        query=query,
        sign=sign,
        standardize=standardize,
        on_exhausted=on_exhausted,
        initial=initial,
        exclude=exclude,
        groups=groups,
        group_limits=group_limits,
        dedup=dedup,
        must_include=must_include,
        costs=costs,
        budget=budget,
        weights=weights,
        ids=ids,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
    matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F", memory_limit)
    request = ask(matrix, G, k, options, reads=places(F))
    whole = F if isinstance(matrix, DeviceMatrix) else matrix
    rows = whole if request.view is None else request.view.view(matrix)
    return PreparedRows(rows, options).select(request, False)
