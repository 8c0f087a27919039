"""A pool on disk, and command lines run on it, in this process or in a new one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray

from gip_gpu import cli

SELECT = "select F.npy --scores G.npy -k 5"
posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and terminals of POSIX")


@dataclass
class Files:
    """A pool of 60 items on disk."""

    folder: Path
    F: NDArray[np.float32]
    G: NDArray[np.int64]

    def __post_init__(self) -> None:
        np.save(self["F.npy"], self.F)
        np.save(self["G.npy"], self.G)
        np.savez(self["pool.npz"], F=self.F, G=self.G)
        np.savetxt(self["G.csv"], self.G, "%d", ",", header="quality,difficulty", comments="")
        self.rows = [f'{{"id": {i}, "text": "\u00e9\\n"}}\n'.encode() for i in range(len(self.F))]
        self["data.jsonl"].write_bytes(b"".join(self.rows))

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def names(self) -> set[str]:
        return set(os.listdir(self.folder))


def files_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GIP_GPU_DEBUG", raising=False)
    rng = np.random.default_rng(5)
    return Files(folder, rng.normal(size=(60, 8)).astype(np.float32), rng.integers(0, 6, size=(60, 2)))


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[[str], Result]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def call(line: str) -> Result:
        status = cli.main(line.split())
        return Result(status, *capsys.readouterr())

    return call


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gip_gpu", *arguments]


@contextmanager
def started(line: str, before: str = "") -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """Starts a command line as a new process, after some Python code, with its output and error streams."""
    code = f"import sys\n{before}\nfrom gip_gpu.cli import main\nsys.exit(main({line.split()!r}))"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            process.kill()
