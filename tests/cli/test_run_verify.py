"""The selection that `gip-gpu run` saves: verified by the printed command, and not with other input; reported."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gip_gpu import cli
from tests.support.command_line import Run
from tests.support.data_sets import rows
from tests.support.report_page import data_of

ROWS: list[dict[str, Any]] = [
    {**row, "quality": i % 6 if i % 9 else None, "length": len(row["answer"]), "topic": f"topic {i % 4}"}
    for i, row in enumerate(rows(70))
]


def verification(out: str) -> list[str]:
    """The command that the summary of a run ends with."""
    (line,) = (line for line in out.splitlines() if line.startswith("verify "))
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--score-column length",
        "--score-column length --score-column quality --missing drop --standardize rank",
        "--score-column quality --missing mean --sign positive",
        "--scores self-compression",
        "--scores self-compression --center",
        "--scores G.npy --objective lr --epsilon 0.1",
        "--scores data.jsonl --scores-key length --no-normalize",
        "--embeddings V.npy",
        "--embeddings V.npz --key b --scores self-compression",
        "--group-by topic --group-max 3 --dedup 0.95 --score-column length",
        "--group-by topic --group-min 10% --exclude gone.txt",
    ],
)
def test_the_printed_command_verifies_it(folder: Path, run: Run, options: str) -> None:
    F = np.random.default_rng(0).normal(size=(70, 16)).astype(np.float32)
    np.save("V.npy", F)
    np.savez("V.npz", a=F[::-1], b=F)
    np.save("G.npy", [row["length"] for row in ROWS])
    Path("gone.txt").write_text("0\n5\n")
    found = run(f"run data.jsonl -k 9 -o a.jsonl --device cpu --no-report {options}")
    assert found.status == 0, found.err
    command = verification(found.out)
    assert command[:2] == ["verify", "a.jsonl.npz"]
    verified = run(shlex.join(command))
    assert (verified.status, verified.err) == (0, "")
    assert "fingerprint of F             equal" in verified.out
    assert verified.out.endswith("verified\n")


def test_one_altered_row_is_found(folder: Path, run: Run) -> None:
    found = run("run data.jsonl -k 9 -o a.jsonl --device cpu --score-column length --no-report")
    command = verification(found.out)
    vectors = np.load(command[2], mmap_mode="r+")
    vectors[11, int(np.argmax(vectors[11]))] *= np.float16(0.5)
    vectors.flush()
    assert cli.main(command) == 1


def test_another_choice_has_scores_of_its_own(folder: Path, run: Run) -> None:
    one, other = (
        verification(run(f"run data.jsonl -k 9 -o {name} --work work --device cpu {scores} --no-report").out)
        for name, scores in (("a.jsonl", "--score-column length"), ("b.jsonl", "--score-column quality --missing mean"))
    )
    assert one[2] == other[2]
    assert one[4] != other[4]
    assert [cli.main(command) for command in (one, other)] == [0, 0]


def test_a_report_of_the_saved_selection(folder: Path, run: Run) -> None:
    command = verification(run("run data.jsonl -k 9 -o a.jsonl --device cpu --score-column length --no-report").out)
    found = run(f"report a.jsonl.npz --embeddings {command[2]} --scores {command[4]} --rows data.jsonl -o r.html")
    assert (found.status, found.err) == (0, "")
    (shown,) = data_of(Path("r.html"))["scores"]
    assert (shown["name"], shown["values"].tolist()) == ("length", [row["length"] for row in ROWS])


def test_nothing_is_overwritten_without_force(folder: Path, run: Run) -> None:
    Path("a.jsonl.npz").write_text("mine")
    found = run("run data.jsonl -k 9 -o a.jsonl --device cpu")
    assert found.status == 2
    assert "cannot write a.jsonl.npz: it exists; --force overwrites it" in found.err
    assert Path("a.jsonl.npz").read_text() == "mine"
    assert run("run data.jsonl -k 9 -o a.jsonl --device cpu --force --quiet").status == 0
