"""Data sets are read in every format, alone and several together; hostile ones work or name file and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gip_gpu.exceptions import DataWarning
from gip_gpu.records import Texts, open_records
from tests.support.data_sets import rows, write
from tests.support.paths import ROOT

FORMATS = ("a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "A.JSONL")


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    content = rows(11)
    records = open_records(write(tmp_path / name, content))
    assert len(records) == 11
    assert list(records.rows()) == list(records.rows()) == content
    assert list(records.take([10, 0, 5, 5])) == [content[i] for i in (10, 0, 5, 5)]


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"text": "a"}\n{"text": "b"}\n')
    assert list(Texts(open_records(tmp_path / "data.json"))) == ["a", "b"]


def test_several_files_keep_file_and_row(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}{suffix}", rows(4)) for i, suffix in enumerate((".jsonl", ".parquet", ".json"))]
    for name, content in (("e.jsonl", b""), ("e.json", b"[ ]"), ("f.jsonl", b"\n \n")):
        (tmp_path / name).write_bytes(content)
    empty = [tmp_path / name for name in ("e.jsonl", "e.json", "f.jsonl")]
    with pytest.warns(DataWarning, match=r"3 of 6 files have no rows and are skipped: .*e\.jsonl, .*f\.jsonl"):
        records = open_records([paths[0], *empty, *paths[1:]])
    assert [records.source(i) for i in (0, 3, 4, 7, 8, 11)] == [(0, 0), (0, 3), (1, 0), (1, 3), (2, 0), (2, 3)]
    assert [Path(file.name).name for file in records.files] == ["0.jsonl", "1.parquet", "2.json"]
    assert list(records.take([11, 0, 5])) == [rows(4)[3], rows(4)[0], rows(4)[1]]
    assert records.place(4).endswith("1.parquet, row 0")
    assert records.place(1).endswith("0.jsonl, line 2")
    with pytest.raises(IndexError):
        records.source(12)
    with pytest.raises(ValueError, match=r"e.jsonl: it has no rows"):
        open_records(tmp_path / "e.jsonl")


def test_an_empty_table_is_skipped(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"text": pa.array([], "string")}), tmp_path / "e.parquet")
    write(tmp_path / "f.parquet", rows(2))
    with pytest.warns(DataWarning, match="1 of 2 files have no rows and are skipped: .*e.parquet"):
        assert len(open_records(tmp_path)) == 2


def test_folders_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write(tmp_path / f"shard-{number}.jsonl", [{"text": str(number)}])
    assert list(Texts(open_records(tmp_path))) == ["1", "9", "10"]


def test_saved_data_sets_and_their_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list(rows(6))
    datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(str(tmp_path / "splits"))
    whole.save_to_disk(str(tmp_path / "one"))
    assert list(open_records(tmp_path / "one").rows()) == rows(6)
    assert len(open_records(tmp_path / "splits", split="test")) == 1
    with pytest.raises(ValueError, match="splits has splits train, test; name one, as in split='train'"):
        open_records(tmp_path / "splits")
    with pytest.raises(ValueError, match="split is 'dev'"):
        open_records(tmp_path / "splits", split="dev")


def test_tables_read_only_the_columns_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{**row, "embedding": [0.5] * 8} for row in rows(5)])
    (file,) = open_records(path).files
    assert list(file.rows(["question"])) == [{"question": row["question"]} for row in rows(5)]


def test_names_that_are_no_file() -> None:
    with pytest.raises(ValueError, match=r"cannot read no.jsonl: No such file"):
        open_records("no.jsonl")
    with pytest.raises(ValueError, match=r"rows.csv has suffix '.csv'; it must be .jsonl"):
        open_records("rows.csv")
    with pytest.raises(ValueError, match="empty path"):
        open_records("")
    with pytest.raises(ValueError, match="empty list"):
        open_records([])
    with pytest.raises(TypeError, match=r"data is a builtins.int; it must be a path, a datasets.Dataset"):
        open_records(7)
    with pytest.raises(ValueError, match=r"split is 'train', and a.jsonl is a file without splits"):
        open_records("a.jsonl", split="train")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot read no/such:main: there is no such file, and as a name on the hub: "):
        open_records("no/such:main")


# Hostile data


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    texts = ["a\u2028b\u2029c\x85d", "e\x0bf\x0cg\x1ch", "i\rj"]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in texts)
    # Raw control characters are no JSON, but these three are.
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert list(Texts(open_records(tmp_path / "a.jsonl"))) == texts
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf\r\n" + json.dumps([{"text": text} for text in texts]).encode())
    assert list(Texts(open_records(tmp_path / "a.json"))) == texts


def test_large_null_and_empty_texts(tmp_path: Path) -> None:
    texts = ["x" * 200_000, "", "a\x00b", " ", "\U0001f600", "\ufffd"]
    path = write(tmp_path / "a.jsonl", [{"text": text, "id": 1} for text in texts])
    found = Texts(open_records(path))
    assert list(found) == texts
    survey = found.survey()
    assert (survey.count, survey.empty, survey.repaired) == (6, 2, 0)


def test_lone_surrogates_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n')
    texts = Texts(open_records(tmp_path / "a.jsonl"))
    assert list(texts) == ["a\ufffdb", "\U0001f600"]
    with pytest.warns(DataWarning, match="1 texts hold lone surrogates"):
        assert texts.survey().repaired == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', r"a.jsonl: line 2 is no text in UTF-8: .* 0xe9"),
        ("a.json", b'[{"text": "a"},\n {"text": "\xe9"}]', r"a.json: line 2 is no text in UTF-8: .* 0xe9"),
        ("a.jsonl", '{"text": "a"}\n'.encode("utf-16"), r"line 1 is no text in UTF-8.*UTF-16: convert it"),
        ("a.json", '{"text": "a"}\n'.encode("utf-16"), "seems to be UTF-16"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\x00"}\n', "line 2 is no JSON: Invalid control character"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n', "line 2 is empty"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "line 2 is a list; it must be an object with fields"),
        ("a.jsonl", b'{"text": "a"}\nnull\n', "line 2 is null"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"', "line 2 is no JSON: .* at column 13"),
        ("a.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "line 1 is no JSON"),
        ("a.json", b'[{"text": "a"}, {"text": "b"}', "after row 1 there is nothing: the file may be cut off"),
        ("a.json", b'[{"text": "a"} {"text": "b"}]', 'after row 0 there is \'{"text": "\'; it must be a comma or ]'),
        ("a.json", b'[{"text": "a"}, ]', "row 1 is no JSON: .* at line 1 column 17"),
        ("a.json", b'[{"text": "a"}] [2]', r"after the array there is '\[2\]'"),
        ("a.json", b"[1]", "row 0 is a number; it must be an object"),
        (
            "a.json",
            b'{"data": [{"text": "a"}],\n "n": 1}',
            "one object with fields 'data', 'n'.*rows are its field 'data'",
        ),
        ("a.json", b"7", "begins with b'7'; it must be an array of objects"),
        ("a.json", b" ", "it has no rows"),
        ("a.parquet", b"PAR1", "may be cut off, or no .parquet file"),
        ("a.jsonl.gz", b"nothing", "Not a gzipped file"),
    ],
)
def test_unreadable_data_names_file_and_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        list(Texts(open_records(tmp_path / name)))
    assert name in str(error.value)
    assert len(str(error.value)) < 600


def test_a_file_that_changed_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(3))
    records = open_records(path)
    write(path, rows(4))
    with pytest.raises(ValueError, match="it has changed since it was opened"):
        list(records.rows())


@pytest.mark.parametrize("count", [1, 3])
def test_few_rows(count: int, tmp_path: Path) -> None:
    assert len(list(Texts(open_records(write(tmp_path / "a.jsonl", rows(count)))))) == count


def test_fingerprints_depend_on_texts_and_their_order(tmp_path: Path) -> None:
    def fingerprint(name: str, texts: list[str]) -> str:
        return Texts(open_records(write(tmp_path / name, [{"text": text} for text in texts]))).survey().fingerprint

    made = [fingerprint("a.jsonl", texts) for texts in (["a", "b"], ["b", "a"], ["ab", ""], ["", "ab"], ["a", "b", ""])]
    assert len(set(made)) == 5
    assert fingerprint("a.json", ["a", "b"]) == made[0]


def test_numbers(tmp_path: Path) -> None:
    content = [{"a": 1, "b": 2.5, "c": 3}, {"a": None, "b": True}]
    records = open_records(write(tmp_path / "a.jsonl", content))
    found = records.numbers(["b", "a"])
    assert found[0].tolist() == [2.5, 1.0]
    assert found[1, 0] == 1.0
    assert found[1, 1] != found[1, 1]
    with pytest.raises(ValueError, match="line 2 has no field 'c'; it has 'a', 'b'"):
        records.numbers(["c"])
    with pytest.raises(ValueError, match="line 1 has 'x' in field 'c'; it must be a number"):
        open_records(write(tmp_path / "b.jsonl", [{"c": "x"}])).numbers(["c"])


def test_reading_needs_no_library_beyond_the_format(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", rows(2, "sharegpt"))
    code = (
        "import sys; from gip_gpu.records import *; print(len(list(Texts(open_records('a.jsonl')))));"
        "assert not {'pyarrow', 'datasets', 'pandas', 'torch', 'sklearn'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
