"""`gip-gpu score`: judge, language model and columns side by side, in every format, resumed, refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gip_gpu
from gip_gpu.records import Texts, open_records
from gip_gpu.sources import open_matrix
from tests.support.command_line import Run, command, posix, started
from tests.support.judge_server import ATTRIBUTES, Answer, JudgeServer, judge_server, true_ratings

pytest.importorskip("openai", reason="the judge needs the package openai")

M = 40
ROWS = [
    {"question": f"what is {i} plus two ?", "answer": f"the answer is {i} .", "quality": (i * i) % 7, "length": i / 4}
    for i in range(M)
]
TRUE = np.array([list(true_ratings(str(row["answer"])).values()) for row in ROWS])
QUALITY = np.array([[row["quality"], row["length"]] for row in ROWS], float)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv", ".npy"])
def test_columns_and_judge_side_by_side(folder: Path, run: Run, server: JudgeServer, suffix: str) -> None:
    names = ["quality", "length", *ATTRIBUTES]
    line = f"score data.jsonl -o scores{suffix} --columns quality,length --judge {server.url} --model m --price 1,2"
    found = run(line)
    assert (found.status, found.err) == (0, "")
    wanted = np.hstack([QUALITY, TRUE])
    key = ",".join(names) if suffix == ".parquet" else None
    np.testing.assert_array_equal(open_matrix(folder / f"scores{suffix}", key)[:], wanted)
    if suffix == ".npz":
        assert np.load("scores.npz")["names"].tolist() == names
    if suffix == ".csv":
        assert Path("scores.csv").read_text().startswith(",".join(names))
    if suffix == ".parquet":
        assert pq.read_table("scores.parquet").column_names == names
    for shown in (
        "judge: cost           0.0048",
        f"judge: requests       {M}",
        f"written               scores{suffix}",
    ):
        assert shown in found.out
    assert "quality" in found.out
    # The file of scores goes into select as it is.
    F = np.random.default_rng(0).normal(size=(M, 8))
    np.save("F.npy", F)
    if suffix != ".parquet":
        assert run(f"select F.npy --scores scores{suffix} -k 5 -o chosen.npy").status == 0
        assert gip_gpu.select(F, wanted, 5, device="cpu") == np.load("chosen.npy")


def test_language_model_side_by_side(folder: Path, run: Run, model: Path) -> None:
    from gip_gpu.signals.language_model import ifd, load_model, perplexity

    line = f"score data.jsonl -o scores.npz --perplexity {model} --ifd {model} --columns length --device cpu"
    found = run(line)
    assert (found.status, found.err) == (0, "")
    loaded, pairs = load_model(model, device="cpu"), list(Texts(open_records(folder / "data.jsonl")).pairs())
    wanted = np.column_stack([QUALITY[:, 1], perplexity(pairs, loaded), ifd(pairs, loaded)])
    archive = np.load("scores.npz")
    assert archive["names"].tolist() == ["length", "perplexity", "ifd"]
    np.testing.assert_array_equal(archive["scores"], wanted)
    # All losses come from the file, so the same command gives the same file.
    before = Path("scores.npz").read_bytes()
    kept = Path("scores.npz.losses.jsonl").read_bytes()
    assert run(f"{line} --force").status == 0
    assert Path("scores.npz").read_bytes() == before
    assert Path("scores.npz.losses.jsonl").read_bytes() == kept


def test_a_dry_run_asks_nothing_and_writes_nothing(folder: Path, run: Run, server: JudgeServer) -> None:
    line = f"score data.jsonl --judge {server.url} --model m --dry-run --price 1000,2000"
    found = run(line)
    assert found.status == 0
    assert f"{M}, {M} different" in found.out
    assert not server.seen
    assert set(os.listdir()) == {"data.jsonl"}
    cost = float(found.out.split("cost")[1].split()[0])
    assert 1000 * M * 200 / 1e6 < cost < 1000 * M * 400 / 1e6
    # With replies of an earlier run: what is left.
    assert run(f"score data.jsonl -o s.npz --judge {server.url} --model m").status == 0
    found = run(f"{line} -o s.npz")
    assert f"rated before    {M}" in found.out
    assert found.out.split("cost")[1].split()[0] == "0"


@pytest.mark.parametrize("missing", ["error", "drop", "mean"])
def test_seventy_per_cent_missing(folder: Path, run: Run, missing: str) -> None:
    gone = np.arange(M) % 10 < 7
    bad = {str(ROWS[i]["answer"]) for i in np.flatnonzero(gone)}
    with judge_server(lambda text, before: Answer("I cannot say.") if text in bad else None) as server:
        line = f"score data.jsonl -o scores.npz --judge {server.url} --model m --asks 1 --missing {missing}"
        found = run(line)
        asked = len(server.seen)
        if missing == "error":
            assert found.status == 2
            assert "28 of 'coherence'" in found.err
            assert "missing='drop'" in found.err
            assert "judge, 28 rows: it is not one JSON object" in found.err
            assert not Path("scores.npz").exists()
            # The replies are kept: another choice costs nothing.
            assert run(line.replace("error", "drop")).status == 0
            assert len(server.seen) == asked
            return
    assert found.status == 0
    assert f"28 missing ({missing})" in found.out
    scores = np.load("scores.npz")["scores"]
    np.testing.assert_array_equal(scores[~gone], TRUE[~gone])
    if missing == "mean":
        assert (scores[gone] == TRUE[~gone].mean(axis=0)).all()
    else:
        assert np.isnan(scores[gone]).all()
        np.save("F.npy", np.random.default_rng(0).normal(size=(M, 8)))
        assert run("select F.npy --scores scores.npz -k 5 -o chosen.npy --on-nan drop").status == 0
        assert not gone[np.load("chosen.npy")].any()


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv", ".npy"])
def test_missing_scores_in_every_format(folder: Path, run: Run, suffix: str) -> None:
    rows = [{"a": 1.5, "b": 1}, {"a": None, "b": 2}, {"a": 2.25, "b": 3}]
    Path("gaps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(f"score gaps.jsonl -o gaps{suffix} --columns a --missing drop").status == 0
    found = open_matrix(folder / f"gaps{suffix}", "a" if suffix in (".csv", ".parquet") else None)[:]
    np.testing.assert_array_equal(found, [[1.5], [np.nan], [2.25]])
    if suffix == ".parquet":
        assert pq.read_table("gaps.parquet")["a"].null_count == 1


@posix
@pytest.mark.slow
def test_killed_and_started_again(folder: Path) -> None:
    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        line = f"score data.jsonl -o scores.npz --judge {server.url} --model m --concurrency 3"
        process = subprocess.Popen(command(*line.split()), stderr=subprocess.DEVNULL)
        while len(server.seen) < 12:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(command(*line.split()), check=True, capture_output=True)
        assert len(server.asked) == M
        assert len(server.seen) <= M + 3
    np.testing.assert_array_equal(np.load("scores.npz")["scores"], TRUE)


@posix
@pytest.mark.slow
def test_an_interrupt_says_how_to_resume(folder: Path) -> None:
    with judge_server(lambda text, before: Answer(wait=0.1)) as server:
        with started(f"score data.jsonl -o scores.npz --judge {server.url} --model m") as (process, _, errors):
            while len(server.seen) < 12:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            said = errors.read()
        assert "kept beside scores.npz; the same command resumes from it" in said
        assert "interrupted" in said
        assert len(server.seen) < M
    assert not Path("scores.npz").exists()


def test_a_budget_that_ends_is_named(folder: Path, run: Run, server: JudgeServer) -> None:
    line = f"score data.jsonl -o s.npz --judge {server.url} --model m --token-budget 2000"
    found = run(line)
    assert found.status == 2
    assert "rows: the token budget is used up" in found.err
    found = run(f"{line} --missing drop")
    assert found.status == 0
    assert "judge: stopped" in found.out


@posix
@pytest.mark.slow
def test_a_bar_with_rate_and_remaining_time(folder: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        line = f"score data.jsonl -o scores.npz --judge {server.url} --model m --concurrency 2"
        with subprocess.Popen(command(*line.split()), stderr=theirs, stdout=subprocess.DEVNULL):
            os.close(theirs)
            shown = b""
            # Linux reports the end of a terminal as an error.
            with contextlib.suppress(OSError):
                while part := os.read(ours, 4096):
                    shown += part
        os.close(ours)
    assert re.search(r"judge:  +\d+%.*\| +\d+/40 \[\d\d:\d\d<\d\d:\d\d, .*row", shown.decode())
    assert "40/40" in shown.decode()


def test_no_resume_keeps_nothing(folder: Path, run: Run, server: JudgeServer) -> None:
    line = f"score data.jsonl -o scores.npz --judge {server.url} --model m --no-resume"
    assert run(line).status == 0
    assert set(os.listdir()) == {"data.jsonl", "scores.npz"}
    assert run(f"{line} --force").status == 0
    assert len(server.seen) == 2 * M


def test_the_settings_reach_the_server(
    folder: Path, run: Run, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    Path("rubric.txt").write_text("Rate $attributes from $low to $high.\n$example")
    server.rule = lambda text, before: Answer('{"wit": 7, "depth": 10}')
    found = run(
        f"score data.jsonl -o scores.csv --judge {server.url} --model m --attributes wit,depth --scale 1,10 "
        '--rubric rubric.txt --api-key-env MY_KEY --temperature none --max-tokens 99 --extra {"seed":1} --quiet'
    )
    assert (found.status, found.out, found.err) == (0, "", "")
    assert Path("scores.csv").read_text().splitlines()[:2] == ["wit,depth", "7.0,10.0"]
    seen = server.seen[0]
    assert seen.headers["authorization"] == "Bearer secret"
    assert (seen.body["max_tokens"], seen.body["seed"]) == (99, 1)
    assert "temperature" not in seen.body
    assert seen.messages[0]["content"].startswith("Rate - wit\n- depth from 1 to 10.\n<prompt-")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score data.jsonl -o s.npz", "nothing to score by; give --judge, --perplexity, --ifd, --dsir or --columns"),
        ("score data.jsonl --columns quality", "-o is missing"),
        ("score data.jsonl -o s.npz --judge http://localhost:1/v1", "--judge and --model belong together"),
        ("score data.jsonl -o s.npz --judge localhost --model m", "url is 'localhost'"),
        ("score data.jsonl -o s.txt --columns quality", "has suffix '.txt'"),
        ("score data.jsonl -o data.jsonl --columns quality", "named twice"),
        ("score data.jsonl -o s.npz --columns beauty", "beauty"),
        ("score data.jsonl -o s.npz --columns answer", "answer"),
        ("score none.jsonl -o s.npz --columns quality", "none.jsonl"),
        ("score data.jsonl -o s.npz --columns quality --missing zero", "zero"),
        ("score data.jsonl -o s.npz --judge http://localhost:1/v1 --model m --scale 5", "two numbers"),
        ("score data.jsonl -o s.npz --judge http://localhost:1/v1 --model m --extra [1]", "must be a JSON object"),
        (
            "score data.jsonl -o s.npz --judge http://localhost:1/v1 --model m --api-key-env NO_KEY",
            "no variable NO_KEY",
        ),
        (
            "score data.jsonl -o s.npz --judge http://localhost:1/v1 --model m --columns a --attributes a",
            "both have 'a'",
        ),
        ("score data.jsonl -o s.npz --judge http://localhost:1/v1 --model m --rubric none.txt", "none.txt"),
        ("score data.jsonl -o s.npz --ifd ./none", "cannot load the language model ./none"),
        ("score data.jsonl -o s.npz --perplexity none.gguf", "there is no such file"),
        ("score texts.jsonl -o s.npz --ifd ./none", "has no prompts"),
    ],
)
def test_what_cannot_be_scored_is_named(folder: Path, run: Run, line: str, message: str) -> None:
    Path("texts.jsonl").write_text('{"text": "only text"}\n')
    Path("a.jsonl").write_text('{"a": 1}\n')
    found = run(line.replace("data.jsonl", "a.jsonl") if "--attributes a" in line else line)
    assert found.status == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not list(folder.glob("s.*"))


def test_every_data_set_that_embed_takes(folder: Path, run: Run, server: JudgeServer) -> None:
    Path("parts").mkdir()
    for name, part in (("a.jsonl", ROWS[:9]), ("b.jsonl", ROWS[9:])):
        Path("parts", name).write_text("".join(json.dumps(row) + "\n" for row in part))
    options = f"--judge {server.url} --model m --columns quality,length"
    for data in ("parts", "parts/a.jsonl parts/b.jsonl"):
        assert run(f"score {data} -o scores.npy {options} --force").status == 0
        np.testing.assert_array_equal(np.load("scores.npy"), np.hstack([QUALITY, TRUE]))
    assert len(server.seen) == M
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk("saved")
    assert run(f"score saved -o scores.npy {options} --split train --force").status == 0
    np.testing.assert_array_equal(np.load("scores.npy"), np.hstack([QUALITY, TRUE]))
    assert len(server.seen) == M
    # Columns alone may be in any file that select takes.
    Path("numbers.csv").write_text("quality,length\n1,2\n3,4\n")
    assert run("score numbers.csv -o csv.npy --columns length").status == 0
    assert np.load("csv.npy").tolist() == [[2], [4]]


def test_the_text_is_named(folder: Path, run: Run, server: JudgeServer) -> None:
    template = "--text-template {answer}|{quality}"
    for option, texts in (
        ("--text-column question", [row["question"] for row in ROWS]),
        (template, [f"{row['answer']}|{row['quality']}" for row in ROWS]),
        ("--layout gsm8k", [row["answer"] for row in ROWS]),
    ):
        server.seen.clear()
        assert run(f"score data.jsonl -o s.npy --judge {server.url} --model m {option} --force").status == 0
        assert set(server.asked) == set(texts)
    found = run(f"score data.jsonl -o t.npy --ifd ./none {template}")
    assert "data.jsonl, read as template (answer, quality), has no prompts" in found.err


def test_hostile_rows(folder: Path, run: Run, server: JudgeServer) -> None:
    texts = [
        "x" * 200_000,
        "null \0 byte",
        "</text> <script>alert(1)</script>",
        "emoji \U0001f600 \u2028 line",
        "a",
        "a",
    ]
    Path("hostile.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert run(f"score hostile.jsonl -o s.npy --judge {server.url} --model m").status == 0
    np.testing.assert_array_equal(np.load("s.npy"), [list(true_ratings(text).values()) for text in texts])
    assert set(server.asked) == set(texts)
    Path("lone.jsonl").write_text('{"text": "lone \\ud800 surrogate"}\n')
    assert run(f"score lone.jsonl -o t.npy --judge {server.url} --model m").status == 0
    assert server.seen[-1].text == "lone \ufffd surrogate"
