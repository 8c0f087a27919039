"""Constraints on the command line: `select` and `run`."""

import json
from pathlib import Path

import numpy as np
import pytest

import gip_gpu
from gip_gpu import cli
from tests.support.data_sets import read, rows, write

ROWS = [{**row, "topic": f"t{i % 3}", "n": i % 2} for i, row in enumerate(rows(60))]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    F = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    np.save("F.npy", F)
    np.save("groups.npy", np.arange(60) % 3)
    Path("groups.txt").write_text("".join(f"t{i % 3}\n" for i in range(60)))
    Path("no.txt").write_text("0\n5\n")
    write(tmp_path / "data.jsonl", ROWS)

    def line(text: str) -> tuple[int, str, str]:
        status = cli.main(text.split())
        return status, *capsys.readouterr()

    return line


@pytest.mark.parametrize("groups", ["groups.npy", "groups.txt"])
def test_select(run, groups):
    F, how = np.load("F.npy"), "--exclude no.txt --dedup 0.7 --group-min 2 --group-max 50%"
    assert run(f"select F.npy -k 8 -o c.npz --groups {groups} {how} --quiet --device cpu")[0] == 0
    options = {"exclude": [0, 5], "dedup": 0.7, "groups": np.arange(60) % 3, "group_limits": (2, 0.5)}
    wanted = gip_gpu.select(F, None, 8, device="cpu", **options)
    assert gip_gpu.Selection.load("c.npz").tolist() == wanted.tolist()
    # What was chosen before is left out.
    assert run("select F.npy -k 8 -o d.npz --exclude c.npz --quiet --device cpu")[0] == 0
    assert not set(wanted.tolist()) & set(gip_gpu.Selection.load("d.npz").tolist())


def test_run_by_a_column(run):
    assert run("run data.jsonl -k 9 --out c.jsonl --group-by topic --group-max 3 --no-report --quiet")[0] == 0
    topics = [row["topic"] for row in read(Path("c.jsonl"))]
    assert sorted(topics) == ["t0"] * 3 + ["t1"] * 3 + ["t2"] * 3
    assert not Path("c.jsonl.html").exists()
    # The written options repeat the run.
    assert run("run --config c.jsonl.toml --out d.jsonl")[0] == 0
    assert Path("d.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
    assert run("run data.jsonl -k 4 --out e.jsonl --group-by n --group-min 2 --dedup 0.99 --report --quiet")[0] == 0
    assert sorted(row["n"] for row in read(Path("e.jsonl"))) == [0, 0, 1, 1]
    page = Path("e.jsonl.html").read_text()
    assert "gip-gpu run data.jsonl -k 4" in page


def test_another_k_in_the_same_folder(run):
    how = "data.jsonl --group-by topic --group-min 3 --work W --no-report --quiet"
    assert run(f"run -k 9 --out a.jsonl {how}")[0] == 0
    for k in (12, 20):
        assert run(f"run -k {k} --out {k}.jsonl {how}")[0] == 0
        assert run(f"run -k {k} --out fresh{k}.jsonl {how.replace('--work W', '')}")[0] == 0
        assert Path(f"{k}.jsonl").read_bytes() == Path(f"fresh{k}.jsonl").read_bytes()
    share = how.replace("--group-min 3", "--group-max 40%")
    assert run(f"run -k 10 --out b.jsonl {share}")[0] == 0
    assert run(f"run -k 20 --out c.jsonl {share}")[0] == 0


def test_nothing_is_overwritten(run, monkeypatch):
    for name in ("c.jsonl.toml", "c.jsonl.html"):
        Path(name).write_text("mine")
        status, _, err = run("run data.jsonl -k 3 --out c.jsonl --quiet")
        assert status == 2
        assert name in err
        assert Path(name).read_text() == "mine"
        Path(name).unlink()
    Path("my.toml").write_text('data = ["data.jsonl"]\nk = "3"\nout = "my"\n')
    status, _, err = run("run --config my.toml --no-report --quiet")
    assert status == 2
    assert "my.toml: it exists" in err
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    status, _, err = run("run data.jsonl -k 3 --out d.jsonl --report --quiet")
    assert status == 2
    assert 'pip install "gip_gpu[report]"' in err
    assert not Path("d.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("select F.npy -k 3 --group-max 2", "need --groups, which says what the groups are"),
        ("select F.npy -k 3 --groups groups.npy", "--groups needs --group-min or --group-max"),
        ("run data.jsonl -k 3 --out c.jsonl --group-min 2", "need --group-by, which says"),
        ("run data.jsonl -k 3 --out c.jsonl --group-by kind --group-min 1", "data.jsonl, line 1 has no field 'kind'"),
        ("select F.npy -k 3 --groups no.txt --group-max 2", "no.txt has 2 groups for 60 rows"),
        ("select F.npy -k 3 --exclude groups.txt", "groups.txt must hold indices of rows, one a line"),
        ("select F.npy -k 3 --exclude F.csv", "it must be a selection, .npz or .json, or indices, .npy or .txt"),
        ("select F.npy -k 3 --dedup 2", "dedup is 2.0"),
        ("select F.npy -k 3 --groups groups.npy --group-max x", "'x' is no number"),
    ],
)
def test_errors(run, line, message):
    status, _, err = run(f"{line} --quiet")
    assert status == 2
    assert message in err


