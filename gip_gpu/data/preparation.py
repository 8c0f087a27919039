"""What was done to a pool before the choice: rows left out, scores standardised."""

from dataclasses import dataclass

from gip_gpu.data.standardize import Standardization


@dataclass(frozen=True)
class Preparation:
    """What was done to F and G before the choice; `explained`, `gains` and `weights` are of what came of it.

    Attributes:
        rows: of F as given.
        dropped: of these, left out for a value that is not finite (`on_nan="drop"`).
        standardized: of the scores, or None where they were taken as they are.
    """

    rows: int
    dropped: int = 0
    standardized: Standardization | None = None

    @classmethod
    def of(cls, rows: int, dropped: int, standardized: Standardization | None) -> "Preparation | None":
        """None where nothing was done."""
        return cls(rows, dropped, standardized) if dropped or standardized else None

    @property
    def said(self) -> tuple[tuple[str, str], ...]:
        """In words, by name."""
        left = (("rows left out", f"{self.dropped:,} of {self.rows:,}, not finite"),) if self.dropped else ()
        done = (("scores", self.standardized.method),) if self.standardized else ()
        return left + done
