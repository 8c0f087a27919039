"""Templates of a row's text: "{title}: {body}"."""

import json
import string
from collections.abc import Callable
from typing import Any

from gip_gpu.records.base import Record
from gip_gpu.records.layouts import TextLayout, without_prompts


def by_template(template: str) -> TextLayout:
    """Returns the layout whose text is a template with {column} fields.

    Text is inserted as it is, nothing for null, other values as JSON; {{ and }} are braces.

    Raises:
        ValueError: the template has no field, or one that is no plain name.

    >>> layout = by_template("Q: {question} A: {answer}")
    >>> layout.columns, layout.text({"question": "1 + 1?", "answer": 2})
    (('question', 'answer'), 'Q: 1 + 1? A: 2')
    """
    wanted = "it must hold columns in braces, as in '{question} {answer}'; {{ and }} are braces of the text"
    try:
        parts = [
            (literal, field, spec or convert) for literal, field, spec, convert in string.Formatter().parse(template)
        ]
    except ValueError as error:
        raise ValueError(f"text_template is {template!r}: {error}; {wanted}") from None
    for _, field, extra in parts:
        # An empty name would count the columns; formats and conversions would change their text.
        if field is not None and (not field or extra):
            raise ValueError(f"text_template is {template!r}, with a field {{{field}{extra or ''}}}; {wanted}")
    columns = tuple(dict.fromkeys(field for _, field, _ in parts if field is not None))
    if not columns:
        raise ValueError(f"text_template is {template!r}, which names no column; {wanted}")
    return without_prompts("template", columns, _filled([(literal, field) for literal, field, _ in parts], template))


def _filled(parts: list[tuple[str, str | None]], template: str) -> Callable[[Record], str]:
    def text(row: Record) -> str:
        made = []
        for literal, field in parts:
            made.append(literal)
            if field is not None:
                if field not in row:
                    have = ", ".join(map(repr, row)) or "none"
                    raise ValueError(
                        f"it has no field {field!r}, which text_template {template!r} names; it has {have}"
                    )
                made.append(_inserted(row[field]))
        return "".join(made)

    return text


def _inserted(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    return json.dumps(value, ensure_ascii=False, default=str)
