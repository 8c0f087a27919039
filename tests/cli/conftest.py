"""A pool on disk in the working folder, and command lines run there."""

from __future__ import annotations

from pathlib import Path

import pytest

import gip_gpu
from tests.support.command_line import Files, Run, files_in, runner


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
