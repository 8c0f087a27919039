"""Options of a selection: objective, ridge, query, sign, exhaustion and standardisation."""

from dataclasses import dataclass

from gip_gpu.data.standardize import METHODS
from gip_gpu.problem.objectives import OBJECTIVES, Objective
from gip_gpu.validation.settings import as_epsilon, one_of

QUERIES = ("direct", "ridge")
SIGNS = ("any", "positive")
ON_EXHAUSTED = ("restart", "stop", "continue")


def as_sign(sign: str | None) -> str:
    """Returns the sign, "any" if the caller gave none."""
    return "any" if sign is None else sign


@dataclass(frozen=True)
class Options:
    """Options that decide how items are chosen; checked on construction.

    Attributes:
        objective: by name, or None for the default: "mp" with scores, "entropy" without.
        epsilon, query, on_exhausted, standardize: as in `gip_gpu.select`.
        sign: as `as_sign` returns it.

    Raises:
        TypeError, ValueError: an unknown value, or an invalid epsilon.
    """

    objective: str | None = None
    epsilon: float = 0.0
    query: str = "direct"
    sign: str = "any"
    on_exhausted: str = "restart"
    standardize: str | None = None

    def __post_init__(self) -> None:
        if self.objective is not None:
            one_of("objective", self.objective, tuple(OBJECTIVES))
        one_of("query", self.query, QUERIES)
        one_of("sign", self.sign, SIGNS)
        one_of("on_exhausted", self.on_exhausted, ON_EXHAUSTED)
        if self.standardize is not None:
            one_of("standardize", self.standardize, METHODS)
        object.__setattr__(self, "epsilon", as_epsilon(self.epsilon))

    def choose(self, scored: bool) -> Objective:
        """Returns the objective for a call with or without scores.

        Raises:
            TypeError, ValueError: the options contradict each other, or the presence or absence of scores.
        """
        name = self.objective or ("mp" if scored else "entropy")
        objective = OBJECTIVES[name]
        if not scored and objective.scored:
            raise TypeError(
                f"G is None; objective {name!r} needs scores of shape (m,) or (m, n): without any, objective='entropy' "
                "chooses by the embeddings alone, and gip_gpu.signals.self_compression(F) makes scores from them"
            )
        if scored and not objective.scored:
            raise ValueError(f"objective {name!r} takes no scores; G must be None")
        if self.query == "ridge" and not scored:
            raise ValueError("query is 'ridge', which fits scores; G is None")
        if self.standardize is not None and not scored:
            raise ValueError(f"standardize is {self.standardize!r}, which is for scores; G is None, so leave it out")
        if self.sign == "positive" and not objective.signs:
            raise ValueError(f"sign is 'positive', which objective {name!r} has no use for; it must be 'any'")
        if self.on_exhausted == "continue" and not objective.keeps_columns(self.sign):
            raise ValueError(
                "on_exhausted is 'continue', the literal loop of objective 'mp' with sign 'any'; with objective "
                f"{name!r} and sign {self.sign!r} it must be 'restart' or 'stop'"
            )
        if self.epsilon and not objective.projects and self.query == "direct":
            raise ValueError(
                f"epsilon is {self.epsilon:g}, which objective {name!r} uses only with query='ridge'; it must be 0"
            )
        return objective
