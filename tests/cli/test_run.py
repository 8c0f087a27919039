"""The commands run and embed: from a data set to its chosen rows, resumed after a kill, repeated from a file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu import cli
from gip_gpu.embedding import HashingEncoder
from tests.support.command_line import Run, command, posix
from tests.support.data_sets import minilm, read, rows, write
from tests.support.paths import REAL_DATA, ROOT

ROWS = [{**row, "quality": i % 6, "length": len(row["answer"])} for i, row in enumerate(rows(70))]


def vectors(texts: list[str], width: int = 1024) -> Any:
    made = HashingEncoder(width).encode(texts).astype(np.float64)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


RATINGS = [(row["quality"], row["length"]) for row in ROWS]
F = vectors([f"{row['question']}\n{row['answer']}" for row in ROWS])


def test_the_rows_are_those_of_select(folder: Path, run: Run) -> None:
    result = run("run data.jsonl -k 10% --out chosen.jsonl --device cpu")
    assert (result.status, result.err) == (0, "")
    wanted = gip_gpu.select(F, None, 7, device="cpu")
    assert read(folder / "chosen.jsonl") == [ROWS[i] for i in wanted]
    lines = [line.split(maxsplit=1) for line in result.out.splitlines()]
    for line in (
        ["rows", "70"],
        ["text", "gsm8k (question, answer)"],
        ["vectors", "70 of length 1,024"],
        ["objective", "entropy"],
        ["written", "chosen.jsonl"],
        ["written", "chosen.jsonl.toml"],
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("options", "G"),
    [
        (
            "--score-column quality --score-column length --standardize rank",
            RATINGS,
        ),
        ("--scores G.npy", [r["length"] for r in ROWS]),
        ("--scores data.jsonl --scores-key length", [r["length"] for r in ROWS]),
        ("--scores self-compression", gip_gpu.signals.self_compression(F)),
    ],
)
def test_scores(options: str, G: Any, folder: Path, run: Run) -> None:
    np.save("G.npy", [row["length"] for row in ROWS])
    result = run(f"run data.jsonl -k 9 --out chosen.jsonl --device cpu --add gip_rank --add gip_source {options}")
    assert result.status == 0, result.err
    how: dict[str, Any] = {"standardize": "rank"} if "standardize" in options else {}
    wanted = gip_gpu.select(F, np.asarray(G), 9, device="cpu", **how)
    assert read(folder / "chosen.jsonl") == [
        {**ROWS[i], "gip_rank": rank, "gip_source": {"file": "data.jsonl", "row": i}} for rank, i in enumerate(wanted)
    ]


def test_given_vectors(folder: Path, run: Run) -> None:
    np.savez("V.npz", a=F[::-1], b=F)
    assert run("run data.jsonl -k 5 -o chosen.parquet --embeddings V.npz --key b --device cpu").status == 0
    import pyarrow.parquet

    assert pyarrow.parquet.read_table("chosen.parquet").to_pylist() == [ROWS[i] for i in gip_gpu.select(F, None, 5)]
    np.save("W.npy", F[:5])
    assert (
        "embeddings have 5 rows and the data set has 70" in run("run data.jsonl -k 5 -o c.jsonl --embeddings W.npy").err
    )


def test_a_run_is_repeated_from_its_file(folder: Path, run: Run) -> None:
    line = "run data.jsonl -k 5% -o a.jsonl --text-column question --score-column quality --add gip_rank --device cpu"
    assert run(f"{line} --sign positive --epsilon 0.1 --objective lr").status == 0
    first = (folder / "a.jsonl").read_bytes()
    assert run("run --config a.jsonl.toml").err.endswith("cannot write a.jsonl: it exists; --force overwrites it\n")
    config = (folder / "a.jsonl.toml").read_text()
    assert run("run --config a.jsonl.toml --force").status == 0
    assert ((folder / "a.jsonl").read_bytes(), (folder / "a.jsonl.toml").read_text()) == (first, config)
    # A flag goes before the file.
    assert run("run --config a.jsonl.toml --out b.jsonl -k 2").status == 0
    assert len(read(folder / "b.jsonl")) == 2
    assert "k = 2" in (folder / "b.jsonl.toml").read_text()
    for line in ('k = "5%"', 'text-column = "question"', 'score-column = [\n    "quality",\n]', "epsilon = 0.1"):
        assert line in config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k = ", "is no TOML"),
        ("kk = 5", "holds 'kk'; it may hold add, api-key-env"),
        ("[select]\nk = 5", "holds 'select'; it may hold"),
        ("k = [1, 2]", "holds a list for 'k'; it must hold one value"),
        ("k = true", "holds True for 'k'; it must be a number or text"),
        ("data = 'data.jsonl'", "Missing option '-k'"),
        ("force = true", "holds 'force'; it may hold"),
    ],
)
def test_files_of_options_are_checked(content: str, message: str, folder: Path, run: Run) -> None:
    (folder / "run.toml").write_text(content)
    result = run("run data.jsonl --config run.toml -o a.jsonl")
    assert result.status == 2
    assert message in result.err
    assert run("run data.jsonl --config none.toml -o a.jsonl -k 5").status == 2


def test_nothing_is_embedded_twice(folder: Path, run: Run) -> None:
    assert run("run data.jsonl -k 5 -o a.jsonl --work work --device cpu").status == 0
    again = run("run data.jsonl -k 8 -o b.jsonl --work work --device cpu")
    assert "70 of length 1,024, all found" in again.out
    assert "5 picks from the checkpoint, 3 made" in again.out
    other = run("run data.jsonl -k 5 -o c.jsonl --work work --device cpu --text-column answer")
    assert "found" not in other.out
    assert len([name for name in os.listdir("work") if name.endswith(".npy")]) == 2


def test_hostile_rows(folder: Path, run: Run) -> None:
    content = [
        {"text": "x" * 200_000, "id": 1},
        {"text": "", "id": 1},
        {"text": "a\x00b \u2028 c", "id": None},
        {"text": "  "},
        {"text": "<script>alert(1)</script>", "extra": [1]},
    ]
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in content]
    (folder / "h.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n \r\n")
    result = run("run h.jsonl -k 4 -o a.jsonl --device cpu --on-exhausted stop")
    assert result.status == 0, result.err
    assert ["empty", "texts", "2"] in [line.split() for line in result.out.splitlines()]
    chosen = (folder / "a.jsonl").read_bytes().split(b"\n")
    # The two empty texts are one direction, of which one is chosen.
    assert len(chosen) == 5
    assert set(chosen[:-1]) <= set(lines)
    for count in (1, 3):
        write(folder / "few.jsonl", content[:count])
        assert run(f"run few.jsonl -k {count} -o few_{count}.jsonl --device cpu").status == 0
        assert len(read(folder / f"few_{count}.jsonl")) == count


def test_a_bar_for_each_stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["run", "data.jsonl", "-k", "5", "-o", "a.jsonl", "--device", "cpu", "--batch-size", "7"]) == 0
    for shown in ("embed: 100%", "70/70", "select: 100%", "5/5"):
        assert shown in terminal.getvalue()


def test_usage_errors(folder: Path, run: Run) -> None:
    for line, message in (
        ("run data.jsonl -k 5 -o data.jsonl --force", "named twice, as data and as the output"),
        ("run data.jsonl -k 5 -o a.csv", "has suffix '.csv'; it must be .jsonl"),
        ("run data.jsonl -k 5 -o a.jsonl --add rank", "columns are 'rank'"),
        ("run data.jsonl -k 5 -o a.jsonl --layout alpaca", "not those of layout 'alpaca'"),
        ("run data.jsonl -k 5 -o a.jsonl --text-column none", "it has no field 'none'"),
        ("run data.jsonl -k 5 -o a.jsonl --score-column answer", "in field 'answer'; it must be a number"),
        ("run data.jsonl -k 500 -o a.jsonl", "k is 500; k must be an int from 1 to m = 70"),
        ("run none.jsonl -k 5 -o a.jsonl", "cannot read none.jsonl: No such file"),
        ("run -k 5 -o a.jsonl", "Missing argument"),
        ("embed data.jsonl -o a.txt", "has suffix '.txt'; it must be .npy"),
        ("embed data.jsonl -o data.jsonl", "named twice"),
    ):
        result = run(line)
        assert result.status == 2, line
        assert message in result.err
        assert not (folder / "a.jsonl").exists()


# embed


def test_embed_writes_vectors_for_select(folder: Path, run: Run) -> None:
    result = run("embed data.jsonl data.jsonl -o V.npy --encoder hashing:64")
    assert result.status == 0, result.err
    texts = [f"{row['question']}\n{row['answer']}" for row in ROWS]
    assert np.array_equal(np.load("V.npy"), vectors(texts * 2, 64))
    assert ["rows", "140", "in", "2", "files"] in [line.split() for line in result.out.splitlines()]
    assert "all found" in run("embed data.jsonl data.jsonl -o V.npy --encoder hashing:64").out
    assert "other texts or another encoder; --force overwrites it" in run("embed data.jsonl -o V.npy").err
    assert run("embed data.jsonl -o V.npy --force --quiet").out == ""
    assert np.array_equal(np.load("V.npy"), F)
    assert run("select V.npy -k 5 --rows data.jsonl --rows-out chosen.jsonl").status == 0
    assert read(folder / "chosen.jsonl") == [ROWS[i] for i in gip_gpu.select(F, None, 5)]


def start(line: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*line.split()), cwd=folder, stdout=pipe, stderr=pipe, env=environment)


def embedded(work: Path) -> int:
    """Returns the number of rows that a run has written so far."""
    return sum(int((np.fromfile(path, "<u4", 3000) > 0).sum()) for path in work.glob("*.rows"))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on(number: signal.Signals, folder: Path, run: Run) -> None:
    write(folder / "large.jsonl", rows(3000))
    line = "run large.jsonl -k 20 -o a.jsonl --encoder hashing:256 --batch-size 1 --device cpu"
    with start(line, folder) as process:
        while embedded(folder / "a.jsonl.work") < 200:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate()
    if number == signal.SIGTERM:
        assert b"gip-gpu: the same command goes on from what is in a.jsonl.work" in err
    there = embedded(folder / "a.jsonl.work")
    assert 200 <= there < 3000
    assert not (folder / "a.jsonl").exists()
    result = run(line)
    assert f"3,000 of length 256, {there:,} found" in result.out
    assert run(line.replace("a.jsonl", "b.jsonl")).status == 0
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    one, other = (next((folder / f"{name}.jsonl.work").glob("*.npy")).read_bytes() for name in "ab")
    assert one == other


@posix
@pytest.mark.slow
def test_processes_share_the_texts(folder: Path) -> None:
    pytest.importorskip("torch.distributed", reason="many processes need torch")
    write(folder / "large.jsonl", rows(500))
    settings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}

    def torchrun(line: str) -> subprocess.CompletedProcess[str]:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "gip_gpu"]
        together = [command()[0], *launch, *line.split()]
        environment = {**os.environ, **settings}
        return subprocess.run(
            together, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    done = torchrun("embed large.jsonl -o V.npy --encoder hashing:64 --batch-size 16")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("500 of length 64") == 1
    texts = [f"{row['question']}\n{row['answer']}" for row in rows(500)]
    assert np.array_equal(np.load(folder / "V.npy"), vectors(texts, 64))
    refused = torchrun("run large.jsonl -k 5 -o a.jsonl")
    assert refused.returncode
    assert "run is for one process; torchrun goes with gip-gpu embed" in refused.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_real_text_and_a_real_encoder(folder: Path, run: Run) -> None:
    if not (REAL_DATA / "gsm8k_train.jsonl").exists():
        pytest.skip("real data: gsm8k_train.jsonl is not in ../shared/data (or in $GIP_GPU_DATA)")
    lines = (REAL_DATA / "gsm8k_train.jsonl").read_bytes().splitlines(keepends=True)[:40]
    (folder / "gsm8k.jsonl").write_bytes(b"".join(lines))
    result = run(f"run gsm8k.jsonl -k 10 -o a.jsonl --encoder {minilm()} --scores self-compression --device cpu")
    assert result.status == 0, result.err
    assert "40 of length 384" in result.out
    stored = np.load(REAL_DATA / "gsm8k_minilm_f16.npy")[:40]
    wanted = gip_gpu.select(stored, gip_gpu.signals.self_compression(stored), 10, device="cpu")
    chosen = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    assert len(set(chosen) & {lines[i] for i in wanted}) >= 9


def test_centring_is_an_option_that_the_written_file_keeps(folder: Path, run: Run) -> None:
    for option, center in (("--center", True), ("--center-auto", "auto")):
        assert run(f"run data.jsonl -k 7 --out chosen.jsonl --device cpu --no-report --force {option}").status == 0
        wanted = gip_gpu.select(F, None, 7, device="cpu", center=center)
        assert read(folder / "chosen.jsonl") == [ROWS[i] for i in wanted]
        assert run("run --config chosen.jsonl.toml --out again.jsonl --force").status == 0
        assert (folder / "again.jsonl").read_bytes() == (folder / "chosen.jsonl").read_bytes()
