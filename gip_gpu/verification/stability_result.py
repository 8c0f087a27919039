"""Result of a stability analysis: the picks that are certain, and those that second runs changed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.read_only import ReadOnlyArrays


@dataclass(frozen=True, eq=False)
class SecondRun(ReadOnlyArrays):
    """A selection from changed input.

    Attributes:
        what: the change, in words.
        indices: its picks, rows of F as given.
        overlap: share of the selection's picks that it chose too.
        first_different: position of the first pick that differs; None if all are the same, in the same order.
    """

    what: str
    indices: NDArray[np.int64]
    overlap: float
    first_different: int | None


@dataclass(frozen=True, eq=False)
class Stability(ReadOnlyArrays):
    """Picks that a change of the input may change.

    Attributes:
        what: the change, in words.
        k: number of picks.
        certain: number of leading picks that no such change alters.
        by_margins: number of them that the certificate's margins show.
        leads: (k,) float64, lower bound on the lead of each pick over every other item, a difference of roots of
            scores: from its margin or, where these do not suffice for all picks, from a replay of the selection.
        reach: (k,) float64, bound on the change of such a difference; infinite where there is none.
        kept: (k,) float64, share of the second runs that chose the pick, at any position; 1 without such runs for picks
            that are certain, NaN for others.
        runs: second runs, which are examples of the change; none if all picks are certain.
        why: reason why no bound suffices for the first pick in doubt, "" if it suffices for all.
    """

    what: str
    k: int
    certain: int
    by_margins: int
    leads: NDArray[np.float64]
    reach: NDArray[np.float64]
    kept: NDArray[np.float64]
    runs: tuple[SecondRun, ...] = ()
    why: str = ""

    @property
    def first_in_doubt(self) -> int | None:
        """Position of the first pick that is not certain; None if all are certain."""
        return None if self.certain == self.k else self.certain

    @property
    def in_doubt(self) -> int:
        """Number of picks that are not certain."""
        return self.k - self.certain

    @property
    def changed(self) -> NDArray[np.int64]:
        """Positions of picks that some second run did not choose."""
        return np.flatnonzero(self.kept < 1)

    @property
    def overlap(self) -> float | None:
        """Smallest overlap of a second run; 1 if all picks are certain, None without runs."""
        if self.certain == self.k:
            return 1.0
        return min(run.overlap for run in self.runs) if self.runs else None

    def table(self) -> list[tuple[str, str]]:
        """Returns rows of (quantity, value)."""
        found = [
            ("change", self.what),
            (
                "certain picks",
                f"{self.certain:,} of {self.k:,}, {self.by_margins:,} of them by the certificate's margins",
            ),
        ]
        if self.first_in_doubt is not None:
            found.append(("first pick in doubt", f"{self.first_in_doubt:,}: {self.why}"))
        for run in self.runs:
            first = "none differs" if run.first_different is None else f"first difference at {run.first_different:,}"
            found.append((f"second run: {run.what}", f"{run.overlap:.2%} of the picks, {first}"))
        if self.runs:
            found.append(("picks that a second run left out", f"{len(self.changed):,} of {self.k:,}"))
        return found

    def __str__(self) -> str:
        text = f"{self.what}: {self.certain:,} of {self.k:,} picks are certain"
        if self.runs:
            text += f", {len(self.changed):,} were left out by a second run, smallest overlap {self.overlap:.2%}"
        return text
