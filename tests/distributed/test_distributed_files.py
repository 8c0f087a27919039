"""Many processes with checkpoints, initial items, and rows in files; the processes are real."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gip_gpu import select, signals
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.sources import Part, open_matrix
from tests.support import ranks, ranks_files
from tests.support.initial_items import assert_rest
from tests.support.rank_jobs import children, environment, run_job, torchrun

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the ranks are forked, and stopped by signals")


def run(name, folder):
    """Returns the results of each rank, None for one that was killed."""
    found, _ = run_job(name, folder, "ranks_files", GIP_GPU_FOLDER=str(folder))
    assert [rank.get("job") for rank in found if rank] == [None] * len([rank for rank in found if rank])
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A folder, and the results of ranks that are started once for many tests."""
    folder = tmp_path_factory.mktemp("together")
    return folder, run("together", folder)


@pytest.fixture
def said(together):
    return together[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks_files.kinds())
def test_taken_over_by_other_numbers_of_processes(said, name):
    """Two, three, one and three processes resume in turn: the result equals an uninterrupted run of one process, and
    stored picks need no steps."""
    F, G, options = ranks_files.kinds()[name]
    whole = select(F, G, ranks_files.STAGES[3], device="cpu", **options)
    if "rounds" in name:
        assert len(whole.rounds) > 1
    for stage, size, k in (("2", 2, 7), ("1", 1, 29), ("3", 3, 40), ("again", 3, 20)):
        found = [said[rank][f"{name} {stage}"] for rank in range(size)]
        assert all(each == found[0] for each in found)
        assert "error" not in found[0], found[0]["text"]
        assert found[0]["indices"] == whole.indices[:k].tolist()
        assert found[0]["rounds"] == [start for start in whole.rounds if start < k]
        np.testing.assert_allclose(found[0]["explained"], whole.explained[:k], rtol=1e-4, atol=1e-4)
    if name not in ("stop", "zeros", "zeros, initial"):
        assert said[0][f"{name} broken"]["error"] == "Stop"
        assert "rank 0: Stop" in said[2][f"{name} broken"]["text"]
    if "zeros" in name:
        assert whole.projection is None
        return
    if name == "ranks":
        assert "its scores were ranks" in said[0][f"{name} joined"]["text"]
        return
    for rank in range(3):
        assert said[rank][f"{name} joined"]["indices"] == ranks_files.joined(whole).indices.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks_files.TAKEN_ON)
def test_taken_over_by_ranks_without_rows(said, name):
    F, G, options = ranks_files.kinds()[name]
    found = [said[rank][f"{name} empty"] for rank in range(3)]
    assert "error" not in found[0], found[0]["text"]
    assert found == [found[0]] * 3
    assert found[0]["indices"] == select(F, G, 50, device="cpu", **options).indices.tolist()


REFUSED = {
    "F": r"the checkpoint .*run\.ckpt is of another selection: of another F; delete it or give another path",
    "G": r"the checkpoint .*run\.ckpt is of another selection: of another G; delete it or give another path",
    "objective": r"the checkpoint .*: of objective 'mp', not 'omp'; delete it or give another path",
    "initial": r"the checkpoint .*: of other initial items; delete it or give another path",
    "initial differs": r"initial: rank 2 has '1 items, SHA-256 .*' and rank 0 has .*; all ranks must have the same",
    "no row": r"initial has 900 at place 1; .* from 0 to 899",
    "twice": r"initial has 3 at place 1 for the second time; .*",
    "too many": r"k is 899 and initial has 2; together they must be at most m = 900",
    "no folder": r"(rank 0: )?checkpoint: cannot write none/run\.ckpt: there is no folder.*",
    "every": r"(rank 0: )?checkpoint_every is 0; .*",
}
OF_THE_CHECKPOINT = ("F", "G", "objective", "initial")


@pytest.mark.slow
def test_what_is_refused(said):
    for name, message in REFUSED.items():
        for rank in range(3):
            # Rank 0 reads the checkpoint, and passes its message on.
            wanted = "CheckpointError" if name in OF_THE_CHECKPOINT and rank == 0 else "ValueError"
            assert said[rank][name]["error"] == wanted, said[rank][name]
            assert re.fullmatch(message, said[rank][name]["text"]), said[rank][name]


@pytest.mark.slow
def test_items_that_were_dropped_stay_out(said):
    F, G, options = ranks_files.kinds()["lr"]
    whole = select(F, G, 40, device="cpu", **options)
    for rank in range(3):
        item, found = said[rank]["dropped"], said[rank]["without it"]["indices"]
        assert item in whole.indices[10:]
        assert found[:10] == whole.indices[:10].tolist()
        assert item not in found


@pytest.mark.slow
@pytest.mark.parametrize("what", ["all", "all lr", "one", "kill", "kill lr"])
def test_signals(what, tmp_path, request):
    """A signal that can be deferred leaves a checkpoint of the last pick; after any signal the same picks follow."""
    folder, found = (tmp_path, run(what, tmp_path)) if "kill" in what else request.getfixturevalue("together")
    said = [None if rank is None else (rank[what]["error"], rank[what]["text"]) for rank in found]
    sent = found[0][f"{what} sent"][0]
    path = folder / f"{what}.ckpt"
    stored = checkpoint.read(path)["indices"]
    if what.startswith("all"):
        assert said == [("KeyboardInterrupt", "")] * 3
    elif what == "one":
        text = "rank 2 was ended by SIGTERM; the checkpoint was written"
        assert said == [("RuntimeError", text)] * 2 + [("SystemExit", "143")]
    else:
        assert said[2] is None
        assert said[0] == said[1]
        assert re.fullmatch(r"rank 2 died \(connection closed\) after \d+ picks; there is no result", said[0][1])
    assert len(stored) >= (sent if not what.startswith("kill") else 50)
    assert len(stored) < 1500
    options = {"objective": "lr", "epsilon": 1e-6} if "lr" in what else {}
    F = ranks.pool(3000, 32)
    G = signals.self_compression(F)
    k = len(stored) + 40
    chosen = select(F, G, k, checkpoint=path, device="cpu", **options)
    np.testing.assert_array_equal(chosen.indices[: len(stored)], stored)
    assert_rest(select(F, G, k, device="cpu", **options), chosen, gains=1e-6, explained=1e-4)
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


