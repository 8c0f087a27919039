"""The parts of the GPU benchmark: their order, --only, their shares of the time, the order of the backends."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bench.gpu import kernels, selections, suite
from bench.gpu.budget import Budget
from bench.gpu.cases import TINY
from bench.gpu.results import Results
from bench.gpu.session import Session
from tests.support.bench_gpu_runs import PARTS, session_of


def test_parts_and_their_shares():
    assert [part.name for part in suite.PARTS] == PARTS
    assert sum(part.share for part in suite.PARTS) == pytest.approx(1)
    # No part takes a minute, even if the others leave all of their time.
    whole = Budget(suite.SECONDS, lambda: 0.0)
    assert all(whole.part(part.share, coming=part.share, chosen=1.0).seconds < 60 for part in suite.PARTS)


def test_only_some_parts(monkeypatch, tmp_path):
    chosen = []

    def measured(sizes, device, names, budget, left_out, parts, save):
        chosen.extend(part.name for part in parts)
        return Results("tiny")

    monkeypatch.setattr(suite, "measure", measured)
    monkeypatch.setattr(suite, "unusable", lambda name, device: "")
    output = ["--output", str(tmp_path / "found.json")]
    # In the order of all parts.
    for only, parts in (([], PARTS), (["--only", " lazy,steps,"], ["steps", "lazy"]),
                        (["--only", "family,ceilings"], ["ceilings", "family"])):  # fmt: skip
        chosen.clear()
        assert CliRunner().invoke(suite.main, [*only, *output]).exit_code == 0
        assert chosen == parts
    for wrong in ("steps,stepz", "", " , "):
        run = CliRunner().invoke(suite.main, ["--only", wrong])
        assert run.exit_code == 2
        assert f"fits none of: {', '.join(PARTS)}" in run.output
    text = " ".join(CliRunner().invoke(suite.main, ["--help"]).output.split())
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

        return suite.Part(name, run, share)

    session = session_of()
    session.budget = Budget(seconds, lambda: now[0])
    suite.run_parts(session, [part_of(*part) for part in parts], lambda results: saved.append(list(results.spent)))
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
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("measured first"))
    monkeypatch.setattr(suite, "unusable", lambda name, device: "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    run = CliRunner().invoke(suite.main, options)
    assert run.exit_code == 2
    assert told in " ".join(run.output.split())


def test_every_part_yields_something():
    # No part takes another's share, whatever its amount of work.
    done = run_on_a_fake_clock([(part.name, part.share, 1000) for part in suite.PARTS], 100)
    for part in suite.PARTS:
        assert abs(done[part.name] - 100 * part.share) <= 1


def test_unused_time_is_passed_on():
    parts = [("a", 0.4, 4), ("b", 0.1, 1000), ("c", 0.1, 1000), ("d", 0.4, 1000)]
    # Of the 96 remaining seconds b gets a sixth, c a fifth of the rest, d the rest, but at most its own share.
    assert run_on_a_fake_clock(parts, 100) == {"a": 4, "b": 16, "c": 16, "d": 40}
    # An idle part leaves no other part more than a fifth.
    parts = [("a", 0.8, 1), ("b", 0.1, 1000), ("c", 0.1, 1000)]
    assert run_on_a_fake_clock(parts, 100) == {"a": 1, "b": 20, "c": 20}
    # Fewer parts: each has its share of all seconds.
    assert run_on_a_fake_clock([("b", 0.1, 1000), ("c", 0.3, 1000)], 100) == {"b": 25, "c": 75}


@pytest.mark.parametrize(
    ("part", "pieces"),
    [
        (kernels.steps, 2 * 2),
        (selections.selections, 2 + 1 + 1),
        (kernels.grams, 4),
        (selections.lazy, 2),
        (selections.family, 5),
        (selections.equivalence, 4 * 2),
    ],
)
def test_backends_take_turns(monkeypatch, part, pieces):
    # So that a truncated part has results of both.
    order = []

    def do(self, what, action, *args, backend=""):
        if not backend or action in (selections._placed, selections.upload):
            return None if action is selections.plain else action(*args)
        order.append(backend)
        return None

    monkeypatch.setattr(Session, "do", do)
    library = SimpleNamespace(name="stub", cuda=True, put=lambda values, kind: values, release=lambda: None)
    part(Session(TINY, "cuda", {"triton": library, "cupy": library}, Budget(100), Results("tiny")))
    assert order == ["triton", "cupy"] * pieces
