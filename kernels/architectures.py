"""Tuning tables: the launch values of a kernel for each architecture of a build."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

Values = TypeVar("Values")

# Compute capabilities: A100, H100 and H200, B200.
ARCHITECTURES = (80, 90, 100)


class Chip(Protocol):
    """GPU, as described by the arrays of a backend."""

    @property
    def capability(self) -> int:
        """Compute capability, 90 for 9.0."""

    @property
    def multiprocessors(self) -> int:
        """Number of multiprocessors."""

    @property
    def shared_of_block(self) -> int:
        """Bytes of shared memory that a block may request."""


def alike(values: Values) -> dict[int, Values]:
    """Returns a table with the same values for every architecture.

    The values are chosen for sm_80. On sm_90 and sm_100 nothing spills either (`bench/results/resources.md`), and the
    times of an H200 in `bench/results/gpu.md` were measured with them. An architecture gets its own entry when a
    measurement on it calls for one.
    """
    return dict.fromkeys(ARCHITECTURES, values)


def tuned(table: Mapping[int, Values], capability: int) -> Values:
    """Returns the values for a compute capability: of the newest architecture that is not newer, or of the oldest.

    Triton's interpreter has capability 0.
    """
    return table[max((each for each in table if each <= capability), default=min(table))]
