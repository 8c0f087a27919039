"""The projection of a selection: all that `extend` needs to continue with new rows."""

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
    """Projection by the picks of a selection's last round.

    The picks leave `g - f A` of the scores g of any row f, and `S'f` of the row itself. All values are in the units of
    F and G as given. The arrays are read-only.

    Attributes:
        A: (d, n) float64; no columns if there are no scores.
        S: (d, d) float64, or None if no row was projected out of the others.
        options: how the items were chosen.
        normalize: whether rows were divided by their norms.
        scale: the measure of float64 rounding, maximum over the picks: a norm of scores; for ratios, that over the
            length of the row; for distances, the norm of a row.
        drift: bound on the rounding in A.
        picks, crest, least: if rows are projected or signs count: the number of picks, the root of the largest score,
            and the smallest share of its length that a row had left.
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
        """Returns the projection at the end of a run, or a function that computes it.

        Args:
            state: at the end of the run.
            carried: `Stepper.carry` of the run's stepper.
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
        """Returns a copy with `scale` for rows scaled by 2**-exponent."""
        measure = self.options.choose(self.A.shape[1] > 0).measure
        return replace(self, scale=self.scale / _unit(measure, self.options.epsilon, self.normalize, exponent))

    def in_unit(self, unit: float) -> Stored:
        """Returns the state that a stepper restores, with scores divided by `unit`.

        Raises:
            ValueError: squares of A or of the scores would overflow float64.
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
        """Returns the arrays by name, and all other fields for JSON."""
        whole = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        arrays = {name: whole.pop(name) for name in ("A", "S")}
        return {name: array for name, array in arrays.items() if array is not None}, {
            **whole,
            "options": asdict(self.options),
            "shape": self.A.shape,
        }


def _later(whole: Callable[..., Projection], compute: Callable[[], Stored], unit: float) -> Projection:
    """Calls `whole` on the result of `compute`."""
    return whole(compute(), unit)


class LazyField:
    """Dataclass field that may be given as a function, called when the field is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            # The default value of the field.
            return None
        value = vars(instance)[self.name]
        if isinstance(value, partial):
            value = vars(instance)[self.name] = value()
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self.name] = value


def _unit(measure: str, epsilon: float, normalize: bool, exponent: int) -> float:
    """Returns the factor from the scale of rows divided by 2**exponent to the scale of the rows as given."""
    if measure == "distance":
        return float(2.0**exponent)
    if measure == "ratio" and not normalize:
        # `gip_gpu.numerics.ties.lengths` returns lengths as shares of this one.
        return 1 / math.sqrt(4.0**exponent + epsilon)
    return 1.0
