"""Scores in files of several columns or arrays: which data is accepted as scores, and which only by its name."""

import json
import os
import re

import numpy as np
import pytest

import gip_gpu
from gip_gpu import metrics, signals
from gip_gpu.cli import main
from gip_gpu.sources import Part, open_matrix
from gip_gpu.sources.in_memory import InMemorySource

M = 20
F = np.random.default_rng(0).standard_normal((M, 6)).astype(np.float32)
QUALITY = np.random.default_rng(1).integers(0, 6, M)
EXPECTED = gip_gpu.select(F, QUALITY, 5, device="cpu").indices
EVERYWHERE = ("parquet", "arrow", "datasets", "npz", "compressed.npz", "safetensors", "jsonl")
TEXT = ("csv", "tsv", "jsonl")


def select(F, G):
    return gip_gpu.select(F, G, 5, device="cpu").indices


def save(folder, kind, columns):
    """Writes these columns and arrays to a file or a folder of shards; returns the path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"scores.{kind}"
    if kind in ("parquet", "arrow", "datasets"):
        pa = pytest.importorskip("pyarrow")
        wide = {name: np.ndim(column) == 2 for name, column in columns.items()}
        table = pa.table({
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), column.shape[1]) if wide[name] else column
            for name, column in columns.items()
        })  # fmt: skip
        if kind == "parquet":
            pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=7)
        elif kind == "arrow":
            pytest.importorskip("pyarrow.feather").write_feather(table, path, compression="uncompressed")
        else:
            datasets = pytest.importorskip("datasets", reason="the datasets library is not installed: extra 'data'")
            datasets.disable_progress_bars()
            datasets.Dataset(table).save_to_disk(path)
    elif kind.endswith("npz"):
        (np.savez_compressed if kind.startswith("compressed") else np.savez)(path, **columns)
    elif kind == "safetensors":
        numbers = {name: np.ascontiguousarray(column) for name, column in columns.items() if name != "text"}
        pytest.importorskip("safetensors.numpy").save_file(numbers, path)
    elif kind == "jsonl":
        rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        between = "," if kind == "csv" else "\t"
        rows = [columns, *zip(*columns.values(), strict=True)]
        path.write_text("".join(between.join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.fixture
def texts():
    return [f"a{i}" for i in range(M)]


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_embeddings_are_scores_only_by_their_name(kind, texts, tmp_path, capsys):
    path = save(tmp_path, kind, {"text": texts, "embedding": F, "quality": QUALITY})
    pool = path
    if kind == "jsonl":
        np.save(pool := tmp_path / "F.npy", F)
    command = ["select", str(pool), "--scores", str(path), "-k", "5", "--quiet", "--device", "cpu"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"open_matrix('{path}', 'quality'), on the command line by --scores-key quality\n"), error
    assert re.search("embedding: .*, quality: |quality: I64 .*, embedding: ", error)
    call = re.search(r"gip_gpu.sources.(open_matrix\(.*?\))", error)[1]
    with pytest.raises(ValueError, match=re.escape(call)):
        select(pool, path)
    np.testing.assert_array_equal(select(pool, eval(call)), EXPECTED)
    assert main([*command, "--scores-key", "quality"]) == 0
    assert capsys.readouterr().out.split() == EXPECTED.astype(str).tolist()
    # A user who names them gets them.
    named = open_matrix(path, "embedding")
    np.testing.assert_array_equal(select(F, named), select(F, F))


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_a_source_without_a_name_is_no_scores_either(kind, texts, tmp_path):
    path = save(tmp_path, kind, {"text": texts, "embedding": F})
    if kind == "safetensors":  # which cannot hold text: nothing to confuse it with
        np.testing.assert_array_equal(select(F, path), select(F, F))
        return
    source = open_matrix(path)
    assert source.shape == F.shape
    message = r"the (column|array|field) 'embedding' of .* is taken for scores only by its name"
    for given in (path, source, Part(source, 0, M)):
        with pytest.raises(ValueError, match=f"^G: {message}"):
            select(F, given)
        with pytest.raises(ValueError, match=message):
            gip_gpu.Pool(F, device="cpu").select(given, 5)
        with pytest.raises(ValueError, match=message):
            metrics.explained_share(F, given, [1])
        with pytest.raises(ValueError, match=f"^scores: {message}"):
            signals.multi_attribute(given, low=None, high=None)
        with pytest.raises(ValueError, match=message):
            signals.ridge_query(F, given, 0.1)
        with pytest.raises(ValueError, match=f"^G_new: {message}"):
            gip_gpu.extend(gip_gpu.select(F, F, 3, device="cpu"), F, given, 3)


@pytest.mark.parametrize("kind", [*EVERYWHERE, *TEXT[:2]])
def test_the_only_numbers_are_scores(kind, texts, tmp_path):
    columns = {"quality": QUALITY} if kind in ("csv", "tsv") else {"text": texts, "quality": QUALITY}
    path = save(tmp_path, kind, columns)
    np.testing.assert_array_equal(select(F, path), EXPECTED)
    np.testing.assert_array_equal(select(F, open_matrix(path, "quality")), EXPECTED)


IDENTIFIERS = {
    "id": (QUALITY[::-1], "has the name of an identifier"),
    "exampleIdx": (QUALITY, "has the name of an identifier"),
    "n": (np.arange(M), "holds 0 to 19, as row numbers do"),
    "place": (np.arange(1, M + 1), "holds 1 to 20, as row numbers do"),
    "seed": (7 + 3 * np.arange(M) ** 2, "holds 20 different integers in ascending order"),
}


@pytest.mark.parametrize("name", IDENTIFIERS)
@pytest.mark.parametrize("kind", [*EVERYWHERE, *TEXT[:2]])
def test_identifiers_are_scores_only_by_their_name(kind, name, tmp_path):
    values, why = IDENTIFIERS[name]
    path = save(tmp_path, kind, {name: values})
    with pytest.raises(ValueError, match=rf"^G: (column|array|tensor|field) '{name}' of .* {why}; name .*'{name}'\)"):
        select(F, path)
    # The error is the same for a process's share.
    with pytest.raises(
        ValueError, match=r"the name of an identifier|to (19|20), as row numbers do|13 different integers"
    ):
        select(F[7:], Part(open_matrix(path), 7, M))
    np.testing.assert_array_equal(select(F, open_matrix(path, name)), select(F, values))


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("name", IDENTIFIERS)
def test_an_identifier_beside_the_scores(kind, name, tmp_path, capsys):
    path = save(tmp_path, kind, {name: IDENTIFIERS[name][0], "quality": QUALITY, "difficulty": QUALITY[::-1]})
    np.save(tmp_path / "F.npy", F)
    command = ["select", str(tmp_path / "F.npy"), "--scores", str(path), "-k", "5", "--quiet", "--device", "cpu"]
    assert main(command) == 2
    error = capsys.readouterr().err
    if kind == "jsonl":
        assert f"holds {name}: number, quality: number, difficulty: number; give the key of one" in error
    else:
        assert f"column '{name}' of {path} {IDENTIFIERS[name][1]}; name the scores" in error
        assert "--scores-key quality,difficulty" in error
    assert main([*command, "--scores-key", "quality"]) == 0
    assert capsys.readouterr().out.split() == EXPECTED.astype(str).tolist()
    found = open_matrix(path, "difficulty, quality")[:]
    np.testing.assert_array_equal(found, np.column_stack([QUALITY[::-1], QUALITY]))


@pytest.mark.parametrize("kind", TEXT[:2])
def test_columns_of_text_beside_the_scores(kind, texts, tmp_path):
    path = save(tmp_path, kind, {"name": texts, "quality": QUALITY})
    message = r"line 2, column 1: 'a0' is not a number; name the scores by .*open_matrix\(.*'quality'\), on the"
    with pytest.raises(ValueError, match=message):
        open_matrix(path)
    np.testing.assert_array_equal(select(F, open_matrix(path, "quality")), EXPECTED)


def test_all_columns_of_a_csv_are_scores(tmp_path):
    path = save(tmp_path, "csv", {"quality": QUALITY, "length": QUALITY[::-1] / 2})
    expected = np.column_stack([QUALITY, QUALITY[::-1] / 2])
    np.testing.assert_array_equal(open_matrix(path)[:], expected)
    np.testing.assert_array_equal(select(F, path), select(F, expected))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("1,2\n3,4\n", "a", "line 1 has numbers; with key 'a' the first line must have the names of columns"),
        ("a,b\n1,2\n", "c", r"it must hold a column 'c', .*; it holds a: column, b: column; give the key of one"),
        ("a,b\n1,2\n", "a,c", r"it has no column 'c' of numbers, which key 'a,c' names; it holds a: column"),
        ("a,b\n1,2\n", "a,a", "key 'a,a' names a column twice"),
        ("a,b,a\n1,2,3\n", "a", "line 1 has 2 columns 'a', which key names; rename them"),
        ("a,b\n1,x\n", "b", "line 2, column 2: 'x' is not a number"),
        (",a\n0,1\n1,2\n", None, r"column 1 has no name; does it hold row numbers\?; name .*--scores-key a"),
        ("0,5\n1,2\n2,5\n", None, "column 1 of .* holds 0 to 2, as row numbers do; name the columns in a first line"),
    ],
)  # fmt: skip
def test_bad_text(text, key, message, tmp_path):
    (tmp_path / "G.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"G.csv: .*{message}|^G: {message}"):
        select(F[:3], open_matrix(tmp_path / "G.csv", key))


@pytest.mark.parametrize(
    ("lines", "key", "message"),
    [
        ("", None, "it has no rows"),
        ('{"a": 1}\n[1]\n', "a", "line 2 is numbers; it must be an object with fields"),
        ('{"a": 1}\n{"a"\n', "a", "line 2 is no JSON: "),
        ('{"a": 1}\n\n{"a": 2}\n', "a", "line 2 is empty; it must have one row a line"),
        ('{"a": 1}\n{"b": 2}\n', "a", "line 2 has no field 'a'"),
        ('{"a": 1}\n{"a": "x"}\n', "a", "line 2: field 'a' is \"x\"; it must be a number, as in the first line"),
        ('{"a": 1}\n{"a": 1' + "0" * 400 + "}\n", "a", "line 2: field 'a' holds an int too large"),
        ('{"a": 1}\n{"a": "x"}\n', "a", "line 2: field 'a' is \"x\"; it must be a number"),
        ('{"a": [1, 2]}\n{"a": [1]}\n', "a", "line 2 has 1 values, and the lines before have 2"),
        ('{"a": 1}\n{"a": [1]}\n', "a", r"line 2: field 'a' is \[1\]; it must be a number"),
        ('{"a": 1, "b": "x"}\n', "b", r"must hold a field 'b', .*; it holds a: number, b: text; give the key of one"),
    ],
)
def test_bad_lines(lines, key, message, tmp_path):
    (tmp_path / "G.jsonl").write_text(lines)
    with pytest.raises(ValueError, match=rf"G.jsonl:? .*{message}"):
        open_matrix(tmp_path / "G.jsonl", key)


def test_lines_as_editors_and_systems_write_them(tmp_path):
    (tmp_path / "G.ndjson").write_bytes(b'\xef\xbb\xbf{"a": 1, "b": true}\r\n{"b": 0, "a": 2.5}\r\n\r\n')
    np.testing.assert_array_equal(open_matrix(tmp_path / "G.ndjson", "b,a")[:], [[1, 1], [0, 2.5]])


def test_several_columns_of_lists_need_a_name(tmp_path, capsys):
    path = save(tmp_path, "parquet", {"E": F, "H": F[:, :2], "quality": QUALITY})
    with pytest.raises(
        ValueError, match=r"holds E: fixed.*, H: fixed.*, quality: int64; give the key of one, 'E', 'H', by .*, key\)"
    ):
        select(path, QUALITY)
    assert main(["select", str(path), "--scores", str(path), "--scores-key", "quality", "-k", "5", "--quiet"]) == 2
    assert "on the command line by --key" in capsys.readouterr().err
    np.testing.assert_array_equal(select(open_matrix(path, "E"), open_matrix(path, "quality")), EXPECTED)


def test_few_numbers_in_order_may_be_scores(tmp_path):
    (tmp_path / "G.csv").write_text("a,b\n1,3\n2,8\n")
    np.testing.assert_array_equal(gip_gpu.select(F[:2], tmp_path / "G.csv", 1, device="cpu").indices, [1])


def test_arrays_are_taken_as_they_are(tmp_path):
    """Arrays in memory are not checked: the user has built them."""
    np.save(tmp_path / "G.npy", np.arange(M))
    np.testing.assert_array_equal(select(F, tmp_path / "G.npy"), select(F, np.arange(M)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "tsv", "jsonl", "safetensors", "parquet", "arrow", "feather"])
def test_a_pipe_is_no_input(kind, tmp_path, capsys):
    """Opening a pipe would block forever."""
    path = tmp_path / f"pipe.{kind}"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=rf"cannot read .*pipe.{kind}: it is no regular file"):
        select(F, path)
    np.save(tmp_path / "F.npy", F)
    rows = tmp_path / "rows.jsonl"
    os.mkfifo(rows)
    command = ["select", str(tmp_path / "F.npy"), "--scores", str(path), "-k", "5"]
    assert main(command) == 2
    assert "it is no regular file" in capsys.readouterr().err
    command[3:4] = ["self-compression", "--rows", str(rows), "--rows-out", str(tmp_path / "out.jsonl")]
    assert main(command) == 2
    assert f"cannot read {rows}: it is no regular file" in capsys.readouterr().err
    if kind == "npy":
        with pytest.raises(ValueError, match="it is no regular file"):
            select(tmp_path, QUALITY)  # among shards


def test_what_is_read_whole_has_no_second_copy(tmp_path):
    path = save(tmp_path, "compressed.npz", {"F": F})
    source = open_matrix(path)
    assert isinstance(source, InMemorySource)
    assert gip_gpu.data.user_arrays.as_matrix(source, "F") is source.array


def test_the_file_of_the_embeddings_is_none_of_scores(tmp_path):
    F = np.random.default_rng(0).standard_normal((20, 4))
    path = tmp_path / "F.npy"
    np.save(path, F)
    np.savez(tmp_path / "F.npz", F=F)
    for file in (path, tmp_path / "F.npz"):
        message = rf"G is {file}, the file of F itself; .*open_matrix\('{file}'\)\[:\]"
        for given in (file, open_matrix(file)):
            with pytest.raises(ValueError, match=message):
                gip_gpu.select(file, given, 3, device="cpu")
            with pytest.raises(ValueError, match=message):
                gip_gpu.Pool(file, device="cpu").select(given, 3)
    # A key makes it explicit.
    expected = gip_gpu.select(F, F, 3, sign="any", device="cpu").tolist()
    assert gip_gpu.select(path, open_matrix(path)[:], 3, sign="any", device="cpu") == expected
    assert (
        gip_gpu.select(tmp_path / "F.npz", open_matrix(tmp_path / "F.npz", "F"), 3, sign="any", device="cpu")
        == expected
    )
    # Another file with the same number of columns is accepted.
    np.save(tmp_path / "G.npy", F)
    assert gip_gpu.select(path, tmp_path / "G.npy", 3, sign="any", device="cpu") == expected


MISSING = [1.5, None, 3.0, *map(float, range(4, 20))]


def written(folder, how):
    """Writes scores with one missing value in a format; returns the argument for `select`."""
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    frame = pd.DataFrame({"q": pd.array(MISSING, "Float64"), "t": ["a"] * len(MISSING)})
    path = folder / f"G.{how.split()[0]}"
    if how == "csv":
        frame[["q"]].astype(float).to_csv(path, index=False)
    elif how == "csv of several":
        frame.to_csv(path, index=False)
    elif how == "csv with NA":
        frame.to_csv(path, index=False, na_rep="NA")
    elif how == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif how == "jsonl first":
        path.write_text("".join(json.dumps({"q": value}) + "\n" for value in [None, *MISSING[1:]]))
    elif how == "parquet":
        frame.to_parquet(path)
    elif how == "arrow":
        return pa.array(MISSING)
    elif how == "arrow integers":
        return pa.array([None if value is None else int(value) for value in MISSING])
    else:
        return MISSING if how == "list" else frame["q"].astype(object)
    return open_matrix(path, "q", dimensions=(1, 2))


@pytest.mark.parametrize(
    "how",
    [
        *("csv", "csv of several", "csv with NA", "jsonl", "jsonl first", "parquet"),
        *("arrow", "arrow integers", "list", "object column"),
    ],
)
def test_missing_scores_are_nan_however_they_are_written(tmp_path, how):
    """`on_nan` decides how missing values of every format are treated, and the error names it."""
    gone = [0, 1] if how == "jsonl first" else [1]
    G, X = written(tmp_path, how), np.random.default_rng(2).standard_normal((len(MISSING), 4))
    with pytest.raises(ValueError, match=rf"G has a value that is not finite in row {gone[0]} .*on_nan='drop'"):
        gip_gpu.select(X, G, 3, device="cpu")
    kept = np.delete(np.arange(len(MISSING)), gone)
    scores = np.array([MISSING[j] for j in kept])
    expected = kept[gip_gpu.select(X[kept], np.floor(scores) if "integers" in how else scores, 9, device="cpu").indices]
    assert gip_gpu.select(X, G, 9, on_nan="drop", device="cpu").tolist() == expected.tolist()


def test_what_is_no_missing_value(tmp_path):
    for text in ("q\n1\n\n2\n", "q\n1\n \n2\n", "q\n1\nunknown\n2\n"):
        (tmp_path / "G.csv").write_text(text)
        with pytest.raises(ValueError, match="line 3"):
            open_matrix(tmp_path / "G.csv", dimensions=(1, 2))
    with pytest.raises(TypeError, match="G has dtype object"):
        gip_gpu.select(F, [None] * M, 3, device="cpu")


def test_columns_of_one_name(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_arrays([pa.array(QUALITY), pa.array(QUALITY), pa.array(QUALITY)], ["q", "q", "r"])
    pq.write_table(table, tmp_path / "G.parquet")
    with pytest.raises(ValueError, match=r"G\.parquet has 2 columns 'q'; rename them"):
        open_matrix(tmp_path / "G.parquet", "q", dimensions=(1, 2))
    np.testing.assert_array_equal(select(F, open_matrix(tmp_path / "G.parquet", "r")), EXPECTED)


def test_shards_of_other_columns(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"quality": QUALITY[:10]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"length": QUALITY[10:]}), tmp_path / "b.parquet")
    with pytest.raises(
        ValueError, match=r"b\.parquet is read from columns length, and .*a\.parquet from quality; .*agree"
    ):
        select(F, tmp_path)


def test_names_like_identifiers_are_judged_by_their_values(tmp_path):
    rng = np.random.default_rng(3)
    for name, values, taken in (
        ("docid", rng.permutation(M) * 7, False),
        ("valid", rng.integers(0, 2, M), True),
        ("overpaid", rng.random(M), True),
    ):
        np.savetxt(tmp_path / "G.csv", values, header=name, comments="")
        if taken:
            select(F, tmp_path / "G.csv")
        else:
            with pytest.raises(ValueError, match=r"'docid' .* has a name like an identifier and 20 different integers"):
                select(F, tmp_path / "G.csv")
