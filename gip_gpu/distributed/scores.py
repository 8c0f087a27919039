"""Scores of many processes, standardised and checked as if one process had them all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api import score_checks
from gip_gpu.api.score_checks import Traits
from gip_gpu.data import standardize as scales
from gip_gpu.data.rows import Rows
from gip_gpu.data.standardize import Floats, Levels, Standardization
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.numerics import exact_sums
from gip_gpu.problem.options import Options


class OwnScores:
    """Scores of one process, with the methods that rank 0 calls.

    Attributes:
        scores: (m, n) float64, or None.
        rows: rows of F.
    """

    scores: NDArray[np.float64] | None
    rows: Rows

    def sums(self) -> list[int]:
        """Returns exact sums of the columns."""
        return exact_sums.column_sums(self._scores())

    def squares(self, centers: Sequence[float]) -> list[int]:
        """Returns exact sums of the squared deviations."""
        return exact_sums.column_sums(scales.deviations(self._scores(), centers))

    def levels(self) -> list[Levels]:
        """Returns the different values of each column, with their counts."""
        return [scales.levels(column) for column in self._scores().T]

    def scale(self, done: Standardization) -> None:
        """Replaces the scores by z-scores."""
        self.scores = done.apply(self._scores())

    def rank(self, places: Sequence[Floats]) -> None:
        """Replaces the scores by ranks."""
        self.scores = scales.by_rank(self._scores(), places)

    def traits(self, directed: bool) -> Traits:
        """Returns the traits of the scores; see `Traits.of`."""
        return Traits.of(self.rows, self._scores(), directed=directed)

    def _scores(self) -> Floats:
        assert self.scores is not None
        return self.scores


def standardize(communicator: Communicator, method: str, sizes: Sequence[int]) -> Standardization:
    """Rank 0: standardises the scores of all ranks, `sizes` rows each, to the values that one process would compute."""
    if method == "rank":
        parts: list[list[Levels]] = _ask(communicator, sizes, "levels")
        by_column = scales.ranks(list(zip(*parts, strict=True)))
        places = zip(*by_column, strict=True)
        communicator.ask_each([("rank", (list(next(places)),)) if size else None for size in sizes])
        merged = [np.unique(np.concatenate([values for values, _ in levels])) for levels in zip(*parts, strict=True)]
        scales.warn_constant(np.array([len(values) == 1 for values in merged]))
        return Standardization(method)
    m = sum(sizes)
    sums = _ask(communicator, sizes, "sums")
    centers = [exact_sums.mean(column, m) for column in zip(*sums, strict=True)]
    done = scales.z_scale(centers, _ask(communicator, sizes, "squares", centers), m)
    _ask(communicator, sizes, "scale", done)
    scales.warn_constant(np.array(done.spreads) == 0)
    return done


def check(communicator: Communicator, sizes: Sequence[int], options: Options, *, sign_given: bool) -> Traits:
    """Rank 0: warns of the scores of all ranks, `sizes` rows each, as `gip_gpu.api.score_checks.check` does."""
    directed = not sign_given and score_checks.sign_matters(options, True)
    traits = Traits.joined(_ask(communicator, sizes, "traits", directed))
    score_checks.check(traits, sum(sizes), options, sign_given=sign_given)
    return traits


def _ask(communicator: Communicator, sizes: Sequence[int], name: str, *arguments: Any) -> list[Any]:
    """Calls a method on the ranks that have rows; returns their answers."""
    answers = communicator.ask_each([(name, arguments) if size else None for size in sizes])
    return [answer for answer, size in zip(answers, sizes, strict=True) if size]
