"""Warning classes of the package, each of which can be filtered or turned into an error, and one class of errors."""

import os
import sys
import warnings
from pathlib import Path

__all__ = [
    "CheckpointError", "ConstraintWarning", "CutTextWarning", "DataWarning", "MissingScoresWarning", "ScoreSignWarning",
    "ScoreWarning", "TiedScoresWarning",
]  # fmt: skip

PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged or of another version, or belongs to another selection."""


class ConstraintWarning(UserWarning):
    """Constraints on the picks leave fewer of them than were asked for."""


class DataWarning(UserWarning):
    """A data set is read in a way that may surprise: its layout could be another, or some of its files are skipped."""


class ScoreWarning(UserWarning):
    """Scores are probably not those that the caller intended."""


class ScoreSignWarning(ScoreWarning):
    """Scores have negative values, which count as much as positive ones, and the caller gave no sign.

    `sign="positive"` keeps low ratings out; an explicit `sign="any"` is right for scores F Q of a query and silences
    the warning.
    """


class TiedScoresWarning(ScoreWarning):
    """Scores do not distinguish items, so ties, and with them the order of rows, decide picks."""


class MissingScoresWarning(ScoreWarning):
    """A signal has no score for some rows, NaN: `select` refuses them, or leaves them out by `on_nan="drop"`."""


class CutTextWarning(ScoreWarning):
    """A signal has read only a part of some rows, which are longer than its window."""


def warn(message: str, category: type[Warning]) -> None:
    """Warns at the calling line outside this package; by default Python shows a warning once per line."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
