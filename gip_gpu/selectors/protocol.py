"""Selector: the call that methods for choosing rows share."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from numpy.typing import ArrayLike

from gip_gpu.sources import Matrix


@runtime_checkable
class Selector(Protocol):
    """A method that chooses k rows of a pool. Settings belong to its constructor, the pool to `select`.

    The same settings and the same pool give the same rows: a random method takes a seed, and an object keeps nothing
    from one call to the next. `gip_gpu.testing.check_selector` checks this and more.

    >>> from gip_gpu.selectors import TopK
    >>> isinstance(TopK(), Selector), isinstance("top-k", Selector)
    (True, False)
    """

    def select(
        self, F: Matrix | None, G: Matrix | None, k: int | float | str | None, *, exclude: ArrayLike | None = None
    ) -> Sequence[int]:
        """Returns k different rows in order of choice; the methods of this package return a `gip_gpu.Selection`.

        Args:
            F: (m, d) embeddings, one row per item, or None for a method that needs none.
            G: (m,) or (m, n) scores, or None for a method that needs none.
            k: number of rows, 1 to m, or a share of m, as in `gip_gpu.select`.
            exclude: rows that do not take part, neither as picks nor as rows to represent.

        Raises:
            TypeError, ValueError: bad input; the message names the argument.
        """
        ...
