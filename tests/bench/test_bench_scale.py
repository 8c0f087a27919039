"""The suite scale: it runs, its baselines make the same picks, and it withholds ratios for wrong picks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.runner import child, command, pools
from bench.runner.report import Section
from bench.runner.runs import Run, Runs, in_turn
from bench.scale import checkpoint, file, growth, inmemory, inputs, naive, processes
from bench.scale import suite as program
from bench.scale.inputs import BLOCK, DUPLICATES, QUICK, Input, embeddings, ratings

POOL = Input("synthetic", Path("F.npy"), Path("G.npy"), 1000, 10, 1)


def cells(table):
    """Returns the rows of a Markdown table below its header, as lists of cells."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def run(seconds, indices=(4, 2, 7), **notes):
    """Returns a made-up result of a process."""
    rest = {"columns": "lazy", "resident": True, "planned": 3000, "computed": 4, "read": 60_000, "process": 2.0}
    rest["timings"] = {"prepare": 0.5, "columns": 0.25, "steps": 0.125}
    return Run(seconds, 1_000_000, list(indices), {**rest, **notes})


def selected(pool, k, **how):
    """Returns the result of a selection in this process."""
    job = pool.job(k, **how)
    return job.function(*job.arguments)


@pytest.fixture
def synthetic(tmp_path, monkeypatch):
    """No real data, on any machine."""
    monkeypatch.setattr(pools, "DATA", tmp_path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of two blocks and a part of one."""
    return embeddings(tmp_path_factory.mktemp("pool") / "rows.npy", 2 * BLOCK + 100, 16)


def test_the_pool_is_the_same_each_time_and_a_longer_one_begins_with_it(rows, tmp_path):
    whole = np.load(rows)
    assert (whole.shape, whole.dtype) == ((2 * BLOCK + 100, 16), np.float16)
    again = np.load(embeddings(tmp_path / "again.npy", *whole.shape))
    assert (whole.view(np.uint16) == again.view(np.uint16)).all()
    shorter = np.load(embeddings(tmp_path / "shorter.npy", BLOCK + 7, 16))
    assert (shorter.view(np.uint16) == whole[: BLOCK + 7].view(np.uint16)).all()
    # Every block and every seed has its own draw.
    assert (whole[:BLOCK] != whole[BLOCK : 2 * BLOCK]).any(axis=1).mean() > 0.99
    other = np.load(embeddings(tmp_path / "other.npy", BLOCK, 16, seed=1))
    assert (other != whole[:BLOCK]).any(axis=1).mean() > 0.99
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npy", "other.npy", "shorter.npy"]


def test_the_pool_has_unit_rows_with_copies_and_what_sentences_share(rows):
    X = np.load(rows).astype(np.float64)
    # Half a unit in the last place of float16, relative to each value.
    assert abs(np.linalg.norm(X, axis=1) - 1).max() < 2**-11
    first = np.arange(DUPLICATES, BLOCK, DUPLICATES)
    equal = (X[1:] == X[:-1]).all(axis=1)
    assert equal[first - 1].all()
    assert equal.sum() == sum(len(range(DUPLICATES, min(BLOCK, len(X) - start), DUPLICATES))
                              for start in range(0, len(X), BLOCK))  # fmt: skip
    assert np.linalg.norm(X.mean(axis=0)) > 0.2


def test_a_file_that_is_there_is_not_made_again(tmp_path):
    path = tmp_path / "rows.npy"
    path.write_bytes(b"kept")
    assert embeddings(path, 10, 4).read_bytes() == b"kept"


@pytest.mark.parametrize("n", [1, 3])
def test_ratings_are_whole_numbers_of_judges_that_differ(rows, n):
    F = np.load(rows, mmap_mode="r")
    G = ratings(F, n)
    assert G.shape == (len(F), n)
    assert set(np.unique(G)) == {0, 1, 2, 3, 4, 5}
    assert (ratings(F, n) == G).all()
    assert (ratings(F, n, seed=1) != G).any()
    if n > 1:
        assert (G[:, 0] != G[:, 1]).mean() > 0.2
    # Ratings depend in part on the rows: ratings of copies differ less than those of unrelated rows.
    first = np.concatenate([np.arange(DUPLICATES, BLOCK, DUPLICATES) + start for start in (0, BLOCK)])
    assert abs(G[first] - G[first - 1]).mean() < 0.9 * abs(G[1:] - G[:-1]).mean()


@pytest.mark.slow
def test_a_quick_run_reports_every_section(synthetic, tmp_path):
    target = tmp_path / "scale.md"
    small = ["--quick", "--folder", str(tmp_path / "pools"), "--output", str(target)]
    result = CliRunner().invoke(program.main, small, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = target.read_text()
    assert text == result.stdout
    parts = {part.partition(":")[0]: part for part in text.split("\n## ")[1:]}
    assert list(parts) == list(program.SECTIONS)
    assert all("\n\nMachine: " in part and "Quick sizes" in part for part in parts.values())
    first = cells(parts["file"])
    assert [row[2] for row in first[:3]] == ["in float32", "in float32", "stream"]
    # Norms, float32 rows and the lookahead's, or at least norms, lookahead and a batch.
    assert all(float(row[6]) >= 2 for row in first[1:3])
    assert all(row[-1].endswith(" x") for row in first[:3])
    assert "all 4" in parts["file"]
    assert "Alpaca sizes, synthetic, 1,300 x 384" in parts["memory"]
    assert "withheld" not in text
    assert "Claim: time grows no faster than linearly" in parts["growth"]
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_quick_sizes_do_not_replace_the_report(monkeypatch, tmp_path):
    target = tmp_path / "scale.md"
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setitem(program.SECTIONS, "growth", lambda *_: Section("Growth", "It holds.", "Synthetic.", ()))
    result = CliRunner().invoke(program.main, ["--quick", "--only", "gr*"], catch_exceptions=False)
    assert "## growth: Growth\n\nIt holds.\n\nMachine: " in result.stdout
    assert not target.exists()
    assert CliRunner().invoke(program.main, ["--only", "growth"], catch_exceptions=False).exit_code == 0
    assert target.read_text() == result.stdout.replace(" Quick sizes: the figures say nothing about real ones.", "")


def test_a_section_alone_leaves_the_others_as_they_are():
    def text(**verdicts):
        return program.report({name: Section(name, verdict, "", ()) for name, verdict in verdicts.items()}, False)

    names = ["file", "memory", "growth"]
    whole = text(file="one", memory="two", growth="three")
    assert program.merged("", whole, names) == whole
    assert program.merged(whole, text(memory="new"), names) == text(file="one", memory="new", growth="three")
    assert program.merged(text(growth="three"), text(file="one"), names) == text(file="one", growth="three")


def test_an_unknown_section_is_refused():
    result = CliRunner().invoke(program.main, ["--only", "fil"])
    assert result.exit_code == 2
    assert "--only fil fits none of: file, memory, growth, processes, checkpoint" in result.output


def test_a_section_that_fails_is_told_and_the_next_one_is_measured(monkeypatch):
    def fails(sizes, folder, done):
        missing = replace(POOL, F=Path("missing.npy"), G=Path("missing.npy"))
        in_turn({"missing": missing.job(3)}, 1, done, strict=True)

    monkeypatch.setitem(program.SECTIONS, "file", fails)
    monkeypatch.setitem(program.SECTIONS, "memory", lambda *_: Section("Rows", "It holds.", "", ()))
    result = CliRunner().invoke(program.main, ["--quick", "--only", "file", "--only", "memory"])
    assert result.exit_code == 1
    assert result.stderr.startswith("file: failed with status 1: ValueError: cannot read missing.npy")
    assert "**Failed: " in result.stdout
    assert "It holds." in result.stdout


@pytest.mark.slow
def test_a_single_product_makes_the_same_picks_without_batches(tmp_path):
    pool = inputs.synthetic(tmp_path, 16_000, 256)
    ours, single = (selected(pool, 300, loaded="float32", single=each) for each in (False, True))
    assert ours["indices"] == single["indices"]
    assert single["computed"] == 300
    assert single["planned"] < ours["planned"]
    # How many more depends on what batches take.
    assert selected(pool, 300)["computed"] >= 300


def test_bytes_read_are_those_of_the_file(tmp_path):
    if child.bytes_read() is None:
        pytest.skip("this system does not tell what a process read")
    path = tmp_path / "some"
    path.write_bytes(bytes(100_000))
    before = child.bytes_read()
    path.read_bytes()
    assert 100_000 <= child.bytes_read() - before < 110_000


@pytest.mark.parametrize("way", list(naive.WAYS))
def test_a_pass_a_pick_makes_the_picks_of_select(tmp_path, way):
    pool = inputs.synthetic(tmp_path, 3000, 24, n=2)
    row, column, _ = naive.WAYS[way](str(pool.F))
    indices, seconds = naive.loop(row, column, np.load(pool.G), 25)
    assert indices == selected(pool, 25)["indices"]
    assert len(seconds) == 25


@pytest.fixture
def measured():
    """Returns a function that makes the result of a file: select takes 2 s, a pass of the baseline 4 s."""

    def make(limited=(4, 2, 7), **notes):
        found = {
            file.IN_MEMORY: Runs([run(1.0), run(1.0)]),
            "from the file, 2GB": Runs([run(2.0, **notes), run(2.0, limited, **notes)]),
        }
        told = {"each": [4.0, 4.0], "indices": [4, 2], "passes": [0.25], "peak": 5000}
        return file.Measured(POOL, found, dict.fromkeys(file.BASELINES, told), k=3)

    return make


def test_right_picks_give_a_speed_up(measured):
    found = measured()
    text = file.section([found], replace(QUICK, large_k=3), flops=80_000.0)
    table, baselines, limits = text.body[0], text.body[2], text.body[4]
    # Three passes of 4 s; 60 kB of 20 kB were read.
    assert cells(table)[1][3:] == ["2 (2 to 2)", "1 MB", "3 kB", "3.0", "4", "75%", "0.5", "0.25", "0.125", "6.0 x"]
    assert cells(baselines)[0][2:] == ["4e+03 (4e+03 to 4e+03)", "12", "5 kB", "all 2"]
    # A column is 20,000 flops, 0.25 s: one pass and 3 columns; 3 passes and 4 columns.
    assert cells(limits)[0][2:] == ["1", "2.00", "1.75", "1.14"]
    assert "It holds: 6.0 x (n = 1, from the file, 2GB). The aim of 8 times is reached by 0 of 1." in text.verdict
    assert text.failures == []


def test_a_wrong_pick_withholds_the_speed_up(measured):
    text = file.section([measured(limited=(4, 3, 7))], QUICK, flops=1e6)
    row = cells(text.body[0])[1]
    assert row[3] == "withheld: the picks differ from pick 1 on"
    assert not any(cell.endswith(" x") for cell in row)
    assert " x (" not in text.verdict
    assert cells(text.body[4]) == []
    assert text.failures == ["n = 1, from the file, 2GB: the picks differ from pick 1 on"]


def test_slow_or_large_runs_break_the_claims(measured):
    found = measured()
    found.found["from the file, 2GB"] = Runs([replace(run(4.0), peak=3 * 10**9)])
    text = file.verdict([(found, "from the file, 2GB")])
    assert "It does not hold: 3.0 x (n = 1, from the file, 2GB)." in text
    assert "It does not hold: 3 GB (n = 1, from the file, 2GB)." in text


def test_ratios_in_memory_know_noise_and_wrong_picks():
    def found(ours, single, k=50, indices=(4, 2, 7)):
        runs = {inmemory.OURS: [run(s) for s in ours], inmemory.SINGLE: [run(s, indices) for s in single]}
        return inmemory.Measured(POOL, k, {name: Runs(each) for name, each in runs.items()})

    good, noisy, slow = found([1.0, 1.25], [2.25, 4.5]), found([1.0, 1.2], [0.9, 1.1]), found([1.0, 1.0], [0.5, 0.5], 9)
    assert inmemory.row(good)[2:6] == ["0.05", "1.12 (1 to 1.25)", "3.38 (2.25 to 4.5)", "3.00"]
    # Half a second of each is preparation.
    assert inmemory.row(good)[6:10] == ["1.80 to 4.50", "4.60", "lazy", "4"]
    assert "It holds: 3.00 (synthetic, 1,000 x 10, k = 50). Claim: at least 1.5 times" in inmemory.verdict([good])
    assert "It holds: 0.91 (" in inmemory.verdict([noisy])
    assert "Within the spread of the runs are 0.91 (synthetic" in inmemory.verdict([noisy])
    assert "It does not hold: 0.91" in inmemory.verdict([noisy])
    assert "It does not hold: 0.50 (synthetic, 1,000 x 10, k = 9). Claim: at least" in inmemory.verdict([slow])
    assert inmemory.verdict([slow]).endswith("No figure.")
    wrong = found([1.0], [2.0], indices=(4, 2, 8))
    text = inmemory.section([wrong])
    assert cells(text.body[0])[0][3] == "withheld: the picks differ from pick 2 on"
    assert "2.00" not in text.verdict + text.body[0]
    assert text.failures == ["synthetic, 1,000 x 10, k = 50: the picks differ from pick 2 on"]


@pytest.mark.parametrize(("seconds", "words"), [(9.0, "It holds: 9.00 times"), (11.0, "It does not hold: 11.00 times")])
def test_growth_is_compared_with_the_items(seconds, words):
    points = [(POOL, Runs([run(1.0)])), (replace(POOL, m=10_000), Runs([run(seconds)]))]
    text = growth.section(points, 100)
    assert words in text.verdict
    assert cells(text.body[0])[1][-2:] == [f"{seconds:.2f}", "10"]
    assert len(text.plots[growth.PLOT].axes) == 2


def test_processes_that_choose_otherwise_have_no_figures(tmp_path):
    runs = {processes.ALONE: run(1.0), "1": run(2.0), "2": run(0.5, (4, 2, 8))}
    found = {name: Runs([each]) for name, each in runs.items()}
    text = processes.section("Alpaca.", found, {processes.ALONE: 2, "1": 2, "2": 1})
    alone, same, other = cells(text.body[0])
    assert (alone[4], same[4]) == ("", "0.50 x")
    assert other[2:] == ["withheld: the picks differ from pick 2 on", "", "", ""]
    assert text.failures == ["2 processes: the picks differ from pick 2 on"]
    with pytest.raises(RuntimeError, match="gip_gpu select missing failed with status 2: "):
        processes.once(("-m", "gip_gpu", "select", "missing", "-k", "2"), 1, tmp_path)


def test_a_command_gives_the_picks_of_a_selection(synthetic, tmp_path):
    pool = inputs.alpaca(tmp_path, quick=True)
    command = ("-m", "gip_gpu", "select", str(pool.F), "--scores", str(pool.G), "-k", "13")
    told = processes.once(command, 1, tmp_path)
    assert told.indices == selected(pool, 13)["indices"]
    assert 0 < told.seconds < told.notes["process"]


def test_checkpoints_are_told_with_what_they_cost():
    found = {
        checkpoint.WITHOUT: Runs([run(2.0)]),
        checkpoint.WITH: Runs([run(2.5, file=4000)]),
        checkpoint.HALF: Runs([run(1.0, (4,), file=2000)]),
        checkpoint.REST: Runs([run(1.5, file=4000)]),
        checkpoint.AGAIN: Runs([run(0.25, file=4000)]),
    }
    text = checkpoint.section("Alpaca.", found, 1.0)
    assert text.verdict == "A checkpoint adds 25.0% of the time; to resume takes 0.25 s."
    assert [row[1:4] for row in cells(text.body[0])] == [
        ["2", "", "none"],
        ["2.5", "1.250", "4 kB"],
        ["1", "0.500", "2 kB"],
        ["1.5", "0.750", "4 kB"],
        ["0.25", "0.125", "4 kB"],
    ]
    found[checkpoint.REST] = Runs([run(1.5, (4, 2, 8), file=4000)])
    text = checkpoint.section("Alpaca.", found, 1.0)
    assert text.verdict == "Withheld: the picks differ from pick 2 on."
    assert cells(text.body[0])[3][1] == "withheld: the picks differ from pick 2 on"


def test_the_full_sizes_are_those_that_are_claimed():
    full = inputs.FULL
    assert (full.large, full.d, full.large_k) == (1_000_000, 256, 2000)
    assert (2600, 3) in full.shares
    assert [m for m, _ in full.growing] == [10**4, 10**5, 10**6]
