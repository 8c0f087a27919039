"""The command `report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import cli
from tests.support.report_page import blobs, data_of, texts_of

BASE = "report c.npz --embeddings F.npy"
Report = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """A pool of 60 rows and a selection of 8, in the working folder, and a function that runs a line on them."""
    monkeypatch.chdir(tmp_path)
    np.save("F.npy", blobs(60))
    np.savetxt("G.csv", np.arange(120).reshape(60, 2) % 7, "%d", ",", header="quality,difficulty", comments="")
    rows = [{"id": i, "q": f"question {i}", "a": f"<b>{i}</b>", "topic": f"t{i % 3}"} for i in range(60)]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def line(text: str) -> tuple[int, str, str]:
        status = cli.main(text.split())
        return status, *capsys.readouterr()

    assert line("select F.npy --scores G.csv -k 8 -o c.npz --quiet")[0] == 0
    return line


def test_a_report_of_all_inputs(run: Report) -> None:
    Path("s.json").write_text('{"with scores in bf16": "2 of 8 picks change"}')
    status, out, err = run(
        f"{BASE} --scores G.csv --scores-key quality,difficulty --rows data.jsonl --text q,a --groups topic "
        "--title Mine --stability s.json -o r.html"
    )
    assert (status, err) == (0, "")
    assert out.startswith("written: r.html, ")
    page = Path("r.html").read_text()
    data = data_of(Path("r.html"))
    assert texts_of(data)[3] == "q: question 3\n\na: <b>3</b>"
    assert sorted(data["groups"]) == ["t0", "t1", "t2"]
    assert [score["name"] for score in data["scores"]] == ["quality", "difficulty"]
    assert data["scores"][1]["values"].tolist() == [(2 * i + 1) % 7 for i in range(60)]
    assert '<h1 dir="auto">Mine</h1>' in page
    assert "2 of 8 picks change" in page
    assert f"gip-gpu {BASE} --scores G.csv" in page


def test_rows_are_shown_whole_and_scores_made(run: Report) -> None:
    status, out, _ = run(f"{BASE} --scores self-compression --rows data.jsonl --quiet --near 0.9 --points 20")
    assert (status, out) == (0, "")
    data = data_of(Path("report.html"))
    assert len(data["x"]) == 20
    assert texts_of(data)[0].startswith(f"id: {data['row'][0]}\n\nq: question")
    assert [score["name"] for score in data["scores"]] == ["self-compression"]
    assert data["near"] == 0.9
    line = ["report", "c.npz", "--embeddings", "F.npy", "--force", "--quiet", "--command", "gip-gpu run 'my data'"]
    assert cli.main(line) == 0
    page = Path("report.html").read_text()
    assert "gip-gpu run &#39;my data&#39;\ngip-gpu report c.npz" in page
    assert data_of(Path("report.html"))["text"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report c.npz", "Missing option '--embeddings'"),
        (f"{BASE} --text q", "--text and --groups name fields of --rows, which is not given"),
        (f"{BASE} --scores-key a", "--scores-key names an array in a file, but --scores is not given"),
        (f"{BASE} -o r.pdf", "suffix '.pdf'; it must be .html or .htm"),
        (f"{BASE} -o F.npy", "F.npy is named twice"),
        (
            f"{BASE} --rows data.jsonl --text question",
            "line 1 has no field 'question', which --text names; it has 'id'",
        ),
        (f"{BASE} --rows data.jsonl --groups kind", "line 1 has no field 'kind', which --groups names"),
        (f"{BASE} --near 2", "near is 2.0; it must be a cosine in (0, 1]"),
        (f"{BASE} --stability F.npy", "cannot read F.npy"),
        (f"{BASE} --stability list.json", "list.json holds a list; it must be a mapping"),
        ("report F.npy --embeddings F.npy", "ends in '.npy'; a selection is kept in .npz or .json"),
        ("report c.npz --embeddings short.npy", "F has 59 rows and the selection was made from 60"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(line: str, message: str, run: Report) -> None:
    Path("list.json").write_text("[1]")
    np.save("short.npy", blobs(59))
    before = sorted(Path().iterdir())
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(Path().iterdir()) == before


def test_a_report_is_not_overwritten_unasked(run: Report) -> None:
    Path("report.html").write_text("mine")
    status, _, err = run(BASE)
    assert status == 2
    assert "it exists; --force overwrites it" in err
    assert Path("report.html").read_text() == "mine"
    assert run(f"{BASE} --force")[0] == 0
