"""Tuning tables: the values of a kernel's launch for each architecture that the kernels are compiled for."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

Values = TypeVar("Values")

# Compute capabilities: A100, H100 and H200, B200.
ARCHITECTURES = (80, 90, 100)


class Chip(Protocol):
    """A GPU, as the arrays of a backend describe it."""

    @property
    def capability(self) -> int:
        """Compute capability, 90 for 9.0."""

    @property
    def multiprocessors(self) -> int:
        """Multiprocessors."""

    @property
    def shared_of_block(self) -> int:
        """Bytes of shared memory that a block may ask for."""


def alike(values: Values) -> dict[int, Values]:
    """The same values for every architecture.

    They are reasoned for sm_80. On sm_90 and sm_100 nothing spills either (`bench/results/resources.md`), and the times
    of an H200 in `bench/results/gpu.md` are with them. An architecture gets an entry of its own once a measurement
    there asks for one.
    """
    return dict.fromkeys(ARCHITECTURES, values)


def tuned(table: Mapping[int, Values], capability: int) -> Values:
    """The values for a compute capability: of the newest architecture that is not newer, or of the oldest.

    Triton's interpreter has capability 0.
    """
    return table[max((each for each in table if each <= capability), default=min(table))]
