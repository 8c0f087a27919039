"""Many processes with a part of the rows each: results equal to those of one process, and failures of a process.

The processes are real and exchange messages by gloo over the loopback device.
"""

import csv
import gzip
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import Selection, backends, reference, select, signals
from tests.support import ranks
from tests.support.rank_jobs import children, environment, run_job, torchrun

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the ranks are forked, and stopped by signals")


def distributed():
    """Returns the module, which needs torch and so is not imported at the top."""
    return importlib.import_module("gip_gpu.distributed")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    found, _ = run_job("cases", tmp_path_factory.mktemp("cases"))
    assert [rank.get("job") for rank in found] == [None] * 4
    return found


def shared(said, size, name):
    """Returns the result that all ranks share; asserts that they agree."""
    first = said[0][f"{size} {name}"]
    assert "error" not in first, first["text"]
    for rank in range(size):
        assert said[rank][f"{size} {name}"] == first
    return first


@pytest.fixture(scope="module")
def alone():
    """Results of one process with all rows, by name."""
    return {
        name: select(F, G, k, device="cpu", **{**options, "memory_limit": None})
        for name, (F, G, k, options) in ranks.cases().items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "name"), [(3, name) for name in ranks.cases()] + [(size, name) for size in (2, 4) for name in ranks.FEW]
)
def test_equal_to_one_process(said, alone, size, name):
    found = shared(said, size, name)
    assert found["indices"] == alone[name].indices.tolist()
    assert found["rounds"] == list(alone[name].rounds)
    assert found["preparation"] == repr(alone[name].preparation)
    np.testing.assert_allclose(found["explained"], alone[name].explained, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.WITH_EMPTY)
def test_ranks_without_rows_take_no_part(said, alone, name):
    found = [said[rank][f"empty {name}"] for rank in range(4)]
    assert "error" not in found[0], found[0]["text"]
    assert found == [found[0]] * 4
    assert found[0]["indices"] == alone[name].indices.tolist()
    assert found[0]["rounds"] == list(alone[name].rounds)
    np.testing.assert_allclose(found[0]["explained"], alone[name].explained, rtol=1e-4, atol=1e-4)
    assert "4 processes hold 0 to " in found[0]["plan"]


@pytest.mark.slow
def test_no_rank_has_rows(said):
    for rank in range(4):
        assert said[rank]["all empty"]["error"] == "ValueError"
        assert said[rank]["all empty"]["text"] == "F has no rows on any rank; there must be at least one"


