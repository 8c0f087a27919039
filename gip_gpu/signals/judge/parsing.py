"""Strict parsing of a judge's reply: the ratings, or the reason why it is not valid."""

import json
import math
import re
from typing import Any

from gip_gpu.signals.judge.rubric import Rubric

# Many models put a code fence around JSON; one around all of the reply changes nothing of what it says.
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n```", re.DOTALL)


class BadReplyError(ValueError):
    """A reply is not the requested JSON object."""


def parse_reply(reply: str, rubric: Rubric) -> dict[str, float]:
    """Returns the ratings in a reply: one JSON object with exactly the attributes, numbers within the scale.

    Raises:
        BadReplyError: anything else; the message says what, for the judge.

    >>> parse_reply('{"coherence": 4, "difficulty": 2.5}', Rubric(["coherence", "difficulty"]))
    {'coherence': 4.0, 'difficulty': 2.5}
    """
    text = reply.strip()
    if not text:
        raise BadReplyError("it is empty")
    if fenced := FENCE.fullmatch(text):
        text = fenced[1]
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise BadReplyError("it is nested too deeply") from None
    except BadReplyError:
        raise
    except ValueError as error:
        raise BadReplyError(f"it is not one JSON object and nothing else: {error}") from None
    if not isinstance(found, dict):
        raise BadReplyError(f"it is a JSON {type(found).__name__}, not an object")
    for name in rubric.names:
        if name not in found:
            raise BadReplyError(f"it has no {name!r}")
    if extra := [name for name in found if name not in rubric.names]:
        raise BadReplyError(f"it has {extra[0]!r:.60}, which is no attribute")
    return {name: _rating(name, found[name], rubric) for name in rubric.names}


def _rating(name: str, value: Any, rubric: Rubric) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadReplyError(f"{name!r} is {json.dumps(value):.60}, not a number")
    # An int may be beyond float64, and a float infinite, as 1e999 is.
    if not rubric.low <= value <= rubric.high or not math.isfinite(value):
        raise BadReplyError(f"{name!r} is {json.dumps(value):.20}, not a number from {rubric.low:g} to {rubric.high:g}")
    return float(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadReplyError("it has a key twice")
    return found


def _no_constant(text: str) -> Any:
    raise BadReplyError(f"it has {text}, which is no JSON")
