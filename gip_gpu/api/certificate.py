"""Certificate of a selection: the evidence that each pick is the float64 argmax."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.read_only import ReadOnlyArrays


@dataclass(frozen=True, eq=False)
class Certificate(ReadOnlyArrays):
    """The proof, step by step, that each pick is the float64 argmax. The arrays are read-only.

    Rows of `must_include` were not compared with others: their entries are 0. `Certificate.none` is that of a method
    that proves nothing (`gip_gpu.selectors`): its margins are NaN and it has no candidates.

    Attributes:
        margins: (k,) float64 in [0, 1], lower bound on the lead of each pick over every other item, as a share of its
            own gain (for "mi" of its information). The bound on float64 rounding is subtracted, so 0 means a tie, which
            the lowest index wins, or a difference that rounding could have caused (`within_rounding` counts these).
        candidates: (k,) int64, number of items that the error bound could not exclude, rescored in float64.
        ties: (k,) int64, number of items that tie for the best, the pick included; 1 without a tie.
        refreshes: number of times the whole residual was recomputed in float64.
        rounds: number of picks made before each round began; more than one entry after exhaustion.
    """

    margins: NDArray[np.float64]
    candidates: NDArray[np.int64]
    ties: NDArray[np.int64]
    refreshes: int
    rounds: tuple[int, ...]

    @classmethod
    def none(cls, k: int) -> "Certificate":
        """Returns the certificate of k picks of which nothing is proved.

        >>> Certificate.none(2).certifies, str(Certificate.none(2))
        (False, 'nothing certified')
        """
        nothing = np.zeros(k, np.int64)
        return cls(np.full(k, np.nan), nothing, nothing, 0, (0,) if k else ())

    @property
    def certifies(self) -> bool:
        """Whether there is evidence for the picks."""
        return not np.isnan(self.margins).any()

    @property
    def tied(self) -> int:
        """Number of picks decided by the tie rule."""
        return int((self.ties > 1).sum())

    @property
    def within_rounding(self) -> int:
        """Number of picks without a tie whose lead does not exceed the bound on float64 rounding."""
        return int(((self.ties == 1) & (self.margins == 0)).sum())

    def __str__(self) -> str:
        if not len(self.margins):
            return "no picks"
        if not self.certifies:
            return "nothing certified"
        unsure = (
            f" but {self.within_rounding}, which led by less than float64 rounding," if self.within_rounding else ""
        )
        included = int((self.ties == 0).sum())
        told = "pick was" if included == 1 else f"{included} picks were"
        first, other = (f"the first {told} included, and ", "other ") if included else ("", "")
        text = (
            f"{first}every {other}pick{unsure} is the float64 argmax: {self.candidates.mean():.3g} candidates rescored "
            f"a pick, {self.refreshes} refreshes, {self.tied} ties, smallest margin without a tie "
            f"{self.margins[self.ties == 1].min(initial=1.0):.2g}"
        )
        if len(self.rounds) > 1:
            shown = ", ".join(map(str, self.rounds[1:6])) + (", ..." if len(self.rounds) > 6 else "")
            text += f", rounds began after picks {shown}"
        return text
