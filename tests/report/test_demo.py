"""The demo, run once as a user runs it."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu import cli
from gip_gpu.report import demo

RUN = "import sys; from gip_gpu.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Outcome:
    out: str
    err: str
    folder: Path
    chosen: list[dict[str, Any]]


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("demo") / "made" / "by it"
    command = [sys.executable, "-m", "gip_gpu", "demo", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    lines = (folder / "chosen.jsonl").read_text("utf-8").splitlines()
    return Outcome(done.stdout, done.stderr, folder, [json.loads(line) for line in lines])


@pytest.fixture(scope="session")
def pool() -> list[demo.Docstring]:
    return demo.standard_library_docstrings()


def table(out: str) -> dict[str, list[str]]:
    """The rows of the comparison: name, then its figures."""
    lines = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    return {row[0]: row[1:] for row in lines if row[0].startswith((demo.OURS, demo.RANDOM, demo.TOP))}


@pytest.mark.slow
def test_the_report_compares_three_choices(outcome: Outcome) -> None:
    assert outcome.err == ""
    rows = table(outcome.out)
    ours, random, top = (rows[name] for name in (demo.OURS, f"{demo.RANDOM}, mean of 5", demo.TOP))

    def explained(row: list[str]) -> float:
        return float(row[0].rstrip("%"))

    assert explained(ours) > explained(top)
    assert explained(ours) > explained(random)
    assert int(ours[2]) < int(random[2])  # rows for 99.9 %
    assert float(ours[3]) < float(random[3]) < float(top[3])  # mean cosine
    assert all(int(row[4]) > 100 for row in rows.values())  # modules
    for part in ("embedding", "selection", "peak memory", "certificate: every pick is the float64 argmax"):
        assert part in outcome.out


@pytest.mark.slow
def test_the_chosen_rows_are_a_twentieth_in_order(outcome: Outcome, pool: list[demo.Docstring]) -> None:
    assert len(outcome.chosen) == round(0.05 * len(pool))
    assert [item["rank"] for item in outcome.chosen] == list(range(len(outcome.chosen)))
    assert {frozenset(item) for item in outcome.chosen} == {
        frozenset({"name", "module", "doc", "score", "gain", "rank"})
    }
    known = {(item.name, item.module, item.text) for item in pool}
    assert {(item["name"], item["module"], item["doc"]) for item in outcome.chosen} <= known
    assert outcome.chosen[0]["score"] == max(item["score"] for item in outcome.chosen)
    assert outcome.chosen[0]["gain"] == pytest.approx(outcome.chosen[0]["score"] ** 2, rel=1e-12)
    for item in outcome.chosen[:8]:
        assert item["name"] in outcome.out


@pytest.mark.slow
def test_the_choice_is_that_of_the_reference(outcome: Outcome, pool: list[demo.Docstring]) -> None:
    from gip_gpu.reference import matching_pursuit

    F = demo.embed([f"{item.name}\n{item.text}" for item in pool])
    wanted = matching_pursuit(F, gip_gpu.signals.self_compression(F), 50)
    assert [item["name"] for item in outcome.chosen[:50]] == [pool[i].name for i in wanted]


@pytest.mark.slow
def test_the_figure_is_drawn(outcome: Outcome) -> None:
    from matplotlib.image import imread

    image = imread(outcome.folder / "demo.png")
    assert image.shape[0] > 800
    assert image.shape[1] > 1200
    colours = {tuple(pixel) for pixel in (image[:, :, :3].reshape(-1, 3) * 255).round().astype(int)}
    assert {(0x0B, 0x6E, 0x4F), (0xE0, 0x8E, 0x0B), (0xB3, 0x26, 0x1E)} <= colours


@pytest.mark.slow
def test_docstrings_are_those_of_the_objects(pool: list[demo.Docstring]) -> None:
    assert len(pool) > 3000
    assert pool == demo.standard_library_docstrings()
    docs = {item.name: item for item in pool}
    for name in ("json", "json.decoder.JSONDecoder.decode", "os.walk", "heapq.nlargest", "email.message.Message"):
        module = importlib.import_module(docs[name].module)
        value: Any = module
        for part in name.removeprefix(docs[name].module).split("."):
            value = getattr(value, part) if part else value
        assert docs[name].text == inspect.getdoc(value)
    assert not any(item.module.split(".")[0] in demo.SKIPPED for item in pool)


def test_nothing_is_imported_to_read_docstrings() -> None:
    code = (
        "import sys; from gip_gpu.report.demo import standard_library_docstrings as read; "
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
    assert demo.standard_library_docstrings(tmp_path) == [
        demo.Docstring("abc.h", "abc", "\xe9 \\d"),
        demo.Docstring("json", "json", "The package."),
        demo.Docstring("json.A", "json", "A class."),
        demo.Docstring("json.A.f", "json", "Does.\n\nMore."),
    ]


def test_no_source_files_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"gip-gpu: error: {tmp_path} has no source files of the standard library, whose docstrings the demo reads\n"
    )


@pytest.mark.parametrize("missing", ["sklearn", "matplotlib"])
def test_missing_extras_say_what_to_install(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {RUN}"
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"gip-gpu: error: {demo.INSTALL}\n"
    assert 'pip install "gip_gpu[demo]"' in demo.INSTALL
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_quiet_share_and_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = demo.standard_library_docstrings()[:400]
    monkeypatch.setattr(demo, "standard_library_docstrings", lambda: few)
    chosen = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        line = ["demo", "--out", str(tmp_path / name), "--share", "0.1", "--seed", seed, "--quiet"]
        assert cli.main(line) == 0
        chosen.append((tmp_path / name / "chosen.jsonl").read_bytes())
        assert (tmp_path / name / "demo.png").stat().st_size > 20_000
    assert capsys.readouterr() == ("", "")
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0].count(b"\n") == 40
    assert cli.main(["demo", "--out", str(tmp_path / "a"), "--share", "0.001"]) == 2
    assert "at least 2 of the 400 docstrings" in capsys.readouterr().err


def test_embeddings_are_unit_rows_and_the_same_every_time() -> None:
    texts = ["Read a file.", "Write a file.", "Return the sum.", "Raise an error.", "file_like.read"]
    F = demo.embed(texts)
    assert F.dtype == np.float32
    assert np.linalg.norm(F, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(F, demo.embed(texts))
    assert F[4] @ F[0] > F[4] @ F[2]  # qualified names are split into words
