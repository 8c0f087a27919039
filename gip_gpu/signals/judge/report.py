"""Results of a judge: ratings, NaN where they are missing, and the counts and costs of the run."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class JudgeReport:
    """Counts, tokens, cost and duration of one run of a judge.

    Attributes:
        rows: examples.
        distinct: those with different text, each of which is asked about once.
        reused: distinct examples whose ratings come from the file of answers.
        requests: requests sent, those that failed included.
        failures: failed requests that were tried again, or for the last time.
        bad_replies: replies of this run that could not be used.
        prompt_tokens, completion_tokens: used by this run.
        total_tokens: used for all examples, earlier runs included.
        reported: whether the server reports its usage; otherwise tokens are estimates.
        cost: price of this run's tokens; None without prices.
        stopped: why the run ended before all examples were settled, or "".
        seconds: duration.
    """

    rows: int
    distinct: int
    reused: int
    requests: int
    failures: int
    bad_replies: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    reported: bool
    cost: float | None
    stopped: str
    seconds: float


@dataclass(frozen=True, eq=False)
class JudgeRatings:
    """Ratings by a judge; `numpy.asarray` gives the scores.

    Attributes:
        scores: (m, attributes) float64, NaN in all columns of a row that is missing.
        attributes: names of the columns.
        missing: reason for each missing row.
        report: counts and costs of the run.
    """

    scores: NDArray[np.float64]
    attributes: tuple[str, ...]
    missing: dict[int, str] = field(repr=False)
    report: JudgeReport

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.scores, dtype) if copy else np.asarray(self.scores, dtype)

    def __len__(self) -> int:
        return len(self.scores)
