"""Runs that end early: signals, kills and full disks leave a checkpoint that the next start resumes from."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import select, signals
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import atomic_write
from gip_gpu.system.deferred_signals import DeferredSignals
from tests.support.paths import ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and mounts of POSIX")


def test_leftovers_of_killed_runs(tmp_path):
    path = tmp_path / "run.ckpt"
    old, young, other = (
        tmp_path / f".{name}.{'0' * 15}{i}.tmp" for i, name in enumerate(("run.ckpt", "run.ckpt", "runs"))
    )
    for leftover in (old, young, other):
        leftover.write_bytes(b"PK")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    assert len(select(np.eye(4), np.arange(4.0), 2, checkpoint=path)) == 2
    assert set(os.listdir(tmp_path)) == {"run.ckpt", young.name, other.name}
    atomic_write.remove_leftovers(path, older=-1)
    assert set(os.listdir(tmp_path)) == {"run.ckpt", other.name}


def test_leftovers_of_checks(tmp_path, monkeypatch):
    """A process killed during a write check leaves a file, which is removed like other leftovers."""

    def killed(*_, **__):
        raise SystemExit

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(SystemExit):
        atomic_write.check_target(tmp_path / "run.ckpt", (".ckpt",), overwrite=True)
    monkeypatch.undo()
    assert len(os.listdir(tmp_path)) == 1
    atomic_write.remove_leftovers(tmp_path / "run.ckpt", older=-1)
    assert not os.listdir(tmp_path)


LIMITED = """
import resource, numpy as np, gip_gpu
rng = np.random.default_rng(0)
F, G = rng.standard_normal((2000, 30)), rng.standard_normal(2000)
gip_gpu.select(F, G, 100, checkpoint="run.ckpt")
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
gip_gpu.select(F, G, 1000, checkpoint="run.ckpt", checkpoint_every=50)
"""


def python(code, folder, **how):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, text=True, **how)


@posix
def test_a_file_that_may_not_grow(tmp_path):
    with python(LIMITED, tmp_path, stderr=subprocess.PIPE) as process:
        message = process.communicate()[1]
    assert process.returncode == 1
    assert (
        "OSError: [Errno 27] cannot write the checkpoint run.ckpt: File too large; the checkpoint before it" in message
    )
    assert os.listdir(tmp_path) == ["run.ckpt"]
    assert 100 <= len(checkpoint.read(tmp_path / "run.ckpt")["indices"]) < 1000


@posix
def test_a_full_disk(tmp_path):
    code = LIMITED.replace("resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))", "")
    script = f'mount -t tmpfs -o size=60k tmpfs "{tmp_path}" && cd "{tmp_path}" && {{ "$0" -c "$1"; ls -A; }}'
    command = ["bash", "-c", script, sys.executable, code]
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        command = ["unshare", "-rm", *command]
    else:
        command = ["unshare", "-m", *command]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, so that nothing can be mounted")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "mount" in done.stderr.splitlines()[0] or "unshare" in done.stderr.splitlines()[0]:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.splitlines()[0]}")
    assert "No space left on device; the checkpoint before it is intact" in done.stderr
    assert done.stdout.split() == ["run.ckpt"]


RUN = """
import sys, time, numpy as np, gip_gpu
rng = np.random.default_rng(0)
F, G = rng.standard_normal((5000, 32)), rng.standard_normal((5000, 2))
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.005)
chosen = gip_gpu.select(F, G, {k}, columns="lazy", checkpoint="run.ckpt", checkpoint_every={every}, progress=progress)
np.save("chosen.npy", chosen.indices)
"""


@pytest.fixture(scope="module")
def whole():
    rng = np.random.default_rng(0)
    F, G = rng.standard_normal((5000, 32)), rng.standard_normal((5000, 2))
    return F, G, select(F, G, 1000, columns="lazy").indices


def after(process, picks):
    """Waits until `picks` picks were reported."""
    for line in process.stdout:
        if int(line) >= picks:
            return


@posix
@pytest.mark.slow
def test_killed_at_ten_moments(tmp_path, whole):
    """Kills come at any moment, also while a checkpoint is being written; each start resumes from the last one."""
    rng, reached = np.random.default_rng(11), []
    for start in range(11):
        with python(RUN.format(k=1000, every=0.02), tmp_path, stdout=subprocess.PIPE) as process:
            if start < 10:
                after(process, 90 * start + 15)
                time.sleep(rng.uniform(0, 0.03))
                process.kill()
            process.communicate()
        assert process.returncode == (-signal.SIGKILL if start < 10 else 0)
        reached.append(len(checkpoint.read(tmp_path / "run.ckpt")["indices"]))
    assert reached == sorted(reached)
    assert reached[0] < 500 < reached[-1] == 1000
    np.testing.assert_array_equal(np.load(tmp_path / "chosen.npy"), whole[2])


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("number", "before", "status"),
    [
        (signal.SIGINT, "", -signal.SIGINT),
        (signal.SIGTERM, "", -signal.SIGTERM),
        (signal.SIGTERM, "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))", 9),
        (signal.SIGTERM, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", 0),
        (signal.SIGTERM, "import signal; signal.signal(signal.SIGTERM, lambda *_: None)", 0),
    ],
)
def test_signals_write_a_last_checkpoint(number, before, status, tmp_path, whole):
    code = "import sys\n" + before + RUN.format(k=1000, every=1e9)
    pipe = subprocess.PIPE
    with python(code, tmp_path, stdout=pipe, stderr=pipe) as process:
        after(process, 300)
        process.send_signal(number)
        began = time.monotonic()
        process.communicate()
    assert process.returncode == status
    stored = checkpoint.read(tmp_path / "run.ckpt")["indices"]
    if status:
        assert time.monotonic() - began < 3
        assert 300 <= len(stored) < 1000
        np.testing.assert_array_equal(stored, whole[2][: len(stored)])
    assert set(os.listdir(tmp_path)) == {"run.ckpt"} | ({"chosen.npy"} if not status else set())


@posix
def test_handlers_are_those_from_before(tmp_path, cone):
    def own(number, frame):
        raise KeyboardInterrupt

    G = signals.self_compression(cone)
    old = signal.signal(signal.SIGINT, own)
    try:
        seen = []

        def interrupt(done, total):
            seen.append(done)
            if done >= 20:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            select(cone, G, 50, checkpoint=tmp_path / "run", progress=interrupt)
        assert signal.getsignal(signal.SIGINT) is own
        assert len(checkpoint.read(tmp_path / "run")["indices"]) == seen[-1] == 20

        def twice(done, total):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            select(cone, G, 50, checkpoint=tmp_path / "run", progress=twice)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, old)
    np.testing.assert_array_equal(select(cone, G, 50, checkpoint=tmp_path / "run").indices, select(cone, G, 50).indices)


def interrupted(patience, *times):
    """Returns the number of signals, sent at these times, up to the one that acted."""
    count = 0
    try:
        with DeferredSignals(patience) as deferred:
            for seconds in times:
                deferred.since -= seconds
                count += 1
                signal.raise_signal(signal.SIGINT)
            count += 1
    except KeyboardInterrupt:
        return count


@posix
def test_a_second_signal_within_patience_counts_as_the_first():
    assert interrupted(0.0, 0, 1e-3, 1) == 2
    assert interrupted(60.0, 0, 1, 61, 1) == 3
    # At the end of the block a deferred signal acts in any case.
    assert interrupted(60.0, 0, 1) == 3


@posix
def test_an_exception_ends_a_run_in_place_of_the_signal():
    """An exception says more, such as that a checkpoint cannot be written; later signals act as before."""

    def failing():
        with DeferredSignals():
            signal.raise_signal(signal.SIGINT)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        failing()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_threads(tmp_path, cone):
    """Checkpoints are also written in other threads, where Python delivers no signals."""
    G, found = signals.self_compression(cone), []
    for k in (30, 60):
        worker = threading.Thread(target=lambda k=k: found.append(select(cone, G, k, checkpoint=tmp_path / "run")))
        worker.start()
        worker.join()
    np.testing.assert_array_equal(found[1].indices, matching_pursuit(cone, G, 60))


@pytest.mark.slow
@posix
def test_command_line(tmp_path, whole):
    np.save(tmp_path / "F.npy", whole[0])
    np.save(tmp_path / "G.npy", whole[1])
    line = "F.npy --scores G.npy -k 1000 --columns lazy --checkpoint run.ckpt --checkpoint-every 50 -o chosen.npy"
    # Each checkpoint takes a while, so that the signal comes in time.
    code = (
        "import sys, time\nfrom gip_gpu import cli\nfrom gip_gpu.checkpoint import file as checkpoint\n"
        "write = checkpoint.write\n"
        "checkpoint.write = lambda *to: (write(*to), time.sleep(0.05))\nsys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "select", *line.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)):
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
            before = (tmp_path / "run.ckpt").stat().st_mtime_ns if (tmp_path / "run.ckpt").exists() else 0
            while number is not None and (
                not (tmp_path / "run.ckpt").exists() or (tmp_path / "run.ckpt").stat().st_mtime_ns == before
            ):
                time.sleep(0.005)
            if number is not None:
                process.send_signal(number)
            message = process.communicate()[1]
        assert process.returncode == status, message
        if number is not None:
            assert "gip-gpu: the checkpoint run.ckpt was written; the same command resumes from it" in message
            assert not (tmp_path / "chosen.npy").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "chosen.npy"), whole[2])
    command[-1] = "other.npy"
    command.extend(["--objective", "lr"])
    refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "the checkpoint run.ckpt is of another selection: of objective 'mp', not 'lr'" in refused.stderr
    command[command.index("run.ckpt")] = "G.npy"
    refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "G.npy is named twice" in refused.stderr
