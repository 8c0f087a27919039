"""Checks of a pool's ids before the run: duplicates, and ids that an output cannot hold."""

import warnings
from array import array
from collections.abc import Callable, Iterable, Sequence

import numpy as np

Id = str | int
# Returns the ids of the items with these numbers.
Take = Callable[[Sequence[int]], list[Id]]


class Ids:
    """Ids of a pool, added one by one in the order of its items.

    Stores a hash of 8 bytes per item; the ids themselves stay in their file.

    Args:
        place: returns the location of item i's id for messages: "line 7".

    Attributes:
        take: returns the ids of the items with these numbers; set once all ids have been added.
        type: type of a column of the ids: "int64" or "uint64" if all are integers that fit, else "string".
    """

    take: Take

    def __init__(self, place: Callable[[int], str]) -> None:
        self.place = place
        self._hashes = array("q")
        self._texts = False
        self._lowest = self._highest = 0
        self._broken: int | None = None
        self._not_ascii = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def type(self) -> str:
        if self._texts:
            return "string"
        # Wider integers are text, which holds them exactly.
        fitting = (
            kind
            for kind in ("int64", "uint64")
            if np.iinfo(kind).min <= self._lowest and self._highest <= np.iinfo(kind).max
        )
        return next(fitting, "string")

    def add(self, value: Id) -> None:
        """Adds the next item's id; ValueError if it is empty or cannot be encoded in UTF-8."""
        if isinstance(value, str):
            if not value or value.isspace():
                raise ValueError(f"{self.place(len(self))} has an empty id; every item needs one")
            if self._broken is None and ("\n" in value or "\r" in value):
                self._broken = len(self)
            if not value.isascii():
                _check_encodable(value, "utf-8", self.place(len(self)), "give it as text in UTF-8")
                self._not_ascii.append(len(self))
            self._texts = True
        else:
            self._lowest, self._highest = min(self._lowest, value), max(self._highest, value)
        # Ids are compared as text: 1 and "1" are one id.
        self._hashes.append(hash(str(value)))

    def add_all(self, values: Iterable[Id]) -> None:
        """Adds several ids, as `add` does."""
        for value in values:
            self.add(value)

    def check_lines(self, encoding: str) -> None:
        """Raises ValueError if an id cannot be a line of text in this encoding."""
        if self._broken is not None:
            (value,) = self.take([self._broken])
            raise ValueError(
                f"--ids: {self.place(self._broken)} has id {value!r}, whose line break does not go into one line of "
                "text; write a table by -o with .csv or .parquet"
            )
        if encoding.lower().replace("-", "") != "utf8":
            for item in self._not_ascii:
                (value,) = self.take([item])
                wanted = "write them to a file by -o with .txt, .csv or .parquet"
                _check_encodable(str(value), encoding, f"--ids: {self.place(item)}", wanted)

    def warn_duplicates(self) -> None:
        """Warns if two items have the same id, and names the first such pair."""
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        same = same[np.argsort(order[same + 1], kind="stable")]
        for first, second in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
            one, other = self.take([first]), self.take([second])
            if str(one[0]) == str(other[0]):
                warnings.warn(
                    f"--ids: {str(one[0])!r} is the id of two items, {self.place(first)} and {self.place(second)}; "
                    "the column index of a table distinguishes such items (-o with .csv or .parquet)",
                    stacklevel=2,
                )
                return


def _check_encodable(value: str, encoding: str, place: str, wanted: str) -> None:
    try:
        value.encode(encoding)
    except UnicodeEncodeError as error:
        character = value[error.start]
        raise ValueError(f"{place} has id {value!a}; {encoding} cannot hold {character!a}; {wanted}") from None
