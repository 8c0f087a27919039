"""Dataclasses with read-only arrays."""

from typing import Any

import numpy as np


class ReadOnlyArrays:
    """Base class of frozen dataclasses that makes their array fields read-only, in copies and pickles too."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                # A view, so that the caller's array stays writeable.
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        ReadOnlyArrays.__post_init__(self)
