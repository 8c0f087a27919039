"""Fenced blocks of the documentation."""

import re
from dataclasses import dataclass

from tests.support.paths import ROOT

DOCS = ROOT / "docs"

BLOCK = re.compile(
    r'^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)(?: title="(?P<title>[\w.]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"(not run|output varies): (.+)")


@dataclass
class Block:
    """A fenced block of a page. `not_run` and `varies` are its reasons, or None."""

    language: str
    text: str
    title: str | None = None
    not_run: str | None = None
    varies: str | None = None


def blocks(text):
    """Returns the blocks of a page in order.

    Raises:
        AssertionError: a fence that belongs to no block, or an unknown mark.
    """
    found = list(BLOCK.finditer(text))
    # Also fences that are indented, of tildes, or with options.
    fences = re.findall(r"^.*(?:```|~~~).*$", text, re.MULTILINE)
    assert len(fences) == 2 * len(found), f"of {len(fences)} fences {len(found)} blocks were read"
    made = []
    for match in found:
        block = Block(match["language"], match["text"], match["title"])
        if match["mark"] is not None:
            known = MARK.fullmatch(match["mark"])
            assert known, f"the mark {match['mark']!r} is not known"
            setattr(block, known[1].replace("not run", "not_run").replace("output varies", "varies"), known[2])
        made.append(block)
    return made
