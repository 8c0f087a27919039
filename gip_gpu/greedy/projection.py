"""What a selection has projected out: all that is needed to go on with rows that were not there."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.read_only import ReadOnlyArrays
from gip_gpu.greedy.state import State, Stored
from gip_gpu.problem.options import Options
from gip_gpu.validation.settings import LARGEST


@dataclass(frozen=True, eq=False)
class Projection(ReadOnlyArrays):
    """What the picks of a selection's last round leave of any row f with scores g: `g - f A` and, of f itself, `S'f`.

    All is in the units of F and G as they were given. The arrays are read-only.

    Attributes:
        A: (d, n) float64; no columns where there are no scores.
        S: (d, d) float64, or None where no row was projected out of the others.
        options: how the items were chosen.
        normalize: whether rows were divided by their norms.
        scale: the largest that float64 rounding is measured by, of the picks: a norm of scores, for ratios over the
            length of the row, or of a row.
        drift: bound on the rounding in A.
        picks, crest, least: where rows are projected or signs count: how many picks, the root of the largest score, and
            the smallest share of its length that a row had left.
    """

    A: NDArray[np.float64]
    S: NDArray[np.float64] | None
    options: Options
    normalize: bool
    scale: float
    drift: float
    picks: int = 0
    crest: float = 0.0
    least: float = 1.0

    @classmethod
    def of(
        cls, state: State, carried: Stored, options: Options, normalize: bool, exponent: int
    ) -> "Projection | Callable[[], Projection]":
        """What was projected out when a run ended, or what computes it.

        Args:
            state: at its end.
            carried: what its stepper carries.
            options, normalize: as above.
            exponent: rows are scaled by 2**-exponent where their norms are scores.
        """
        begun = state.rounds[-1] if state.rounds else 0
        scale = float(np.sqrt(state.measures_of(state.indices[begun : state.t]).max(initial=0.0)))
        if state.prior is not None and len(state.rounds) == 1:
            scale = max(scale, state.prior.scale)
        scale *= _unit(state.objective.measure, options.epsilon, normalize, exponent)
        whole = partial(
            cls._whole,
            options=options,
            normalize=normalize,
            scale=scale,
            drift=state.drift * state.unit,
            picks=carried.get("picks", 0),
            crest=carried.get("crest", 0.0) * state.unit,
        )
        return (
            partial(_later, whole, carried["later"], state.unit) if "later" in carried else whole(carried, state.unit)
        )

    @classmethod
    def _whole(cls, carried: Stored, unit: float, **others: Any) -> "Projection":
        return cls(A=carried["A"].T * unit, S=carried.get("S"), least=carried.get("least", 1.0), **others)

    def measured(self, exponent: int) -> "Projection":
        """Its scale is that of rows scaled by 2**-exponent."""
        measure = self.options.choose(self.A.shape[1] > 0).measure
        return replace(self, scale=self.scale / _unit(measure, self.options.epsilon, self.normalize, exponent))

    def in_unit(self, unit: float) -> Stored:
        """What a stepper restores where scores are divided by `unit`.

        Raises:
            ValueError: their squares would be beyond float64.
        """
        A, crest = self.A.T / unit, self.crest / unit
        largest = max(float(np.abs(A).max(initial=0.0)), crest)
        if not largest <= LARGEST:
            raise ValueError(
                f"the selection cannot be extended: what its picks projected out reaches {largest:g} times the scores, "
                "beyond float64; select from all rows with initial= instead"
            )
        stored: Stored = {"A": A, "crest": crest, "picks": self.picks, "least": self.least}
        return stored if self.S is None else {**stored, "S": self.S.copy()}

    def split(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Arrays by name, and the rest for JSON."""
        whole = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        arrays = {name: whole.pop(name) for name in ("A", "S")}
        return {name: array for name, array in arrays.items() if array is not None}, {
            **whole,
            "options": asdict(self.options),
            "shape": self.A.shape,
        }


def _later(whole: Callable[..., Projection], compute: Callable[[], Stored], unit: float) -> Projection:
    """`whole` of what `compute` returns."""
    return whole(compute(), unit)


class LazyField:
    """A dataclass field that may be given as a function: the first to ask for the field calls it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            # The default.
            return None
        value = vars(instance)[self.name]
        if isinstance(value, partial):
            value = vars(instance)[self.name] = value()
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self.name] = value


def _unit(measure: str, epsilon: float, normalize: bool, exponent: int) -> float:
    """The factor from a scale of rows scaled by 2**-exponent to that of the rows as they were given."""
    if measure == "distance":
        return float(2.0**exponent)
    if measure == "ratio" and not normalize:
        # The lengths of `gip_gpu.numerics.ties.lengths` are shares of this one.
        return 1 / math.sqrt(4.0**exponent + epsilon)
    return 1.0
