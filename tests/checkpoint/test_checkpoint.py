"""Checkpoints: an interrupted run resumes to the same selection, and files of other selections are refused."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import tqdm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gip_gpu import Pool, Selection, extend, select, signals
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.sources import Part, open_matrix
from tests.support.initial_items import KINDS, assert_rest, problem


def assert_same(chosen, whole, **allowed):
    assert_rest(whole, chosen, **allowed)
    assert chosen.rounds == whole.rounds


class Stop(Exception):
    """Exception by which a progress function interrupts a run."""


def broken_off(call, at):
    """Runs `call(progress)` until `at` picks are made."""

    def progress(done, total):
        if done >= at:
            raise Stop

    with pytest.raises(Stop):
        call(progress)


@pytest.mark.parametrize(("objective", "options"), KINDS)
def test_grown_in_three_stages(objective, options, tmp_path):
    F, G = problem(objective)
    path = tmp_path / "run.ckpt"
    for k in (5, 12, 22):
        chosen = select(F, G, k, objective=objective, checkpoint=path, **options)
    assert_same(chosen, select(F, G, 22, objective=objective, **options))
    shorter = select(F, G, 9, objective=objective, checkpoint=path, **options)
    assert_same(shorter, select(F, G, 9, objective=objective, **options))
    assert (shorter.plan.k, len(shorter)) == (9, 9)
    assert os.listdir(tmp_path) == ["run.ckpt"]


@pytest.mark.parametrize(("objective", "options"), KINDS)
def test_broken_off_anywhere(objective, options, tmp_path):
    F, G = problem(objective)
    path, initial = tmp_path / "run.ckpt", [3, 200]
    how = {"objective": objective, "initial": initial, **options}
    whole = select(F, G, 20, **how)
    for at in (1, 8, 19):
        broken_off(lambda progress: select(F, G, 20, checkpoint=path, progress=progress, **how), at)
        stored = checkpoint.read(path)
        assert len(stored["indices"]) >= at + 2
        np.testing.assert_array_equal(stored["indices"][:2], initial)
    assert_same(select(F, G, 20, checkpoint=path, **how), whole)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["numpy", "triton", "cupy"])
@pytest.mark.parametrize("objective", ["mp", "lr", "entropy"])
def test_every_backend_goes_on_from_any(first, objective, tmp_path, request):
    """A backend writes the checkpoint; the same backend and NumPy resume from it."""
    from gip_gpu import backends

    run = {"device": "cpu", "backend": first}
    if first != "numpy" and not backends.missing(first, "cuda"):
        run["device"] = "cuda"
    elif first == "cupy":
        request.getfixturevalue("cupy_on_cpu")
        run["device"] = "cuda"
    elif why := backends.missing(first, "cpu"):
        pytest.skip(why)
    F, G = problem(objective, m=30)
    path = tmp_path / "run.ckpt"
    whole = select(F, G, 9, objective=objective, device="cpu")
    for k, how in ((2, run), (4, run), (9, {"device": "cpu"})):
        chosen = select(F, G, k, objective=objective, checkpoint=path, **how)
    assert_same(chosen, whole, gains=1e-7, explained=1e-2)


@pytest.mark.parametrize("how", ["restart", "stop", "continue"])
@pytest.mark.parametrize("n", [0, 1])
def test_exhaustion(how, n, tmp_path):
    """In two dimensions: several rounds, fewer picks, the literal loop; and scores that are all zero."""
    F = np.random.default_rng(1).standard_normal((40, 2))
    G = n * (F / np.linalg.norm(F, axis=1, keepdims=True) @ [3.0, -1.0])
    path = tmp_path / "run.ckpt"
    for k in range(1, 41, 3):
        chosen, whole = select(F, G, k, on_exhausted=how, checkpoint=path), select(F, G, k, on_exhausted=how)
        assert_same(chosen, whole)
        np.testing.assert_array_equal(chosen.certificate.candidates > 0, whole.certificate.candidates > 0)
    if how == "continue" and n:
        path.unlink()
        broken_off(lambda report: select(F, G, 30, on_exhausted=how, checkpoint=path, progress=report), 20)
        assert len(checkpoint.read(path)["indices"]) == 20
        assert_same(select(F, G, 30, on_exhausted=how, checkpoint=path), select(F, G, 30, on_exhausted=how))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS[:6] + KINDS[8:]), normalize=st.booleans())
def test_random_pools(seed, kind, normalize, tmp_path):
    """Duplicates, ties, more picks than dimensions; each run is interrupted at random picks."""
    objective, options = kind
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(4, 40)), int(rng.integers(2, 8))
    F = rng.standard_normal((m, d))[rng.integers(0, m, m)]
    if not normalize:
        F *= rng.uniform(0.1, 1) / np.linalg.norm(F, axis=1).max()
    G = None if objective == "entropy" else rng.integers(-2, 3, (m, 2)) + rng.random()
    how = {"objective": objective, "normalize": normalize, **options}
    whole = select(F, G, m, **how)
    path = tmp_path / f"{seed}.{objective}"
    path.unlink(missing_ok=True)
    for k in sorted(rng.integers(1, m + 1, 4).tolist()):
        every = int(rng.integers(1, 5)) if rng.random() < 0.5 else float(rng.uniform(1e-9, 1))
        chosen = select(F, G, k, checkpoint=path, checkpoint_every=every, **how)
        np.testing.assert_array_equal(chosen.indices, whole.indices[:k])
        assert chosen.rounds == tuple(start for start in whole.rounds if start < k)


def test_a_pool_and_float64_state(tmp_path, cone):
    """Gains and A are bit-equal to those of an uninterrupted run."""
    G = signals.self_compression(cone)
    whole, path = select(cone, G, 300, columns="lazy"), tmp_path / "run.ckpt"
    pool = Pool(cone)
    for k in (50, 120, 300):
        chosen = pool.select(G, k, checkpoint=path, checkpoint_every=40)
    np.testing.assert_array_equal(chosen.gains, whole.gains)
    np.testing.assert_array_equal(chosen.weights, whole.weights)
    np.testing.assert_array_equal(chosen.projection.A, whole.projection.A)
    assert_same(chosen, whole)


def test_items_that_were_dropped_stay_out(tmp_path):
    """The file stores them, such as items in the span of the picks: near the threshold rounding could decide again."""
    F, G = problem("lr")
    whole, path = select(F, G, 20, objective="lr"), tmp_path / "run.ckpt"
    select(F, G, 10, objective="lr", checkpoint=path)
    stored = checkpoint.read(path)
    eligible = np.unpackbits(stored["eligible"])
    eligible[whole.indices[10]] = 0
    checkpoint.write(path, {**stored, "eligible": np.packbits(eligible)})
    chosen = select(F, G, 20, objective="lr", checkpoint=path)
    np.testing.assert_array_equal(chosen.indices[:10], whole.indices[:10])
    assert whole.indices[10] not in chosen.indices


def test_stored_picks_come_at_once(tmp_path, cone, monkeypatch):
    from gip_gpu.backends.numpy.backend import NumpyBackend

    G, path = signals.self_compression(cone), tmp_path / "run.ckpt"
    first = select(cone, G, 40, checkpoint=path)
    monkeypatch.setattr(NumpyBackend, "__init__", None)
    before = path.read_bytes()
    for k in (40, 10):
        np.testing.assert_array_equal(select(cone, G, k, checkpoint=path).indices, first.indices[:k])
    assert path.read_bytes() == before


@pytest.mark.parametrize("options", [{"columns": "lazy"}, {"initial": [5, 6], "columns": "lazy"}, {"objective": "lr"}])
def test_a_run_counts_what_it_did(options, tmp_path, cone):
    """A resumed run's time and columns cover its own picks; the other picks came from the file."""
    G, path = signals.self_compression(cone), tmp_path / "run"
    fresh = select(cone, G, 100, **options)
    assert (fresh.resumed, fresh.made) == (0, 100)
    assert "checkpoint" not in fresh.work
    broken_off(lambda progress: select(cone, G, 100, checkpoint=path, progress=progress, **options), 40)
    stored = len(checkpoint.read(path)["indices"]) - len(options.get("initial", []))
    assert 0 < stored < 100
    rest = select(cone, G, 100, checkpoint=path, **options)
    assert rest == fresh
    assert (rest.resumed, rest.made) == (stored, 100 - stored)
    spent = sum(rest.timings[part] for part in ("columns", "refresh", "steps"))
    assert rest.seconds_per_pick == spent / rest.made
    assert rest.used_share == (min(1, rest.made / rest.computed) if rest.computed else None)
    assert f"{stored} picks from the checkpoint, {rest.made} made at " in repr(rest)
    for k in (100, 60):
        again = select(cone, G, k, checkpoint=path, **options)
        assert (again.resumed, again.made, again.seconds_per_pick, again.used_share) == (k, 0, 0, None)
        assert f"s, {k} picks from the checkpoint, peak" in repr(again)
        again.save(tmp_path / "chosen.json")
        assert Selection.load(tmp_path / "chosen.json").resumed == k


