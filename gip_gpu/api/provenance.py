"""Provenance of a selection: fingerprints of its input and the settings that decided it, for `gip_gpu.verify`."""

from dataclasses import asdict, dataclass
from typing import Any

from gip_gpu.problem.options import Options
from gip_gpu.validation.json_fields import arguments, checked


@dataclass(frozen=True)
class Provenance:
    """Input and settings of a selection.

    Attributes:
        F, G: fingerprints of the rows and the scores that took part, as given, before rows are centred and normalised
            and scores standardised (`gip_gpu.checkpoint.fingerprint`); G None without scores.
        options: how the items were chosen.
        normalize: whether rows were divided by their norms.
        initial: rows of F that count as chosen before the first pick.
        prior: SHA-256 of the projection of the selection that this one extends (`gip_gpu.extend`), or None.
        constraints: SHA-256 of the constraints on the picks (`gip_gpu.problem.constraints`), None without.
    """

    F: str
    G: str | None
    options: Options
    normalize: bool
    initial: tuple[int, ...] = ()
    prior: str | None = None
    constraints: str | None = None

    def encoded(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)

    @classmethod
    def decoded(cls, stored: Any, m: int) -> "Provenance":
        """Returns the provenance in a file of a selection from m rows.

        Raises:
            ValueError: a field is missing or has a value that no provenance has.
        """
        found = arguments(cls, stored, "provenance", leave=("options", "initial"))
        options = Options(**arguments(Options, stored.get("options"), "provenance: options"))
        initial = stored.get("initial", [])
        if not isinstance(initial, (list, tuple)):
            raise ValueError(f"provenance: initial is {initial!r}; it must be a list of rows")
        rows = [checked(row, int, "provenance: initial: an entry") for row in initial]
        if len(set(rows)) < len(rows) or not all(0 <= row < m for row in rows):
            raise ValueError(f"provenance: initial must hold rows from 0 to {m - 1}, each once")
        return cls(options=options, initial=tuple(rows), **found)
