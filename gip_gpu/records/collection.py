"""Records: the rows of several files as one pool; Texts: the text of each row."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.exceptions import DataWarning, warn
from gip_gpu.records.base import Record, RecordFile
from gip_gpu.records.layouts import TextLayout, by_column, recognise
from gip_gpu.records.template import by_template
from gip_gpu.system.surrogates import encodable

Part = TypeVar("Part")


class Records:
    """The rows of several files or tables, one after the other.

    Attributes:
        files: the files, none without rows.
        starts: (files + 1,) int64, number of the first row of each file in the pool, and of all rows.
    """

    def __init__(self, files: Sequence[RecordFile]) -> None:
        self.files = tuple(files)
        self.starts: NDArray[np.int64] = np.cumsum([0, *map(len, files)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Yields all rows in one pass; `columns` as in `RecordFile.rows`."""
        for file in self.files:
            yield from file.rows(columns)

    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        """Yields the rows with these numbers in this order."""
        streams = {number: self.files[number].take(rows) for number, rows in self.by_file(indices).items()}
        for index in indices:
            yield next(streams[self.source(index)[0]])

    def by_file(self, indices: Sequence[int]) -> dict[int, list[int]]:
        """Returns the numbers of rows within each file, by the number of the file, in the order given."""
        found: dict[int, list[int]] = {}
        for number, row in map(self.source, indices):
            found.setdefault(number, []).append(row)
        return found

    def source(self, index: int) -> tuple[int, int]:
        """Returns the number of a row's file and its number in that file, both from 0."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} is asked for, and there are rows 0 to {len(self) - 1}")
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return number, index - int(self.starts[number])

    def place(self, index: int) -> str:
        """Returns the location of a row for messages: "data.jsonl, line 7"."""
        number, row = self.source(index)
        return self.files[number].place(row)

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Returns columns of numbers, (rows, columns) float64; NaN for null.

        Raises:
            ValueError: a row lacks a column, or its value is no number; the message names the row.
        """
        found = np.full((len(self), len(columns)), np.nan)
        for index, row in enumerate(self.rows(columns)):
            for at, name in enumerate(columns):
                if name not in row:
                    raise ValueError(
                        f"{self.place(index)} has no field {name!r}; it has {', '.join(map(repr, self._row(index)))}"
                    )
                value = row[name]
                if value is not None:
                    if not isinstance(value, (int, float, np.integer, np.floating)):
                        raise ValueError(
                            f"{self.place(index)} has {value!r:.40} in field {name!r}; it must be a number"
                        )
                    found[index, at] = value
        return found

    def labels(self, column: str) -> list[str]:
        """Returns a column as text, one label a row; null is "null".

        Raises:
            ValueError: a row lacks the column; the message names the row.
        """
        found = []
        for index, row in enumerate(self.rows([column])):
            if column not in row:
                raise ValueError(
                    f"{self.place(index)} has no field {column!r}; it has {', '.join(map(repr, self._row(index)))}"
                )
            value = row[column]
            found.append(
                "null" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
            )
        return found

    def _row(self, index: int) -> Record:
        return next(self.take([index]))


@dataclass(frozen=True)
class TextSurvey:
    """Facts about all texts, from one pass.

    Attributes:
        count: number of texts.
        empty: number of texts that are empty or blank.
        repaired: number of texts with lone surrogates, which are read as U+FFFD.
        characters: characters of all texts.
        fingerprint: 128 bits of all texts in their order, 32 hexadecimal digits.
    """

    count: int
    empty: int
    repaired: int
    characters: int
    fingerprint: str


class Texts:
    """The text of each row of a pool; each iteration reads the rows again.

    Args:
        records: the rows.
        column: column that is the text.
        template: text with {column} fields.
        layout: name of the layout that all files must have. Without any of these, each file's layout is recognised by
            the keys of its first row.

    Attributes:
        layouts: the layout of each file.

    Warns:
        gip_gpu.exceptions.DataWarning: a layout is a guess that may be wrong.

    Raises:
        ValueError: more than one of column, template and layout; no layout fits a file; the message names its keys.
    """

    def __init__(
        self, records: Records, *, column: str | None = None, template: str | None = None, layout: str | None = None
    ) -> None:
        given = {"text_column": column, "text_template": template, "layout": layout}
        if sum(value is not None for value in given.values()) > 1:
            named = " and ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
            raise ValueError(f"{named} are given; the text is described by one of them")
        self.records = records
        if column is not None or template is not None:
            chosen = by_column(column) if column is not None else by_template(template or "")
            self.layouts: tuple[TextLayout, ...] = (chosen,) * len(records.files)
            return
        found = []
        for file in records.files:
            try:
                found.append(recognise(file.first(), layout))
            except ValueError as error:
                raise ValueError(f"{file.place(0)}: {error}" if file.name not in str(error) else str(error)) from None
            if found[-1].note:
                warn(f"{file.name}: {found[-1].note}", DataWarning)
        self.layouts = tuple(found)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[str]:
        """Yields the texts; lone surrogates, which no encoding holds, are read as U+FFFD.

        Raises:
            ValueError: a row lacks a field or has one that is no text; the message names file and line.
        """
        for text in self._given():
            yield text if text.isascii() else encodable(text)

    @property
    def prompted(self) -> bool:
        """Whether any of the layouts has prompts."""
        return any(layout.prompted for layout in self.layouts)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields the (prompt, answer) pairs of the rows; ("", text) where the layout has no prompts.

        The answer of a chat is its last turn by the assistant, the prompt all turns before it. An instruction and its
        input are one prompt, with a blank line between them.

        Raises:
            ValueError: as for texts, and a chat without a turn by the assistant.
        """
        for prompt, answer in self._each(lambda layout: layout.pair):
            yield encodable(prompt), encodable(answer)

    def _given(self) -> Iterator[str]:
        return self._each(lambda layout: layout.text)

    def _each(self, reader: Callable[[TextLayout], Callable[[Record], Part]]) -> Iterator[Part]:
        """Yields what the layout of each file reads from its rows."""
        for file, layout in zip(self.records.files, self.layouts, strict=True):
            read = reader(layout)
            for number, row in enumerate(file.rows(layout.columns)):
                try:
                    found = read(row)
                except ValueError as error:
                    raise ValueError(
                        f"{file.place(number)}, read as {layout}: {error}; layout, text_column or text_template say "
                        "how to read it"
                    ) from None
                yield found

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(map(str, self.layouts)))

    def survey(self) -> TextSurvey:
        """Reads all texts once and returns their fingerprint and counts."""
        digest = hashlib.blake2b(digest_size=16)
        empty = repaired = characters = 0
        for given in self._given():
            text = given if given.isascii() else encodable(given)
            content = text.encode()
            # With its length in front, so that a text cannot end where another begins.
            digest.update(len(content).to_bytes(8, "little") + content)
            empty += not text or text.isspace()
            repaired += text is not given
            characters += len(text)
        if repaired:
            warn(
                f"{repaired:,} texts hold lone surrogates, which are embedded as U+FFFD; rows stay as they are",
                DataWarning,
            )
        return TextSurvey(len(self), empty, repaired, characters, digest.hexdigest())
