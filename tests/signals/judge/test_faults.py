"""Ratings from a real server on loopback that answers well, slowly, wrongly, with errors, or not at all."""

from __future__ import annotations

import asyncio
import email.utils
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.judge_server import ATTRIBUTES, Answer, judge_server, true_ratings

pytest.importorskip("openai", reason="the judge needs the package openai")

from gip_gpu.signals.judge import Limits, Rubric, Server, judge_estimate, judge_ratings

TEXTS = [f"text {i}" for i in range(20)]
TRUE = np.array([list(true_ratings(text).values()) for text in TEXTS])


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gip_gpu.signals.judge.client.FIRST_WAIT", 0.01)


def test_good_answers_in_order_at_most_some_at_a_time() -> None:
    with judge_server(lambda text, before: Answer(wait=0.02)) as server:
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=Limits(concurrency=3))
        assert server.most_active == 3
    assert found.attributes == ATTRIBUTES
    assert found.scores.dtype == np.float64
    np.testing.assert_array_equal(found.scores, TRUE)
    np.testing.assert_array_equal(np.asarray(found), TRUE)
    assert found.missing == {}
    report = found.report
    assert (report.rows, report.distinct, report.requests, report.failures) == (20, 20, 20, 0)
    assert (report.prompt_tokens, report.completion_tokens, report.reported) == (2000, 200, True)
    assert report.cost is None


def test_the_request_is_that_of_the_settings() -> None:
    with judge_server() as server:
        settings = Server(server.url, "a/b", api_key="secret", temperature=None, max_tokens=7, extra={"seed": 3})
        judge_ratings([("Two and two?", "Four.")], settings, rubric=Rubric(template="Rate: $example"))
    (seen,) = server.seen
    assert seen.body == {"model": "a/b", "max_tokens": 7, "seed": 3, "messages": seen.messages}
    assert seen.headers["authorization"] == "Bearer secret"
    (message,) = seen.messages
    assert message["role"] == "user"
    assert message["content"].startswith("Rate: <prompt-")
    assert "\nTwo and two?\n" in message["content"]
    assert "secret" not in repr(settings)


def test_nothing_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "of-another-server")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://of-another-server/v1")
    with judge_server() as server:
        judge_ratings(["a"], Server(server.url, "m"))
    assert "of-another-server" not in str(server.seen[0].headers)


def test_equal_texts_are_asked_about_once() -> None:
    with judge_server() as server:
        found = judge_ratings(["a", "b", "a"], Server(server.url, "m"))
        assert server.asked == {"a": 1, "b": 1}
    assert (found.scores[0] == found.scores[2]).all()
    assert found.report.distinct == 2


GOOD = '{"coherence": 1, "correctness": 2, "helpfulness": 3, "difficulty": 4}'
BAD = {
    "no JSON": "Sure! I would give it a 4.",
    "text before": f"Here it is: {GOOD}",
    "text after": f"{GOOD}\nHope this helps.",
    "two objects": f"{GOOD}\n{GOOD}",
    "cut off": GOOD[:-5],
    "above the scale": GOOD.replace("4", "5.01"),
    "below the scale": GOOD.replace("1", "-1"),
    "huge": GOOD.replace("4", "1e999"),
    "a huge int": GOOD.replace("4", "1" * 400),
    "NaN": GOOD.replace("4", "NaN"),
    "text": GOOD.replace("4", '"4"'),
    "true": GOOD.replace("4", "true"),
    "null": GOOD.replace("4", "null"),
    "an attribute less": GOOD.replace(', "difficulty": 4', ""),
    "an attribute more": GOOD.replace("}", ', "style": 1}'),
    "an attribute twice": GOOD.replace("}", ', "difficulty": 3}'),
    "a list": f"[{GOOD}]",
    "half a character": "\ud800",
    "empty": "",
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD.keys())
def test_a_bad_reply_is_asked_again_and_then_missing(reply: str) -> None:
    with judge_server(lambda text, before: Answer(reply) if text == "bad" or before == 0 else None) as server:
        found = judge_ratings(["bad", "late"], Server(server.url, "m"), limits=Limits(asks=3))
        assert server.asked == {"bad": 3, "late": 2}
    assert np.isnan(found.scores[0]).all()
    assert found.scores[1].tolist() == list(true_ratings("late").values())
    assert list(found.missing) == [0]
    assert found.report.bad_replies == 4
    # The second question quotes the reply and says what is wrong with it.
    second = [seen.messages for seen in server.seen if seen.text == "late"][1]
    if reply:
        assert [message["role"] for message in second] == ["user", "assistant", "user"]
        assert second[1]["content"] == reply[:2000].replace("\ud800", "\ufffd")
        assert found.missing[0] in second[2]["content"]


