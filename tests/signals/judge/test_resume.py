"""The file of answers: killed runs, cut lines, other settings, two processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import posix
from tests.support.judge_server import Answer, JudgeServer, judge_server, true_ratings

pytest.importorskip("openai", reason="the judge needs the package openai")

from gip_gpu.signals.judge import Limits, Rubric, Server, judge_ratings

TEXTS = [f"text {i}" for i in range(60)]
TRUE = np.array([list(true_ratings(text).values()) for text in TEXTS])
JOB = """
import sys
import numpy as np
from gip_gpu.signals.judge import Limits, Server, judge_ratings
url, answers, out = sys.argv[1:]
found = judge_ratings([f"text {i}" for i in range(60)], Server(url, "m"), answers=answers, limits=Limits(concurrency=4))
np.save(out, found.scores)
"""


def start(server: JudgeServer, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", JOB, server.url, folder / "answers.jsonl", folder / "scores.npy"])


@posix
@pytest.mark.slow
def test_a_killed_run_asks_at_most_the_requests_in_flight_again(tmp_path: Path) -> None:
    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        for answered in (10, 30):
            process = start(server, tmp_path)
            while len(server.seen) < answered:
                assert process.poll() is None
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert not (tmp_path / "scores.npy").exists()
        assert start(server, tmp_path).wait() == 0
        # Four requests at a time, and two kills.
        assert set(server.asked) == set(TEXTS)
        assert len(server.seen) - len(TEXTS) <= 8
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), TRUE)


@posix
@pytest.mark.slow
def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    with judge_server(lambda text, before: Answer(wait=0.3)) as server:
        process = start(server, tmp_path)
        while not server.seen:
            time.sleep(0.01)
        with pytest.raises(ValueError, match="is in use by another process"):
            judge_ratings(TEXTS, Server(server.url, "m"), answers=tmp_path / "answers.jsonl")
        process.kill()
        process.wait()


@pytest.mark.parametrize("cut", [1, 20, 100, 300, 600])
def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "answers.jsonl"
    with judge_server() as server:
        whole = judge_ratings(TEXTS[:5], Server(server.url, "m"), answers=file)
        text = file.read_bytes()
        file.write_bytes(text[:-cut])
        lost = 5 - (text[:-cut].count(b"\n") - 1)
        again = judge_ratings(TEXTS[:5], Server(server.url, "m"), answers=file)
    assert again.report.requests == lost
    np.testing.assert_array_equal(again.scores, whole.scores)
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_bad_replies_count_over_runs(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with judge_server(lambda text, before: Answer("no") if before < 3 else None) as server:
        for asks, asked in ((2, 2), (2, 2), (3, 3), (9, 4), (9, 4)):
            found = judge_ratings(["a"], Server(server.url, "m"), answers=file, limits=Limits(asks=asks))
            assert len(server.seen) == asked
            assert np.isnan(found.scores).all() == (asks < 9)
        assert server.seen[-1].messages[1]["content"] == "no"


def test_other_settings_and_other_texts_are_other_questions(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with judge_server() as server:
        base = Server(server.url, "m")
        judge_ratings(TEXTS[:3], base, answers=file)
        assert judge_ratings(TEXTS[2:0:-1], base, answers=file).report.requests == 0
        assert judge_ratings([("", text) for text in TEXTS[:3]], base, answers=file).report.requests == 0
        assert judge_ratings(TEXTS[:4], base, answers=file).report.requests == 1
        for other in (
            Server(server.url, "other"), Server(server.url, "m", temperature=1), Server(server.url, "m", max_tokens=9),
            Server(server.url, "m", extra={"seed": 1}),
        ):  # fmt: skip
            assert judge_ratings(TEXTS[:3], other, answers=file).report.requests == 3
        rubrics = Rubric(high=6), Rubric(template="$example $format"), Rubric(["difficulty", "coherence", *NAMES])
        for rubric in rubrics:
            assert judge_ratings(TEXTS[:3], base, rubric=rubric, answers=file).report.requests == 3
    with judge_server() as moved:
        # Another address and key, as after a restart of the server.
        assert judge_ratings(TEXTS[:3], Server(moved.url, "m", "key"), answers=file).report.requests == 0


NAMES = ["correctness", "helpfulness"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question,answer\n1,2\n", "holds no answers of a judge"),
        ('{"text": "row of a data set"}\n', "holds no answers of a judge"),
        ("no line break", "holds no answers of a judge"),
        ('{"gip_gpu": "losses of a language model", "version": 1}\n', "holds no answers of a judge"),
        ('{"gip_gpu": "answers of a judge", "version": 1}\nnonsense\n', "line 2 is no JSON"),
        ('{"gip_gpu": "answers of a judge", "version": 1}\n[]\n', "line 2 has no key"),
    ],
)
def test_other_files_stay_as_they_are(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        judge_ratings(["a"], Server("http://127.0.0.1:1/v1", "m"), answers=file)
    assert file.read_text() == content


@posix
def test_an_interrupt_in_a_notebook_ends_the_requests(tmp_path: Path) -> None:
    async def notebook(url: str) -> None:
        # As in a notebook's kernel; asyncio.run would only cancel its task.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        judge_ratings(TEXTS, Server(url, "m"), answers=tmp_path / "a.jsonl", limits=Limits(concurrency=2))

    with judge_server(lambda text, before: Answer(wait=0.2)) as server:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(notebook(server.url))
        asked = len(server.seen)
        time.sleep(0.5)
        assert asked == len(server.seen) < 20
        assert judge_ratings(TEXTS[:2], Server(server.url, "m"), answers=tmp_path / "a.jsonl").report.requests == 0