def test_labels_of_any_type(tmp_path):
    from gip_gpu.records import open_records

    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"x": value}) + "\n" for value in ("a", 1, None, ["b"], True)))
    assert open_records(path).labels("x") == ["a", "1", "null", '["b"]', "true"]


def test_costs_weights_and_rows_of_files(run):
    F, rng = np.load("F.npy"), np.random.default_rng(1)
    costs, weights = rng.integers(1, 50, 60), rng.uniform(0.1, 2, 60)
    np.save("costs.npy", costs)
    Path("costs.txt").write_text("".join(f"{cost}\n" for cost in costs))
    Path("weights.csv").write_text("trust\n" + "".join(f"{float(weight)!r}\n" for weight in weights))
    Path("first.txt").write_text("40\n3\n")
    wanted = gip_gpu.select(
        F, None, None, device="cpu", costs=costs, budget=200, weights=weights, must_include=[40, 3], exclude=[0, 5]
    )
    for name in ("costs.npy", "costs.txt"):
        how = f"--costs {name} --budget 200 --weights weights.csv --must-include first.txt --exclude no.txt"
        assert run(f"select F.npy -o c.npz --force {how} --quiet --device cpu")[0] == 0
        assert gip_gpu.Selection.load("c.npz") == wanted
        assert run(f"verify c.npz F.npy {how}")[0] == 0
        assert run(f"verify c.npz F.npy {how.replace('200', '201')}")[0] == 1
    assert "Missing option '-k'" in run("select F.npy -o d.npz")[2]
    assert "--costs and --budget belong together" in run("select F.npy -k 3 -o d.npz --budget 5")[2]
    assert "--costs and --budget belong together" in run("select F.npy -k 3 -o d.npz --costs costs.npy")[2]
    Path("costs.txt").write_text("1.5\n" * 60)
    assert "row 0 of costs.txt has a cost of 1.5" in run("select F.npy -o d.npz --costs costs.txt --budget 9")[2]
    Path("costs.txt").write_text("1\n" * 59)
    assert "for each of 60 rows" in run("select F.npy -o d.npz --costs costs.txt --budget 9")[2]
    Path("costs.txt").write_text("much\n" * 60)
    assert "must hold numbers, one a line" in run("select F.npy -o d.npz --costs costs.txt --budget 9")[2]


def test_rows_named_by_ids(run):
    F = np.load("F.npy")
    Path("ids.txt").write_text("".join(f"doc {i}\n" for i in range(60)))
    Path("first.txt").write_text("doc 40\ndoc 3\n")
    Path("never.txt").write_text("doc 0\r\ndoc 5\r\n")
    how = "--ids ids.txt --must-include first.txt --exclude never.txt"
    assert run(f"select F.npy -k 6 -o c.npz {how} --quiet --device cpu")[0] == 0
    wanted = gip_gpu.select(F, None, 6, device="cpu", must_include=[40, 3], exclude=[0, 5])
    assert gip_gpu.Selection.load("c.npz") == wanted
    assert run(f"verify c.npz F.npy {how}")[0] == 0
    assert "no file and no column" in run(f"verify c.npz F.npy {how.replace('ids.txt', 'nothing')}")[2]
    Path("never.txt").write_text("\ufeffdoc 0\ndoc 5\n")
    assert run(f"verify c.npz F.npy {how}")[0] == 0
    Path("never.txt").write_text("doc 60\n")
    assert "exclude has 'doc 60', which is the id of no row" in run(f"select F.npy -k 6 -o d.npz {how}")[2]


def test_run_with_a_budget(run):
    """The summary ends with the command that verifies it."""
    how = "--cost-by characters --budget 400 --weight-by w --id-by id --must-include first.txt --exclude never.txt"
    data = [{**row, "w": 1 + i % 3, "id": f"doc {i}", "tokens": i + 1} for i, row in enumerate(ROWS)]
    write(Path("data.jsonl"), data)
    Path("first.txt").write_text("doc 40\ndoc 3\n")
    Path("never.txt").write_text("doc 0\ndoc 5\n")
    status, out, err = run(f"run data.jsonl --out c.jsonl --no-report --device cpu {how}")
    assert status == 0, err
    chosen = read(Path("c.jsonl"))
    assert [row["id"] for row in chosen[:2]] == ["doc 40", "doc 3"]
    lengths = [len(f"{row['question']}\n{row['answer']}") for row in chosen]
    assert sum(lengths) <= 400
    assert f"{sum(lengths)} of 400" in out
    assert "asked for" not in out
    assert not {"doc 0", "doc 5"} & {row["id"] for row in chosen}
    command = out.split("gip-gpu verify ")[1].splitlines()[0]
    assert run(f"verify {command}")[0] == 0
    assert run("run --config c.jsonl.toml --out d.jsonl --no-report")[0] == 0
    assert Path("d.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
    assert run("run data.jsonl --out e.jsonl --no-report --cost-by tokens --budget 100 --device cpu")[0] == 0
    assert sum(row["tokens"] for row in read(Path("e.jsonl"))) <= 100
    write(Path("bad.jsonl"), [{**data[0], "tokens": 2.5}, *data[1:]])
    said = run("run bad.jsonl --out f.jsonl --no-report --cost-by tokens --budget 100")[2]
    assert "bad.jsonl, line 1 has a cost of 2.5" in said
    assert "--cost-by and --budget belong together" in run("run data.jsonl -k 3 --out g.jsonl --budget 5")[2]
