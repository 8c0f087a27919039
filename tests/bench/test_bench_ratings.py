"""The suite ratings: its measures, and the agreement of the documentation with its report."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from bench.ratings.suite import CHOICES, POOLS, Rated, load, main, measures
from bench.runner import command, pools


def tables(text):
    """Returns the lines of all tables."""
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.fixture
def tiny():
    """Four directions, each twice: a good row and a bad one; the third is rated like the fourth."""
    X = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    scores = np.array([5, 1, 4, 0, 3, 1, 3, 2], float)
    return Rated("tiny", X, np.column_stack([scores, scores]), np.arange(1.0, 9.0))


def test_the_measures(tiny):
    assert measures(tiny, np.array([0, 2])) == {
        "rating": "4.50",
        "below": "0%",
        "apart": "1.00",
        "near": "0.50",
        "length": "0.4",
    }
    assert measures(tiny, np.array([0, 1, 3, 7])) == {
        "rating": "2.00",
        "below": "75%",
        "apart": "0.50",
        "near": "0.25",
        "length": "0.8",
    }


@pytest.mark.slow
def test_a_quick_run(tmp_path, real):
    for files in POOLS.values():
        for file in files:
            real(file)
    run = CliRunner().invoke(main, ["--quick", "--output", str(tmp_path / "ratings.md")], catch_exceptions=False)
    assert run.exit_code == 0
    assert (tmp_path / "ratings.md").read_text() == run.output
    assert len(tables(run.output)) == len(POOLS) * (len(CHOICES) + 2)


def test_without_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "DATA", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    run = CliRunner().invoke(main, [], catch_exceptions=False)
    assert (run.exit_code, run.stdout) == (0, "")
    assert run.stderr.count("skipped") == len(POOLS)
    assert not (tmp_path / "ratings.md").exists()


def test_what_the_documentation_shows(real):
    """The tables of the page are those of the report, and a new run reproduces their figures."""
    report = (pools.ROOT / "bench" / "results" / "ratings.md").read_text()
    assert tables((pools.ROOT / "docs" / "ratings.md").read_text()) == tables(report)
    real(POOLS["WildBench"][0])
    pool = load("WildBench", quick=False)
    title = 'standardize="zscore", sign="positive"'
    found = measures(pool, CHOICES[title](pool))
    row = [line for line in report.split("## WildBench")[1].splitlines() if line.startswith(f"| {title} ")]
    assert re.split(r" *\| *", row[0].strip("| "))[1:] == list(found.values())


def test_the_recipe_runs():
    recipe = (pools.ROOT / "docs" / "ratings.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(recipe, names)
    assert {len(names[name]) for name in ("chosen", "strict", "mixed")} == {200}
    assert names["ratings"][names["chosen"]].mean() > names["ratings"].mean() + 1
