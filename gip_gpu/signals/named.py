"""Scores of several signals side by side, each column with a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.user_arrays import as_columns


@dataclass(frozen=True, eq=False)
class NamedScores:
    """Scores with a name for each column; `numpy.asarray` gives the scores.

    Attributes:
        scores: (m, n) float64.
        names: n names.
    """

    scores: NDArray[np.float64]
    names: tuple[str, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.scores, dtype) if copy else np.asarray(self.scores, dtype)

    def __len__(self) -> int:
        return len(self.scores)


def combine(signals: Mapping[str | tuple[str, ...], ArrayLike]) -> NamedScores:
    """Joins signals into one matrix.

    Args:
        signals: name of a column to its scores (m,), or a tuple of n names to scores (m, n). NaN may stand for missing
            scores: `fill_missing` treats them.

    Raises:
        TypeError: scores are no real numbers.
        ValueError: there are none, their rows differ in number, names do not fit the columns, or a name comes twice.

    >>> combine({"length": [3, 5], ("coherence", "difficulty"): [[4, 1], [5, 2]]})
    NamedScores(scores=array([[3., 4., 1.],
           [5., 5., 2.]]), names=('length', 'coherence', 'difficulty'))
    """
    if not isinstance(signals, Mapping) or not signals:
        raise ValueError(f"signals is {signals!r:.60}; it must be a mapping from names to scores, with at least one")
    names: list[str] = []
    columns: list[NDArray[np.float64]] = []
    for key, value in signals.items():
        own: Sequence[str] = (key,) if isinstance(key, str) else key
        found = as_columns(value, f"signals[{key!r}]", scores=True)
        if found.shape[1] != len(own):
            raise ValueError(f"signals[{key!r}] has {found.shape[1]} columns for {len(own)} names")
        if columns and len(found) != len(columns[0]):
            raise ValueError(
                f"signals[{key!r}] has {len(found)} rows and signals[{next(iter(signals))!r}] has {len(columns[0])}; "
                "row i of each belongs to item i"
            )
        if twice := [name for name in own if name in names or list(own).count(name) > 1]:
            raise ValueError(f"two columns have the name {twice[0]!r}; give each a name of its own")
        names += own
        columns.append(found)
    return NamedScores(np.column_stack(columns), tuple(names))
