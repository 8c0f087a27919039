"""Griffe extension: doctests at the end of a docstring become its section "Examples" in the API reference.

The Google style of Griffe reads `>>>` as code only below that heading; elsewhere Markdown renders it as a quotation.
"""

import re
from typing import Any

import griffe

# Doctests of a docstring without indentation: lines from the first prompt of a run to the next empty line.
DOCTESTS = re.compile(r"^>>> .*(?:\n.+)*(?:\n\n>>> .*(?:\n.+)*)*", re.MULTILINE)


def with_examples(text: str) -> str:
    """Returns the docstring with its doctests in a section "Examples".

    >>> print(with_examples("Doubles.\\n\\n>>> 1 + 1\\n2"))
    Doubles.
    <BLANKLINE>
    Examples:
        >>> 1 + 1
        2
    """

    def section(match: re.Match[str]) -> str:
        return "\n".join(["Examples:", *(f"    {line}".rstrip() for line in match[0].splitlines())])

    return DOCTESTS.sub(section, text)


class Doctests(griffe.Extension):
    """Griffe extension that adds the section to every docstring with doctests."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_examples(obj.docstring.value)
