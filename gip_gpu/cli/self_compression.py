"""Scores that commands compute from the embeddings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import signals
from gip_gpu.data.missing_values import as_on_nan, keep_finite
from gip_gpu.sources import Source

# Value of --scores that names them.
SELF_COMPRESSION = "self-compression"


def self_compression_scores(
    F: NDArray[Any] | Source, *, normalize: bool, center: bool | str, on_nan: str
) -> NDArray[np.float64]:
    """Returns self-compression scores (m,) of the rows that take part, NaN for the others."""
    kept = keep_finite(F, None) if as_on_nan(on_nan) else None
    if kept is None:
        return signals.self_compression(F, normalize=normalize, center=center)
    scores = np.full(kept.m, np.nan)
    scores[kept.indices] = signals.self_compression(kept.view(F), normalize=normalize, center=center)
    return scores