def test_the_bar_of_a_resumed_run_begins_at_its_checkpoint(tmp_path, cone, monkeypatch):
    """The bar's rate then counts only the picks of this run."""
    G, path, bars = signals.self_compression(cone), tmp_path / "run", []

    class Bar(tqdm.tqdm):
        def __init__(self, *arguments, **how):
            super().__init__(*arguments, **how, file=io.StringIO())
            bars.append((self.initial, self))

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    select(cone, G, 30, checkpoint=path, progress=True)
    select(cone, G, 50, checkpoint=path, progress=True)
    assert [(initial, bar.n, bar.total) for initial, bar in bars] == [(0, 30, 30), (30, 50, 50)]


def test_how_often(tmp_path, cone, monkeypatch):
    G, made, write = signals.self_compression(cone), [], checkpoint.write
    monkeypatch.setattr(
        checkpoint, "write", lambda path, stored: made.append(len(stored["indices"])) or write(path, stored)
    )
    select(cone, G, 100, checkpoint=tmp_path / "a", checkpoint_every=30)
    assert made == [30, 60, 90, 100]
    made.clear()
    select(cone, G, 100, checkpoint=tmp_path / "b")
    assert made == [100]
    made.clear()
    select(cone, G, 100, checkpoint=tmp_path / "c", checkpoint_every=1e-9)
    assert len(made) > 4


