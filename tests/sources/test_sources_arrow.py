"""Columns of Parquet and Arrow files as matrices."""

from __future__ import annotations

import builtins
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu.cli import main
from gip_gpu.sources import arrow, columns, decoded, open_matrix, parquet
from tests.support.source_checks import F, G, asked_by_threads, same

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")

FORMATS = ("parquet", "arrow", "feather", "stream", "lz4")


def write(path: Path, table: Any, kind: str, rows: int = 17) -> Path:
    """Writes a table in row groups or batches of this many rows."""
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=rows)
    elif kind in ("feather", "lz4"):
        feather.write_feather(table, path, chunksize=rows, compression="lz4" if kind == "lz4" else "uncompressed")
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def lists(array: np.ndarray, kind: str = "fixed") -> Any:
    """Returns a column of lists."""
    inside = pa.array(np.ascontiguousarray(array).ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(inside, array.shape[1])
    offsets = pa.array(np.arange(0, array.size + 1, array.shape[1]), pa.int64() if kind == "large" else pa.int32())
    return (pa.LargeListArray if kind == "large" else pa.ListArray).from_arrays(offsets, inside)


def suffix(kind: str) -> str:
    return {"stream": "arrow", "lz4": "feather"}.get(kind, kind)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u4", "?"])
def test_columns_of_lists(kind: str, dtype: str, tmp_path: Path) -> None:
    array = F.astype(dtype)
    table = pa.table(
        {"text": ["x"] * 101, "F": lists(array, "fixed" if dtype < "f8" else "plain"), "label": range(101)}
    )
    source = open_matrix(write(tmp_path / f"F.{suffix(kind)}", table, kind), dimensions=(2,))
    same(source, array)
    assert source.nbytes == array.nbytes
    same(pickle.loads(pickle.dumps(source)), array)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", ["fixed", "plain", "large"])
def test_lists_of_every_kind_in_pieces_of_every_size(
    kind: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row groups are larger than a piece, one piece, or one row; pieces are evicted from the cache."""
    monkeypatch.setattr(parquet, "PIECE", 10 * 7 * 8)
    monkeypatch.setattr(decoded, "KEPT", 1)
    for rows in (1, 10, 33, 101):
        table = pa.table({"F": lists(F, shape)})
        source = open_matrix(write(tmp_path / f"F.{suffix(kind)}", table, kind, rows))
        same(source, F)
        assert len(source._pieces) <= 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", FORMATS)
def test_threads(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PIECE", 10 * 7 * 8)
    monkeypatch.setattr(decoded, "KEPT", 1)
    source = open_matrix(write(tmp_path / f"F.{suffix(kind)}", pa.table({"F": lists(F)}), kind, 33))
    assert asked_by_threads(source, F, 6)


def test_slices_and_empty_batches(tmp_path: Path) -> None:
    """Arrays that begin in the middle of their buffers."""
    table = pa.table({"F": lists(np.vstack([F, F]), "plain"), "G": np.arange(202)}).slice(101)
    for kind in FORMATS:
        same(open_matrix(write(tmp_path / f"F.{suffix(kind)}", table, kind)), F)
    with pa.OSFile(str(tmp_path / "E.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for part in (table[:0], table[:40], table[:0], table[40:]):
            for batch in part.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]:
                writer.write_batch(batch)
    same(open_matrix(tmp_path / "E.arrow"), F)


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_of_numbers(kind: str, tmp_path: Path) -> None:
    table = pa.table({"a": G[:, 0], "b": G[:, 1].astype("f4"), "n": np.arange(101, dtype="i2"), "text": ["x"] * 101})
    path = write(tmp_path / f"G.{suffix(kind)}", table, kind)
    same(open_matrix(path, "b"), G[:, 1:].astype("f4"))
    same(open_matrix(path, "n,a,b"), np.column_stack([np.arange(101), G[:, 0], G[:, 1].astype("f4")]))
    same(open_matrix(path, "n,b"), np.column_stack([np.arange(101), G[:, 1]]).astype("f4"))
    with pytest.raises(ValueError, match=r"must hold one column, 1-d or 2-d, .*a: double, b: float, .*; give the key"):
        open_matrix(path)
    with pytest.raises(ValueError, match=r"must hold a column 'text', .*it holds a: double"):
        open_matrix(path, "text")
    with pytest.raises(ValueError, match=r"has no column 'text' of numbers, which key 'a,text' names; it holds a: d"):
        open_matrix(path, "a,text")
    with pytest.raises(ValueError, match=r"must hold a column 'a', 2-d, of real numbers"):
        open_matrix(path, "a", dimensions=(2,))


def test_the_only_column_of_lists_comes_before_numbers(tmp_path: Path) -> None:
    table = pa.table({"id": range(101), "F": lists(F)})
    path = write(tmp_path / "F.parquet", table, "parquet")
    same(open_matrix(path), F)
    same(open_matrix(path, "id"), np.arange(101.0)[:, None])
    path = write(path, table.append_column("H", lists(F[:, :2])), "parquet")
    with pytest.raises(ValueError, match="give the key of one"):
        open_matrix(path)
    same(open_matrix(path, "H"), F[:, :2])


def test_folders_of_tables(tmp_path: Path) -> None:
    """Folders as written by Spark and the datasets library."""
    for number in range(11):
        table = pa.table({"text": ["x"] * 9, "F": lists(F[9 * number : 9 * number + 9])})
        write(tmp_path / f"part-{number}.parquet", table, "parquet", 4)
    (tmp_path / "_SUCCESS").touch()
    same(open_matrix(tmp_path, "F"), F[:99])
    saved = tmp_path / "saved"
    saved.mkdir()
    for number in range(2):
        table = pa.table({"text": ["x"] * 50, "F": lists(F[50 * number : 50 * number + 50], "plain")})
        write(saved / f"data-0000{number}-of-00002.arrow", table, "stream")
    write(saved / "cache-0123.arrow", pa.table({"other": [1.0]}), "stream")
    (saved / "state.json").write_text("{}")
    source = open_matrix(saved)
    same(source, F[:100])
    same(pickle.loads(pickle.dumps(source)), F[:100])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1.0], "row 70 has 1 values, and the rows before have 3"),
        ([], "row 70 has 0 values, and the rows before have 3"),
    ],
)
def test_rows_that_are_wrong_are_named(kind: str, bad: Any, message: str, tmp_path: Path) -> None:
    rows = F[:, :3].tolist()
    rows[70] = bad
    source = open_matrix(write(tmp_path / f"F.{suffix(kind)}", pa.table({"F": pa.array(rows)}), kind))
    np.testing.assert_array_equal(source.read(0, 60), F[:60, :3])
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"cannot read .*F.{suffix(kind)}: {message}"):
            source.read(60, 80)
    np.testing.assert_array_equal(source.take([100, 3]), F[[100, 3], :3])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("bad", [None, [1, None, 2]])
def test_a_null_among_rows_of_integers_is_named(kind: str, bad: Any, tmp_path: Path) -> None:
    rows: list[Any] = [[j, 1, 2] for j in range(100)]
    rows[70] = bad
    source = open_matrix(write(tmp_path / f"F.{suffix(kind)}", pa.table({"F": pa.array(rows)}), kind))
    with pytest.raises(ValueError, match=r"cannot read .*: row 70 (is|has a) null; .*among floats a null is NaN"):
        source.read(60, 80)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fixed", [False, True])
def test_a_null_among_floats_is_nan(kind: str, fixed: bool, tmp_path: Path) -> None:
    """Tables store missing values as nulls: the error names the row, and `on_nan` may drop it."""
    rows: list[Any] = F[:, :3].tolist()
    rows[70], rows[41] = None, [1.0, None, 2.0]
    scores: list[Any] = [float(j % 7) for j in range(len(F))]
    scores[3] = None
    lists = pa.list_(pa.float64(), 3) if fixed else pa.list_(pa.float64())
    table = pa.table({"F": pa.array(rows, lists), "g": pa.array(scores, pa.float32())})
    path = write(tmp_path / f"F.{suffix(kind)}", table, kind)
    values = open_matrix(path, "F")[:]
    assert np.argwhere(np.isnan(values)).tolist() == [[41, 1], [70, 0], [70, 1], [70, 2]]
    G = open_matrix(path, "g", dimensions=(1, 2))
    with pytest.raises(ValueError, match=r"not finite in row 41 \(\[1, nan, 2\]\), 2 such rows in all \(41, 70\)"):
        gip_gpu.select(open_matrix(path, "F"), np.arange(float(len(F))), 3, device="cpu")
    with pytest.raises(ValueError, match=r"G has a value that is not finite in row 3 .*on_nan='drop'"):
        gip_gpu.select(F, G, 3, device="cpu")
    chosen = gip_gpu.select(open_matrix(path, "F"), G, 9, on_nan="drop", device="cpu")
    kept = np.delete(np.arange(len(F)), [3, 41, 70])
    wanted = gip_gpu.select(F[kept, :3], np.array(scores)[kept].astype(float), 9, device="cpu")
    assert chosen.tolist() == kept[wanted.indices].tolist()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_null_among_integers_of_a_column_is_nan(kind: str, tmp_path: Path) -> None:
    values = [*range(40), None, *range(60)]
    source = open_matrix(write(tmp_path / f"g.{suffix(kind)}", pa.table({"g": pa.array(values, pa.int32())}), kind))
    with pytest.raises(ValueError, match=r"G has a value that is not finite in row 40 .*on_nan='drop'"):
        gip_gpu.select(F, source, 3, device="cpu")
    chosen = gip_gpu.select(F, source, 100, on_nan="drop", device="cpu")
    assert sorted(chosen) == [*range(40), *range(41, 101)]


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_tables(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"F.{suffix(kind)}"
    write(path, pa.table({"F": lists(F)}), kind)
    whole = path.read_bytes()
    for cut in (0, 3, 20, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=rf"cannot read .*F.{suffix(kind)}: "):
            open_matrix(path)[:]
    path.write_bytes(whole)
    source = open_matrix(path)
    source.read(0, 5)
    os.truncate(path, len(whole) - 10)
    with pytest.raises(ValueError, match=r"it has changed since it was opened"):
        source.read(0, 5)
    write(path, pa.table({"F": lists(F)}).slice(0, 0), kind)
    with pytest.raises(ValueError, match=r"cannot read .*: it has no rows"):
        open_matrix(path)


def test_a_compressed_stream_is_refused(tmp_path: Path) -> None:
    table = pa.table({"F": lists(np.zeros((101, 7)))})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    path = str(tmp_path / "F.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=r"F.arrow: it is a compressed stream; write it in Arrow's file format"):
        open_matrix(tmp_path / "F.arrow")


def test_what_pyarrow_is_needed_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "F.parquet", pa.table({"F": lists(F)}), "parquet")
    real = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *a: real("none" if name.startswith("pyarrow") else name, *a)
    )
    with pytest.raises(ImportError, match=r'need pyarrow: pip install "gip_gpu\[data\]"'):
        open_matrix(path)


def test_selections_from_tables(tmp_path: Path) -> None:
    expected = gip_gpu.select(F, G, 20, device="cpu")
    for kind in FORMATS:
        table = pa.table({"F": lists(F), "a": G[:, 0], "b": G[:, 1]})
        path = write(tmp_path / f"pool.{suffix(kind)}", table, kind)
        scores = open_matrix(path, "a,b")
        for columns_kept in ("gram", "lazy"):
            found = gip_gpu.select(path, scores, 20, device="cpu", columns=columns_kept)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"F": lists(F.astype("f4")), "a": G[:, 0], "b": G[:, 1], "H": lists(F)})
    path = str(write(tmp_path / f"pool.{suffix(kind)}", table, kind))
    line = ["--quiet", "-k", "9", "--device", "cpu", "--key", "F"]
    assert main(["select", path, "--scores", path, "--scores-key", "a,b", *line]) == 0
    expected = gip_gpu.select(F.astype("f4"), G, 9, device="cpu")
    assert capsys.readouterr().out.split() == [str(index) for index in expected.indices]
    assert main(["plan", path, "-k", "9", "--key", "F"]) == 0
    assert "101 items of length 7" in capsys.readouterr().out
    assert main(["select", path, "--scores", path, *line]) == 2
    assert "must hold one column, 1-d or 2-d, of real numbers; it holds F: " in capsys.readouterr().err


def test_the_modules_do_not_load_pyarrow() -> None:
    for module in (arrow, columns, decoded, parquet):
        assert "pyarrow" not in vars(module)
        assert "pa" not in vars(module)
