"""Chosen rows are written in their order and format, with columns on request."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from gip_gpu.records import added_columns, check_output, open_records, write_records
from tests.support.data_sets import read, rows, write

CHOSEN = [9, 0, 4]


def test_lines_are_copied_byte_for_byte(tmp_path: Path) -> None:
    lines = [
        b'{"text":  "\\u00e9", "n": 1.0e400, "n": 2}',
        '{"text": "a\u2028b"}'.encode(),
        b'{"big": 12345678901234567890}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    records = open_records(tmp_path / "a.jsonl")
    write_records(records, [2, 0, 1], tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == b"".join(lines[i] + b"\n" for i in (2, 0, 1))
    write_records(records, [2, 0], tmp_path / "c.jsonl", {"gip_rank": [0, 1]})
    first, second = (tmp_path / "c.jsonl").read_bytes().splitlines()
    assert first == b'{"big": 12345678901234567890, "gip_rank": 0}'
    assert second == b'{"text":  "\\u00e9", "n": 1.0e400, "n": 2, "gip_rank": 1}'


def test_arrays_keep_the_text_of_their_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.json", rows(10))
    write_records(open_records(tmp_path / "a.json"), CHOSEN, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == [rows(10)[i] for i in CHOSEN]
    # A row on several lines becomes a line.
    write_records(open_records(tmp_path / "a.json"), CHOSEN, tmp_path / "b.jsonl")
    assert read(tmp_path / "b.jsonl") == [rows(10)[i] for i in CHOSEN]


@pytest.mark.parametrize("given", ["a.jsonl", "a.json", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("wanted", ["b.jsonl", "b.json", "b.jsonl.gz", "b.json.zst", "b.parquet", "b"])
def test_every_format_to_every_format(given: str, wanted: str, tmp_path: Path) -> None:
    if wanted == "b":
        pytest.importorskip("datasets")
    records = open_records(write(tmp_path / given, rows(10)))
    added = added_columns(records, CHOSEN, [3.0, 2.0, 0.1], ["gip_rank", "gip_gain", "gip_source"])
    check_output(tmp_path / wanted, overwrite=False)
    write_records(records, CHOSEN, tmp_path / wanted, added)
    sources = [{"file": str(tmp_path / given), "row": i} for i in CHOSEN]
    assert list(open_records(tmp_path / wanted).rows()) == [
        {**rows(10)[i], "gip_rank": rank, "gip_gain": gain, "gip_source": source}
        for rank, (i, gain, source) in enumerate(zip(CHOSEN, [3.0, 2.0, 0.1], sources, strict=True))
    ]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_rows_of_several_files_are_mixed(tmp_path: Path) -> None:
    records = open_records([write(tmp_path / "a.jsonl", rows(3)), write(tmp_path / "b.parquet", rows(4))])
    chosen = [6, 0, 3, 2]
    wanted = [rows(4)[i] for i in (3, 0, 0, 2)]
    for name in ("c.jsonl", "c.parquet"):
        write_records(records, chosen, tmp_path / name)
        assert list(open_records(tmp_path / name).rows()) == wanted
    added = added_columns(records, chosen, [0.0] * 4, ["gip_source"])
    assert [(Path(source["file"]).name, source["row"]) for source in added["gip_source"]] == [
        ("b.parquet", 3), ("a.jsonl", 0), ("b.parquet", 0), ("a.jsonl", 2),
    ]  # fmt: skip


def test_columns_of_an_earlier_choice_are_replaced(tmp_path: Path) -> None:
    content = [{"text": str(i), "gip_rank": 7} for i in range(3)]
    for name in ("a.jsonl", "a.parquet"):
        records = open_records(write(tmp_path / name, content))
        write_records(records, [2, 1], tmp_path / f"b{name[1:]}", {"gip_rank": [0, 1]})
        found = list(open_records(tmp_path / f"b{name[1:]}").rows())
        assert found == [{"text": "2", "gip_rank": 0}, {"text": "1", "gip_rank": 1}]


def test_rows_without_fields_and_with_surrogates(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{}\n{"a": "\\ud800", "gip_rank": 1}\n')
    write_records(open_records(tmp_path / "a.jsonl"), [0, 1], tmp_path / "b.jsonl", {"gip_rank": [0, 1]})
    assert (tmp_path / "b.jsonl").read_text() == '{"gip_rank": 0}\n{"a": "\\ud800", "gip_rank": 1}\n'


def test_the_same_rows_give_the_same_compressed_file(tmp_path: Path) -> None:
    records = open_records(write(tmp_path / "a.jsonl", rows(10)))
    for name in ("b.jsonl.gz", "c.jsonl.gz"):
        write_records(records, CHOSEN, tmp_path / name)
    assert (tmp_path / "b.jsonl.gz").read_bytes() == (tmp_path / "c.jsonl.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()).splitlines()) == 3


def test_features_of_a_saved_data_set_stay(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    whole = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=features)
    whole.save_to_disk(str(tmp_path / "a"))
    write_records(open_records(tmp_path / "a"), [2, 0], tmp_path / "b", {"gip_rank": [0, 1]})
    found = datasets.load_from_disk(str(tmp_path / "b"))
    assert found.features["label"] == label
    assert found["text"][:] == ["c", "a"]
    # Another format keeps the values; its list of features would lack the new column.
    write_records(open_records(tmp_path / "a"), [2, 0], tmp_path / "b.parquet", {"gip_rank": [0, 1]})
    assert datasets.Dataset.from_parquet(str(tmp_path / "b.parquet"), cache_dir=str(tmp_path / "c")).column_names == [
        "text", "label", "gip_rank",
    ]  # fmt: skip


def test_values_that_a_format_cannot_hold(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"text": "a", "picture": b"\xff"}])
    with pytest.raises(ValueError, match=r"a.parquet, row 0: .*bytes.*write the rows to a .parquet file"):
        write_records(open_records(tmp_path / "a.parquet"), [0], tmp_path / "b.jsonl")
    write(tmp_path / "a.jsonl", [{"text": "a"}, {"text": 7}])
    with pytest.raises(ValueError, match=r"a field holds values of several types.*write a .jsonl file"):
        write_records(open_records(tmp_path / "a.jsonl"), [0, 1], tmp_path / "b.parquet")
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "a.parquet"]


def test_outputs_are_checked_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("a.jsonl", "it exists; --force overwrites it"),
        ("a.csv", r"has suffix '.csv'; it must be .jsonl.* or none for a folder"),
        ("none/a.jsonl", "there is no folder"),
        ("none/a", "there is no folder"),
        ("folder", "it exists; --force overwrites a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            check_output(tmp_path / name, overwrite=False)
    check_output(tmp_path / "a.jsonl", overwrite=True)
    check_output(tmp_path / "folder", overwrite=True)
    with pytest.raises(ValueError, match="columns are 'gip_row'; they must be some of gip_rank, gip_gain, gip_source"):
        added_columns(open_records(write(tmp_path / "b.jsonl", rows(2))), [0], [1.0], ["gip_row"])
