"""GIP: `gip_gpu.select` with fixed options, as a selector."""

from dataclasses import fields
from typing import Any

from numpy.typing import ArrayLike

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.select import select
from gip_gpu.api.selection import Selection
from gip_gpu.sources import Matrix


class GIP:
    """Chooses rows by Greedy Information Projection; its selections are certified, and `gip_gpu.verify` checks them.

    Args:
        options: options of `gip_gpu.select` other than `exclude`, such as `objective="lr"`.

    Raises:
        TypeError, ValueError: an unknown option or a value that `select` refuses.

    >>> F, g = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]], [3.0, 2.9, 1.0, 3.0]
    >>> GIP(device="cpu").select(F, g, 2).tolist()
    [0, 2]
    >>> GIP(objective="lr", epsilon=0.1, device="cpu").select(F, g, 2).tolist()
    [0, 1]
    >>> GIP(objective="lr")
    GIP(objective='lr')
    """

    def __init__(self, **options: Any) -> None:
        known = {field.name for field in fields(SelectOptions)} - {"exclude"}
        unknown = sorted(set(options) - known)
        if unknown:
            raise TypeError(f"GIP has no option {unknown[0]!r}; it takes those of gip_gpu.select other than exclude")
        SelectOptions(**options)
        self.options = options

    def __repr__(self) -> str:
        return f"GIP({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    def select(
        self, F: Matrix | None, G: Matrix | None, k: int | float | str | None, *, exclude: ArrayLike | None = None
    ) -> Selection:
        """Chooses k rows; arguments, result and errors are those of `gip_gpu.select`."""
        if F is None:
            raise TypeError("F is None; GIP needs embeddings of shape (m, d)")
        return select(F, G, k, exclude=exclude, **self.options)
