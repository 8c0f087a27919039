"""`--dsir`: a column of weights in `score` and `run`, a target of every layout, what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gip_gpu.hf import DsirSettings, TextSignals, select_dataset
from gip_gpu.records import Texts, open_records
from gip_gpu.signals import dsir
from tests.support.command_line import Run
from tests.support.data_sets import read, write

ROWS: list[dict[str, Any]] = [
    {
        "question": f"what is {i} plus {i % 3} ?",
        "answer": f"it is {i + i % 3} ." if i % 4 else "who knows",
        "votes": i % 5,
    }
    for i in range(40)
]
TARGET = [{"instruction": "say who knows", "input": "", "output": f"nobody knows {i}"} for i in range(9)]
HOW = "--standardize rank --sign positive"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.jsonl", ROWS)
    write(tmp_path / "target.jsonl", TARGET)
    return tmp_path


def texts(name: str) -> Texts:
    return Texts(open_records(name))


@pytest.mark.usefixtures("folder")
def test_score_writes_a_column(run: Run) -> None:
    found = run("score data.jsonl -o s.npz --dsir target.jsonl --columns votes")
    assert (found.status, found.err) == (0, "")
    archive = np.load("s.npz")
    assert archive["names"].tolist() == ["votes", "dsir"]
    weights = dsir(texts("data.jsonl"), texts("target.jsonl"))
    np.testing.assert_array_equal(archive["scores"], np.column_stack([np.arange(40) % 5, weights]))
    # Whole texts count, prompts too.
    assert (weights != dsir([row["answer"] for row in ROWS], texts("target.jsonl"))).any()
    assert weights[::4].min() > weights[1::4].max()


@pytest.mark.usefixtures("folder")
def test_short_rows_are_missing(run: Run) -> None:
    found = run("score data.jsonl -o s.npz --dsir target.jsonl --dsir-min-tokens 9")
    assert found.status == 2
    assert "10 of 'dsir' are missing of 40 rows, the first in row 0" in found.err
    assert run("score data.jsonl -o s.npz --dsir target.jsonl --dsir-min-tokens 9 --missing drop").status == 0
    assert np.flatnonzero(np.isnan(np.load("s.npz")["scores"][:, 0])).tolist() == list(range(0, 40, 4))


@pytest.mark.usefixtures("folder")
def test_text_options_hold_for_the_target_too(run: Run) -> None:
    write(Path("other.jsonl"), [{"answer": "who knows", "question": "never read"}])
    assert run("score data.jsonl -o s.npz --dsir other.jsonl --text-column answer").status == 0
    wanted = dsir([row["answer"] for row in ROWS], ["who knows"])
    assert (np.load("s.npz")["scores"][:, 0] == wanted).all()


def test_run_equals_score_and_then_run(folder: Path, run: Run) -> None:
    rest = f"-k 5 --device cpu {HOW} --no-report"
    assert run(f"run data.jsonl -o a.jsonl --dsir target.jsonl --score-column votes {rest}").status == 0
    assert run("score data.jsonl -o s.npz --dsir target.jsonl --columns votes").status == 0
    assert run(f"run data.jsonl -o b.jsonl --scores s.npz {rest}").status == 0
    assert read(folder / "a.jsonl") == read(folder / "b.jsonl")
    assert 'dsir = "target.jsonl"' in Path("a.jsonl.toml").read_text()
    before = Path("a.jsonl").read_bytes()
    assert run("run --config a.jsonl.toml --force").status == 0
    assert Path("a.jsonl").read_bytes() == before
    signals = TextSignals(dsir=DsirSettings(texts("target.jsonl")))
    chosen = select_dataset(
        "data.jsonl", 5, scores="votes", signals=signals, standardize="rank", sign="positive", device="cpu"
    )
    assert chosen.to_list() == read(folder / "a.jsonl")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score data.jsonl -o s.npz --columns votes --dsir-min-tokens 9", "--dsir-min-tokens needs --dsir"),
        ("score data.jsonl -o s.npz --dsir absent.jsonl", "absent.jsonl"),
        ("score data.jsonl -o s.npz --dsir target.jsonl --text-column answer", "'answer'"),
        ("score data.jsonl -o s.npz --dsir target.jsonl --dsir-min-tokens -2", "-2"),
        ("run data.jsonl -k 5 -o target.jsonl --dsir target.jsonl --force", "target.jsonl is named twice"),
        ("score table.parquet -o target.parquet --dsir target.parquet --force", "target.parquet is named twice"),
    ],
)
def test_what_cannot_be_is_named(line: str, message: str, run: Run) -> None:
    if "parquet" in line:
        import polars

        for name in ("table", "target"):
            polars.DataFrame({"text": ["a", "b"]}).write_parquet(f"{name}.parquet")
    found = run(line)
    assert found.status == 2
    assert message in found.err
    assert not Path("s.npz").exists()


def test_rows_without_a_word_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The sum over no n-grams would be 0, above nearly all weights."""
    monkeypatch.chdir(tmp_path)
    texts = ["", "red blue run", " ", "cat eats", "the cat eats a fish"]
    write(tmp_path / "d.jsonl", [{"text": text} for text in texts])
    write(tmp_path / "t.jsonl", [{"text": "the cat eats"}])
    found = run("score d.jsonl -o s.npz --dsir t.jsonl")
    assert found.status == 2
    assert "missing" in found.err
    assert run("score d.jsonl -o s.npz --dsir t.jsonl --missing drop").status == 0
    scores = np.load("s.npz")["scores"][:, 0]
    assert np.isnan(scores).tolist() == [True, False, True, False, False]
