"""Preparation of a pool before the selection: rows dropped, scores standardised."""

from dataclasses import dataclass

from gip_gpu.data.standardize import Standardization


@dataclass(frozen=True)
class Preparation:
    """Changes to F and G before the selection; `explained`, `gains` and `weights` refer to the prepared pool.

    Attributes:
        rows: number of rows of the input F.
        dropped: number of rows dropped because of a non-finite value (`on_nan="drop"`).
        standardized: standardisation of the scores, or None if they were used unchanged.
    """

    rows: int
    dropped: int = 0
    standardized: Standardization | None = None

    @classmethod
    def of(cls, rows: int, dropped: int, standardized: Standardization | None) -> "Preparation | None":
        """Returns a preparation, or None if nothing was changed."""
        return cls(rows, dropped, standardized) if dropped or standardized else None

    @property
    def said(self) -> tuple[tuple[str, str], ...]:
        """(name, description) of each change, for reports."""
        left = (("rows left out", f"{self.dropped:,} of {self.rows:,}, not finite"),) if self.dropped else ()
        done = (("scores", self.standardized.method),) if self.standardized else ()
        return left + done
