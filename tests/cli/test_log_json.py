"""--log-json: each line of standard error is one object, of a real process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command_line import command, posix
from tests.support.data_sets import rows, write
from tests.support.judge_server import Answer, judge_server
from tests.support.paths import ROOT

ROWS = [{**row, "quality": i % 6} for i, row in enumerate(rows(400))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "data.jsonl", ROWS)
    np.save(tmp_path / "F.npy", np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    np.save(tmp_path / "G.npy", np.arange(400))
    return tmp_path


def call(folder: Path, line: str, status: int = 0) -> tuple[str, list[dict[str, Any]]]:
    """Returns standard output and the objects on standard error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(*line.split()), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout, [json.loads(each) for each in done.stderr.splitlines()]


def stages(lines: list[dict[str, Any]]) -> list[str]:
    """Returns the names of the stages, each of which begins, makes progress and ends before the next."""
    found: list[str] = []
    for each in lines:
        if each["event"] == "begin":
            found.append(each["stage"])
        elif each["event"] in ("progress", "end"):
            assert each["stage"] == found[-1]
    ends = [each for each in lines if each["event"] == "end"]
    assert [each["stage"] for each in ends] == found
    assert all(each["seconds"] >= 0 for each in ends)
    return found


def progress(lines: list[dict[str, Any]], stage: str) -> list[tuple[int, int]]:
    found = [(each["done"], each["total"]) for each in lines if each["event"] == "progress" and each["stage"] == stage]
    assert found == sorted(found)
    return found


@pytest.mark.slow
def test_run(folder: Path) -> None:
    with judge_server() as server:
        line = f"run data.jsonl -k 150 -o a.jsonl --device cpu --judge {server.url} --model m --sign positive"
        out, lines = call(folder, f"{line} --log-json --batch-size 1 --standardize zscore")
    assert out == ""
    assert stages(lines) == ["read", "embed", "score", "judge", "select", "write"]
    assert progress(lines, "embed")[-1] == (400, 400)
    assert progress(lines, "judge")[-1] == (400, 400)
    assert progress(lines, "select")[-1] == (150, 150)
    # Batches of one text: a line for each hundredth of them, and not for each.
    assert len(progress(lines, "embed")) <= 101
    assert lines[-1]["event"] == "summary"
    assert lines[-1]["fields"]["rows"] == "400"
    assert lines[-1]["fields"]["judge: requests"].startswith("400")
    assert lines[-1]["fields"]["written"][:2] == ["a.jsonl", "a.jsonl.npz"]
    assert lines[-1]["fields"]["certificate"].startswith("every pick")
    assert [each["time"] for each in lines] == sorted(each["time"] for each in lines)
    assert "log-json" not in (folder / "a.jsonl.toml").read_text()


@pytest.mark.slow
def test_libraries_show_no_bars(folder: Path) -> None:
    pytest.importorskip("datasets")
    for options, lines_at_least in (("--log-json", 1), ("--quiet", 0)):
        out, lines = call(folder, f"run data.jsonl -k 9 -o chosen --device cpu --no-report --force {options}")
        assert out == ""
        assert len(lines) >= lines_at_least
    _, lines = call(folder, "run chosen -k 5 -o again --device cpu --no-report --log-json")
    assert lines[-1]["fields"]["rows"] == "9"


@pytest.mark.slow
def test_embed_score_and_select(folder: Path) -> None:
    out, lines = call(folder, "embed data.jsonl -o V.npy --log-json")
    assert (out, stages(lines)) == ("", ["embed"])
    assert lines[-1]["fields"]["vectors"] == "400 of length 1,024"
    out, lines = call(folder, "score data.jsonl -o s.npz --columns quality --log-json")
    assert (out, lines[-1]["fields"]["written"], lines[-1]["fields"]["rows"]) == ("", ["s.npz"], "400")
    out, lines = call(folder, "select F.npy --scores G.npy -k 30 --log-json")
    assert len(out.splitlines()) == 30
    assert stages(lines) == ["read", "select", "write"]
    assert progress(lines, "select")[-1] == (30, 30)
    assert lines[-1]["fields"]["chosen"] == "30"


@pytest.mark.slow
def test_warnings_and_errors_are_lines_too(folder: Path) -> None:
    np.save(folder / "signed.npy", np.arange(400.0) - 200)
    _, lines = call(folder, "select F.npy --scores signed.npy -k 5 -o c.npy --log-json")
    (warning,) = (each for each in lines if each["event"] == "warning")
    assert warning["category"] == "ScoreSignWarning"
    _, lines = call(folder, "select F.npy --scores G.npy -k 5000 -o d.npy --log-json", status=2)
    assert (lines[-1]["event"], lines[-1]["status"]) == ("error", 2)
    assert "k is 5000" in lines[-1]["message"]
    # A stage that failed does not end.
    assert [each["event"] for each in lines] == ["begin", "error"]
    _, lines = call(folder, "embed data.jsonl --log-json", status=2)
    assert "Missing option" in lines[-1]["message"]


@pytest.mark.slow
def test_quiet_writes_nothing(folder: Path) -> None:
    for line in ("run data.jsonl -k 5 -o a.jsonl", "embed data.jsonl -o V.npy", "select F.npy -k 5 -o c.npy"):
        assert call(folder, f"{line} --log-json --quiet") == ("", [])


@posix
@pytest.mark.slow
def test_lines_come_while_the_work_runs(folder: Path) -> None:
    with judge_server() as server:
        server.rule = lambda text, before: Answer(wait=0.01)
        line = f"score data.jsonl -o s.npz --judge {server.url} --model m --concurrency 1 --log-json"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        with subprocess.Popen(command(*line.split()), cwd=folder, env=environment, stdout=pipe, stderr=pipe) as process:
            assert process.stderr is not None
            assert json.loads(process.stderr.readline())["stage"] == "judge"
            first = json.loads(process.stderr.readline())
            assert (first["event"], first["total"]) == ("progress", 400)
            # The line is there before the work is done.
            assert process.poll() is None
            assert len(server.seen) < 400
            process.terminate()
            rest = [json.loads(each) for each in process.stderr]
    assert [each["event"] for each in rest if each["event"] not in ("progress", "warning")] == ["note"]
    assert "kept beside s.npz" in rest[-1]["message"]
