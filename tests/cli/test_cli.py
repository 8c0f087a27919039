"""The command line as a user meets it: results, exit status, one-line errors, and no half-written files."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu import cli, metrics
from gip_gpu.checkpoint.writer import CheckpointWriter
from gip_gpu.reference import matching_pursuit
from tests.support.command_line import SELECT, Files, Run, command, posix, started

# Results


@pytest.mark.parametrize(
    ("sources", "columns"),
    [
        ("F.npy --scores G.npy", slice(None)),
        ("F.npy --scores G.csv", slice(None)),
        ("pool.npz --key F --scores pool.npz --scores-key G", slice(None)),
        ("F.npy --scores one.csv", slice(0, 1)),
    ],
)
@pytest.mark.parametrize("options", ["", "--columns gram --precision fp16", "--no-normalize --memory-limit 40MB"])
def test_indices_are_those_of_the_reference(sources: str, columns: slice, options: str, pool: Files, run: Run) -> None:
    np.savetxt(pool["one.csv"], pool.G[:, 0], "%d")
    result = run(f"select {sources} -k 12 {options}")
    assert result.status == 0, result.err
    wanted = matching_pursuit(pool.F, pool.G[:, columns], 12, normalize="no-normalize" not in options)
    assert [int(line) for line in result.out.splitlines()] == wanted.tolist()


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("--scores G.npy --objective lr --epsilon 0.1", {"objective": "lr", "epsilon": 0.1}),
        ("--scores G.npy --objective omp --sign positive", {"objective": "omp", "sign": "positive"}),
        ("--scores G.npy --objective mi --query ridge", {"objective": "mi", "query": "ridge"}),
        ("--objective entropy", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_objectives(line: str, how: dict[str, Any], pool: Files, run: Run) -> None:
    wanted = gip_gpu.select(pool.F, pool.G if "--scores" in line else None, 6, device="cpu", **how)
    result = run(f"select F.npy -k 6 {line}")
    assert [int(line) for line in result.out.splitlines()] == list(wanted)
    assert ["objective", wanted.plan.objective] in [line.split() for line in result.err.splitlines()]
    assert ("G in the range of F" in result.err) == ("ridge" in line)


def test_self_compression_and_a_share(pool: Files, run: Run) -> None:
    for option in ("", "--no-normalize"):
        result = run(f"select F.npy --scores self-compression -k 0.2 --quiet {option}")
        scores = gip_gpu.signals.self_compression(pool.F, normalize=not option)
        wanted = gip_gpu.select(pool.F, scores, 12, normalize=not option, device="cpu")
        assert [int(line) for line in result.out.splitlines()] == list(wanted)


def test_every_kind_of_output(pool: Files, run: Run) -> None:
    wanted = gip_gpu.select(pool.F, pool.G, 7, device="cpu")
    for suffix in ("npy", "csv", "txt", "npz", "json"):
        assert run(f"select F.npy --scores G.npy -k 7 -o out.{suffix}").status == 0
    stored = np.load(pool["out.npy"])
    assert stored.dtype == np.int64
    assert stored.tolist() == list(wanted)
    assert [int(line) for line in pool["out.txt"].read_text().splitlines()] == list(wanted)
    with open(pool["out.csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(7))
    assert [int(row["index"]) for row in rows] == list(wanted)
    assert [float(row["gain"]) for row in rows] == wanted.gains.tolist()
    assert [float(row["explained"]) for row in rows] == wanted.explained.tolist()
    for suffix in ("npz", "json"):
        loaded = gip_gpu.Selection.load(pool[f"out.{suffix}"])
        assert list(loaded) == list(wanted)
        assert (loaded.gains == wanted.gains).all()


def test_chosen_rows_are_copied_in_order(pool: Files, run: Run) -> None:
    result = run("select F.npy --scores G.npy -k 9 -o out.npy --rows data.jsonl --rows-out chosen.jsonl")
    assert result.status == 0, result.err
    assert pool["chosen.jsonl"].read_bytes() == b"".join(pool.rows[i] for i in np.load(pool["out.npy"]))


def test_summary_goes_where_the_indices_do_not(pool: Files, run: Run) -> None:
    line = "select F.npy --scores self-compression -k 9 --columns lazy"
    alone = run(line)
    assert len(alone.out.split()) == 9
    beside = run(f"{line} -o out.npy")
    assert beside.err == ""
    for text in (alone.err, beside.out):
        for part in ("60 of length 8", "signals", "lazy", "time", "peak memory", "explained share"):
            assert part in text
        assert "certificate: every pick is the float64 argmax" in text
    scores = gip_gpu.signals.self_compression(pool.F)
    share = metrics.explained_share(pool.F, scores, np.load(pool["out.npy"]))
    shown = next(line for line in beside.out.splitlines() if line.startswith("explained share"))
    assert 0 < float(shown.split()[-1].rstrip("%")) / 100 <= share + 1e-6


def test_what_is_below_zero_is_no_share(pool: Files, run: Run) -> None:
    np.save("F.npy", np.array([[1, 0], [1, 1e-3], [0, 1.0]]))
    np.save("G.npy", np.array([1.0, 0.0, 0.0]))
    result = run("select F.npy --scores G.npy -k 2 --objective lr -o out.npy")
    assert result.status == 0, result.err
    assert next(line for line in result.out.splitlines() if line.startswith("explained share")).split()[2:] == ["none"]


def test_rounds_and_fewer_picks_are_said(pool: Files, run: Run) -> None:
    signs = np.sign(pool.F[:, :1])  # of length 1: a single pick explains all
    np.save("F.npy", signs)
    result = run("select F.npy --scores self-compression -k 3 -o out.npy")
    assert "rounds began after picks 1, 2" in result.out
    assert "100.0000% by the first of 3 rounds" in result.out
    result = run("select F.npy --scores self-compression -k 3 -o fewer.npy --on-exhausted stop")
    assert "1 of 3 asked for" in result.out
    assert len(np.load(pool["fewer.npy"])) == 1


def test_plan_selects_nothing(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(gip_gpu, "select", refuse)
    monkeypatch.setattr(gip_gpu.Pool, "__init__", refuse)
    result = run("plan F.npy --signals 2 -k 0.5")
    assert result.status == 0, result.err
    assert "60 items of length 8, 2 signals" in result.out
    assert "predicted time" in result.out
    result = run("plan --rows 1000000 --dim 256 -k 5000 --memory-limit 4GB --columns lazy")
    assert "1,000,000 items of length 256, 1 signal" in result.out
    assert "limit: 4 GB" in result.out
    assert "lazy" in result.out


def test_plan_of_an_objective(run: Run) -> None:
    for line, n in (("--objective entropy", 0), ("--signals 0", 0), ("--signals 3 --objective mi", 3)):
        result = run(f"plan --rows 1000 --dim 16 -k 5 {line}")
        assert result.status == 0, result.err
        assert f"{n} signals" in result.out
        assert "each made in the step of its pick" in result.out


def test_help_and_version(run: Run) -> None:
    assert run("--version").out == f"gip-gpu {gip_gpu.__version__}\n"
    for line, words in (
        ("--help", ("select", "plan", "report", "demo")),
        ("select --help", ("--scores", "--rows-out")),
    ):
        result = run(line)
        assert result.status == 0
        assert all(word in result.out for word in words)


def test_how_often_checkpoints_are_written(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    init = CheckpointWriter.__init__
    monkeypatch.setattr(CheckpointWriter, "__init__", lambda self, *rest: (seen.append(rest[1]), init(self, *rest))[1])
    for given in ("", "7", "1e2", "7.0", "7s", "0.5s"):
        line = f"select F.npy --scores G.npy -k 5 --checkpoint run{' --checkpoint-every ' * bool(given)}{given}"
        assert run(line).status == 0
    assert [(type(every), every) for every in seen] == [
        (float, 60.0), (int, 7), (int, 100), (float, 7.0), (float, 7.0), (float, 0.5),
    ]  # fmt: skip


def test_a_checkpoint_that_was_not_written_is_not_said_to_be(
    pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "select F.npy --scores G.npy -k 5 --checkpoint run"
    said = "the checkpoint run was written; the same command resumes from it"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as early:
        early.setattr("gip_gpu.greedy.loop.run", interrupt)
        assert said not in run(line).err
        assert not pool["run"].exists()
    assert run(line).status == 0
    with monkeypatch.context() as early:
        early.setattr("gip_gpu.greedy.loop.run", interrupt)
        result = run(line.replace("-k 5", "-k 9"))
        assert result.status == 130
        assert said not in result.err
    with monkeypatch.context() as late:
        late.setattr("gip_gpu.api.prepared.selection_of", interrupt)
        result = run(line.replace("-k 5", "-k 9"))
        assert result.status == 130
        assert said in result.err


# Errors: exit status 2, one line, before any work


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Missing command"),
        ("choose", "No such command 'choose'"),
        ("select F.npy -k 5 --objective lr", "--objective lr needs scores; give --scores, or --objective entropy"),
        ("select F.npy -k 5 --objective best", "objective is 'best'; objective must be one of"),
        ("select F.npy -k 5 --query ridge", "query is 'ridge', which fits scores; G is None"),
        (f"{SELECT} --objective entropy", "--objective entropy chooses by the embeddings alone; leave --scores out"),
        (f"{SELECT} --epsilon 0.1", "epsilon is 0.1, which objective 'mp' uses only with query='ridge'"),
        (f"{SELECT} --objective lr --epsilon=-1", "epsilon is -1.0; epsilon must be a number from 0"),
        (f"{SELECT} --sign plus", "sign is 'plus'"),
        ("select F.npy --scores G.npy", "Missing option '-k'"),
        (
            "select F.npy --scores G.npy -k many",
            "'many' is no number; give a count such as 500, or a share: 0.05 or 5%",
        ),
        ("select F.npy --scores G.npy -k 0%", "k is '0%'; k must be an int from 1 to m = 60, or for a share"),
        ("select F.npy --scores G.npy -k 101%", "k is '101%'; k must be"),
        ("select F.npy --scores G.npy -k five%", "k is 'five%'; k must be"),
        ("select F.npy --scores G.npy -k 0", "k is 0; k must be an int from 1 to m = 60"),
        ("select F.npy --scores G.npy -k 61", "k is 61; k must be"),
        ("select F.npy --scores G.npy -k 1.5", "k is 1.5; k must be"),
        ("select F.npy --scores G.npy -k nan", "k is nan; k must be"),
        ("select none.npy --scores G.npy -k 5", "cannot read none.npy: No such file"),
        ("select data.jsonl --scores G.npy -k 5", "it must be .npy or .npz"),
        ("select cut.npy --scores G.npy -k 5", "cannot read cut.npy"),
        ("select object.npy --scores G.npy -k 5", "cannot read object.npy"),
        ("select nan.npy --scores G.npy -k 5", "F has a value that is not finite in row 3"),
        ("select zero.npy --scores self-compression -k 5", "F has a zero row, row 4"),
        ("select across.npy --scores G.npy -k 5", "F looks transposed"),
        ("select pool.npz --scores G.npy -k 5", "give the key of one"),
        ("select F.npy --scores none.csv -k 5", "cannot read none.csv"),
        ("select F.npy --scores short.csv -k 5", "G has 2 rows and F has 60"),
        ("select F.npy --scores nan.csv -k 5", "G has a value that is not finite in row 1"),
        ("select F.npy --scores self-compression --scores-key G -k 5", "--scores-key names an array"),
        (f"{SELECT} --device cuda:99", "device is 'cuda:99'"),
        (f"{SELECT} --device gpu", "device is 'gpu'"),
        (f"{SELECT} --backend abacus", "backend is 'abacus'"),
        (f"{SELECT} --objective best", "objective is 'best'"),
        (f"{SELECT} --precision fp7", "precision is 'fp7'"),
        (f"{SELECT} --columns some", "columns is 'some'"),
        (f"{SELECT} --query ask", "query is 'ask'"),
        (f"{SELECT} --on-exhausted rest", "on_exhausted is 'rest'"),
        (f"{SELECT} --memory-limit 1kB", "memory_limit"),
        (f"{SELECT} --memory-limit lots", "memory_limit is 'lots'"),
        (f"{SELECT} --rows data.jsonl", "--rows and --rows-out belong together"),
        (f"{SELECT} --rows-out out.jsonl", "--rows and --rows-out belong together"),
        (f"{SELECT} --rows short.jsonl --rows-out out.jsonl", "it has 2 rows and the embeddings have 60"),
        (f"{SELECT} --rows gap.jsonl --rows-out out.jsonl", "cannot read gap.jsonl: line 2 is empty"),
        (f"{SELECT} --rows none.jsonl --rows-out out.jsonl", "cannot read none.jsonl"),
        (
            f"{SELECT} --rows bad.jsonl --rows-out out.jsonl",
            "cannot read bad.jsonl: line 3 is no JSON: Expecting value at",
        ),
        (f"{SELECT} --rows bad.jsonl --rows-out out.jsonl", "column 7; --no-check-rows takes rows as they are"),
        (f"{SELECT} --rows cut.jsonl.gz --rows-out out.jsonl", "cannot read cut.jsonl.gz: Compressed file ended"),
        (f"{SELECT} --rows data.jsonl --rows-out out.txt", "it must be .jsonl or .ndjson or .jsonl.gz"),
        (f"{SELECT} --no-check-rows", "--no-check-rows applies to --rows, which is not given"),
        (f"{SELECT} --ids none.txt", "cannot read none.txt: No such file"),
        (f"{SELECT} --ids latin.txt", "cannot read latin.txt: line 2 is no text in UTF-8: invalid start byte 0xff"),
        (f"{SELECT} --ids short.csv", "cannot read short.csv: it has 2 ids and the embeddings have 60 rows"),
        (f"{SELECT} --ids G.npy", r"the ids are int64 (60, 2); they must be (60,) integers or text"),
        (f"{SELECT} --ids G.csv", "it has 2 columns, none of which is named 'id'"),
        (f"{SELECT} --ids name", "--ids is 'name', no column of F.npy; a field of the rows goes with --rows"),
        (f"{SELECT} --ids name --rows data.jsonl", "line 1 has no field 'name', which --ids names"),
        (f"{SELECT} --ids id --rows flags.jsonl", "line 1 has True in field 'id'; an id is text or an integer"),
        (f"{SELECT} --ids id --rows nulls.jsonl", "line 2 has None in field 'id'; an id is text or an integer"),
        (f"{SELECT} --ids id --rows data.jsonl --no-check-rows", "a field of the rows goes without --no-check-rows"),
        (f"{SELECT} --ids G.npy -o out.npy", "--ids needs an output with ids: -o with .csv, .txt, .parquet"),
        (f"{SELECT} --ids id --rows data.jsonl --rows-out out.jsonl", "--ids needs an output with ids"),
        (f"{SELECT} -o out.xlsx", "out.xlsx has suffix '.xlsx'"),
        (f"{SELECT} -o none/out.npy", "cannot write none/out.npy: there is no folder"),
        (f"{SELECT} -o F.npy --force", "F.npy is named twice"),
        (f"{SELECT} -o G.csv", "cannot write G.csv: it exists; --force overwrites it"),
        (f"{SELECT} --rows data.jsonl --rows-out ./data.jsonl --force", "data.jsonl is named twice"),
        (f"{SELECT} --checkpoint-every 5", "--checkpoint-every goes with --checkpoint"),
        (f"{SELECT} --checkpoint run --checkpoint-every 5min", "'5min' is neither picks, such as 500, nor seconds"),
        (f"{SELECT} --checkpoint run --checkpoint-every 0s", "checkpoint_every is 0.0; checkpoint_every must be"),
        (f"{SELECT} --checkpoint G.npy", "G.npy is named twice, as the checkpoint and as another file"),
        (f"{SELECT} --checkpoint run.npy -o run.npy", "run.npy is named twice, as an output and as another file"),
        (f"{SELECT} --checkpoint pool.npz", "pool.npz is no checkpoint; give another path"),
        (f"{SELECT} --checkpoint {'x' * 300}", "File name too long"),
        ("select shards --scores G.npy -k 5 --checkpoint shards/run", "shards/run is in a folder of shards"),
        ("plan -k 5", "give either EMBEDDINGS, or both --rows and --dim"),
        ("plan F.npy --rows 3 -k 5", "give either EMBEDDINGS, or both --rows and --dim"),
        ("plan --rows 0 --dim 4 -k 5", "Invalid value for '--rows'"),
        ("plan F.npy -k 100", "k is 100"),
        ("plan F.npy -k 5 --objective lr --columns gram", "columns is 'gram', but with objective 'lr'"),
        ("plan --rows 1000000 --dim 4 -k 5 --columns gram --memory-limit 1GB", "columns='gram' needs"),
        ("demo --share some --out out", "'some' is no number; give a share such as 0.05 or 5%"),
        ("demo --share 200% --out out", "share is 2.0; it must lie in (0, 1)"),
        ("demo --share 2 --out out", "share is 2.0; it must lie in (0, 1)"),
        ("demo --out F.npy", "cannot make folder F.npy"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    line: str, message: str, pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool["shards"].mkdir()
    np.save(pool["shards"] / "F.npy", pool.F)
    pool["cut.npy"].write_bytes(pool["F.npy"].read_bytes()[:-4])
    pool["short.csv"].write_text("1\n2\n")
    pool["nan.csv"].write_text("\n".join(["1", "nan", *["1"] * 58]))
    pool["short.jsonl"].write_text("1\n2\n")
    pool["gap.jsonl"].write_text("1\n\n2\n")
    pool["bad.jsonl"].write_text('{"a": 1}\n{"a": 2}\n{"a": 3,}\n{"a": 4,}\n'.replace("3,", "..."))
    pool["flags.jsonl"].write_text('{"id": true}\n' * 60)
    pool["latin.txt"].write_bytes(b"a\n\xff\n" * 30)
    pool["nulls.jsonl"].write_text('{"id": 1}\n{"id": null}\n' * 30)
    pool["cut.jsonl.gz"].write_bytes(gzip.compress(pool["data.jsonl"].read_bytes())[:-20])
    for name, row, value in (("nan", 3, np.nan), ("zero", 4, 0)):
        bad = pool.F.copy()
        bad[row] = value
        np.save(f"{name}.npy", bad)
    np.save("across.npy", pool.F.T)
    np.save("object.npy", np.array([[None]], dtype=object))
    before = pool.names()

    def work(*_: object) -> None:
        pytest.fail("the selection has begun")

    monkeypatch.setattr("gip_gpu.greedy.loop.run", work)
    result = run(line)
    assert result.status == 2
    assert message in result.err
    assert result.err.startswith("gip-gpu: error: ")
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert pool.names() - {"out"} == before


def test_an_empty_path_is_not_the_folder_here(pool: Files, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["", "--scores", "G.npy"], ["F.npy", "--scores", ""], ["F.npy", "--scores", "G.npy", "-o", ""]):
        assert cli.main(["select", *line, "-k", "3"]) == 2
        assert "an empty path names no file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="an empty path names no file"):
        gip_gpu.select("", pool.G, 3)


def test_indices_are_not_lost(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is closed, as by the shell's `>&-`."""
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert cli.main(["select", "F.npy", "--scores", "G.npy", "-k", "3"]) == 2
    assert "standard output is closed; name a file for the indices by -o" in run("--version").err
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert cli.main(["select", "F.npy", "--scores", "G.npy", "-k", "3", "-o", "chosen.npy"]) == 0
    assert len(np.load(pool["chosen.npy"])) == 3


