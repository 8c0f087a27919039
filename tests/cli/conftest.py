"""A pool on disk in the working folder, and command lines run there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gip_gpu
from tests.support.command_line import Files, Run, files_in, runner
from tests.support.data_sets import working_folder
from tests.support.judge_server import JudgeServer, judge_server
from tests.support.models import small_model, word_tokenizer


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return files_in(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def chosen(pool: Files) -> list[int]:
    """Five items of the pool."""
    return gip_gpu.select(pool.F, pool.G, 5, device="cpu").tolist()


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the rows `ROWS` of the test's module as data.jsonl."""
    return working_folder(tmp_path, monkeypatch, request.module.ROWS)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture
def model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a small language model."""
    pytest.importorskip("torch", reason="a language model needs torch")
    pytest.importorskip("transformers", reason="a language model needs transformers")
    small_model().save_pretrained(tmp_path / "model")
    word_tokenizer().save_pretrained(tmp_path / "model")
    # transformers shows bars.
    capsys.readouterr()
    return tmp_path / "model"
