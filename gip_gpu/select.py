"""select: the k most informative examples of a pool, in one call."""

from numpy.typing import ArrayLike

from gip_gpu.interop import DeviceMatrix, on_gpu
from gip_gpu.pool import Pool, Progress, check_options
from gip_gpu.selection import Selection
from gip_gpu.validate import as_count, as_matrix, as_scores


def select(
    F: ArrayLike,
    G: ArrayLike,
    k: int | float,
    *,
    device: str = "auto",
    backend: str | None = None,
    objective: str = "mp",
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: int | float | str | None = None,
    normalize: bool = True,
    query: str = "direct",
    on_exhausted: str = "restart",
    progress: Progress = None,
) -> Selection:
    """Selects the k items that carry the most information, by Greedy Information Projection.

    Greedy matching pursuit (algorithm 1 of arXiv 2603.13790) on the Gram matrix of F: each pick is the item with the
    largest residual score ||W_j||, whose part of the scores is then projected out of the others. The indices are those
    of the float64 algorithm on F and G as given, whatever precision the products are computed in; scores within a
    relative 1e-12 of the best are ties, and the lowest index wins. F and G are never modified.

    Args:
        F: (m, d) embeddings, one row an item: array, memory map, nested list or tensor of any float or integer type
            and any strides; on a CUDA device also torch CUDA tensors, CuPy arrays and what else offers `__dlpack__`
            there. float16 and bfloat16 values are taken as exact.
        G: (m,) or (m, n) scores, one column a signal, in any of these forms; `gip_gpu.signals` makes some.
        k: number of picks, 1 to m, or a share of m in (0, 1).
        device: "auto" (the CUDA device that F lies on, or the first if one works, else the CPU), "cpu", "cuda" or
            "cuda:1".
        backend: "numpy" (CPU), "triton" or "cupy" (CUDA), one that was registered, or None for the device's default:
            on CUDA Triton if torch sees the device, else CuPy.
        objective: "mp", greedy matching pursuit.
        precision: what Gram columns are computed and kept in: "fp32", "fp16" (computed so only on a GPU), on a GPU also
            "tf32" (kept in float32) and "bf16" (kept in float16), or "auto". Changes time and memory, not the answer.
        columns: "gram" (the whole Gram matrix, m * m * 4 bytes), "lazy" (columns on demand, m * a few hundred), or
            "auto" (what the cost model finds faster within the memory).
        memory_limit: what the run may allocate beyond its input: bytes, "2GB", "500 MiB", or a share in (0, 1) of what
            is free. None: what is free.
        normalize: divide each row by its l2 norm, in float64.
        query: "direct", the scores as they are.
        on_exhausted: what to do when the residual has fallen to the float64 floor (1e-7 of the largest score), where
            further picks would be rounding noise: "restart" on the original scores of the items left, "stop" with
            fewer than k, or "continue" with the paper's literal loop.
        progress: True for a bar on standard error, or a function called with (picks made, k).

    Returns:
        A `Selection`: indices in order of choice, exact gains, a certificate.

    Raises:
        TypeError, ValueError: bad input; the message names the argument, what it got and what it wants.

    >>> import numpy as np
    >>> F = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]])
    >>> select(F, [3.0, 2.9, 1.0, 3.0], k=2, device="cpu").indices
    array([0, 2])
    """
    matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F")
    scores, count = as_scores(G, matrix.shape), as_count(k, len(matrix))
    check_options(objective, query, on_exhausted, progress)
    pool = Pool(
        F if isinstance(matrix, DeviceMatrix) else matrix,
        device=device,
        backend=backend,
        precision=precision,
        columns=columns,
        memory_limit=memory_limit,
        normalize=normalize,
    )
    return pool._select(scores, count, objective, on_exhausted, progress, keep=False)
