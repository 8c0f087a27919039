"""Docstrings of the standard library, the texts of the tutorial."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gip_gpu.report import docstrings


@pytest.fixture(scope="module")
def pool() -> list[docstrings.Docstring]:
    return docstrings.standard_library_docstrings()


@pytest.mark.slow
def test_docstrings_are_those_of_the_objects(pool: list[docstrings.Docstring]) -> None:
    assert len(pool) > 3000
    assert pool == docstrings.standard_library_docstrings()
    docs = {item.name: item for item in pool}
    for name in ("json", "json.decoder.JSONDecoder.decode", "os.walk", "heapq.nlargest", "email.message.Message"):
        module = importlib.import_module(docs[name].module)
        value: Any = module
        for part in name.removeprefix(docs[name].module).split("."):
            value = getattr(value, part) if part else value
        assert docs[name].text == inspect.getdoc(value)
    assert not any(item.module.split(".")[0] in docstrings.SKIPPED for item in pool)


def test_nothing_is_imported_to_read_docstrings() -> None:
    code = (
        "import sys; from gip_gpu.report.docstrings import standard_library_docstrings as read; "
        "before = set(sys.modules); read(); "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    new = set(re.findall(r"'([^']+)'", done.stdout))
    assert not new & {"antigravity", "this", "turtle", "tkinter", "idlelib"}
    assert len(new) < 10


def test_docstrings_of_a_small_library(tmp_path: Path) -> None:
    (tmp_path / "json" / "tests").mkdir(parents=True)
    (tmp_path / "json" / "__init__.py").write_text(
        '"""The package."""\nclass A:\n  "A class."\n  def f(self):\n    """Does.\n\n    More.\n    """\n'
    )
    (tmp_path / "json" / "tests" / "test_a.py").write_text('"""A test."""')
    (tmp_path / "json" / "bare.py").write_text("x = 1\ndef g(): pass")
    (tmp_path / "abc.py").write_bytes('# coding: latin-1\nasync def h():\n  "\xe9 \\d"\n'.encode("latin-1"))
    (tmp_path / "_abc.py").write_text('"""Private."""')
    (tmp_path / "other.py").write_text('"""Not of the standard library."""')
    assert docstrings.standard_library_docstrings(tmp_path) == [
        docstrings.Docstring("abc.h", "abc", "\xe9 \\d"),
        docstrings.Docstring("json", "json", "The package."),
        docstrings.Docstring("json.A", "json", "A class."),
        docstrings.Docstring("json.A.f", "json", "Does.\n\nMore."),
    ]


def test_no_source_files_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match="has no source files of the standard library, whose docstrings are read"):
        docstrings.standard_library_docstrings()
