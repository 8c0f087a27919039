"""`gip-gpu run` scores by a judge and by a language model: as `score` and then `run`, resumed, missing ratings."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gip_gpu import cli
from gip_gpu.cli.bars import bar
from gip_gpu.hf import JudgeSettings, TextSignals, select_dataset
from gip_gpu.signals.judge import Rubric, Server
from tests.support.command_line import Run, command, posix
from tests.support.data_sets import read, write
from tests.support.judge_server import ATTRIBUTES, Answer, JudgeServer, judge_server, true_ratings
from tests.support.report_page import data_of

pytest.importorskip("openai", reason="the judge needs the package openai")

M = 40
ROWS: list[dict[str, Any]] = [
    {"question": f"what is {i} plus two ?", "answer": f"the answer is {i} .", "quality": (i * i) % 7} for i in range(M)
]
TRUE = np.array([list(true_ratings(str(row["answer"])).values()) for row in ROWS])


def line(server: JudgeServer, rest: str = "", out: str = "a.jsonl") -> str:
    return f"run data.jsonl -k 9 -o {out} --device cpu --judge {server.url} --model m --standardize zscore {rest}"


def test_a_judge_in_the_run_equals_score_and_then_run(folder: Path, run: Run, server: JudgeServer) -> None:
    found = run(line(server, "--score-column quality --price 1,2"))
    assert (found.status, found.err) == (0, "")
    for shown in ("quality", "coherence", "judge: requests       40,", "judge: cost           0.0048", "40 different"):
        assert shown in found.out
    assert run(f"score data.jsonl -o s.npz --columns quality --judge {server.url} --model m").status == 0
    np.testing.assert_array_equal(np.load("s.npz")["scores"][:, 1:], TRUE)
    assert run("run data.jsonl -k 9 -o b.jsonl --device cpu --standardize zscore --scores s.npz").status == 0
    assert read(folder / "a.jsonl") == read(folder / "b.jsonl")
    names = [score["name"] for score in data_of(folder / "a.jsonl.html")["scores"]]
    assert names == ["quality", *ATTRIBUTES]


def test_nothing_is_asked_again_but_what_has_changed(
    folder: Path, run: Run, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "very-secret")
    options = '--scale 0,5 --temperature none --extra {"seed":1} --api-key-env MY_KEY --price 0.15,0.6 --max-tokens 9'
    assert run(line(server, options)).status == 0
    first = (folder / "a.jsonl").read_bytes()
    config = (folder / "a.jsonl.toml").read_text()
    assert "very-secret" not in config
    assert 'api-key-env = "MY_KEY"' in config
    assert len(server.seen) == M
    # --max-tokens is the encoder's, --judge-max-tokens the judge's.
    assert server.seen[0].body["max_tokens"] == 256
    assert "temperature" not in server.seen[0].body
    again = run("run --config a.jsonl.toml --force")
    assert again.status == 0, again.err
    assert (folder / "a.jsonl").read_bytes() == first
    assert (folder / "a.jsonl.toml").read_text() == config
    assert len(server.seen) == M
    assert "40 different, 40 rated before" in again.out
    # Another text.
    write(folder / "data.jsonl", [*ROWS[:-1], {**ROWS[-1], "answer": "another answer"}])
    assert run("run --config a.jsonl.toml --force").status == 0
    assert [each.text for each in server.seen[M:]] == ["another answer"]
    # Another rubric, and another setting of the server.
    Path("rubric.txt").write_text("Rate $attributes from $low to $high.\n$example")
    for option in ("--rubric rubric.txt", "--judge-max-tokens 64"):
        server.seen.clear()
        assert run(f"run --config a.jsonl.toml --force {option}").status == 0
        assert len(server.seen) == M


def test_a_bar_for_each_stage(folder: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(line(server).split()) == 0
    shown = terminal.getvalue()
    places = [shown.index(each) for each in ("embed: 100%", "judge: 100%", "select: 100%")]
    assert places == sorted(places)
    # All is found: no bar of a judge stays.
    terminal.truncate(0)
    assert cli.main(line(server, "--force").split()) == 0
    assert "judge: 100%" not in terminal.getvalue()


def test_work_of_an_earlier_run_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar("judge", "row") as report:
        report(900_000, 1_000_000)
        time.sleep(0.2)
        report(900_002, 1_000_000)
    last = terminal.getvalue().split("\r")[-1]
    rate = re.search(r"([\d.]+)row/s", last)
    assert rate is not None, last
    assert float(rate[1]) <= 10


@posix
@pytest.mark.slow
def test_killed_while_the_judge_rates(folder: Path, run: Run) -> None:
    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        process = subprocess.Popen(command(*line(server, "--concurrency 3").split()), stderr=subprocess.DEVNULL)
        while len(server.seen) < 12:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (folder / "a.jsonl").exists()
        assert run(line(server, "--concurrency 3")).status == 0
        assert len(server.asked) == M
        assert len(server.seen) <= M + 3
        assert run(line(server, out="b.jsonl")).status == 0
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_missing_ratings(folder: Path, run: Run) -> None:
    gone = np.arange(M) % 10 < 7
    bad = {str(ROWS[i]["answer"]) for i in np.flatnonzero(gone)}
    with judge_server(lambda text, before: Answer("I cannot say.") if text in bad else None) as server:
        refused = run(line(server, "--asks 1 --work work"))
        assert refused.status == 2
        assert "28 of 'coherence'" in refused.err
        assert "judge, 28 rows: it is not one JSON object" in refused.err
        asked = len(server.seen)
        for missing in ("drop", "mean"):
            found = run(line(server, f"--asks 1 --work work --missing {missing}", out=f"{missing}.jsonl"))
            assert found.status == 0, found.err
            assert f"28 missing ({missing})" in found.out
        assert run(line(server, "--asks 1 --work work --on-nan drop", out="nan.jsonl")).status == 0
        assert len(server.seen) == asked
    kept = [row for row, none in zip(ROWS, gone, strict=True) if not none]
    dropped = read(folder / "drop.jsonl")
    assert len(dropped) == 9
    assert all(row in kept for row in dropped)
    assert read(folder / "nan.jsonl") == dropped
    filled = np.where(gone[:, None], TRUE[~gone].mean(axis=0), TRUE)
    np.save("filled.npy", filled)
    assert run("run data.jsonl -k 9 -o c.jsonl --device cpu --standardize zscore --scores filled.npy").status == 0
    assert read(folder / "mean.jsonl") == read(folder / "c.jsonl")


def test_missing_numbers_of_columns(folder: Path, run: Run) -> None:
    write(folder / "data.jsonl", [{**row, "quality": row["quality"] if i % 2 else None} for i, row in enumerate(ROWS)])
    base = "run data.jsonl -k 9 --device cpu --score-column quality -o"
    assert run(f"{base} a.jsonl").status == 2
    assert run(f"{base} b.jsonl --missing drop").status == 0
    assert run(f"{base} c.jsonl --on-nan drop").status == 0
    assert (folder / "b.jsonl").read_bytes() == (folder / "c.jsonl").read_bytes()
    assert all(row["quality"] is not None for row in read(folder / "b.jsonl"))
    assert run(f"{base} d.jsonl --missing mean").status == 0


def test_a_language_model_beside_a_judge(folder: Path, run: Run, server: JudgeServer, model: Path) -> None:
    both = f"--perplexity {model} --ifd {model} --batch-tokens 300 --lm-dtype float32"
    found = run(line(server, both))
    assert (found.status, found.err) == (0, "")
    losses = (folder / "a.jsonl.work" / "losses.jsonl").read_bytes()
    assert run(line(server, f"{both} --force")).status == 0
    assert (folder / "a.jsonl.work" / "losses.jsonl").read_bytes() == losses
    assert len(server.seen) == M
    scored = f"score data.jsonl -o s.npz --device cpu --judge {server.url} --model m {both}"
    assert run(scored).status == 0
    assert np.load("s.npz")["names"].tolist() == ["perplexity", "ifd", *ATTRIBUTES]
    assert run("run data.jsonl -k 9 -o b.jsonl --device cpu --standardize zscore --scores s.npz").status == 0
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_given_vectors_and_computed_scores(folder: Path, run: Run, server: JudgeServer) -> None:
    assert run("embed data.jsonl -o V.npy").status == 0
    assert run(line(server)).status == 0
    assert run(line(server, "--embeddings V.npy", out="b.jsonl")).status == 0
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_select_dataset_takes_signals(folder: Path, run: Run, server: JudgeServer) -> None:
    polars = pytest.importorskip("polars")
    attributes = ["coherence", "correctness", "helpfulness", "difficulty"]
    signals = TextSignals(judge=JudgeSettings(Server(server.url, "m"), Rubric(attributes)))
    frame = polars.DataFrame(ROWS)
    for _ in range(2):
        chosen = select_dataset(
            frame, 9, scores="quality", signals=signals, cache="work", standardize="zscore", device="cpu"
        )
        assert len(server.seen) == M
    assert run(line(server, "--score-column quality")).status == 0
    assert chosen.to_dicts() == read(folder / "a.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--judge http://localhost:1/v1", "--judge and --model belong together"),
        ("--judge http://localhost:1/v1 --model m --scores G.npy", "scores are given, and signals are computed"),
        ("--missing mean --scores G.npy", "scores are given, and missing is 'mean'"),
        ("--missing mean", "missing is 'mean', and there are no score columns and no signals"),
        ("--ifd ./none --text-column answer", "data.jsonl, read as column (answer), has no prompts"),
        ("--ifd ./none", "cannot load the language model ./none"),
        ("--judge http://localhost:1/v1 --model m --attributes quality --score-column quality", "both have 'quality'"),
        ("--judge http://localhost:1/v1 --model m --api-key-env NO_KEY", "no variable NO_KEY"),
        ("--judge http://localhost:1/v1 --model m --scale 5", "two numbers"),
    ],
)
def test_what_cannot_be_scored_is_named(folder: Path, run: Run, options: str, message: str) -> None:
    np.save("G.npy", np.arange(M))
    found = run(f"run data.jsonl -k 9 -o a.jsonl {options}")
    assert found.status == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not (folder / "a.jsonl").exists()


def test_the_options_reach_a_file_of_options(folder: Path, run: Run, server: JudgeServer) -> None:
    Path("own.toml").write_text(
        f'data = ["data.jsonl"]\nk = 9\nout = "a.jsonl"\njudge = "{server.url}"\nmodel = "m"\n'
        'attributes = "wit,depth"\nscale = "1,10"\nextra = \'{"seed": 1}\'\nasks = 2\nmissing = "drop"\n'
        "timeout = 30\ntokens-per-minute = 1e9\n"
    )
    server.rule = lambda text, before: Answer(json.dumps({"wit": 7, "depth": 1 + len(text) % 10}))
    found = run("run --config own.toml")
    assert found.status == 0, found.err
    assert server.seen[0].body["seed"] == 1
    assert "depth" in found.out