# Refusals


def test_other_selections_are_refused(tmp_path):
    F, G = problem("mp")
    path = tmp_path / "run.ckpt"
    select(F, G, 5, checkpoint=path, initial=[1])
    before = path.read_bytes()
    changed, bits, swapped = F.copy(), F.copy(), F.copy()
    changed[200, 7] += 1
    bits.view(np.uint32)[299, 23] ^= 1 << 31
    swapped[[17, 18]] = swapped[[18, 17]]
    scores = G.copy()
    scores[299, 2] += 1
    fitting = {"F": F, "G": G, "initial": [1]}
    for other, message in (
        ({"F": changed}, "of another F;"),
        ({"F": bits}, "of another F;"),
        ({"F": swapped}, "of another F;"),
        ({"F": F.astype(np.float64)}, "of another F;"),
        ({"F": F[:-1], "G": G[:-1]}, "of 300 items, not 299;"),
        ({"F": F[:, :-1]}, "of 24 columns of F, not 23;"),
        ({"G": G[:, :2]}, "of 3 signals, not 2;"),
        ({"G": scores}, "of another G;"),
        ({"initial": [2]}, "of other initial items;"),
        ({"initial": None}, "of other initial items;"),
        ({"objective": "lr"}, "of objective 'mp', not 'lr';"),
        ({"objective": "lr", "epsilon": 0.5}, "of objective 'mp', not 'lr'; of epsilon 0.0, not 0.5;"),
        ({"sign": "positive"}, "of sign 'any', not 'positive';"),
        ({"query": "ridge"}, "of query 'direct', not 'ridge';"),
        ({"on_exhausted": "stop"}, "of on_exhausted 'restart', not 'stop';"),
        ({"normalize": False, "F": F / 100}, "of another F; of normalize True, not False;"),
    ):
        how = {**fitting, **other}
        with pytest.raises(ValueError, match=f"run.ckpt is of another selection: {message} delete it or give another"):
            select(how.pop("F"), how.pop("G"), 5, checkpoint=path, **how)
    assert path.read_bytes() == before
    # Options that do not change the answer may differ.
    assert len(select(F, G, 6, checkpoint=path, initial=[1], columns="gram", precision="fp16")) == 6


