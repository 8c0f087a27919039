"""Selections by many processes, each with a part of the rows, on one machine or on several.

    torchrun --nproc-per-node 4 script.py

Every process of `script.py` calls `torch.distributed.init_process_group` and then `select` with its own rows.
"""

import os
from typing import Any

from numpy.typing import ArrayLike

try:
    import torch.distributed as _torch
except ImportError as error:
    raise ImportError('many processes need torch: pip install "gip_gpu[distributed]"') from error
if not _torch.is_available() or not _torch.is_gloo_available():
    raise ImportError("many processes need a build of torch with torch.distributed and gloo")

from gip_gpu.api.progress import Progress
from gip_gpu.api.selection import Selection
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.distributed.job import run
from gip_gpu.sources import Matrix
from gip_gpu.validation.settings import as_seconds

__all__ = ["select"]

# Default seconds that rank 0 waits for another rank.
TIMEOUT = 600.0


def select(
    F: Matrix,
    G: Matrix | None,
    k: int | float | str,
    *,
    group: Any = None,
    timeout: float = TIMEOUT,
    device: str = "auto",
    backend: str | None = None,
    objective: str | None = None,
    epsilon: float = 0.0,
    query: str = "direct",
    precision: str = "auto",
    columns: str = "auto",
    memory_limit: int | float | str | None = None,
    normalize: bool = True,
    center: bool | str = False,
    sign: str | None = None,
    standardize: str | None = None,
    on_nan: str = "error",
    on_exhausted: str = "restart",
    initial: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | float | None = None,
    progress: Progress = None,
) -> Selection:
    """Selects from the rows of all processes of a group, as `gip_gpu.select`; every process calls it with its own rows.

    The indices equal those of `gip_gpu.select` on all rows in the order of ranks, whatever device each process uses.
    Rank 0 decides: a step costs one message to and from each rank, of a few hundred bytes. Messages use gloo, over
    connections made for this call, so the group may have any backend.

    Args:
        F: (m_r, d) embeddings of this process, in the forms of `gip_gpu.select`: an array, a path, or rows of a file,
            such as `gip_gpu.sources.Part(open_matrix(path), start, stop)`. Rows in files are streamed if they do not
            fit the memory of the process. A process without rows passes (0, d), an empty list or an empty file; it
            takes no part in the choice and gets the result; its G may be anything.
        G: (m_r,) or (m_r, n) scores of these rows, in any of these forms, or None on all ranks.
        k: number of picks, 1 to the rows of all processes, or a share of them: a float in (0, 1), or text such as "5%".
        group: an initialised process group of torch.distributed; None: all processes.
        timeout: seconds that rank 0 waits for another rank before it counts as lost.
        device, backend, precision, memory_limit: as in `gip_gpu.select`, for this process; they may differ. Without a
            limit the processes of a machine share its free memory. On GPUs each step computes the column of its pick.
        columns: "auto" or "lazy".
        query: "direct" only; fitting a query needs all rows in one process.
        objective, epsilon, normalize, sign: as in `gip_gpu.select`; "mi" for one column of scores only.
        center: as in `gip_gpu.select`; the mean row is that of the rows of all ranks, exact and with the same value.
        standardize: as in `gip_gpu.select`, over the scores of all ranks and with the same values; "rank" sends the
            different values of each column to rank 0, which holds them all.
        on_nan: as in `gip_gpu.select`; a rank may have no row left.
        on_exhausted: "restart" or "stop".
        initial: as in `gip_gpu.select`, the same on all ranks: indices count from the first row of rank 0.
        checkpoint, checkpoint_every: as in `gip_gpu.select`, on rank 0, which reads and writes the file; the other
            ranks ignore theirs. The file is that of `gip_gpu.select` on all rows: any number of processes resumes from
            it, however the rows are split. A signal to any rank ends all ranks, after the file is written; a killed
            rank leaves the file from before.
        progress: as in `gip_gpu.select`, on rank 0.

    Returns:
        The same `Selection` on every rank; indices count from the first row of rank 0.

    Raises:
        TypeError, ValueError: bad input, on every rank. If it is another rank's, the message begins with "rank 2:" and
            its row numbers are those of that rank; settings that differ are named with the rank.
        RuntimeError: a rank died, failed to join, timed out or failed otherwise, and every remaining rank names it; or
            a checkpoint cannot be written, on ranks other than 0.
        OSError: a checkpoint cannot be written, on rank 0.

    Warns:
        gip_gpu.exceptions.ScoreWarning: as `gip_gpu.select`, on rank 0.

    >>> import os, torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> select([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], [3.0, 2.9, 1.0], k=2).indices
    array([0, 2])
    >>> dist.destroy_process_group()
    """
    settings = {
        "device": device,
        "backend": backend,
        "objective": objective,
        "epsilon": epsilon,
        "query": query,
        "precision": precision,
        "columns": columns,
        "memory_limit": memory_limit,
        "normalize": normalize,
        "center": center,
        "sign": sign,
        "standardize": standardize,
        "on_nan": on_nan,
        "on_exhausted": on_exhausted,
        "initial": initial,
        "checkpoint": checkpoint,
        "checkpoint_every": checkpoint_every,
        "progress": progress,
    }
    bad, seconds = None, TIMEOUT
    try:
        seconds = as_seconds(timeout, "timeout")
    except (TypeError, ValueError) as error:
        # Raised in `read`, after this rank has joined, so that the other ranks learn of it.
        bad = error

    def read() -> tuple[Any, Any]:
        if bad is not None:
            raise bad
        return F, G

    return run(Communicator(group, seconds), k, settings, read)
