"""The parts of the GPU benchmark: their order, --only, their shares of the time, the turns of the backends."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bench import gpu, gpu_equivalence, gpu_family, gpu_kernels, gpu_lazy, gpu_selections
from bench.gpu_budget import Budget
from bench.gpu_cases import TINY
from bench.gpu_results import Results
from bench.gpu_session import Session
from tests.support.bench_gpu_runs import PARTS, session_of


def test_parts_and_their_shares():
    assert [part.name for part in gpu.PARTS] == PARTS
    assert sum(part.share for part in gpu.PARTS) == pytest.approx(1)
    # No part takes a minute, even if the others leave it everything.
    whole = Budget(gpu.SECONDS, lambda: 0.0)
    assert all(whole.part(part.share, coming=part.share, chosen=1.0).seconds < 60 for part in gpu.PARTS)


def test_only_some_parts(monkeypatch, tmp_path):
    assert gpu.parts_of(None) == gpu.PARTS
    # In the order of all parts.
    assert [part.name for part in gpu.parts_of(" lazy,steps,")] == ["steps", "lazy"]
    chosen = []

    def measured(sizes, device, names, budget, left_out, parts, save):
        chosen.extend(part.name for part in parts)
        return Results("tiny")

    monkeypatch.setattr(gpu, "measure", measured)
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "")
    output = ["--output", str(tmp_path / "found.json")]
    assert CliRunner().invoke(gpu.main, ["--only", "family,ceilings", *output]).exit_code == 0
    assert chosen == ["ceilings", "family"]
    for wrong in ("steps,stepz", "", " , "):
        run = CliRunner().invoke(gpu.main, ["--only", wrong])
        assert run.exit_code == 2
        assert f"choose among {', '.join(PARTS)}" in run.output
    text = " ".join(CliRunner().invoke(gpu.main, ["--help"]).output.split())
    assert "Without ceilings no floor is known" in text


def run_on_a_fake_clock(parts, seconds):
    """The pieces of a second that each part got to do; `parts` has a name, a share and the pieces that it has."""
    now, done, saved = [0.0], {}, []

    def piece(name):
        done[name] = done.get(name, 0) + 1
        now[0] += 1

    def part_of(name, share, pieces):
        def run(session):
            for _ in range(pieces):
                session.do(name, piece, name)

        return gpu.Part(name, run, share)

    session = session_of()
    session.budget = Budget(seconds, lambda: now[0])
    gpu.run_parts(session, [part_of(*part) for part in parts], lambda results: saved.append(list(results.spent)))
    # The file is written after each part.
    assert saved == [[part[0] for part in parts[: place + 1]] for place in range(len(parts))]
    assert session.results.spent == {name: done.get(name, 0) for name, *_ in parts}
    assert len(session.results.left_out) == sum(pieces for *_, pieces in parts) - sum(done.values())
    return done


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "nan"], "--budget is nan"),
        (["--budget", "inf"], "--budget is inf"),
        (["--output", "file/found.json"], "--output file/found.json cannot be written"),
    ],
)
def test_nothing_is_measured_in_vain(monkeypatch, tmp_path, options, told):
    monkeypatch.setattr(gpu, "measure", lambda *_: pytest.fail("measured first"))
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    run = CliRunner().invoke(gpu.main, options)
    assert run.exit_code == 2
    assert told in " ".join(run.output.split())


def test_every_part_yields_something():
    # However much each has to do, none takes another's share.
    done = run_on_a_fake_clock([(part.name, part.share, 1000) for part in gpu.PARTS], 100)
    for part in gpu.PARTS:
        assert abs(done[part.name] - 100 * part.share) <= 1


def test_unused_time_is_passed_on():
    parts = [("a", 0.4, 4), ("b", 0.1, 1000), ("c", 0.1, 1000), ("d", 0.4, 1000)]
    # Of the 96 seconds left: b has a sixth, c a fifth of the rest, d the rest, but no more than its own share.
    assert run_on_a_fake_clock(parts, 100) == {"a": 4, "b": 16, "c": 16, "d": 40}
    # A part that is idle leaves no other more than a fifth.
    parts = [("a", 0.8, 1), ("b", 0.1, 1000), ("c", 0.1, 1000)]
    assert run_on_a_fake_clock(parts, 100) == {"a": 1, "b": 20, "c": 20}
    # Fewer parts: each has its share of all seconds.
    assert run_on_a_fake_clock([("b", 0.1, 1000), ("c", 0.3, 1000)], 100) == {"b": 25, "c": 75}


@pytest.mark.parametrize(
    ("part", "pieces"),
    [
        (gpu_kernels.steps, 2 * 2),
        (gpu_selections.selections, 2 + 1 + 1),
        (gpu_kernels.grams, 4),
        (gpu_lazy.lazy, 2),
        (gpu_family.family, 5),
        (gpu_equivalence.equivalence, 4 * 2),
    ],
)
def test_backends_take_turns(monkeypatch, part, pieces):
    # So that a part that is cut off has something of both.
    order = []

    def do(self, what, action, *args, backend=""):
        if not backend or action in (gpu_selections._placed, gpu_lazy._upload):
            return None if action is gpu_selections.plain else action(*args)
        order.append(backend)
        return None

    monkeypatch.setattr(Session, "do", do)
    library = SimpleNamespace(name="stub", cuda=True, put=lambda values, kind: values, release=lambda: None)
    part(Session(TINY, "cuda", {"triton": library, "cupy": library}, Budget(100), Results("tiny")))
    assert order == ["triton", "cupy"] * pieces
