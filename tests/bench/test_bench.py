"""The suite cpu: it runs, its baseline is algorithm 1, and it withholds ratios for wrong picks."""

import importlib.util
import os
import re
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner

from bench import suites
from bench.cpu import suite, variants
from bench.cpu.suite import Measured
from bench.runner import child, command, pools
from bench.runner.runs import Job, Run, Runs, in_turn
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import memory
from tests.support.paths import ROOT

AS_WRITTEN, IN_PLACE, OURS = variants.VARIANTS


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Returns the finished process and the written file of a quick run without the real data."""
    folder = tmp_path_factory.mktemp("no data")
    command = [sys.executable, "-m", "bench", "--quick", "--output", str(folder / "report.md")]
    environment = {**os.environ, "GIP_GPU_DATA": str(folder)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout, (folder / "report.md").read_text()


@pytest.fixture
def measured():
    """A function that makes a result of three picks in which gip_gpu chose these indices."""

    def make(indices, computed=8):
        notes = {"computed": computed, "columns": "lazy", "rounds": [0]}
        return Measured(
            pools.Case("name", "Title", 100, 10, 3, "file.npy"),
            np.array([4, 2, 7]),
            {"flops": 2e6, "gemv": 0.001},
            {
                AS_WRITTEN: Runs([Run(3.0, 2_000_000, [4, 7, 1]), Run(5.0, 1_000_000, [4, 2, 7])]),
                IN_PLACE: Runs([Run(2.0, 1_000_000, [4, 2, 7])]),
                OURS: Runs([Run(0.5, 500_000, [4, 2, 7], notes), Run(0.5, 500_000, indices, notes)]),
            },
        )

    return make


def cells(table):
    """Returns the rows of a Markdown table below its header, as lists of cells."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.slow
def test_quick_report_has_every_case_column_and_label(quick):
    printed, written = quick
    assert printed == written
    speed, limit = printed.split("## Distance from the limit")
    for header, table in ((suite.HEADER, speed), (suite.LIMIT_HEADER, limit)):
        first = next(line for line in table.splitlines() if line.startswith("|"))
        assert tuple(cell.strip() for cell in first.strip("|").split("|")) == header
    rows = cells(speed)
    assert [row[1] for row in rows] == list(variants.VARIANTS) * len(pools.CASES)
    assert all("synthetic" in row[0] for row in rows[::3] + cells(limit))
    assert [row[5:] for row in rows[2::3]] == [["none", "1.000"]] * len(pools.CASES)
    assert all(row[3].endswith(" x") for row in rows[::3] + rows[1::3])
    machine = next(line for line in printed.splitlines() if line.startswith("Machine: "))
    assert np.__version__ in machine
    assert "cores" in machine


def test_suites_are_listed_and_the_first_is_the_one_without_a_name():
    listed = CliRunner().invoke(suites.main, ["--help"], catch_exceptions=False).output
    for name, (module, line) in suites.SUITES.items():
        assert re.search(rf"^  {name} +{line.split()[0]}", listed, re.MULTILINE)
        assert importlib.util.find_spec(module) is not None
    for arguments in (["cpu", "--only", "x"], ["--only", "x"]):
        result = CliRunner().invoke(suites.main, arguments)
        assert result.exit_code == 2
        assert "--only x fits none of: gsm8k-747, " in result.output
    assert "No such command 'family.child'" in CliRunner().invoke(suites.main, ["family.child"]).output


def test_names_are_chosen_by_patterns():
    names = ["mp", "mp, positive", "lr"]
    assert command.chosen([], names) == tuple(names)
    assert command.chosen(["mp, positive"], names) == ("mp, positive",)
    assert command.chosen(["lr,mp"], names) == ("mp", "lr")
    assert command.chosen(["mp*"], names) == ("mp", "mp, positive")
    for wrong in (["mp", "rl"], ["lr,rl"], [""], [" , "]):
        with pytest.raises(click.UsageError, match="fits none of: mp"):
            command.chosen(wrong, names)


def test_right_answers_give_speed_ups(measured):
    rows = cells(suite.speed([measured([4, 2, 7])]))
    assert rows[0][2:] == ["4 (3 to 5)", "8.0 x", "2 MB", "1", "0.500"]
    assert rows[1][2:] == ["2", "4.0 x", "1 MB", "none", "1.000"]
    assert rows[2][2:] == ["0.5 (0.5 to 0.5)", "", "500 kB", "none", "1.000"]


@pytest.mark.parametrize(("indices", "first"), [([4, 7, 2], 1), ([4, 2], 2), ([4, 2, 7, 1], 3)])
def test_one_wrong_run_withholds_the_speed_ups(measured, indices, first):
    wrong = measured(indices)
    reason = f"withheld: gip_gpu differs from float64 at pick {first}"
    rows = cells(suite.speed([wrong]))
    assert [row[3] for row in rows] == [reason, reason, ""]
    assert rows[2][5] == str(first)
    assert cells(suite.limit([wrong]))[0][1:] == [reason, *[""] * 9]


def test_distance_from_the_limit(measured):
    # A column is 2 * 100 * 10 flops, 1 ms at 2 Mflop/s.
    row = cells(suite.limit([measured([4, 2, 7])]))[0]
    assert row[1:] == ["lazy", "8", "3", "0", "1", "0.5", "0.008", "62.5", "0.003", "167"]


def test_a_plain_variant_without_the_memory_is_not_run(measured, monkeypatch):
    found = measured([4, 2, 7])
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    found.found[AS_WRITTEN] = in_turn(suite.jobs(found.case, quick=True), 1, str)[AS_WRITTEN]
    rows = cells(suite.speed([found]))
    assert rows[0][2:] == ["not run: needs 88 kB, 10 kB free", "", "", "", ""]
    assert rows[1][3] == "4.0 x"


def test_a_failure_is_told(measured):
    found = measured([4, 2, 7])
    found.found[OURS] = Runs()
    found.found[OURS].add(Job(variants.run, ("no such case", OURS, True)))
    rows = cells(suite.speed([found]))
    assert rows[2][2].startswith("failed with status 1: StopIteration")
    assert rows[0][3] == f"withheld: gip_gpu {rows[2][2]}"


def test_exhausted_scores_are_told(measured):
    found = measured([4, 2, 7])
    assert suite.exhaustion(found) == ""
    found.found[OURS].notes["rounds"] = [0, 2]
    assert "exhausted after 2 picks" in suite.exhaustion(found)


@pytest.mark.parametrize("in_one_call", [10, 1000])
@pytest.mark.parametrize("n", [1, 3])
def test_the_baselines_are_algorithm_1(monkeypatch, in_one_call, n):
    monkeypatch.setattr(variants, "ROWS_IN_ONE_CALL", in_one_call)
    monkeypatch.setattr(variants, "BLOCK", 70)
    rng = np.random.default_rng(3)
    F, G = rng.normal(size=(300, 40)).astype(np.float16), rng.normal(size=(300, n))
    expected = matching_pursuit(F, G, 30).tolist()
    for variant in variants.VARIANTS.values():
        assert variant(F, G, 30)["indices"] == expected


def test_peak_memory_is_the_childs_own():
    ballast = np.ones(40_000_000)
    told = child.call(variants.run, "gsm8k-747", OURS, True)
    assert 0 <= told["peak"] < ballast.nbytes
