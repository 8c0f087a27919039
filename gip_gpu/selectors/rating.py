"""Ratings read from the replies of a judge."""

import re

NUMBER = r"([+-]?\d+(?:\.\d+)?)(?!\w)(?![.,]\d)"
LABELLED = re.compile(r"\b(?:score|rating)s?[\s*_:=]*" + NUMBER, re.IGNORECASE)
LEADING = re.compile(r"[\s*_]*" + NUMBER)


def parse_rating(text: str) -> float:
    """Returns the rating in the reply of a judge, such as 4.5 for "Score: 4.5", "Score:4.5" or "4.5\\nIt is clear".

    It is the first number after the word score or rating, or else the number that the text begins with.

    Args:
        text: reply; blanks, "=", ":" and the marks of Markdown may be between the word and its number.

    Raises:
        TypeError: not a str.
        ValueError: no such number, or one with a decimal comma, which could be read in two ways.

    >>> parse_rating("Score: 4.5"), parse_rating("Score:4.5"), parse_rating("**Rating:** 4/5"), parse_rating("3")
    (4.5, 4.5, 4.0, 3.0)
    """
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}; it must be a str")
    found = LABELLED.search(text) or LEADING.match(text)
    if found is None:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise ValueError(f"text is {shown!r}; it must hold a number after the word score or rating, or begin with one")
    return float(found[1])