MATCHING = ("one signal", "four signals", "ties", "fp16", "duplicates", "all, restarted", "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("name", MATCHING)
def test_equal_to_the_reference(said, name):
    F, G, k, options = ranks.cases()[name]
    expected = reference.matching_pursuit(F, G, k, on_exhausted=options.get("on_exhausted", "restart"))
    assert shared(said, 3, name)["indices"] == expected.tolist()


def test_cases_are_what_they_are_called(alone):
    assert alone["ties"].certificate.ties[0] > 100
    assert alone["duplicates"].certificate.tied > 50
    assert len(alone["all, restarted"].rounds) > 1
    assert len(alone["stopped"]) < 120


@pytest.mark.slow
def test_few_rows_do_not_keep_the_others_from_batches(said):
    assert shared(said, 3, "one signal")["cache"] == 256
    assert 1 <= shared(said, 3, "no memory")["cache"] < 16


@pytest.mark.slow
def test_real_data(said, real):
    F = real("gsm8k_minilm_f16.npy")
    found = [said[rank]["real"] for rank in range(3)]
    assert found[0] == found[1] == found[2]
    assert found[0]["indices"] == select(F, signals.self_compression(F), 747, device="cpu").indices.tolist()
    assert "3 processes hold 1,000 to 5,000 rows each" in found[0]["plan"]


WRONG = {
    "not finite": ("rank 2: ", "F has a value that is not finite in row 5"),
    "short scores": ("rank 0: ", "G has 449 rows and F has 450"),
    "k differs": ("", "k: rank 1 has 11 and rank 0 has 10; all ranks must have the same"),
    "d differs": ("", "the columns of F: rank 2 has 15 and rank 0 has 16"),
    "n differs": ("", "the columns of G: rank 1 has 2 and rank 0 has 1"),
    "no scores on one": ("", "the columns of G: rank 1 has 0 and rank 0 has 1"),
    "sign differs": ("", "sign: rank 1 has 'positive' and rank 0 has 'any'"),
    "too many": ("", "k is 901; k must be an int from 1 to m = 900"),
    "gram": (None, "columns is 'gram'; columns must be one of 'auto', 'lazy'"),
    "continue": (None, "on_exhausted is 'continue'; on_exhausted must be one of 'restart', 'stop'"),
    "mi of two": (None, "objective is 'mi' with 2 signals"),
    "diverges": ("", "the residual diverges after"),
    "memory": ("rank 1: ", "1 kB is what memory_limit allows"),
    "long": ("rank 2: ", "backend is '" + "\N{GRINNING FACE}" * 400),
    "no checkpoint": ("rank 0: ", "checkpoint_every is 5, and there is no checkpoint to write; give checkpoint a path"),
    "timeout": (None, "timeout is -1; timeout must be a number of seconds above 0"),
    "timeout of one": ("rank 1: ", "timeout is -1; timeout must be a number of seconds above 0"),
    "standardize differs": ("", "standardize: rank 1 has 'rank' and rank 0 has None; all ranks must have the same"),
    "all missing": ("", "F has no rows on any rank; there must be at least one; on_nan='drop' leaves none"),
    "initial missing": ("", "initial has row 456, which has a value that is not finite and is left out"),
    "ridge": (None, "query is 'ridge', which fits the scores to all rows in one process"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_errors_reach_all_ranks(said, name):
    prefix, text = WRONG[name]
    for rank in range(3):
        found = said[rank][name]
        assert found["error"] == "ValueError", found
        # A rank's own error has no prefix, nor has an error that all ranks make.
        own = prefix is None or prefix == f"rank {rank}: "
        assert found["text"].startswith(("" if own else prefix) + text), found


@pytest.mark.slow
def test_a_rank_that_does_not_come_is_named(said):
    for rank in (0, 2):
        assert said[rank]["late"] == {
            "error": "RuntimeError",
            "text": "rank 1 did not join the selection within 1 s",
        }
    assert said[1]["late"]["error"] == "RuntimeError"
    assert re.fullmatch("rank 1 joined the selection after rank [02] had stopped waiting", said[1]["late"]["text"])
    # All ranks join the next selection.
    expected = shared(said, 3, "one signal")["indices"]
    assert [said[rank]["after"]["indices"] for rank in range(3)] == [expected] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rank", "own", "others"),
    [
        ("interrupted", 0, ["KeyboardInterrupt", ""], ["RuntimeError", "rank 0: interrupted"]),
        ("no room", 1, ["MemoryError", "no room"], ["MemoryError", "rank 1: no room"]),
    ],
)
def test_a_rank_that_fails_ends_all(said, name, rank, own, others):
    found = [list(said[each][name].values()) for each in range(3)]
    assert found.pop(rank) == own
    assert found == [others, others]


@pytest.fixture
def group():
    """A process group of this process alone."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.slow
def test_one_process(said, group):
    F, G, k, _ = ranks.cases()["one signal"]
    calls = []
    chosen = distributed().select(F, G, k, progress=lambda *call: calls.append(call))
    assert chosen.indices.tolist() == shared(said, 3, "one signal")["indices"]
    assert calls[-1] == (120, 120)
    with pytest.raises(ValueError, match=r"^k is 0"):
        distributed().select(F, G, 0)


def test_a_checkpoint_in_place_of_rows(group, folder):
    for name in ("pool.npy", "scores.npy"):
        before = (folder / name).read_bytes()
        with pytest.raises(ValueError, match=rf"{name}, which this run reads; give another path"):
            distributed().select(folder / "pool.npy", folder / "scores.npy", 5, checkpoint=folder / name)
        assert (folder / name).read_bytes() == before


def test_a_backend_for_gpus(group):
    """A backend that takes steps on the device: in a distributed selection the host decides each pick."""
    if why := backends.missing("triton", "cpu"):
        pytest.skip(why)
    F = ranks.pool(60, 8)
    G = signals.self_compression(F)
    chosen = distributed().select(F, G, 5, device="cpu", backend="triton")
    assert chosen.indices.tolist() == select(F, G, 5, device="cpu").indices.tolist()
    assert (chosen.plan.backend, chosen.plan.columns) == ("triton", "none")


def test_without_a_process_group():
    with pytest.raises(RuntimeError, match="there is no process group"):
        distributed().select(np.eye(3), np.ones(3), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "lost", "text"),
    [
        ("kill", 2, r"rank 2 died \(connection closed\) after \d+ picks; there is no result"),
        ("kill 0", 0, r"rank 0 died \(connection closed\) after \d+ picks; there is no result"),
        ("stop", 1, r"rank 1 did not answer for 3 s, after \d+ picks; there is no result"),
    ],
)
def test_a_lost_rank_ends_all(tmp_path, what, lost, text):
    found, seconds = run_job(what, tmp_path)
    assert found[lost] is None
    for rank in {0, 1, 2} - {lost}:
        assert found[rank]["select"]["error"] == "RuntimeError"
        assert re.fullmatch(text, found[rank]["select"]["text"])
    assert seconds < 40


@pytest.mark.slow
def test_torchrun_with_rows_left_out(folder):
    F, G = ranks.lacking(ranks.pool(), ranks.ratings())
    np.save(folder / "pool.npy", F)
    np.save(folder / "scores.npy", G)
    options = ("--on-nan", "drop", "--standardize", "zscore")
    done = torchrun(folder, 2, "pool.npy", "--scores", "scores.npy", "-k", "0.1", "-o", "many.npz", *options)
    assert done.returncode == 0, done.stderr
    # One rank warns for all.
    assert len(re.findall(r"warning: G has negative scores for \d+ of 893 items", done.stderr)) == 1
    assert len(re.findall(r"rows left out +7 of 900, not finite\n", done.stdout)) == 1
    expected = select(F, G, 0.1, on_nan="drop", standardize="zscore", device="cpu")
    chosen = Selection.load(folder / "many.npz")
    assert (chosen.indices.tolist(), chosen.preparation) == (expected.indices.tolist(), expected.preparation)


@pytest.mark.slow
def test_torchrun(folder):
    arguments = ("pool.npy", "--scores", "scores.npy", "-k", "0.05")
    done = torchrun(folder, 2, *arguments, "-o", "many.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("certificate:") == 1
    chosen = Selection.load(folder / "many.npz")
    F, G = (np.load(folder / name) for name in ("pool.npy", "scores.npy"))
    assert chosen.indices.tolist() == select(F, G, 0.05, device="cpu").indices.tolist()


@pytest.mark.slow
def test_torchrun_leaves_what_one_process_leaves(folder):
    """Rows, ids and a table are written, or none of them; after a resume rank 0 prints the work of this run."""
    F, G = (np.load(folder / name) for name in ("pool.npy", "scores.npy"))
    rows = [f'{{"id": "item {i}"}}\n' for i in range(len(F))]
    (folder / "data.jsonl.gz").write_bytes(gzip.compress("".join(rows).encode()))
    line = ["pool.npy", "--scores", "scores.npy", "--rows", "data.jsonl.gz", "--rows-out", "out.jsonl", "--ids", "id"]
    line += ["--checkpoint", "run.ckpt", "--force"]
    before = torchrun(folder, 2, *line, "-o", "out.csv", "-k", "20")
    assert before.returncode == 0, before.stderr
    after = torchrun(folder, 3, *line, "-o", "out.csv", "-k", "5%")
    assert after.returncode == 0, after.stderr
    chosen = select(F, G, "5%", device="cpu")
    assert len(chosen) > 20
    assert (folder / "out.jsonl").read_text() == "".join(rows[i] for i in chosen)
    with open(folder / "out.csv", newline="") as file:
        assert [(row["index"], row["id"]) for row in csv.DictReader(file)] == [(str(i), f"item {i}") for i in chosen]
    assert "from the checkpoint" not in before.stdout
    assert f"20 picks from the checkpoint, {len(chosen) - 20} made at " in after.stdout


@pytest.mark.slow
def test_torchrun_with_a_killed_rank_writes_nothing(tmp_path):
    """No output is written, whenever the rank dies."""
    F = ranks.pool(30_000, 64)
    np.save(tmp_path / "pool.npy", F)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gip_gpu"]
    command += ["select", "pool.npy", "--scores", "self-compression", "-k", "20000", "-o", "many.npz"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as agent:
        victim = None
        while victim is None and agent.poll() is None:
            time.sleep(0.1)
            victim = next((pid for pid in children(agent.pid) if b"\0RANK=1\0" in variables(pid)), None)
        assert victim is not None
        time.sleep(1)
        os.kill(victim, signal.SIGKILL)
        _, log = agent.communicate(timeout=60)
    assert agent.returncode != 0
    assert re.search(r"rank\s*:\s*1", log)
    assert [path.name for path in tmp_path.iterdir()] == ["pool.npy"]


@pytest.mark.slow
def test_a_rank_without_the_others(folder):
    """A rank without the others reports it, however the ranks were started."""
    code = "import sys; from gip_gpu import cli, distributed; distributed.TIMEOUT = 1.0; sys.exit(cli.main())"
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    alone = subprocess.run(
        [sys.executable, "-c", code, "select", "pool.npy", "--scores", "scores.npy", "-k", "5"],
        cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert alone.returncode == 1
    assert alone.stdout == ""
    (line,) = [line for line in alone.stderr.splitlines() if line.startswith("gip-gpu:")]
    assert line.startswith("gip-gpu: error: rank 0 cannot connect to the other ranks: ")


def variables(pid):
    return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.slow
def test_torchrun_with_more_processes_than_rows(folder):
    """Processes without rows also get the name of the scores, which they do not need."""
    F, G = np.load(folder / "pool.npy")[[3, 500, 77]], np.array([2.0, 9, 4])
    np.save(folder / "pool.npy", F)
    (folder / "scores.csv").write_text("id,quality\n" + "".join(f"{i},{score}\n" for i, score in enumerate(G)))
    line = ["pool.npy", "--scores", "scores.csv", "-k", "3", "-o", "many.npy", "--quiet"]
    done = torchrun(folder, 4, *line, "--scores-key", "quality")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(folder / "many.npy"), select(F, G, 3, device="cpu").indices)
    failed = torchrun(folder, 2, *line, "--force")
    (said,) = [line for line in failed.stderr.splitlines() if line.startswith("gip-gpu:")]
    assert "G: column 'id' of scores.csv has the name of an identifier; name the scores by " in said


@pytest.mark.slow
def test_torchrun_says_once_what_is_wrong(folder):
    F = np.load(folder / "pool.npy")
    F[700, 2] = np.inf
    np.save(folder / "pool.npy", F)
    failed = torchrun(folder, 2, "pool.npy", "--scores", "scores.npy", "-k", "20", "-o", "many.npz")
    assert failed.returncode != 0
    lines = [line for line in failed.stderr.splitlines() if line.startswith("gip-gpu:")]
    assert len(lines) == 1
    assert lines[0].startswith("gip-gpu: error: rank 1: F has a value that is not finite in row 250")
    assert not (folder / "many.npz").exists()
