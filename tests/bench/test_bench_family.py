"""The suite family: it runs, its textbook loop is the definition, and it withholds ratios for wrong picks."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

import gip_gpu
from bench.family import entries, suite
from bench.family.entries import DPP, ENTRIES
from bench.family.suite import TEXTBOOK, Session, main
from bench.plain import loops
from bench.runner import command, pools
from bench.runner.runs import Job, Run, Runs
from gip_gpu.reference import brute_force
from gip_gpu.strategies.choose import make_plan
from gip_gpu.system import memory

LR, MI, ENTROPY, MORE = (entries.find(name, quick=True) for name in ("lr", "mi", "entropy", DPP))


def cells(table):
    """Returns the rows of a Markdown table below its header, as lists of cells."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def section(text, title):
    """Returns the text between a heading and the next one."""
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def synthetic(tmp_path, monkeypatch):
    """No real data, on any machine."""
    monkeypatch.setattr(pools, "DATA", tmp_path)


@pytest.fixture
def session():
    """A function that makes a session in which a product takes 1 ms, lr 2 ms a pick and the textbook 4 s."""

    def make(lr=(4, 2, 7), dpp=(0, 5, 3), margins=(0.0, 0.25, 0.5), ties=(9, 1, 1)):
        def run(seconds, indices, **notes):
            timings = {"prepare": 0.5, "query": 0.25, "total": 0.756}
            rest = {"timings": timings, "memory": {"rows": 2000}, "refreshes": 1, "rounds": [0], "process": 2.0}
            rest["picking"] = 0.006
            return Run(seconds, 1_000_000, list(indices), {**rest, "candidates": [9, 1, 2], **notes})

        proof = {"margins": list(margins), "ties": list(ties)}
        small = {"m": 100, "d": 10, "k": 3}
        both = [dataclasses.replace(entry, case=dataclasses.replace(entry.case, **small)) for entry in (LR, MORE)]
        return Session(
            both,
            gemv=[0.001, 0.001],
            read=[0.0005, 0.0005],
            found={
                "lr": Runs([run(0.756, (4, 2, 7)), run(0.756, lr)]),
                DPP: Runs([run(1.0, (0, 5, 3), **proof), run(1.0, dpp, **proof)]),
                TEXTBOOK: Runs([run(4.0, (0, 5, 3)), run(4.0, (0, 5, 3))]),
            },
            references={"lr": np.array([4, 2, 7])},
        )

    return make


