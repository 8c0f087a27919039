"""Ids of items: the line of each item, and the check before the run that an output can hold the ids."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from tests.support.command_line import SELECT, Files, Run

IDS = [f"item {i}" for i in range(60)]


def refused(line: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the error, which is found before the selection begins."""

    def work(*_: object) -> None:
        pytest.fail("the selection has begun")

    with monkeypatch.context() as early:
        early.setattr("gip_gpu.greedy.loop.run", work)
        result = run(line)
    assert result.status == 2
    assert result.err.count("\n") == 1
    return result.err


def items(ids: list[object]) -> str:
    return "".join(json.dumps({"id": value}) + "\n" for value in ids)


@pytest.mark.parametrize("header", ["id", "ID", "Id ", "ids", "uuid", "example_id", "row_number", "Unnamed: 0"])
def test_a_name_of_identifiers_is_a_header(header: str, pool: Files, run: Run, chosen: list[int]) -> None:
    pool["x.csv"].write_text("\n".join([header, *IDS]) + "\n\n")
    assert run(f"{SELECT} --ids x.csv --quiet").out == "".join(f"{IDS[i]}\n" for i in chosen)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "x.csv",
            ["id", *IDS[:59]],
            "it has 59 ids and the embeddings have 60 rows; id i belongs to row i; line 1, 'id'",
        ),
        ("x.csv", [*IDS, "more"], "it has 61 ids and the embeddings have 60 rows; id i belongs to row i; if line 1"),
        ("x.csv", ["name", *IDS], "if line 1, 'name', is the column's name, change it to id"),
        ("x.csv", ["id", *IDS[:3], "", *IDS[3:]], "line 5 is empty; every item needs an id"),
        ("x.csv", ["id", *IDS[:3], "", *IDS[4:]], "line 5 is empty; every item needs an id"),
        ("x.csv", ["id", *IDS[:3], " ", *IDS[4:]], "line 5 is empty; every item needs an id"),
        ("x.csv", ["id", *IDS[:3], '""', *IDS[4:]], "line 5 has an empty id; every item needs one"),
        ("x.csv", [*IDS[:59], '""'], "line 60 has an empty id"),
        ("x.csv", ["", *IDS[:59]], "line 1 is empty"),
        ("x.csv", ["a,id", "x,1", '"y\nz",2', "w, "], "line 5 has an empty id"),
        ("x.csv", ["a,id", "x,1", ",", "y,2"], "line 3 is empty"),
        ("x.csv", ["a,id", '"x\ny",1', "z"], "line 4 has 1 columns; the id is in column 2"),
        ("x.csv", ["id,ID", "x,1"], "it has 2 columns, 2 of them named 'id'"),
        ("x.txt", ["id", *IDS[:59]], "line 1 is 'id', the name of a column; a .txt has ids alone"),
        ("x.txt", ["id", *IDS], "line 1 is 'id', the name of a column; a .txt has ids alone"),
        ("x.txt", [*IDS[:3], "", *IDS[4:]], "line 4 is empty"),
    ],
)
def test_no_id_moves_to_another_item(
    name: str, lines: list[str], message: str, pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool[name].write_text("\n".join(lines) + "\n")
    found = refused(f"{SELECT} --ids {name} -o out.csv", run, monkeypatch)
    assert f"cannot read {name}: " in found
    assert message in found


def test_what_such_errors_advise(pool: Files, run: Run, chosen: list[int]) -> None:
    words = ["key", *IDS[1:]]
    for name, lines in (("words.csv", ["id", *words]), ("renamed.csv", ["id", *words])):
        pool[name].write_text("\n".join(lines))
        assert run(f"{SELECT} --ids {name} --quiet").out == "".join(f"{words[i]}\n" for i in chosen)


def test_an_empty_id_of_any_source(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [*IDS[:7], "", *IDS[8:]]
    np.save("x.npy", ids)
    np.savez("both.npz", F=pool.F, x=ids)
    pool["x.jsonl"].write_text(items(list(ids)))
    for line, place in (
        ("F.npy --ids x.npy", "x.npy: row 7"),
        ("both.npz --key F --ids x", "both.npz: row 7"),
        ("F.npy --ids id --rows x.jsonl", "x.jsonl: line 8"),
    ):
        found = refused(f"select {line} -k 5 -o out.csv", run, monkeypatch)
        assert f"{place} has an empty id; every item needs one" in found


def test_an_empty_id_of_a_table(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    parquet.write_table(pa.table({"e": list(pool.F), "x": [*IDS[:7], " ", *IDS[8:]]}), "pool.parquet")
    assert "row 7 has an empty id" in refused("select pool.parquet --key e -k 5 --ids x", run, monkeypatch)


def test_ids_with_line_breaks(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a table can hold them, whether one of them is chosen or not."""
    for broken in ("a\nb", "a\rb"):
        ids = [*IDS[:-1], broken]
        np.save("x.npy", ids)
        pool["x.jsonl"].write_text(items(list(ids)))
        for line, place in (("--ids x.npy", "row 59"), ("--ids id --rows x.jsonl", "line 60")):
            for output in ("", "-o -", "-o out.txt"):
                found = refused(f"{SELECT} {line} {output}", run, monkeypatch)
                assert f"--ids: {place} has id {broken!r}, whose line break" in found
                assert "write a table by -o with .csv or .parquet" in found
            assert run(f"{SELECT} {line} -o out.csv --force").status == 0


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("first", [3, "3"])
def test_duplicates_are_a_warning_that_names_the_first(first: object, pool: Files, run: Run) -> None:
    """1 and "1" are the same id, because both are written as 1."""
    ids: list[object] = list(range(60))
    ids[3], ids[40], ids[50], ids[8] = first, 3, 9, 9
    pool["x.jsonl"].write_text(items(ids))
    line = f"{SELECT} --ids id --rows x.jsonl -o out.csv --force"
    result = run(line)
    assert result.status == 0
    assert result.err == (
        "gip-gpu: warning: --ids: '9' is the id of two items, line 9 and line 10; the column index of a table "
        "distinguishes such items (-o with .csv or .parquet)\n"
    )
    assert run(f"{line} --quiet").err == ""
    ids[8], ids[50] = 8, 50
    pool["x.jsonl"].write_text(items(ids))
    assert "'3' is the id of two items, line 4 and line 41;" in run(line).err
    ids[40] = 40
    pool["x.jsonl"].write_text(items(ids))
    assert run(line).err == ""


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (list(range(60)), "int64"),
        ([*range(59), 2**63 - 1], "int64"),
        ([*range(59), 2**63], "uint64"),
        ([*range(59), 2**64 - 1], "uint64"),
        ([*range(59), 2**64], "string"),
        ([-1, *range(58), 2**63], "string"),
        ([*range(59), -(2**63) - 1], "string"),
        ([*range(59), "59"], "string"),
        (["0", *range(1, 60)], "string"),
        (IDS, "string"),
    ],
)
def test_every_id_goes_into_a_table(ids: list[object], kind: str, pool: Files, run: Run, chosen: list[int]) -> None:
    """Ids are integers if all ids of the pool fit, else the same text as in .csv."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    pool["x.jsonl"].write_text(items(ids))
    result = run(f"{SELECT} --ids id --rows x.jsonl -o out.parquet")
    assert (result.status, result.err) == (0, "")
    column = parquet.read_table("out.parquet")["id"]
    assert str(column.type) == kind
    assert column.to_pylist() == [str(ids[i]) if kind == "string" else ids[i] for i in chosen]


@pytest.mark.parametrize("output", ["", "-o out.txt", "-o out.csv", "-o out.parquet"])
def test_ids_that_are_no_unicode(output: str, pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if "parquet" in output:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    ids = [*IDS[:-1], "a\ud800"]
    pool["x.jsonl"].write_text(items(list(ids)))
    np.save("x.npy", np.array(ids))
    for line, place in (("--ids id --rows x.jsonl", "line 60"), ("--ids x.npy", "row 59")):
        found = refused(f"{SELECT} {line} {output}", run, monkeypatch)
        assert rf"{place} has id 'a\ud800'; utf-8 cannot hold '\ud800'; give it as text in UTF-8" in found


def test_standard_output_of_another_encoding(pool: Files, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("x.npy", [*IDS[:-1], "é"])
    with monkeypatch.context() as latin:
        latin.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        found = refused(f"{SELECT} --ids x.npy", run, monkeypatch)
        assert r"--ids: row 59 has id '\xe9'; ascii cannot hold '\xe9'; write them to a file by -o" in found
        assert run(f"{SELECT} --ids x.npy -o out.txt --quiet").status == 0


def test_columns_of_one_name(pool: Files, run: Run) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(pool.F, np.float64).ravel()), pool.F.shape[1])
    table = pa.Table.from_arrays([rows, pa.array(IDS), pa.array(IDS)], ["F", "q", "q"])
    pq.write_table(table, "twice.parquet")
    found = run("select twice.parquet -k 5 --ids q")
    assert found.status == 2
    assert "twice.parquet has 2 columns 'q'; rename them" in found.err
