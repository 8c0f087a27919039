"""A range of rows of a source: one process's share of a file."""

from gip_gpu.sources.base import Pieces, Source


class Part(Source):
    """Rows start to stop of another source.

    Args:
        source: the source of the rows; a part of a part refers to the original source.
        start, stop: 0 <= start < stop <= len(source).

    Raises:
        IndexError: start or stop is out of range, or there are no rows between them.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from gip_gpu.sources import open_matrix
    >>> with TemporaryDirectory() as folder:
    ...     np.save(folder + "/pool.npy", np.arange(12.0).reshape(6, 2))
    ...     part = Part(open_matrix(folder + "/pool.npy"), 2, 5)
    ...     part.shape, part.read(0, 1).tolist(), part.take([-1]).tolist()
    ((3, 2), [[4.0, 5.0]], [[8.0, 9.0]])
    """

    def __init__(self, source: Source, start: int, stop: int) -> None:
        m, d = source.shape
        if not 0 <= start < stop <= m:
            raise IndexError(f"rows {start} to {stop} are asked for, and {source.name} has rows 0 to {m}")
        super().__init__(source.name, (stop - start, d), source.dtype, source.nbytes * (stop - start) // m)
        whole, before = (source.source, source.start) if isinstance(source, Part) else (source, 0)
        self.origin = whole.origin
        self.source: Source = whole
        self.start: int = before + start

    def places(self) -> list[str]:
        return self.source.places()

    def _fill(self, pieces: Pieces) -> None:
        self.source._check_open()
        self.source._fill([(first + self.start, out) for first, out in pieces])