@pytest.mark.slow
def test_a_quick_run_reports_every_objective_and_the_textbook(synthetic, tmp_path):
    target = tmp_path / "report.md"
    result = CliRunner().invoke(main, ["--quick", "--output", str(target)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert target.read_text() == result.stdout
    names = [str(entry) for entry in ENTRIES if entry.name != DPP]
    assert len(names) == 5
    pick, whole, parts, rivals = (
        section(result.stdout, title)
        for title in ("A pick", "Whole runs", "Memory", "More picks than dimensions, against the textbook")
    )
    assert [row[0] for row in cells(pick)] == [row[0] for row in cells(whole)] == names
    assert all(len(row) == len(suite.PICK_HEADER) and all(row) for row in cells(pick))
    assert [row[-1] for row in cells(whole)] == ["13 of 13 picks"] * 5
    assert "projector" in [row[0] for row in cells(parts)]
    assert [row[0] for row in cells(rivals)] == ["gip_gpu", "textbook, float64, C kept"]
    assert cells(rivals)[1][2].endswith(" x")
    assert "all 50 picks are equal in every run" in rivals
    for text in (pick, rivals):
        assert "Alpaca sizes, synthetic: 1,300 x 384" in text
    assert "cores" in next(line for line in result.stdout.splitlines() if line.startswith("Machine: "))


def test_parts_and_quick_sizes_do_not_replace_the_whole_report(monkeypatch, tmp_path, session):
    target = tmp_path / "family.md"
    monkeypatch.setattr(suite, "measure", lambda *_: session())
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    for arguments in (["--quick"], ["--only", "lr"]):
        assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
        assert not target.exists()
    result = CliRunner().invoke(main, [], catch_exceptions=False)
    assert target.read_text() == result.stdout


def test_an_unknown_name_is_refused():
    result = CliRunner().invoke(main, ["--only", "lrr"])
    assert result.exit_code == 2
    assert "--only lrr fits none of: mp, lr, omp, mi, entropy, dpp" in result.output


@pytest.mark.parametrize(("d", "k"), [(30, 20), (8, 40)])
def test_the_textbook_is_greedy_on_the_determinant(d, k):
    F = np.random.default_rng(d).normal(size=(60, d)).astype(np.float16)
    picks = loops.projecting(F, None, k, "entropy", 0.01).tolist()
    assert picks == brute_force(F, None, k, objective="entropy", epsilon=0.01).tolist()
    assert picks == gip_gpu.select(F, None, k, objective="entropy", epsilon=0.01, device="cpu").indices.tolist()


def test_the_reference_of_an_entry_is_asked_for_its_own_problem(synthetic):
    F, G = MI.load()
    assert G.shape == (1300, 3)
    picks = MI.reference(4).tolist()
    assert picks == gip_gpu.select(F, G, 4, objective="mi", query="ridge", epsilon=0.1, device="cpu").indices.tolist()
    assert ENTROPY.load()[1] is None


def test_right_picks_give_figures(session):
    measured = session()
    assert measured.failures() == []
    # 0.756 s without 0.5 s of preparation and 0.25 s of a query are 2 ms for each of 3 picks.
    row = cells(suite.picks(measured))[0]
    assert row == ["lr", "self-compression", "2 (2 to 2)", "2.00", "1", "25%", "4 (2)", "1", "1"]
    assert cells(suite.whole_runs(measured))[0][1:] == [
        *("2 (2 to 2)", "0.756 (0.756 to 0.756)", "0.5 (0.5 to 0.5)", "0.25 (0.25 to 0.25)"),
        *("0.006 (0.006 to 0.006)", "1 MB", "3 of 3 picks"),
    ]
    assert [row[2] for row in cells(suite.dpp(measured, measured.dpp))] == ["", "4.0 x"]
    assert cells(suite.memory_parts(measured)) == [
        ["rows", "2 kB"],
        ["in all, planned", "2 kB"],
        ["measured", "1 MB"],
        ["a k x m matrix in float64", "2.4 kB"],
    ]


@pytest.mark.parametrize(("lr", "first"), [((4, 7, 2), 1), ((4, 2), 2)])
def test_one_wrong_run_withholds_the_figures_of_an_objective(session, lr, first):
    measured = session(lr=lr)
    reason = f"gip_gpu differs from float64 at pick {first}"
    assert measured.failures() == [f"lr: {reason}"]
    assert cells(suite.picks(measured))[0][2:] == [f"withheld: {reason}", *[""] * 6]
    assert cells(suite.whole_runs(measured))[0][1:] == [f"withheld: {reason}", *[""] * 6]
    assert "No figure for lr, mi and entropy." in suite.claim(measured)
    # The rest is unchanged.
    assert cells(suite.dpp(measured, measured.dpp))[1][2] == "4.0 x"


def test_only_the_verified_picks_are_compared(session):
    measured = session(lr=(4, 2, 6))
    measured.references["lr"] = np.array([4, 2])
    assert measured.wrong("lr") == ""
    assert cells(suite.whole_runs(measured))[0][-1] == "2 of 3 picks"
    assert "The first 2 picks of every run" in suite.checked(measured)


@pytest.mark.parametrize(
    ("gemv", "text"), [(0.001, "It holds for lr (lr 2.00)."), (0.0004, "It does not hold for lr (lr 5.00).")]
)
def test_the_claim_is_told_in_words(session, gemv, text):
    measured = session()
    measured.gemv = [gemv]
    claim = suite.claim(measured)
    assert "lr, mi and entropy cost at most 4 matrix-vector products a pick." in claim
    assert text in claim
    assert claim.endswith("No figure for mi and entropy.")


def test_the_limit_is_what_the_machine_was_seen_to_read(session):
    measured = session()
    assert measured.limit == 0.0005
    assert "reaches 50% of that rate" in suite.limit(measured)
    measured.read = [0.002]
    assert measured.limit == 0.001


@pytest.mark.parametrize(("margin", "tied", "failed"), [(0.0, 2, False), (0.25, 1, True)])
def test_other_picks_than_the_textbook_withhold_the_speed_up(session, margin, tied, failed):
    measured = session(dpp=(0, 3, 5), margins=(0.0, margin, 0.5), ties=(9, tied, 1))
    reason = (
        f"the picks first differ at pick 1, where gip_gpu's leads by {margin:.2g} of its gain; "
        f"items that tie there, itself included: {tied}"
    )
    text = suite.dpp(measured, measured.dpp)
    assert cells(text)[1][2] == f"withheld: {reason}"
    assert f"element by element: {reason}." in text
    assert " x" not in cells(text)[0][2]
    # The textbook's rounding decides ties.
    assert measured.failures() == ([f"entropy, epsilon 0.01: {reason}"] if failed else [])


def test_a_textbook_without_the_memory_is_not_run(session, monkeypatch):
    measured = session()
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    measured.found[TEXTBOOK] = Runs()
    measured.found[TEXTBOOK].add(Job(entries.run_textbook, (True,), entries.textbook_bytes(100, 10, 3)))
    shown = cells(suite.dpp(measured, measured.dpp))
    assert shown[1][1:] == ["not run: needs 21.6 kB, 10 kB free", "", "", ""]
    assert measured.failures() == []
    measured.found[DPP].trouble = "failed"
    assert measured.failures() == ["entropy, epsilon 0.01: gip_gpu failed"]


def test_a_failure_is_told(session):
    measured = session()
    measured.found["lr"] = Runs()
    measured.found["lr"].add(Job(entries.run, ("lrr", True)))
    reason = measured.wrong("lr")
    assert reason.startswith("gip_gpu failed with status 1: StopIteration")
    assert cells(suite.picks(measured))[0][2].startswith("withheld: gip_gpu failed with status 1")
    assert measured.failures() == [f"lr: {reason}"]


def test_a_wrong_pick_ends_with_an_error(monkeypatch, session):
    monkeypatch.setattr(suite, "measure", lambda *_: session(lr=(4, 7, 2)))
    result = CliRunner().invoke(main, ["--quick"])
    assert result.exit_code == 1
    assert result.stderr == "lr: gip_gpu differs from float64 at pick 1\n"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_no_part_of_a_plan_grows_with_k(entry):
    case, n = entry.case, 0 if entry.scores == "none" else 1

    def bytes_of(k):
        return make_plan(
            case.m, case.d, n, k, device="cpu", columns="lazy" if entry.objective == "mp" else "auto",
            objective=entry.objective,
        ).memory  # fmt: skip

    assert bytes_of(2 * case.k) == bytes_of(case.k)
