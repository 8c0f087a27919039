"""Dataclasses whose arrays nobody changes."""

from typing import Any

import numpy as np


class ReadOnlyArrays:
    """Base of a frozen dataclass that makes the arrays among its fields read-only, in copies and pickles too."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                # A view, so that an array that was passed in stays as it was.
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        ReadOnlyArrays.__post_init__(self)
