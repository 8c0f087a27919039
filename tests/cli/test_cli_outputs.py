"""Outputs of the command line: rows in any compression, ids, tables, all outputs or none."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gip_gpu
from gip_gpu import cli, reference
from tests.support.command_line import SELECT, Files, Run, command, posix, started

ROWS = "select F.npy --scores G.npy -k 5 --rows data.jsonl --rows-out"


# Shares, help, standard output


def test_a_percentage_is_a_share(pool: Files, run: Run) -> None:
    for text, count in (("5%", 3), ("100%", 60), ("0.1%", 1), ("12.5%", 8), ("5 %", 3), (" 5% ", 3), ("1_0 %\n", 6)):
        assert gip_gpu.select(pool.F, pool.G, text, device="cpu") == gip_gpu.select(pool.F, pool.G, count, device="cpu")
    chosen = gip_gpu.Pool(pool.F, device="cpu").select(pool.G, "10%")
    assert chosen == reference.matching_pursuit(pool.F, pool.G, "10%")  # type: ignore[arg-type]
    assert len(gip_gpu.extend(chosen, pool.F[:50], pool.G[:50], "10%", device="cpu")) == 5
    for wrong in ("0%", "100.1%", "-5%", "nan%", "snan%", "%", " % ", "% 5 %", "five%", "1e9999999999999999999%"):
        with pytest.raises(
            ValueError, match=rf"k is '{wrong}'; k must be .* text such as '5%', above '0%' and up to '100%'"
        ):
            gip_gpu.select(pool.F, pool.G, wrong, device="cpu")
    with pytest.raises(TypeError, match=r"k is '500', a str; k must be .* or text such as '5%'"):
        gip_gpu.select(pool.F, pool.G, "500", device="cpu")
    half = gip_gpu.select(pool.F, pool.G, 30, device="cpu")
    assert [int(line) for line in run("select F.npy --scores G.npy -k 50%").out.split()] == half
    assert cli.main(["select", "F.npy", "--scores", "G.npy", "-o", "out.npy", "-k", " 5 % "]) == 0
    assert np.load("out.npy").tolist() == half[:3]
    lacking = pool.F.copy()
    lacking[:20] = np.nan
    assert len(gip_gpu.select(lacking, pool.G, "50%", on_nan="drop", device="cpu")) == 20
    plan = run("plan --rows 1000 --dim 8 -k 5%")
    assert "50 (0.05 of the pool)" in plan.out
    assert run("plan --rows 1e9 --dim 8 -k 5% --devices 64").status == 0


def test_short_help(run: Run) -> None:
    for line in ("-h", "select -h", "plan -h", "report -h", "demo -h"):
        assert run(line) == run(line.replace("-h", "--help"))
        assert run(line).status == 0


def test_rows_out_alone_prints_no_indices(pool: Files, run: Run, chosen: list[int]) -> None:
    alone = run(f"{ROWS} a.jsonl")
    assert (alone.status, alone.err) == (0, "")
    assert alone.out.startswith("-----")
    assert "written          a.jsonl\n" in alone.out
    assert run(f"{ROWS} b.jsonl --quiet").out == ""
    both = run(f"{ROWS} c.jsonl -o -")
    assert [int(line) for line in both.out.split()] == chosen
    assert "written          c.jsonl\n" in both.err
    assert [int(line) for line in run(f"{SELECT} -o - --quiet").out.split()] == chosen


# Rows


@pytest.mark.parametrize("given", ["jsonl", "jsonl.gz", "jsonl.zst", "ndjson.gz"])
@pytest.mark.parametrize("wanted", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_compressed_rows(given: str, wanted: str, pool: Files, run: Run, chosen: list[int]) -> None:
    if "zst" in given + wanted:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    content = b"\xef\xbb\xbf" + b"".join(pool.rows)[:-1] + b"\n \n"
    if given.endswith("gz"):
        # Two gzip members, as `cat` makes from two files.
        content = gzip.compress(content[:100]) + gzip.compress(content[100:])
    elif given.endswith("zst"):
        content = pa.compress(content[:100], "zstd", asbytes=True) + pa.compress(content[100:], "zstd", asbytes=True)
    pool[f"pool.{given}"].write_bytes(content)
    line = f"select F.npy --scores G.npy -k 5 --rows pool.{given} --rows-out out.{wanted} --force"
    result = run(line)
    assert result.status == 0, result.err
    written = pool[f"out.{wanted}"].read_bytes()
    if wanted.endswith("gz"):
        plain = gzip.decompress(written)
    elif wanted.endswith("zst"):
        plain = pa.input_stream(pa.BufferReader(written), compression="zstd").read()
    else:
        plain = written
    assert plain == b"".join(pool.rows[i] for i in chosen)
    assert run(line).status == 0
    assert pool[f"out.{wanted}"].read_bytes() == written


def test_zst_without_a_library(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    pool["data.jsonl.zst"].write_bytes(b"")
    for line in (f"{ROWS} out.jsonl.zst", f"{ROWS} out.jsonl".replace("data.jsonl", "data.jsonl.zst")):
        result = run(line)
        assert result.status == 2
        assert '.zst files need Python 3.14, or pyarrow: pip install "gip_gpu[data]"' in result.err
    assert 'need pyarrow: pip install "gip_gpu[data]"' in run(f"{SELECT} -o out.parquet").err


def test_rows_that_are_no_json_on_request(pool: Files, run: Run, chosen: list[int]) -> None:
    rows = [b"\xff plain text %d\n" % i for i in range(60)]
    pool["data.jsonl"].write_bytes(b"".join(rows))
    result = run(f"{ROWS} out.jsonl")
    assert result.status == 2
    assert "line 1 is no text in UTF-8: invalid start byte 0xff; --no-check-rows takes" in result.err
    assert run(f"{ROWS} out.jsonl --no-check-rows").status == 0
    assert pool["out.jsonl"].read_bytes() == b"".join(rows[i] for i in chosen)


# Ids and tables


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("F.npy --ids ids.txt", str),
        ("F.npy --ids ids.npy", str),
        ("F.npy --ids numbers.npy", int),
        ("F.npy --ids ids.csv", str),
        ("F.npy --ids named.csv", str),
        ("F.npy --ids table.csv", str),
        ("F.npy --ids id --rows data.jsonl", int),
        ("F.npy --ids id --rows data.jsonl --rows-out rows.jsonl", int),
        ("F.npy --ids name --rows data.jsonl.gz", str),
        ("pool.npz --key F --ids ids", str),
        ("pool.parquet --key e --ids name", str),
        ("pool.parquet --key e --ids id --rows data.jsonl --rows-out rows.jsonl", int),
        ("pool.arrow --key e --ids id", int),
        ("stream.arrow --key e --ids name", str),
        ("shards --key e --ids name", str),
    ],
)
def test_ids(line: str, kind: type, pool: Files, run: Run, chosen: list[int]) -> None:
    numbers = [7 * i for i in range(60)]
    ids: list[str] = [f'é {i}, "x"' for i in numbers]
    pool["ids.txt"].write_text("\r\n".join(ids), encoding="utf-8", newline="")
    np.save("ids.npy", ids)
    np.save("numbers.npy", numbers)
    for name, header, rows in (
        ("ids.csv", [], [[i] for i in ids]),
        ("named.csv", [["exampleId"]], [[i] for i in ids]),
        ("table.csv", [["text", "ID"]], [["a\nb", i] for i in ids]),
    ):
        with open(name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([*header, *rows])
    items = [{"id": number, "name": name} for number, name in zip(numbers, ids, strict=True)]
    pool["data.jsonl"].write_text("".join(json.dumps(item) + "\n" for item in items))
    pool["data.jsonl.gz"].write_bytes(gzip.compress(pool["data.jsonl"].read_bytes()))
    np.savez("pool.npz", F=pool.F, ids=ids)
    if "npz" not in line and "F.npy" not in line:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        from pyarrow import feather, parquet

        table = pa.table({"e": list(pool.F), "id": numbers, "name": pa.array(ids).dictionary_encode()})
        parquet.write_table(table, "pool.parquet")
        feather.write_feather(table, "pool.arrow", compression="uncompressed")
        with pa.OSFile("stream.arrow", "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, 25)
        pool["shards"].mkdir()
        for i in range(12):  # shard-10 comes after shard-9
            parquet.write_table(table.slice(5 * i, 5), f"shards/shard-{i}.parquet")
    line = f"select {line} --scores G.npy -k 5"
    wanted = [(numbers if kind is int else ids)[i] for i in chosen]
    result = run(f"{line} -o out.csv")
    assert result.status == 0, result.err
    with open("out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "index", "id", "gain", "explained", "margin"]
    assert [int(row["index"]) for row in rows] == chosen
    assert [kind(row["id"]) for row in rows] == wanted
    if "--rows-out" not in line:
        assert run(f"{line} --quiet").out == "".join(f"{i}\n" for i in wanted)
        assert run(f"{line} -o out.txt").status == 0
        assert pool["out.txt"].read_text(encoding="utf-8") == "".join(f"{i}\n" for i in wanted)
    else:
        assert len(pool["rows.jsonl"].read_text().splitlines()) == 5


def test_ids_in_columns_that_are_none(pool: Files, run: Run) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    columns = {"e": list(pool.F), "some": [None, *range(59)], "share": np.arange(60) / 60}
    parquet.write_table(pa.table(columns), "pool.parquet")
    for name, message in (
        ("some", "column 'some' has 1 nulls; every item needs an id"),
        ("share", "column 'share' is double; an id is text or an integer"),
        ("e", "column 'e' is list<element: float>; an id is text or an integer"),
        ("none", "--ids is 'none', no column of pool.parquet"),
    ):
        result = run(f"select pool.parquet --key e -k 5 --ids {name}")
        assert result.status == 2
        assert message in result.err


def test_a_table_in_parquet(pool: Files, run: Run) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    wanted = gip_gpu.select(pool.F, pool.G, 5, device="cpu")
    for ids, names in (("", []), (" --ids id --rows data.jsonl", ["id"])):
        assert run(f"{SELECT} -o out.parquet --force{ids}").status == 0
        table = parquet.read_table("out.parquet")
        assert table.column_names == ["rank", "index", *names, "gain", "explained", "margin"]
        assert table["index"].to_pylist() == wanted
        assert table["gain"].to_pylist() == wanted.gains.tolist()
        assert table["margin"].to_pylist() == wanted.certificate.margins.tolist()


# All outputs or none

LITTLE_SPACE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); sys.dont_write_bytecode = True"


@posix
@pytest.mark.parametrize("rows", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_full_disk_leaves_none_of_two_outputs(rows: str, pool: Files, run: Run) -> None:
    """The first output fits, the second does not; a second try needs no --force."""
    if rows.endswith("zst"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    random = np.random.default_rng(0)
    pool["data.jsonl"].write_text("".join(f'{{"id": {random.random()}}}\n' for i in range(60)))
    names = pool.names()
    line = f"select F.npy --scores G.npy -k 50 --rows data.jsonl --rows-out out.{rows} -o out.txt"
    with started(line, LITTLE_SPACE) as (process, out, err):
        assert err.read() == f"gip-gpu: error: cannot write out.{rows}: File too large\n"
        assert out.read() == ""
        assert process.wait(60) == 1
    assert pool.names() == names
    assert run(line).status == 0
    assert pool.names() == names | {f"out.{rows}", "out.txt"}


def test_rows_that_change_leave_no_output(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    select = gip_gpu.select

    def slow(*arguments: object, **how: object) -> gip_gpu.Selection:
        pool["data.jsonl"].write_bytes(b"".join(pool.rows[::-1]))
        return select(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(gip_gpu, "select", slow)
    names = pool.names()
    result = run(f"{ROWS} out.jsonl -o out.npy")
    assert result.status == 2
    assert "cannot read data.jsonl: it has changed since it was opened" in result.err
    assert pool.names() == names


def test_indices_that_nobody_takes_leave_no_output(pool: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            """Nothing to do."""

    names = pool.names()
    with monkeypatch.context() as full:
        full.setattr(sys, "stdout", Full())
        assert cli.main([*ROWS.split(), "out.jsonl", "-o", "-"]) == 1
    assert pool.names() == names


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("line", "message", "files"),
    [
        (f"{ROWS} out.jsonl -o out.csv", "the summary to {}: {}; out.csv and out.jsonl are written", 2),
        (f"{SELECT} -o out.npy", "the summary to {}: {}; out.npy is written", 1),
        (SELECT, "the indices to {}: {}", 0),
        (f"{ROWS} out.jsonl -o - --quiet", "the indices to {}: {}; no file was written", 0),
        (f"{SELECT} --ids id --rows data.jsonl", "the ids to {}: {}", 0),
        ("plan --rows 10 --dim 2 -k 5", "the plan to {}: {}", 0),
        ("plan --rows 1e6 --dim 8 -k 5 --devices 2", "the plan to {}: {}", 0),
    ],
)
def test_a_full_standard_output_says_what_is_written(line: str, message: str, files: int, pool: Files) -> None:
    names = pool.names()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command(*line.split()), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    place = message.format("standard output", "No space left on device")
    assert (done.returncode, done.stderr) == (1, f"gip-gpu: error: cannot write {place}\n")
    assert len(pool.names() - names) == files


def test_a_name_that_is_taken_meanwhile(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    select = gip_gpu.select

    def slow(*arguments: object, **how: object) -> gip_gpu.Selection:
        pool["out.jsonl"].mkdir()
        return select(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(gip_gpu, "select", slow)
    names = pool.names()
    result = run(f"{ROWS} out.jsonl -o out.npy")
    assert result.status == 1
    assert result.err.startswith("gip-gpu: error: ")
    assert result.err.endswith("/out.jsonl: Is a directory\n")
    assert pool.names() == names | {"out.jsonl"}


def test_what_a_resumed_run_did(pool: Files, run: Run) -> None:
    line = "select F.npy --scores G.npy --columns lazy --checkpoint run.ckpt --force -o out.npz -k"
    assert "from the checkpoint" not in run(f"{line} 4").out
    for k, said in ((9, "4 picks from the checkpoint, 5 made at "), (9, "9 picks from the checkpoint\n")):
        shown = next(line for line in run(f"{line} {k}").out.splitlines(True) if line.startswith("time"))
        assert said in shown
    loaded = gip_gpu.Selection.load("out.npz")
    assert (loaded.resumed, loaded.made) == (9, 0)
