"""Ratings in replies of a judge."""

from __future__ import annotations

import pytest

from gip_gpu.selectors import parse_rating


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Score: 4.5", 4.5),
        ("Score:4.5", 4.5),
        ("score = 3", 3.0),
        ("**Score**: 4.5/5", 4.5),
        ("Scores: 4.5.\nClear and correct.", 4.5),
        ("4.5\nThe answer has 3 steps.", 4.5),
        ("The answer has 3 steps.\nRating:\n2", 2.0),
        ("Score: 10", 10.0),
        ("Score: -1.25", -1.25),
    ],
)
def test_ratings_are_read(text: str, rating: float) -> None:
    assert parse_rating(text) == rating


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Score: none",
        "It has 3 steps.",
        "Score: N/A. On a scale of 5",
        "Score: 4,5",
        "Score: 1,000",
        "4th rank",
        "Score: 1.2.3",
    ],
)
def test_a_text_without_a_rating_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"text is .*; it must hold a number after the word score or rating"):
        parse_rating(text)


def test_it_takes_text() -> None:
    with pytest.raises(TypeError, match="text is a float"):
        parse_rating(4.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1. Score: 4,5", "3 criteria. Rating: 4,5", "Score-4", "Score: " + "9" * 400])
def test_a_doubtful_number_after_the_word_is_refused(text):
    with pytest.raises(ValueError, match="it must hold a number after the word"):
        parse_rating(text)


def test_code_marks_are_no_part_of_a_rating():
    assert parse_rating("Score: `4`") == parse_rating("_Score: 4_") == parse_rating("Score: 4, and good.") == 4