@pytest.mark.parametrize("reply", [GOOD, f"\n {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```\n"])
def test_a_fence_around_the_reply_is_no_other_text(reply: str) -> None:
    with judge_server(lambda text, before: Answer(reply)) as server:
        assert judge_ratings(["a"], Server(server.url, "m")).scores.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500), Answer(status=503), Answer(status=408), Answer(status=429), Answer(cut="before"),
        Answer(cut="within"), Answer(wait=1.0),
        Answer(status=502, body=b"<html>", headers={"Content-Type": "text/html"}),
    ],
    ids=["500", "503", "408", "429", "cut before", "cut within", "slow", "a page"],
)  # fmt: skip
def test_a_passing_fault_is_tried_again(fault: Answer) -> None:
    with judge_server(lambda text, before: fault if text == "text 3" and before < 2 else None) as server:
        found = judge_ratings(TEXTS[:6], Server(server.url, "m", timeout=0.4))
        assert server.asked["text 3"] == 3
    np.testing.assert_array_equal(found.scores, TRUE[:6])
    assert (found.report.failures, found.report.bad_replies, found.report.requests) == (2, 0, 8)


@pytest.mark.parametrize("fault", [Answer(body=b"<html>"), Answer(body=b"[]"), Answer(body=b'{"choices": []}')])
def test_a_body_that_is_no_completion_is_a_bad_reply(fault: Answer) -> None:
    with judge_server(lambda text, before: fault if before == 0 else None) as server:
        found = judge_ratings(TEXTS[:3], Server(server.url, "m"))
    np.testing.assert_array_equal(found.scores, TRUE[:3])
    assert found.report.bad_replies == 3
    assert not found.report.reported


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_retry_after_holds_all_requests(form: str) -> None:
    headers = {
        "seconds": {"Retry-After": "1"},
        "milliseconds": {"retry-after-ms": "1000"},
        "date": {"Retry-After": email.utils.formatdate(time.time() + 3, usegmt=True)},
    }[form]
    first = Answer(status=429, headers=headers)
    with judge_server(lambda text, before: first if text == "text 0" and before == 0 else Answer(wait=0.05)) as server:
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=Limits(concurrency=2))
    np.testing.assert_array_equal(found.scores, TRUE)
    times = [seen.time for seen in server.seen]
    # One request may be in flight beside the one that is told to wait.
    assert max(np.diff(times)) > 0.9
    assert int(np.argmax(np.diff(times))) <= 2


def test_many_429_do_not_exhaust_the_tries_while_others_succeed() -> None:
    with judge_server(lambda text, before: Answer(status=429) if text == "text 0" and before < 6 else None) as server:
        limits = Limits(concurrency=2, tries=3, requests_per_minute=3000)
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=limits)
    np.testing.assert_array_equal(found.scores, TRUE)


def test_a_long_pause_ends_the_run() -> None:
    fault = Answer(status=429, headers={"Retry-After": "3600"})
    with (
        judge_server(lambda text, before: fault) as server,
        pytest.raises(ConnectionError, match="asks for a pause of 3600 s"),
    ):
        judge_ratings(TEXTS, Server(server.url, "m"))


def test_a_row_whose_tries_all_fail_is_missing_and_asked_in_the_next_run(tmp_path: Path) -> None:
    file, limits = tmp_path / "answers.jsonl", Limits(tries=2)
    with judge_server(lambda text, before: Answer(status=500) if text == "text 7" and before < 2 else None) as server:
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=limits, answers=file)
        assert list(found.missing) == [7]
        assert found.missing[7].startswith("no reply after 2 tries: ")
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=limits, answers=file)
    np.testing.assert_array_equal(found.scores, TRUE)
    assert found.report.requests == 1


def test_many_rows_may_fail_while_others_succeed() -> None:
    fault = Answer(status=500)
    with judge_server(lambda text, before: fault if int(text.split()[1]) % 2 else None) as server:
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=Limits(tries=1, concurrency=1))
    assert list(found.missing) == list(range(1, 20, 2))
    np.testing.assert_array_equal(found.scores[::2], TRUE[::2])


def test_a_row_that_the_server_refuses_is_missing() -> None:
    fault = Answer(status=400, content="context too long")
    with judge_server(lambda text, before: fault if text == "text 7" else None) as server:
        found = judge_ratings(TEXTS, Server(server.url, "m"))
        assert server.asked["text 7"] == 1
    assert list(found.missing) == [7]
    assert "context too long" in found.missing[7]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Answer(status=401), ValueError, "refuses a request without an API key with status 401"),
        (Answer(status=403), ValueError, "status 403"),
        (Answer(status=404), ValueError, "often /v1"),
        (Answer(status=429, content="insufficient_quota"), ValueError, "no credit"),
        (Answer(status=400), ValueError, "8 examples in a row failed"),
        (Answer(status=500), ConnectionError, "8 examples in a row failed"),
        (Answer(cut="before"), ConnectionError, "8 examples in a row failed"),
    ],
)
def test_faults_of_all_requests_end_the_run(fault: Answer, error: type[Exception], message: str) -> None:
    with judge_server(lambda text, before: fault) as server, pytest.raises(error, match=message):
        judge_ratings(TEXTS, Server(server.url, "m"), limits=Limits(tries=2))
    assert len(server.seen) <= 32


def test_no_server() -> None:
    with judge_server() as server:
        url = server.url
    with pytest.raises(ConnectionError, match="1 examples in a row failed"):
        judge_ratings(["a"], Server(url, "m"), limits=Limits(tries=2))