def test_unwritable_folders_are_found_before_the_work(pool: Files, run: Run) -> None:
    folder = pool["read-only"]
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # root, whom permission bits do not bind
        folder = Path("/proc/self")
        if not folder.is_dir():
            pytest.skip("this user may write to every folder here")
    result = run(f"{SELECT} -o {folder}/out.npy")
    assert result.status == 2
    assert f"cannot write {folder}/out.npy" in result.err


def test_force_overwrites(pool: Files, run: Run) -> None:
    pool["out.txt"].write_text("old")
    assert run(f"{SELECT} -o out.txt").status == 2
    assert pool["out.txt"].read_text() == "old"
    assert run(f"{SELECT} -o out.txt --force").status == 0
    assert len(pool["out.txt"].read_text().split()) == 5


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (RuntimeError("a bug\nof two lines"), "RuntimeError: a bug of two lines (GIP_GPU_DEBUG=1 shows where)", 1),
        (MemoryError("9 GB"), "not enough memory: 9 GB", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_failures_are_one_line_without_traceback(
    error: BaseException, message: str, status: int, pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(gip_gpu, "select", fail)
    result = run(f"{SELECT} -o out.npy")
    assert result.status == status
    assert result.err.strip() == f"gip-gpu: error: {message}"
    monkeypatch.setenv("GIP_GPU_DEBUG", "1")
    result = run(f"{SELECT} -o out.npy")
    assert result.status == status
    assert "Traceback" in result.err
    assert not pool["out.npy"].exists()


def test_warnings_are_one_line_and_quiet_means_quiet(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = gip_gpu.select(pool.F, pool.G, 5, device="cpu")

    def warn(*_: object, **__: object) -> gip_gpu.Selection:
        import warnings

        warnings.warn("slower than\nit could be", stacklevel=2)
        return chosen

    monkeypatch.setattr(gip_gpu, "select", warn)
    with pytest.warns(UserWarning, match="slower"):
        warn()  # pytest sees it; the command line shows it in its own way
    monkeypatch.setattr("warnings.filters", [("default", None, Warning, None, 0)])
    assert "gip-gpu: warning: slower than it could be\n" in run(SELECT).err
    result = run(f"{SELECT} --quiet")
    assert result.err == ""
    assert len(result.out.split()) == 5
    result = run(f"{SELECT} --quiet -o out.npy")
    assert (result.out, result.err) == ("", "")


# A process of its own


def test_runs_as_a_module(pool: Files) -> None:
    done = subprocess.run(command(*SELECT.split(), "--quiet"), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [int(line) for line in done.stdout.splitlines()] == matching_pursuit(pool.F, pool.G, 5).tolist()
    done = subprocess.run(command("select", "none.npy"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@posix
@pytest.mark.parametrize("quiet", [True, False])
def test_the_bar_is_for_terminals(quiet: bool, pool: Files) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 25, 100, 0, 0))  # a new one has no columns
    arguments = command(*SELECT.split(), "-o", "out.npy", *["--quiet"] * quiet)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux ends a terminal like this
            part = b""
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(60) == 0
    assert shown == b"" if quiet else b"5/5" in shown


ANNOUNCE = """
import gip_gpu.{module} as module
original = module.{name}
def announced(*arguments):
    print('reached', file=sys.stderr, flush=True)
    {then}
    return original(*arguments)
module.{name} = announced
"""
SELECTING = ANNOUNCE.format(module="greedy.loop", name="run", then="pass")
WRITING = ANNOUNCE.format(module="system.atomic_write", name="os.fsync", then="import time; time.sleep(60)")


@posix
@pytest.mark.parametrize("before", [SELECTING, WRITING], ids=["selecting", "writing"])
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)],
)
def test_a_killed_run_leaves_the_old_output(number: signal.Signals, status: int, before: str, pool: Files) -> None:
    m, k = (60, 5) if before is WRITING else (20_000, 10_000)  # seconds of selecting
    if before is SELECTING:
        np.save("F.npy", np.random.default_rng(0).normal(size=(m, 64)))
    pool["old.npy"].write_bytes(b"old")
    names = pool.names()
    line = f"select F.npy --scores self-compression -k {k} --columns lazy -o old.npy --force --quiet"
    with started(line, before) as (process, _, err):
        assert err.readline() == "reached\n"
        process.send_signal(number)
        assert process.wait(60) == status
        assert "Traceback" not in err.read()
    assert pool["old.npy"].read_bytes() == b"old"
    left = pool.names() - names
    if number == signal.SIGKILL and before is WRITING:
        assert [name.startswith(".old") and name.endswith(".tmp") for name in left] == [True]
    else:
        assert left == set()


@posix
@pytest.mark.parametrize("suffix", ["npy", "csv", "txt", "npz", "json", "parquet"])
def test_a_full_disk_leaves_nothing(suffix: str, pool: Files) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    names = pool.names()
    little_space = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    line = f"select F.npy --scores G.npy -k 60 -o out.{suffix}"
    with started(line, f"sys.dont_write_bytecode = True; {little_space}") as (process, _, err):
        assert err.read() == f"gip-gpu: error: cannot write out.{suffix}: File too large\n"
        assert process.wait(60) == 1
    assert pool.names() == names


@posix
def test_a_reader_that_leaves_is_no_traceback(pool: Files) -> None:
    m = 30_000
    np.save("F.npy", np.ones((m, 1)))
    np.save("zeros.npy", np.zeros(m))
    with started(f"select F.npy --scores zeros.npy -k {m} --quiet") as (process, out, err):
        assert out.readline() == "0\n"
        out.close()
        assert err.read() == ""
        assert process.wait(60) in (0, 1)  # click's versions differ


def test_ignored_signals_stay_ignored(pool: Files) -> None:
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("no such signal")
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    after = "import atexit; atexit.register(lambda: print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN))"
    with started("--version", f"{before}\n{after}") as (_, out, _):
        assert "True" in out.read()


def test_json_output_is_json(pool: Files, run: Run) -> None:
    assert run(f"{SELECT} -o out.json").status == 0
    assert json.loads(pool["out.json"].read_text())["indices"] == matching_pursuit(pool.F, pool.G, 5).tolist()
