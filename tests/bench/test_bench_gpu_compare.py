"""Comparison of two runs of the GPU benchmark, and the files that it rejects."""

import json

import pytest
from click.testing import CliRunner

from bench.gpu import report, suite
from bench.gpu.results import Entry, Results
from tests.support.bench_gpu_runs import OLD, run_with, selection


def test_comparison_of_two_runs():
    ceiling = Entry("ceilings", "copy bandwidth", "", "", 1.0, notes={"value": 2e12})
    new = run_with([ceiling, selection(2.0), selection(1.0, backend="", difference=4), selection(0.0, backend="z")])
    old = run_with([selection(8.0), selection(3.0, backend="", difference=4), selection(1.0, backend="z")], device="A")
    old["entries"] += OLD["entries"]
    text = report.comparison(old, new)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == [
        ["ceilings", "copy bandwidth", "", "2 s", "1 s", "2"],
        ["selections", "pool, k = 3", "cupy, device arrays", "8 s", "2 s", "4"],
        # Picks of a plain loop are not checked.
        ["selections", "pool, k = 3", "plain cupy loop", "3 s", "1 s", "3"],
        ["selections", "pool, k = 3", "z, device arrays", "1 s", "0 s", ""],
    ]
    assert "Old: A, 2026-03-04, sizes: tiny.\nNew: chip, 2026-03-04, sizes: tiny.\n" in text
    assert "Only in the old: 1 (gram 1)." in text
    assert "Only in the new" not in text
    assert "Only in the new: 4 (ceilings 1, selections 3)." in report.comparison(run_with([]), new)
    assert "no measurement in common" in report.comparison(run_with([]), new)


@pytest.mark.parametrize(("before", "after", "told"), [(0, None, "pick 0 of the old"), (None, 2, "pick 2 of the new")])
def test_no_ratio_of_wrong_picks(before, after, told):
    old, new = run_with([selection(8.0, difference=before)]), run_with([selection(2.0, difference=after)])
    assert f"withheld: {told} differs" in report.comparison(old, new)
    assert "| 4 " not in report.comparison(old, new)


def test_comparison_is_printed(monkeypatch, tmp_path):
    results = Results("tiny", entries=[selection(2.0)])

    def measured(sizes, device, names, budget, left_out, parts, save):
        save(results)
        return results

    monkeypatch.setattr(suite, "measure", measured)
    monkeypatch.setattr(suite, "unusable", lambda name, device: "")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(run_with([selection(6.0)])))
    # The file of the previous run is read before it is overwritten.
    run = CliRunner().invoke(suite.main, ["--compare", str(old), "--output", str(old)])
    assert run.exit_code == 0
    assert "| selections | pool, k = 3 | cupy, device arrays | 6 s   | 2 s   | 3           |" in run.stdout
    assert report.load(old)["sizes"] == "tiny"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("{", "it is no JSON"),
        (b"\xff\xfe\xfa", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it holds a list, not an object"),
        ("{}", "it has no 'sizes'"),
        (json.dumps({**OLD, "machine": None}), "it has no 'machine'"),
        (json.dumps({**OLD, "entries": {}}), "it has no 'entries'"),
        (json.dumps({**OLD, "entries": [[]]}), "entry 0 has no part, case and variant"),
        (json.dumps({**OLD, "entries": [*OLD["entries"], {"part": "a", "case": "b"}]}), "entry 2 has no part"),
        *(
            (json.dumps({**OLD, "entries": [{"part": "a", "case": "b", "variant": "", "seconds": wrong}]}), "seconds")
            for wrong in (None, "1", True, -1.0, float("nan"), float("inf"))
        ),
    ],
)
def test_files_that_cannot_be_compared_with(monkeypatch, tmp_path, text, told):
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("measured first"))
    monkeypatch.setattr(suite, "unusable", lambda name, device: "")
    file = tmp_path / "old.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    run = CliRunner().invoke(suite.main, ["--compare", str(file)])
    assert run.exit_code == 2
    assert "Error: --compare" in run.output
    assert told in " ".join(run.output.split())