@pytest.mark.slow
def test_rows_that_do_not_fit_are_streamed(tmp_path):
    random = np.random.default_rng(0)
    F = (random.standard_normal((65_000, 384), np.float32) + 0.3).astype(np.float16)
    G = random.integers(0, 6, 65_000).astype(float)
    np.save(tmp_path / "F.npy", F)
    np.save(tmp_path / "G.npy", G)
    found = run("file", tmp_path)
    assert found[0]["used"] == ["Streamed"] * 2
    assert found[1]["used"] == ["Resident"] * 2
    for name, k, options in (("mp", 60, {}), ("lr", 6, {"objective": "lr"})):
        assert found[0][name] == found[1][name]
        assert found[0][name]["indices"] == select(F, G, k, device="cpu", **options).indices.tolist()


@pytest.mark.slow
def test_ranks_with_rows_of_other_lengths_and_formats(said):
    """Each rank scales its rows by the longest row of all ranks, and has its own error bound on its Gram entries."""
    F, G = ranks_files.lengths()
    for name, k, options in (("fp32", 60, {}), ("fp16", 60, {}), ("omp", 30, {"objective": "omp"})):
        assert said[0][name] == said[1][name] == said[2][name]
        assert "error" not in said[0][name], said[0][name]
        expected = select(F, G, k, normalize=False, device="cpu", **options)
        assert said[0][name]["indices"] == expected.indices.tolist()


def start(folder, count, *arguments):
    """Starts torchrun and waits until it has written a new checkpoint."""
    path = folder / "run.ckpt"
    before = path.stat().st_mtime_ns if path.exists() else None
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    agent = subprocess.Popen(
        [*command, "-m", "gip_gpu", "select", *arguments],
        cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    latest = time.monotonic() + 60
    while agent.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.02)
        if time.monotonic() > latest:
            agent.terminate()
    assert agent.poll() is None, agent.communicate()[1]
    return agent


@pytest.mark.slow
def test_torchrun_goes_on(tmp_path):
    F = ranks.pool(30_000, 64)
    G = ranks.ratings(30_000, 2)
    np.save(tmp_path / "F.npy", F)
    np.save(tmp_path / "G.npy", G)
    path = tmp_path / "run.ckpt"
    line = ["F.npy", "--scores", "G.npy", "--checkpoint", "run.ckpt", "--checkpoint-every", "40"]
    line += ["-o", "many.npy", "--quiet", "-k"]
    with start(tmp_path, 2, *line, "25000") as agent:
        agent.send_signal(signal.SIGTERM)
        _, log = agent.communicate(timeout=60)
    assert agent.returncode != 0
    assert log.count("gip-gpu: the checkpoint run.ckpt was written; the same command resumes from it") == 1
    # torchrun's own traceback is shown, none of ours.
    assert "gip_gpu/cli/" not in log
    reached = len(checkpoint.read(path)["indices"])
    with start(tmp_path, 2, *line, "25000") as agent:
        for pid in [*children(agent.pid), agent.pid]:
            os.kill(pid, signal.SIGKILL)
        agent.communicate(timeout=60)
    stored = len(checkpoint.read(path)["indices"])
    assert 40 <= reached < stored < 25000
    assert not (tmp_path / "many.npy").exists()
    done = torchrun(tmp_path, 3, *line, str(stored + 100))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "many.npy"), select(F, G, stored + 100, device="cpu").indices)


# Parts of sources


def test_parts(tmp_path):
    F = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.save(tmp_path / "F.npy", F)
    source = open_matrix(tmp_path / "F.npy")
    whole = Part(source, 4, 18)
    part = Part(whole, 3, 9)
    assert part.source is source
    for given, rows in ((whole, F[4:18]), (part, F[7:13])):
        assert (given.shape, given.dtype, given.nbytes) == (rows.shape, rows.dtype, rows.nbytes)
        np.testing.assert_array_equal(given[:], rows)
        np.testing.assert_array_equal(given.read(2, 5), rows[2:5])
        np.testing.assert_array_equal(given.take([-1, 0, 3, 4, 3]), rows[[-1, 0, 3, 4, 3]])
        np.testing.assert_array_equal(given.as_float64(), rows)
    for wrong in ((-1, 3), (3, 3), (5, 2), (0, 15)):
        with pytest.raises(IndexError, match=rf"rows {wrong[0]} to {wrong[1]} are asked for, and .* rows 0 to 14"):
            Part(whole, *wrong)
    with pytest.raises(IndexError, match="rows 0 to 7 are asked for"):
        part.read(0, 7)
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        part.read(0, 1)


def test_parts_are_pickled(tmp_path):
    import pickle

    F = np.arange(60, dtype=np.float32).reshape(20, 3)
    for number in range(2):
        np.save(tmp_path / f"shard-{number}.npy", F[10 * number : 10 * number + 10])
    part = pickle.loads(pickle.dumps(Part(open_matrix(tmp_path), 8, 13)))
    np.testing.assert_array_equal(part[:], F[8:13])
