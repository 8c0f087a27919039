"""RecordFile: the rows of one file or table as dictionaries, read in passes and by number."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]


class RecordFile(ABC):
    """Rows of one file or table.

    Attributes:
        name: the path or name passed in, for messages.
        format: "jsonl", "json", "parquet", "datasets", "arrow", "pandas" or "polars".
    """

    name: str
    format: str

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of rows."""

    @abstractmethod
    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Yields all rows in one pass.

        Args:
            columns: fields that the caller needs; a table reads only these columns, and a missing one is left out.

        Raises:
            ValueError: a row cannot be read; the message names the file and the row.
        """

    @abstractmethod
    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        """Yields the rows with these numbers in this order; raises as `rows`."""

    def place(self, row: int) -> str:
        """Returns the location of a row, counted from 0, for messages."""
        return f"{self.name}, row {row}"

    def first(self) -> Record:
        """Returns the first row."""
        return next(self.rows())


class TextRecordFile(RecordFile):
    """Rows of JSON text, which can be copied byte for byte."""

    @abstractmethod
    def raw(self, indices: Sequence[int]) -> Iterator[bytes]:
        """Yields the JSON text of the rows with these numbers, in this order, without blanks around it."""


def as_record(value: Any, where: str) -> Record:
    """Returns a JSON value if it is an object, else ValueError."""
    if isinstance(value, dict):
        return value
    kind = {list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
    raise ValueError(f"{where} is {kind}; it must be an object with fields")
