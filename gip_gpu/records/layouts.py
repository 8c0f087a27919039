"""Layouts of text data sets: how a row's fields make its text, and its prompt and answer. Recognised by their keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gip_gpu.records.base import Record
from gip_gpu.sources.names import like_identifier

# Fields that hold a chat, and the keys of its turns: who speaks, and what is said.
CHATS = ("messages", "conversations", "conversation", "dialog")
TURNS = {"openai": ("role", "content"), "sharegpt": ("from", "value")}
# Speakers of answers.
ANSWERING = ("assistant", "gpt")
# The field in which each kind of chat is usual.
USUAL = {"messages": "openai", "conversations": "sharegpt"}
# A layout's fields: a tuple holds names of which one must be there; a name with ? may be missing.
FIELDS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "alpaca": ("instruction", "input?", ("output", "response")),
    "gsm8k": ("question", "answer"),
    "prompt": ("prompt", ("completion", "response")),
    "text": ("text",),
}
NAMES = ("alpaca", "chat", *TURNS, *(name for name in FIELDS if name != "alpaca"))
WAYS = "name the text by a column (text_column='body') or a template (text_template='{title} {body}')"


@dataclass(frozen=True)
class TextLayout:
    """How a row's fields make its text, and its (prompt, answer) pair.

    Attributes:
        name: one of `NAMES`, "column" or "template".
        columns: fields that the text is made of.
        text: returns the text of a row; ValueError without the row's place if a field is missing or no text.
        pair: returns the (prompt, answer) pair of a row, raises as `text`; ("", text) if the layout has no prompts.
        prompted: whether the layout has prompts.
        note: a doubt about the guess, for the user; empty without one.
    """

    name: str
    columns: tuple[str, ...]
    text: Callable[[Record], str]
    pair: Callable[[Record], tuple[str, str]]
    prompted: bool
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.columns)})"


def recognise(row: Mapping[str, Any], only: str | None = None) -> TextLayout:
    """Returns the layout of a row by its keys.

    Args:
        row: the first row.
        only: name of the layout that it must have, from `NAMES`; None for any.

    Raises:
        ValueError: no layout fits; the message names the keys found.

    >>> chat = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    >>> layout = recognise(chat)
    >>> str(layout), layout.text(chat), layout.pair(chat)
    ('sharegpt (conversations)', 'Hi\\nHello', ('Hi', 'Hello'))
    >>> print(recognise({"question": "1 + 1?", "answer": "2", "id": 7}))
    gsm8k (question, answer)
    """
    if only is not None and only not in NAMES:
        raise ValueError(f"layout is {only!r}; it must be {', '.join(NAMES)}")
    fitting = [layout for name in NAMES if only in (None, name) and (layout := _layout(name, row)) is not None]
    if not fitting and only is None:
        texts = [key for key, value in row.items() if isinstance(value, str) and not like_identifier(key)]
        if len(texts) == 1:
            return by_column(texts[0])
    if not fitting:
        raise ValueError(_unknown(row, only))
    found = fitting[0]
    others = [other for other in fitting[1:] if set(other.columns) - set(found.columns)]
    if others and not found.note:
        note = f"it is read as {found}, and could be {others[0]} (layout={others[0].name!r})"
        return replace(found, note=note)
    return found


def by_column(name: str) -> TextLayout:
    """Returns the layout whose text is one column."""
    return without_prompts("column", (name,), lambda row: _words(row, name))


def without_prompts(name: str, columns: tuple[str, ...], text: Callable[[Record], str]) -> TextLayout:
    """Returns a layout whose rows are plain texts."""
    return TextLayout(name, columns, text, lambda row: ("", text(row)), prompted=False)


def _layout(name: str, row: Mapping[str, Any]) -> TextLayout | None:
    """Returns the layout of this name if the row has its keys."""
    if name in FIELDS:
        return _of_fields(name, row)
    for field in CHATS:
        turns = row.get(field)
        # numpy arrays: pandas reads lists from Parquet so.
        if isinstance(turns, (list, tuple)) or type(turns).__name__ == "ndarray":
            kind = _kind_of(field, turns)
            if kind is not None and name in ("chat", kind):
                note = ""
                if USUAL.get(field, kind) != kind:
                    note = (
                        f"its field {field!r} is usual for {USUAL[field]} chats, and its turns have the keys of {kind} "
                        f"chats, {' and '.join(map(repr, TURNS[kind]))}: it is read as {kind}"
                    )
                text, pair = partial(_chat, field=field, kind=kind), partial(_chat_pair, field=field, kind=kind)
                return TextLayout(kind, (field,), text, pair, prompted=True, note=note)
    return None


def _of_fields(name: str, row: Mapping[str, Any]) -> TextLayout | None:
    chosen: list[str] = []
    optional = set()
    for field in FIELDS[name]:
        names = (field,) if isinstance(field, str) else field
        held = next((each for each in names if each in row), None)
        if held is None and names[0].endswith("?"):
            # Rows that have it may come later.
            optional.add(names[0][:-1])
            held = names[0][:-1]
        elif held is None:
            return None
        # A chat under the name of a text field, as in some preference data, is no text.
        if isinstance(row.get(held), (list, dict)):
            return None
        chosen.append(held)

    def parts(row: Record, fields: Sequence[str]) -> Iterator[str]:
        found = (_words(row, each) for each in fields if each in row or each not in optional)
        return (part for part in found if part)

    def text(row: Record) -> str:
        return "\n".join(parts(row, chosen))

    if len(chosen) == 1:
        return without_prompts(name, tuple(chosen), text)
    *asking, answering = chosen

    def pair(row: Record) -> tuple[str, str]:
        return "\n\n".join(parts(row, asking)), _words(row, answering)

    return TextLayout(name, tuple(chosen), text, pair, prompted=True)


def _kind_of(field: str, turns: Any) -> str | None:
    """Returns the kind of a chat by the keys of its first turn."""
    if not len(turns):
        return USUAL.get(field, "openai")
    keys = turns[0] if isinstance(turns[0], Mapping) else ()
    return next((kind for kind, (speaker, _) in TURNS.items() if speaker in keys), None)


def _chat(row: Record, field: str, kind: str) -> str:
    """Returns the words of a chat, one turn a line."""
    return "\n".join(content for _, content in _turns(row, field, kind) if content)


def _chat_pair(row: Record, field: str, kind: str) -> tuple[str, str]:
    """Returns the turns before the last one by the assistant, with blank lines between them, and that one."""
    turns = _turns(row, field, kind)
    last = max((i for i, (speaker, _) in enumerate(turns) if speaker in ANSWERING), default=None)
    if last is None:
        raise ValueError(f"field {field!r} has no turn by {' or '.join(ANSWERING)}, which would be the answer")
    return "\n\n".join(content for _, content in turns[:last] if content), turns[last][1]


def _turns(row: Record, field: str, kind: str) -> list[tuple[Any, str]]:
    """Returns speakers and words of a chat; parts that are no text, such as pictures, are left out."""
    speaker, words = TURNS[kind]
    turns = _present(row, field)
    if turns is None:
        return []
    if isinstance(turns, (str, Mapping)) or not hasattr(turns, "__iter__"):
        raise ValueError(f"field {field!r} is {_described(turns)}; it must be a list of turns")
    said = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or speaker not in turn:
            keys = f"keys {', '.join(map(repr, turn))}" if isinstance(turn, Mapping) else _described(turn)
            raise ValueError(
                f"turn {number} of {field!r} has {keys}; a turn of {kind} chats has {speaker!r} and {words!r}"
            )
        # A call of a tool may come without words.
        content: Any = turn.get(words)
        if hasattr(content, "__iter__") and not isinstance(content, (str, Mapping)):
            parts = [part.get("text") for part in content if isinstance(part, Mapping)]
            content = "\n".join(part for part in parts if isinstance(part, str))
        if content is not None and not isinstance(content, str):
            raise ValueError(f"turn {number} of {field!r} has {_described(content)} in {words!r}; it must be text")
        said.append((turn[speaker], content or ""))
    return said


def _words(row: Record, field: str) -> str:
    """Returns a field as text: text itself, a number as it prints, nothing for null."""
    value = _present(row, field)
    if value is None or value != value:  # NaN stands for a missing value in pandas
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"field {field!r} is {_described(value)}; it must be text")


def _present(row: Record, field: str) -> Any:
    if field not in row:
        raise ValueError(f"it has no field {field!r}; it has {', '.join(map(repr, row)) or 'none'}")
    return row[field]


def _unknown(row: Mapping[str, Any], only: str | None) -> str:
    keys = ", ".join(f"{key} ({_described(value)})" for key, value in row.items()) or "none"
    if only is None:
        return f"no known layout has its fields: {keys}; {WAYS}"
    other = next((f"; it looks like {name}" for name in NAMES if _layout(name, row) is not None), "")
    return f"its fields are not those of layout {only!r}: {keys}{other}; {WAYS}"


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with keys {', '.join(map(repr, value))}"
    if isinstance(value, (list, tuple)) or type(value).__name__ == "ndarray":
        inner = (
            f" of objects with keys {', '.join(map(repr, value[0]))}"
            if len(value) and isinstance(value[0], Mapping)
            else ""
        )
        return f"a list{inner}"
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")
