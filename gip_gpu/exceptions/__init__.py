"""Warnings of the package, by class, so that each can be filtered or turned into an error."""

import os
import sys
import warnings
from pathlib import Path

__all__ = ["ScoreSignWarning", "ScoreWarning", "TiedScoresWarning"]

PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


class ScoreWarning(UserWarning):
    """Scores are probably not what the caller means."""


class ScoreSignWarning(ScoreWarning):
    """Scores have negative values, which count as much as positive ones, and nobody said that they are to.

    `sign="positive"` keeps low ratings out; `sign="any"`, given explicitly, is right for scores F Q of a query and
    silences the warning.
    """


class TiedScoresWarning(ScoreWarning):
    """Scores tell no item from another, so that ties, and so the order of rows, decide picks."""


def warn(message: str, category: type[Warning]) -> None:
    """Warns at the line outside this package that called it: by default each line warns once."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
