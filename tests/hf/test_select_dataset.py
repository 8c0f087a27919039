"""select_dataset: data sets and frames in, chosen rows of the same type out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu.embedding import HashingEncoder
from gip_gpu.hf import select_dataset
from tests.support.data_sets import rows, write

ROWS = [{**row, "quality": i % 6, "length": float(len(row["answer"]))} for i, row in enumerate(rows(80))]
F = HashingEncoder().encode([f"{row['question']}\n{row['answer']}" for row in ROWS])
F16 = (F / np.linalg.norm(F.astype(np.float64), axis=1, keepdims=True)).astype(np.float16)
QUALITY = np.array([[row["quality"], row["length"]] for row in ROWS])


def as_table(kind: str) -> Any:
    module = pytest.importorskip(kind)
    if kind == "datasets":
        return module.Dataset.from_list(ROWS)
    return module.Table.from_pylist(ROWS) if kind == "pyarrow" else module.DataFrame(ROWS)


def listed(table: Any) -> list[dict[str, Any]]:
    kind = type(table).__module__.split(".")[0]
    if kind == "pandas":
        return table.to_dict("records")  # type: ignore[no-any-return]
    return table.to_dicts() if kind == "polars" else table.to_pylist() if kind == "pyarrow" else list(table)


@pytest.mark.parametrize("kind", ["datasets", "pandas", "polars", "pyarrow"])
def test_the_choice_is_that_of_select_and_the_type_stays(kind: str) -> None:
    table = as_table(kind)
    wanted = gip_gpu.select(F16, QUALITY[:, 0], 9, device="cpu")
    chosen, selection = select_dataset(table, 9, scores="quality", return_selection=True, device="cpu")
    assert type(chosen) is type(table)
    assert selection == wanted
    assert isinstance(selection, gip_gpu.Selection)
    assert listed(chosen) == [ROWS[i] for i in wanted]


@pytest.mark.parametrize("kind", ["datasets", "pandas", "polars", "pyarrow"])
def test_columns_on_request(kind: str) -> None:
    table = as_table(kind)
    names = ["gip_rank", "gip_gain", "gip_source"]
    chosen, selection = select_dataset(table, "10%", columns=names, return_selection=True, device="cpu")
    assert [row["gip_rank"] for row in listed(chosen)] == list(range(8))
    assert [row["gip_gain"] for row in listed(chosen)] == selection.gains.tolist()
    assert [row["gip_source"]["row"] for row in listed(chosen)] == selection
    # Chosen again, the columns are replaced.
    again = select_dataset(chosen, 3, columns=["gip_rank"], text="{question}\n{answer}", device="cpu")
    assert [row["gip_rank"] for row in listed(again)] == [0, 1, 2]


def test_scores_embeddings_and_texts_in_every_form(tmp_path: Path) -> None:
    table = as_table("polars")
    two = gip_gpu.select(F16, QUALITY, 9, device="cpu", standardize="zscore", sign="positive")

    def chosen(**how: Any) -> gip_gpu.Selection:
        result: gip_gpu.Selection = select_dataset(table, 9, return_selection=True, device="cpu", **how)[1]
        return result

    np.save(tmp_path / "q.npy", QUALITY)
    np.save(tmp_path / "F.npy", F16)
    options = {"standardize": "zscore", "sign": "positive"}
    for scores in (["quality", "length"], QUALITY, tmp_path / "q.npy"):
        assert chosen(scores=scores, **options) == two
    for embeddings in (F16, tmp_path / "F.npy"):
        assert chosen(scores=QUALITY, embeddings=embeddings, **options) == two
    compressed = gip_gpu.select(F16, gip_gpu.signals.self_compression(F16), 9, device="cpu")
    assert chosen(scores="self-compression") == compressed
    alone = gip_gpu.select(F16, None, 9, device="cpu")
    for text in ({}, {"text": "{question}\n{answer}"}, {"layout": "gsm8k"}, {"encoder": HashingEncoder()}):
        assert chosen(**text) == alone
    assert chosen(text="question") != alone
    assert chosen(encoder="hashing:16") != alone


def test_a_column_of_vectors(tmp_path: Path) -> None:
    table = as_table("datasets").add_column("vector", F16.astype(np.float32).tolist())
    chosen = select_dataset(table, 5, embeddings="vector", return_selection=True, device="cpu")[1]
    assert chosen == gip_gpu.select(F16, None, 5, device="cpu")
    path = write(tmp_path / "a.jsonl", [{"vector": vector} for vector in F16[:20].astype(float).tolist()])
    found = select_dataset(path, 5, embeddings="vector", return_selection=True, device="cpu")[1]
    assert found == gip_gpu.select(F16[:20], None, 5, device="cpu")


def test_paths_give_a_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    chosen = select_dataset(write(tmp_path / "a.jsonl", ROWS), 4, device="cpu")
    assert isinstance(chosen, datasets.Dataset)
    assert list(chosen) == [ROWS[i] for i in gip_gpu.select(F16, None, 4, device="cpu")]


def test_the_cache_keeps_vectors(tmp_path: Path) -> None:
    table = as_table("polars")
    first = select_dataset(table, 4, cache=tmp_path, return_selection=True, device="cpu")[1]
    names = sorted(name for name in os.listdir(tmp_path) if name != ".lock")
    assert [name.split("-")[0] for name in names] == ["select", "vectors", "vectors"]
    states = [(tmp_path / name).stat().st_mtime_ns for name in names if name.startswith("vectors")]
    second = select_dataset(table, 6, cache=tmp_path, return_selection=True, device="cpu")[1]
    assert (second[:4], second.resumed) == (first.tolist(), 4)
    assert [(tmp_path / name).stat().st_mtime_ns for name in names if name.startswith("vectors")] == states


def test_the_cache_holds_several_choices(tmp_path: Path) -> None:
    table = as_table("polars")
    choices = (
        {},
        {"scores": "quality"},
        {"scores": "quality", "objective": "lr", "epsilon": 0.1},
        {"scores": "length"},
    )
    for how in (*choices, *choices):
        chosen = select_dataset(table, 4, cache=tmp_path, return_selection=True, device="cpu", **how)[1]
        assert chosen == select_dataset(table, 4, return_selection=True, device="cpu", **how)[1]
    assert len(list(tmp_path.glob("select-*.ckpt"))) == 4


def test_errors() -> None:
    table = as_table("polars")
    for how, message in (
        ({"scores": ["quality", "none"]}, "scores name 'none'; the columns are"),
        ({"embeddings": F16[:5]}, "embeddings have 5 rows and the data set has 80"),
        ({"layout": "alpaca"}, "not those of layout 'alpaca'"),
        ({"columns": ["rank"]}, "columns are 'rank'; they must be some of gip_rank"),
        ({"scores": "question"}, "has 'What about apples, number 0?' in field 'question'; it must be a number"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            select_dataset(table, 3, **how)
    with pytest.raises(TypeError, match="encoder is 7; it must be 'hashing'"):
        select_dataset(table, 3, encoder=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="LazyFrame; collect"):
        select_dataset(table.lazy(), 3)


def test_limits_from_columns() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    rows = [
        {"text": f"text {i} {'x' * (i % 7)}", "topic": f"t{i % 3}", "tokens": i % 9 + 1, "id": i} for i in range(60)
    ]
    F, tokens = rng.standard_normal((60, 8)), np.array([row["tokens"] for row in rows])
    frame = pandas.DataFrame(rows)
    limits = {"group_limits": (1, None), "budget": 40, "must_include": [50, 2]}
    chosen = select_dataset(frame, None, embeddings=F, groups="topic", costs="tokens", ids="id", **limits)
    wanted = gip_gpu.select(F, None, None, groups=frame["topic"], costs=tokens, **limits)
    assert chosen["id"].tolist() == wanted.tolist()
    by_length = select_dataset(frame, 20, costs="characters", budget=100)
    assert by_length["text"].str.len().sum() <= 100
    polars = pytest.importorskip("polars")
    for held in (frame, polars.from_pandas(frame)):
        with pytest.raises(ValueError, match="has no field 'nope'; it has 'text', 'topic'"):
            select_dataset(held, None, costs="nope", budget=60)
    with pytest.raises(ValueError, match="vectors are given instead of texts"):
        select_dataset(frame, 20, embeddings=F, costs="characters", budget=100)
