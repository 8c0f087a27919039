"""Examples of a data set as (prompt, answer) pairs, by the keys of its rows."""

import json
from pathlib import Path
from typing import Any

from gip_gpu.records import open_records
from gip_gpu.signals.examples import Pair

# Keys of the prompt and of the answer; rows of plain text have none of the former.
KEYS = (("question", "answer"), ("instruction", "output"), ("prompt", "completion"), ("prompt", "response"))
CHATS = ("messages", "conversations")
ANSWERING = ("assistant", "gpt")


def read_examples(path: Path) -> list[Pair]:
    """Reads prompts and answers: question and answer; instruction, input and output; messages; or text.

    The answer of a chat is its last message by the assistant, the prompt all messages before it.

    Raises:
        ValueError: the file cannot be read, or a row has none of these keys; the message names the line.
    """
    records = open_records(path)
    return [_pair(row, records.place(i)) for i, row in enumerate(records.rows())]


def _pair(row: Any, place: str) -> Pair:
    for first, second in KEYS:
        if first in row and second in row:
            prompt = _text(row, first, place)
            if first == "instruction" and row.get("input"):
                prompt += "\n\n" + _text(row, "input", place)
            return prompt, _text(row, second, place)
    for key in CHATS:
        if key in row:
            return _chat(row[key], f"{place}: {key!r}")
    if "text" in row:
        return "", _text(row, "text", place)
    wanted = "; ".join(" and ".join(pair) for pair in KEYS)
    raise ValueError(
        f"{place} has the fields {', '.join(map(repr, row)) or 'none'}; examples have {wanted}; {' or '.join(CHATS)}; "
        "or text"
    )


def _text(row: dict[str, Any], key: str, place: str) -> str:
    if not isinstance(row[key], str):
        raise ValueError(f"{place}: {key!r} is {json.dumps(row[key]):.40}; it must be text")
    return str(row[key])


def _chat(messages: Any, place: str) -> Pair:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f"{place} is {json.dumps(messages):.40}; it must be a list of messages")
    turns = [
        (message.get("role", message.get("from")), message.get("content", message.get("value"))) for message in messages
    ]
    for role, content in turns:
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"{place} has a message without text in role and content, or in from and value")
    answers = [i for i, (role, _) in enumerate(turns) if role in ANSWERING]
    if not answers:
        raise ValueError(f"{place} has no message by {' or '.join(ANSWERING)}")
    return "\n\n".join(content for _, content in turns[: answers[-1]]), turns[answers[-1]][1]
