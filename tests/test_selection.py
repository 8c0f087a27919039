"""The result: its numbers are what their names say, and it survives a round trip through a file."""

import json

import numpy as np
import pytest

from gip_gpu import Certificate, Selection, select, signals
from gip_gpu.rows import Rows


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(4)
    F, G = rng.standard_normal((400, 20)), rng.standard_normal((400, 3))
    return F, G, select(F, G, 60)


def test_numbers(problem):
    F, G, chosen = problem
    rows, W = Rows(F).block(0, 400), G.copy()
    left = np.ones(400, bool)
    for t, s in enumerate(chosen):
        norms = np.where(left, np.einsum("jn,jn->j", W, W), -1)
        assert chosen.gains[t] == pytest.approx(norms[s], rel=1e-12)
        np.testing.assert_allclose(chosen.weights[t], W[s], rtol=1e-10)
        runner_up = np.sort(norms)[-2]
        margin = 1 - runner_up / norms[s]
        # A lower bound; exact if the runner-up was rescored.
        assert chosen.certificate.margins[t] <= margin + 1e-12
        if chosen.certificate.candidates[t] > 1:
            assert chosen.certificate.margins[t] == pytest.approx(margin, abs=1e-10)
        left[s] = False
        W -= np.outer(rows @ rows[s], W[s])
        assert chosen.explained[t] == pytest.approx(1 - (W**2).sum() / (G**2).sum(), abs=1e-5)
    assert (chosen.certificate.ties == 1).all()


def test_behaves_like_its_indices(problem):
    F, _, chosen = problem
    assert len(chosen) == 60
    assert list(chosen) == chosen.indices.tolist()
    assert chosen.indices.dtype == np.int64
    assert np.asarray(chosen).dtype == np.int64
    assert np.asarray(chosen, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(F[chosen], F[chosen.indices])
    assert np.array(chosen) is not chosen.indices
    assert chosen.__array__(copy=False) is chosen.indices
    with pytest.raises(ValueError, match="have to be copied"):
        chosen.__array__(float, copy=False)
    assert {"prepare", "query", "columns", "refresh", "steps", "total"} == set(chosen.timings)
    assert chosen.peak_bytes > 10_000_000


def test_repr(problem):
    text = repr(problem[2])
    assert text.startswith("Selection of 60 from 400: [")
    assert "every pick is the float64 argmax" in text
    assert "on cpu (numpy)" in text


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_round_trip(problem, tmp_path, suffix):
    chosen = problem[2]
    path = tmp_path / f"chosen{suffix}"
    chosen.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    loaded = Selection.load(path)
    for name in ("indices", "gains", "weights", "explained"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(chosen, name))
        assert getattr(loaded, name).dtype == getattr(chosen, name).dtype
    for name in ("margins", "candidates", "ties"):
        np.testing.assert_array_equal(getattr(loaded.certificate, name), getattr(chosen.certificate, name))
    assert loaded.certificate.refreshes == chosen.certificate.refreshes
    assert (loaded.rounds, loaded.plan, loaded.timings, loaded.peak_bytes) == (
        *(chosen.rounds, chosen.plan, chosen.timings, chosen.peak_bytes),
    )
    assert repr(loaded) == repr(chosen)


def test_empty_selection_round_trip(tmp_path):
    chosen = select(np.eye(4), np.zeros(4), 2, on_exhausted="stop")
    assert len(chosen) == 0
    for suffix in (".npz", ".json"):
        chosen.save(tmp_path / f"chosen{suffix}")
        assert repr(Selection.load(tmp_path / f"chosen{suffix}")) == repr(chosen)


def test_files_that_hold_no_selection(problem, tmp_path):
    chosen = problem[2]
    with pytest.raises(ValueError, match=r"ends in '.csv'.*\.npz or \.json"):
        chosen.save(tmp_path / "chosen.csv")
    with pytest.raises(FileNotFoundError):
        Selection.load(tmp_path / "none.npz")
    chosen.save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "text.json").write_text("{")
    np.savez(tmp_path / "array.npz", a=np.arange(3))
    chosen.save(tmp_path / "lengths.json")
    content = json.loads((tmp_path / "lengths.json").read_text())
    content["gains"] = content["gains"][:-1]
    (tmp_path / "lengths.json").write_text(json.dumps(content))
    for name in ("cut.npz", "other.json", "text.json", "array.npz", "lengths.json"):
        with pytest.raises(ValueError, match=f"{name} holds no selection"):
            Selection.load(tmp_path / name)


def test_plot(problem, tmp_path, cone):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = problem[2].plot(tmp_path / "chosen.png")
    assert (tmp_path / "chosen.png").read_bytes().startswith(b"\x89PNG")
    gain, explained = figure.axes
    np.testing.assert_array_equal(gain.lines[0].get_ydata(), problem[2].gains)
    np.testing.assert_array_equal(explained.lines[0].get_ydata(), problem[2].explained)
    rounds = select(cone[:, :4], signals.self_compression(cone[:, :4]), 300)
    assert len(rounds.plot().axes[0].lines) == len(rounds.rounds)


@pytest.mark.parametrize(("m", "d"), [(3000, 64), (2000, 8)])
def test_margins_are_lower_bounds(m, d):
    """Against extended precision, down to the floor: a margin never says more than is true."""
    F = np.random.default_rng(d).standard_normal((m, d))
    G = signals.self_compression(F)
    chosen = select(F, G, 250, on_exhausted="stop")
    rows = Rows(F).block(0, m).astype(np.longdouble)
    left, A = np.ones(m, bool), np.zeros(d, np.longdouble)
    for t, s in enumerate(chosen):
        W = np.where(left, np.abs(G - rows @ A), -1)
        own, left[s] = W[s], False
        assert chosen.certificate.margins[t] <= max(0, 1 - (W[left].max() / own) ** 2)
        A += rows[s] * np.longdouble(chosen.weights[t, 0])
    assert "every pick is the float64 argmax" in str(chosen.certificate)


def test_certificate_names_picks_that_rounding_could_have_decided():
    proof = Certificate(np.array([0.5, 0.0, 0.0]), np.array([1, 2, 2]), np.array([1, 2, 1]), 0, (0,))
    assert (proof.tied, proof.within_rounding) == (1, 1)
    assert str(proof).startswith("every pick but 1, which led by less than float64 rounding, is the float64 argmax")


def test_what_is_below_zero_is_no_share():
    """Scores far from the range of F: the residual outgrows them."""
    chosen = select([[1, 0], [1, 1e-3], [0, 1.0]], [1.0, 0.0, 0.0], 2, objective="lr", device="cpu")
    assert chosen.explained[-1] < -1000
    assert "\n  explained none; every pick" in repr(chosen)
    assert "\n  explained 1; every pick" in repr(select(np.eye(2), [1.0, 0.0], 1, device="cpu"))
