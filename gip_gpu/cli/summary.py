"""Summaries of commands: names and values, as a table or as fields of JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Summary:
    """Names and values, and the certificate of a selection.

    Attributes:
        entries: names and values; a name may come several times.
        certificate: the line after the table; empty without one.

    >>> made = Summary([("rows", "70"), ("written", "a.jsonl"), ("written", "a.jsonl.npz")])
    >>> made.fields()
    {'rows': '70', 'written': ['a.jsonl', 'a.jsonl.npz']}
    """

    entries: Sequence[tuple[str, str]]
    certificate: str = ""

    def __str__(self) -> str:
        return table(self.entries) + (f"\ncertificate: {self.certificate}" if self.certificate else "")

    def fields(self) -> dict[str, Any]:
        """Returns the values by name; "written" is always a list."""
        found: dict[str, Any] = {name: value for name, value in self.entries if name != "written"}
        found["written"] = [value for name, value in self.entries if name == "written"]
        return found | ({"certificate": self.certificate} if self.certificate else {})


def table(entries: Sequence[tuple[str, str]]) -> str:
    """Returns names and values in two columns."""
    return str(tabulate(entries, tablefmt="simple", disable_numparse=True))
