"""Ratings read from the replies of a judge."""

import math
import re

# What stands where a number should, with commas and letters, so that "4,5" is not read as 4.
TOKEN = r"\d[\w.,]*"
# A sign needs something between the word and itself: "score-4" has a dash.
LABELLED = re.compile(r"(?<![^\W_])(?:score|rating)s?(?:[\s*_:=`]+([+-]?" + TOKEN + ")|(" + TOKEN + "))", re.IGNORECASE)
LEADING = re.compile(r"[\s*_`]*([+-]?" + TOKEN + ")")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


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
    token = "" if found is None else (found[1] or found[2]).rstrip(".,_")
    if not NUMBER.fullmatch(token) or math.isinf(float(token)):
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise ValueError(f"text is {shown!r}; it must hold a number after the word score or rating, or begin with one")
    return float(token)
