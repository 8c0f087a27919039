"""Result of a verification: the verdict on each pick, the state of the fingerprints, other problems."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.read_only import ReadOnlyArrays

VERDICTS = ("holds", "rounding", "differs")
# Picks and problems that a text lists.
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Verification(ReadOnlyArrays):
    """Verdict on a selection.

    Attributes:
        verdicts: (k,) int8, for each pick, given those before it: 0 it holds, by its score or by the tie rule; 1 it
            hangs on float64 rounding; 2 it differs from the algorithm's pick, or its gain, weights or margin differ
            from those of the input.
        reasons: reason for each pick that does not hold.
        fingerprints: "equal", "differs" or "not stored", for "F" and, with scores, "G".
        problems: other differences, in words: another input, a round that began too early, too few picks.
        largest_gain_error: largest difference of a recorded gain from the replayed one, as a share of it.
    """

    verdicts: NDArray[np.int8]
    reasons: Mapping[int, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    largest_gain_error: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing differs; picks that hang on rounding, and fingerprints that are not stored, do not count."""
        return not (self.verdicts == 2).any() and not self.problems

    @property
    def holding(self) -> NDArray[np.int64]:
        """Positions of the picks that hold."""
        return np.flatnonzero(self.verdicts == 0)

    @property
    def rounding(self) -> NDArray[np.int64]:
        """Positions of the picks that hang on float64 rounding."""
        return np.flatnonzero(self.verdicts == 1)

    @property
    def differing(self) -> NDArray[np.int64]:
        """Positions of the picks that differ."""
        return np.flatnonzero(self.verdicts == 2)

    def table(self) -> list[tuple[str, str]]:
        """Returns rows of (quantity, value)."""
        return [
            *((f"fingerprint of {name}", state) for name, state in self.fingerprints.items()),
            ("picks that hold", f"{len(self.holding):,} of {len(self.verdicts):,}"),
            ("picks that hang on rounding", _listed(self.rounding)),
            ("picks that differ", _listed(self.differing)),
            ("largest error of a gain", f"{self.largest_gain_error:.2g}"),
        ]

    @property
    def findings(self) -> list[str]:
        """Problems, and the reasons of the first picks that do not hold, those that differ first."""
        found = list(self.problems)
        for positions in (self.differing, self.rounding):
            found += [f"pick {t}: {self.reasons[t]}" for t in positions[:SHOWN].tolist()]
            if len(positions) > SHOWN:
                found.append(f"and {len(positions) - SHOWN:,} more picks that {_verb(positions, self.differing)}")
        return found

    def __str__(self) -> str:
        state = "verified" if self.ok else "not verified"
        held = f"{len(self.holding):,} of {len(self.verdicts):,} picks hold"
        text = f"{state}: {held}, {len(self.rounding):,} hang on rounding, {len(self.differing):,} differ"
        return "\n".join([text, *(f"  {line}" for line in self.findings)])


def _listed(positions: NDArray[np.int64]) -> str:
    shown = ", ".join(map(str, positions[:SHOWN].tolist())) + (", ..." if len(positions) > SHOWN else "")
    return f"{len(positions):,}" + (f" (at {shown})" if len(positions) else "")


def _verb(positions: NDArray[np.int64], differing: NDArray[np.int64]) -> str:
    return "differ" if positions is differing or np.array_equal(positions, differing) else "hang on rounding"
