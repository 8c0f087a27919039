"""Preparation of a pool before the selection: rows dropped and centred, scores standardised."""

from dataclasses import dataclass

import numpy as np

from gip_gpu.data.center import Center
from gip_gpu.data.standardize import Standardization


@dataclass(frozen=True)
class Preparation:
    """Changes to F and G before the selection; `explained`, `gains` and `weights` refer to the prepared pool.

    Attributes:
        rows: number of rows of the input F.
        dropped: number of rows dropped because of a non-finite value (`on_nan="drop"`).
        standardized: standardisation of the scores, or None if they were used unchanged.
        center: (d,) the mean row that was subtracted from the rows, or None.
        cone: share of the energy in the mean row (`gip_gpu.data.center.Center`), with `center`.
    """

    rows: int
    dropped: int = 0
    standardized: Standardization | None = None
    center: tuple[float, ...] | None = None
    cone: float = 0.0

    @classmethod
    def of(
        cls, rows: int, dropped: int, standardized: Standardization | None, centered: Center | None = None
    ) -> "Preparation | None":
        """Returns a preparation, or None if nothing was changed."""
        if not (dropped or standardized or centered):
            return None
        center, cone = (None, 0.0) if centered is None else (tuple(centered.mean.tolist()), centered.cone)
        return cls(rows, dropped, standardized, center, cone)

    @property
    def centered(self) -> Center | None:
        """The center as `gip_gpu.data.rows.Rows` takes it."""
        return None if self.center is None else Center(np.array(self.center), self.cone)

    @property
    def said(self) -> tuple[tuple[str, str], ...]:
        """(name, description) of each change, for reports."""
        left = (("rows left out", f"{self.dropped:,} of {self.rows:,}, not finite"),) if self.dropped else ()
        done = (("scores", self.standardized.method),) if self.standardized else ()
        centred = (("embeddings", self.centered.said),) if self.centered else ()
        return left + centred + done
