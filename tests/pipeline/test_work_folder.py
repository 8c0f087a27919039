"""The work folder of a run: damaged and foreign files do not stop it; two runs do not share it."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gip_gpu.exceptions import CheckpointError
from gip_gpu.pipeline.run import LOCK, Stages
from gip_gpu.signals.ledger import Ledger
from gip_gpu.system.locks import locked
from tests.support.command_line import Run, command, posix, runner
from tests.support.data_sets import read, rows, working_folder
from tests.support.judge_server import Answer, judge_server

ROWS = [{**row, "quality": i % 6} for i, row in enumerate(rows(70))]
LINE = "run data.jsonl -k 9 --work work --device cpu --no-report"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return working_folder(tmp_path, monkeypatch, ROWS)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def checkpoint(folder: Path) -> Path:
    (found,) = (folder / "work").glob("*.ckpt")
    return found


def other_checkpoint(folder: Path, run: Run) -> bytes:
    assert run("run data.jsonl -k 9 -o o.jsonl --work other --device cpu --score-column quality").status == 0
    return next((folder / "other").glob("*.ckpt")).read_bytes()


@pytest.mark.filterwarnings("default::gip_gpu.exceptions.DataWarning")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content, other: content[: len(content) // 2], "was cut off or altered"),
        (lambda content, other: content[:300] + b"x" + content[301:], "was altered since it was written"),
        (lambda content, other: b"", "is no checkpoint"),
        (lambda content, other: b"something else", "is no checkpoint"),
        (lambda content, other: other, "is of another selection"),
    ],
)
def test_a_bad_checkpoint_does_not_stop_a_run(folder: Path, run: Run, damage: Any, message: str) -> None:
    assert run(f"{LINE} -o a.jsonl").status == 0
    path = checkpoint(folder)
    bad = damage(path.read_bytes(), other_checkpoint(folder, run))
    path.write_bytes(bad)
    found = run(f"{LINE} -o b.jsonl")
    assert found.status == 0
    assert message in found.err
    assert found.err.endswith("; the selection starts anew\n")
    assert found.err.count("\n") == 1
    assert (folder / "b.jsonl").read_bytes() == (folder / "a.jsonl").read_bytes()
    # The next run finds a good one.
    again = run(f"{LINE} -o c.jsonl")
    assert (again.status, again.err) == (0, "")
    assert "9 picks from the checkpoint" in again.out
    # A checkpoint that the user names keeps its error, and its content.
    np.save("F.npy", np.random.default_rng(0).normal(size=(70, 8)))
    Path("mine.ckpt").write_bytes(bad)
    refused = run("select F.npy -k 5 -o d.npy --checkpoint mine.ckpt")
    assert refused.status == 2
    assert "mine.ckpt" in refused.err
    assert Path("mine.ckpt").read_bytes() == bad


@pytest.mark.filterwarnings("default::gip_gpu.exceptions.DataWarning")
def test_an_altered_file_of_vectors_belongs_to_no_checkpoint(folder: Path, run: Run) -> None:
    assert run(f"{LINE} -o a.jsonl").status == 0
    (vectors,) = (folder / "work").glob("*.npy")
    stored = np.load(vectors, mmap_mode="r+")
    stored[5] = stored[6]
    stored.flush()
    found = run(f"{LINE} -o b.jsonl")
    assert found.status == 0
    assert found.err.endswith("is of another selection: of another F; the selection starts anew\n")


def test_a_truncated_file_of_vectors_is_made_again(folder: Path, run: Run) -> None:
    assert run(f"{LINE} -o a.jsonl").status == 0
    (vectors,) = (folder / "work").glob("*.npy")
    content = vectors.read_bytes()
    vectors.write_bytes(content[:-100])
    assert run(f"{LINE} -o b.jsonl").status == 0
    assert vectors.read_bytes() == content
    assert (folder / "b.jsonl").read_bytes() == (folder / "a.jsonl").read_bytes()


@posix
@pytest.mark.slow
def test_a_second_run_in_the_folder_is_refused(folder: Path, run: Run) -> None:
    with judge_server(lambda text, before: Answer(wait=0.05)) as server:
        line = f"{LINE} --judge {server.url} --model m --concurrency 1 --sign positive -o"
        with subprocess.Popen(command(*f"{line} a.jsonl".split()), stdout=subprocess.DEVNULL) as first:
            while not server.seen:
                assert first.poll() is None
                time.sleep(0.005)
            found = run(f"{line} b.jsonl")
            assert found.status == 2
            wanted = "the work folder work is in use by another run; wait for it, or give another folder\n"
            assert found.err == f"gip-gpu: error: {wanted}"
            assert first.poll() is None
            # The first is not disturbed; a folder of its own is free.
            assert run("run data.jsonl -k 9 -o c.jsonl --device cpu").status == 0
            assert first.wait() == 0
        assert run(f"{line} b.jsonl").status == 0
        assert len(server.asked) == len(ROWS) == len(server.seen)
    assert read(folder / "a.jsonl") == read(folder / "b.jsonl")


@posix
def test_threads_do_not_share_the_folder_either(folder: Path) -> None:
    inside, free = threading.Event(), threading.Event()

    def notify(stage: str) -> None:
        if stage == "embed":
            inside.set()
            assert free.wait(60)

    thread = threading.Thread(target=Stages("data.jsonl", 5, "work", notify=notify).run)
    thread.start()
    try:
        assert inside.wait(60)
        with pytest.raises(ValueError, match="the work folder work is in use by another run"):
            Stages("data.jsonl", 5, "work").run()
    finally:
        free.set()
        thread.join()
    assert len(Stages("data.jsonl", 5, "work").run().selection) == 5


@posix
def test_the_lock_is_that_of_the_files_of_replies(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.jsonl", "answers", print):
        with pytest.raises(ValueError, match="in use"), locked(tmp_path / "a.jsonl", "in use"):
            pass
        with pytest.raises(ValueError, match="is in use by another process"):
            Ledger(tmp_path / "a.jsonl", "answers", print)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(CheckpointError, ValueError)
    assert LOCK == ".lock"