def test_rate_limits_space_requests() -> None:
    with judge_server() as server:
        # From before the first request: on a busy machine it may arrive late.
        began = time.monotonic()
        judge_ratings(TEXTS[:6], Server(server.url, "m"), limits=Limits(requests_per_minute=600))
        assert server.seen[-1].time - began > 0.45
        # 110 tokens a request are used, more are reserved: 110 * 60 / 66,000 = 0.1 s at least.
        server.seen.clear()
        began = time.monotonic()
        judge_ratings(TEXTS[:6], Server(server.url, "m"), limits=Limits(tokens_per_minute=66_000, concurrency=1))
        assert server.seen[-1].time - began > 0.45


def test_the_token_budget_stops_the_run(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with judge_server() as server:
        settings = Server(server.url, "m")
        each = judge_estimate(TEXTS[:1], settings).prompt_tokens + 256
        limits = Limits(token_budget=9 * 110 + each, concurrency=1)
        found = judge_ratings(TEXTS, settings, limits=limits, answers=file)
        assert len(server.seen) == 10
        assert found.report.total_tokens == 1100 <= 9 * 110 + each
        assert found.report.stopped == "the token budget is used up"
        np.testing.assert_array_equal(found.scores[:10], TRUE[:10])
        assert found.missing == dict.fromkeys(range(10, 20), "the token budget is used up")
        # The budget includes earlier runs; a larger one goes on.
        assert judge_ratings(TEXTS, settings, limits=limits, answers=file).report.requests == 0
        found = judge_ratings(TEXTS, settings, answers=file)
        assert found.report.requests == 10
    np.testing.assert_array_equal(found.scores, TRUE)


def test_the_budget_holds_with_many_requests_at_a_time() -> None:
    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        budget = 3000
        found = judge_ratings(TEXTS, Server(server.url, "m"), limits=Limits(token_budget=budget, concurrency=20))
    assert 0 < found.report.total_tokens <= budget
    assert found.report.requests == len(server.seen) < 20


def test_costs_before_and_after(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with judge_server() as server:
        settings = Server(server.url, "m")
        rough = judge_estimate(TEXTS, settings, answers=file, price=(10.0, 20.0))
        assert not file.exists()
        assert not server.seen
        assert (rough.rows, rough.distinct, rough.answered, rough.requests, rough.measured) == (20, 20, 0, 20, False)
        prompt = Rubric().prompt(("", TEXTS[0]))
        assert rough.prompt_tokens == pytest.approx(20 * len(prompt) / 4, rel=0.05)
        assert rough.cost == pytest.approx((10 * rough.prompt_tokens + 20 * rough.completion_tokens) / 1e6)
        part = judge_ratings(TEXTS[:5], settings, answers=file, price=(10.0, 20.0))
        assert part.report.cost == pytest.approx((10 * 500 + 20 * 50) / 1e6)
        known = judge_estimate(TEXTS, settings, answers=file)
    assert (known.answered, known.requests, known.measured, known.cost) == (5, 15, True, None)
    assert known.prompt_tokens == pytest.approx(1500, abs=15)
    assert known.completion_tokens == 150


def test_a_server_without_usage() -> None:
    with judge_server(lambda text, before: Answer(usage=False)) as server:
        report = judge_ratings(TEXTS, Server(server.url, "m")).report
    assert not report.reported
    assert report.prompt_tokens > 20 * 100


def test_it_runs_where_a_loop_runs() -> None:
    async def notebook() -> np.ndarray:
        return judge_ratings(TEXTS, Server(url, "m")).scores

    with judge_server() as server:
        url = server.url
        np.testing.assert_array_equal(asyncio.run(notebook()), TRUE)

    async def broken() -> None:
        judge_ratings(TEXTS, Server(url, "m"), limits=Limits(tries=1))

    with pytest.raises(ConnectionError, match="in a row"):
        asyncio.run(broken())


def test_progress_counts_settled_rows() -> None:
    seen: list[tuple[int, int]] = []
    with judge_server(lambda text, before: Answer("bad") if text == "text 3" else None) as server:
        judge_ratings(TEXTS, Server(server.url, "m"), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 20) for i in range(20)]


def test_seventy_per_cent_missing() -> None:
    texts = [f"text {i}" for i in range(100)]
    with judge_server(lambda text, before: Answer("?") if int(text.split()[1]) % 10 < 7 else None) as server:
        found = judge_ratings(texts, Server(server.url, "m"), limits=Limits(asks=1))
    gaps = np.isnan(found.scores)
    assert gaps.all(axis=1).sum() == gaps.any(axis=1).sum() == 70
    assert list(found.missing) == np.flatnonzero(gaps[:, 0]).tolist()


def test_the_price_is_two_numbers() -> None:
    for price, error in (((1.0,), TypeError), (1.0, TypeError), (("a", 1.0), TypeError), ((-1.0, 1.0), ValueError)):
        with pytest.raises(error, match="price"):
            judge_ratings(["a"], Server("http://localhost:1/v1", "m"), price=price)  # type: ignore[arg-type]
