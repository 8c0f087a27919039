"""Layouts are recognised by the keys of rows; wrong guesses are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from gip_gpu.exceptions import DataWarning
from gip_gpu.records import Texts, open_records, recognise
from gip_gpu.records.template import by_template
from tests.support.data_sets import LAYOUTS, rows, write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_text(layout: str, tmp_path: Path) -> None:
    texts = Texts(open_records(write(tmp_path / "data.jsonl", rows(20, layout))))
    assert texts.layouts[0].name == layout
    assert list(texts) == list(Texts(open_records(write(tmp_path / "other.jsonl", rows(20, "gsm8k")))))
    assert list(texts)[1] == "What about trains, number 1?\n" + "There are 1 of them. " * 2


def test_keys_of_turns_decide_and_an_unusual_field_is_said(tmp_path: Path) -> None:
    chat = [{"conversations": [{"role": "user", "content": "Hi"}]}]
    records = open_records(write(tmp_path / "data.jsonl", chat))
    said = "'conversations' is usual for sharegpt chats, .* 'role' and 'content': it is read as openai"
    with pytest.warns(DataWarning, match=said):
        texts = Texts(records)
    assert (texts.layouts[0].name, list(texts)) == ("openai", ["Hi"])


def test_a_second_fitting_layout_is_said(tmp_path: Path) -> None:
    both = [{**LAYOUTS["openai"]("a", "b"), **LAYOUTS["prompt"]("c", "d")}]
    records = open_records(write(tmp_path / "data.jsonl", both))
    with pytest.warns(DataWarning, match=r"could be prompt \(prompt, completion\) \(layout='prompt'\)"):
        texts = Texts(records)
    assert list(texts) == ["a\nb"]
    assert list(Texts(texts.records, layout="prompt")) == ["c\nd"]


@pytest.mark.parametrize(
    ("row", "layout", "message"),
    [
        ({"a": 1, "b": [1]}, None, r"no known layout has its fields: a \(a number\), b \(a list\); name the text by"),
        ({"a": "x", "b": "y"}, None, r"no known layout has its fields: a \(text\), b \(text\)"),
        ({"messages": [{"user": "a"}]}, None, r"messages \(a list of objects with keys 'user'\)"),
        (LAYOUTS["sharegpt"]("a", "b"), "alpaca", "not those of layout 'alpaca'.*; it looks like chat"),
        (LAYOUTS["sharegpt"]("a", "b"), "openai", "not those of layout 'openai'"),
        (LAYOUTS["alpaca"]("a", "b"), "gpt", "layout is 'gpt'; it must be alpaca, chat, openai"),
    ],
)
def test_unknown_layouts_name_the_keys(row: dict[str, object], layout: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recognise(row, layout)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (LAYOUTS["alpaca"]("a", "b"), r"it has no field 'messages'; it has 'instruction', 'input', 'output'"),
        (
            {"messages": [{"from": "human", "value": "a"}]},
            "turn 0 of 'messages' has keys 'from', 'value'; a turn of openai chats has 'role' and 'content'",
        ),
        ({"messages": "a"}, "'messages' is text; it must be a list of turns"),
        ({"messages": [{"role": "user", "content": 7}]}, "turn 0 of 'messages' has a number in 'content'"),
    ],
)
def test_a_row_of_another_layout_names_its_line(second: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", [LAYOUTS["openai"]("a", "b"), second])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=rf"data.jsonl, line 2, read as openai \(messages\): .*{message}"):
        list(Texts(open_records(path)))


def test_turns_without_words_and_in_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "x"}}]
    turns = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "assistant"},
    ]
    content = [{"messages": turns}, {"messages": []}, {"messages": None}]
    assert list(Texts(open_records(write(tmp_path / "data.jsonl", content)))) == ["Look:", "", ""]


def test_optional_null_and_numeric_fields(tmp_path: Path) -> None:
    content = [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "input": "c", "output": None},
        {"instruction": "a", "input": None, "output": 7},
    ]
    assert list(Texts(open_records(write(tmp_path / "data.jsonl", content)))) == ["a\nb", "a\nc", "a\n7"]


def test_files_may_have_different_layouts(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{layout}.jsonl", rows(2, layout)) for layout in ("alpaca", "sharegpt")]
    texts = Texts(open_records(paths))
    assert [layout.name for layout in texts.layouts] == ["alpaca", "sharegpt"]
    first, second, third, fourth = texts
    assert (first, second) == (third, fourth)


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"question": "q", "answer": "a"}, ("q", "a")),
        ({"question": "q", "answer": 7}, ("q", "7")),
        ({"instruction": "i", "input": "", "output": "o"}, ("i", "o")),
        ({"instruction": "i", "output": "o"}, ("i", "o")),
        ({"instruction": "i", "input": "x", "output": "o"}, ("i\n\nx", "o")),
        ({"instruction": "i", "input": "x", "response": "r"}, ("i\n\nx", "r")),
        ({"prompt": "p", "completion": "c"}, ("p", "c")),
        ({"prompt": "p", "response": ""}, ("p", "")),
        ({"text": "t"}, ("", "t")),
        ({"text": "lone \ud800"}, ("", "lone \ufffd")),
        ({"id": "x7", "body": "b"}, ("", "b")),
        ({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}, ("u", "a")),
        (
            {
                "dialog": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image_url"}]},
                    {"role": "assistant", "content": None, "tool_calls": [{}]},
                    {"role": "tool", "content": "t"},
                    {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
                ]
            },
            ("s\n\nu\n\nt", "a"),
        ),
        (
            {
                "conversation": [
                    {"from": "human", "value": "h"},
                    {"from": "gpt", "value": "g"},
                    {"from": "human", "value": "b"},
                ]
            },
            ("h", "g"),
        ),
    ],
)
def test_prompt_and_answer(row: dict[str, object], pair: tuple[str, str], tmp_path: Path) -> None:
    texts = Texts(open_records(write(tmp_path / "data.jsonl", [row])))
    assert list(texts.pairs()) == [pair]
    assert texts.prompted == bool(pair[0])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"text": "t"}, {"body": "b"}, r"line 2, read as text \(text\): it has no field 'text'; it has 'body'"),
        (
            {"question": "q", "answer": "a"},
            {"question": [1], "answer": "a"},
            "line 2.*'question' is a list",
        ),
        (LAYOUTS["openai"]("a", "b"), {"messages": "u"}, "line 2.*'messages' is text; it must be a list of turns"),
        (
            LAYOUTS["openai"]("a", "b"),
            {"messages": [{"role": "user", "content": "u"}]},
            "line 2.*'messages' has no turn by assistant or gpt, which would be the answer",
        ),
        (LAYOUTS["openai"]("a", "b"), {"messages": None}, "line 2.*has no turn by assistant or gpt"),
    ],
)
def test_rows_without_a_pair_are_named(
    first: dict[str, object], second: dict[str, object], message: str, tmp_path: Path
) -> None:
    texts = Texts(open_records(write(tmp_path / "data.jsonl", [first, second])))
    with pytest.raises(ValueError, match=message):
        list(texts.pairs())


def test_templates() -> None:
    layout = by_template("{{{a}}} {b}{a}")
    assert layout.text({"a": "x", "b": None}) == "{x} x"
    assert layout.text({"a": "x", "b": [1, "\u00e9"]}) == '{x} [1, "\u00e9"]x'
    with pytest.raises(ValueError, match=r"it has no field 'b', which text_template .* names; it has 'a'"):
        layout.text({"a": "x"})
    for wrong in ("", "no field", "{}", "{0", "{a!r}", "{a:>5}"):
        with pytest.raises(ValueError, match=r"text_template is .*as in '{question} {answer}'"):
            by_template(wrong)
    # A field is a name, never an expression.
    with pytest.raises(ValueError, match=r"no field 'a.__class__'"):
        by_template("{a.__class__}").text({"a": "x"})


def test_one_way_to_name_the_text(tmp_path: Path) -> None:
    records = open_records(write(tmp_path / "data.jsonl", rows(2)))
    assert next(iter(Texts(records, column="question"))) == "What about apples, number 0?"
    assert next(iter(Texts(records, template="Q {question}"))) == "Q What about apples, number 0?"
    with pytest.raises(ValueError, match="text_column='a' and layout='gsm8k' are given"):
        Texts(records, column="a", layout="gsm8k")
    with pytest.raises(ValueError, match=r"line 1, read as column \(a\): it has no field 'a'; it has 'question'"):
        list(Texts(records, column="a"))