def test_damaged_files_are_refused(tmp_path):
    F, G = problem("lr")
    path = tmp_path / "run.ckpt"
    select(F, G, 5, objective="lr", checkpoint=path)
    content = path.read_bytes()
    for length in [0, 1, 100, len(content) // 2, len(content) - 100, len(content) - 1]:
        path.write_bytes(content[:length])
        message = "is no checkpoint; give another path" if length < 300 else "was cut off.*; delete it or give another"
        with pytest.raises(ValueError, match=rf"run\.ckpt {message}"):
            select(F, G, 6, objective="lr", checkpoint=path)
        assert len(path.read_bytes()) == length
    for place in [*range(0, len(content), len(content) // 150), *range(len(content) - 140, len(content), 7)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"run\.ckpt (was cut off or altered|was altered|is no checkpoint)"):
            checkpoint.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="was cut off or altered"):
        select(F, G, 6, objective="lr", checkpoint=path)


def test_files_of_others_are_never_said_to_be_checkpoints(tmp_path):
    """No message tells users to delete their data."""
    F, G = problem("mp")
    np.save(tmp_path / "pool.npy", F)
    np.savez(tmp_path / "pool.npz", meta=np.array('{"version": 1}'), F=F)
    (tmp_path / "pool.txt").write_text("PK")
    (tmp_path / "empty").touch()
    for name in os.listdir(tmp_path):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"{name} is no checkpoint; give another path$"):
            select(F, G, 6, checkpoint=tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_files_that_the_run_reads_are_refused(tmp_path, monkeypatch):
    F, G = problem("mp")
    before, new = select(F, G, 5), tmp_path / "new.npy"
    (tmp_path / "shards").mkdir()
    for path in (tmp_path / "F.npy", tmp_path / "shards" / "0.npy", new):
        np.save(path, F)
    np.save(tmp_path / "G.npy", G)
    (tmp_path / "link.npy").symlink_to(tmp_path / "F.npy")
    monkeypatch.chdir(tmp_path)
    small, large = np.load("F.npy", mmap_mode="r"), open_matrix("F.npy")
    names = sorted(os.listdir(tmp_path))
    for call, refused in (
        (lambda path: select("F.npy", G, 5, checkpoint=path), "F.npy"),
        (lambda path: select("F.npy", G, 5, checkpoint=path), "link.npy"),
        (lambda path: select(F, "G.npy", 5, checkpoint=path), "G.npy"),
        (lambda path: select(small, G, 5, checkpoint=path), "F.npy"),
        (lambda path: select(Part(large, 0, 300), G, 5, checkpoint=path), "F.npy"),
        (lambda path: Pool(large).select(G, 5, checkpoint=path), "F.npy"),
        (lambda path: Pool(small).select("G.npy", 5, checkpoint=path), "G.npy"),
        (lambda path: Pool(small).select("G.npy", 5, checkpoint=path), "F.npy"),
        (lambda path: extend(before, "new.npy", G, 5, checkpoint=path), "new.npy"),
    ):
        with pytest.raises(ValueError, match=f"checkpoint is {refused}, which this run reads; give another path"):
            call(refused)
    for F_given in ("shards", Part(open_matrix("shards"), 0, 300)):
        with pytest.raises(ValueError, match=r"run\.ckpt, which is in a folder of shards that this run reads; give"):
            select(F_given, G, 5, checkpoint="shards/run.ckpt")
    assert sorted(os.listdir(tmp_path)) == names
    assert os.listdir("shards") == ["0.npy"]
    assert len(select("shards", G, 5, checkpoint="run.ckpt")) == 5


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    F, G = problem("mp")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    select(F, G, 5, checkpoint=tmp_path / "run")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ValueError, match=r"cannot read the checkpoint .*run: Permission denied"):
        select(F, G, 5, checkpoint=tmp_path / "run")


def test_matrices_whose_signs_differ_are_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    F, G = rng.standard_normal((50, 8)), rng.standard_normal((50, 2))
    path = tmp_path / "run"
    select(F, G, 5, sign="positive", checkpoint=path)
    mirrored = F.copy()
    mirrored[::2, :2] *= -1
    for other, name in (((F, -G), "G"), ((-F, G), "F"), ((mirrored, G), "F")):
        with pytest.raises(ValueError, match=f"of another {name}; delete it"):
            select(*other, 5, sign="positive", checkpoint=path)


def test_other_versions_are_refused(tmp_path, monkeypatch):
    F, G = problem("mp")
    monkeypatch.setattr(checkpoint, "VERSION", 7)
    select(F, G, 5, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="run has format 7, and this gip_gpu reads 2; delete it"):
        select(F, G, 5, checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": "none/run"}, ValueError, "checkpoint: cannot write none/run: there is no folder"),
        ({"checkpoint": "."}, ValueError, "checkpoint: cannot write .: it is no regular file"),
        ({"checkpoint": 3}, TypeError, r"checkpoint is 3 \(int\); it must be a path"),
        ({"checkpoint": "x" * 300}, ValueError, "checkpoint: cannot write x+: File name too long"),
        ({"checkpoint_every": 30}, ValueError, "checkpoint_every is 30, and there is no checkpoint to write; give"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every is 0; .* 1 or more"),
        ({"checkpoint_every": 0.0}, ValueError, "checkpoint_every is 0.0; .* seconds above 0"),
        ({"checkpoint_every": float("nan")}, ValueError, "checkpoint_every is nan"),
        ({"checkpoint_every": True}, TypeError, r"checkpoint_every is True \(bool\)"),
        ({"checkpoint_every": "1"}, TypeError, r"checkpoint_every is '1' \(str\)"),
    ],
)
def test_bad_arguments(options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: select(np.eye(3), np.ones(3), 1, **options),
        lambda: Pool(np.eye(3)).select(np.ones(3), 1, **options),
        lambda: extend(select(np.eye(3), np.ones(3), 1), np.eye(3), np.ones(3), 1, **options),
    ):
        with pytest.raises(error, match=message):
            call()
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_real_embeddings(real, tmp_path):
    F = real("gsm8k_minilm_f16.npy")
    G = signals.self_compression(F)
    for objective in ("mp", "lr"):
        whole, path = select(F, G, 500, objective=objective), tmp_path / objective
        broken_off(
            lambda progress, o=objective, p=path: select(F, G, 500, objective=o, checkpoint=p, progress=progress), 230
        )
        assert_same(select(F, G, 500, objective=objective, checkpoint=path), whole)
