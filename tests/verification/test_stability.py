"""stability: no change alters the picks that count as certain, and second runs show what happens to the others."""

import dataclasses
import math
import sys

import numpy as np
import pytest

import gip_gpu
from gip_gpu import select, stability
from gip_gpu.data.rows import Rows
from gip_gpu.verification import stability_bounds
from gip_gpu.verification.rounded import RoundedRows, largest_move, rounded
from tests.support.paths import REAL_DATA
from tests.support.random_problems import problem

RNG = np.random.default_rng(12)
F = RNG.standard_normal((200, 10))
G = RNG.standard_normal((200, 2))
UNIT = F / np.linalg.norm(F, axis=1, keepdims=True)


def moved(scores, noise, rng, objective, picks):
    """Returns scores moved as far as possible: at random, or against the order of the picks."""
    signs = rng.choice([-1.0, 1.0], scores.shape)
    if rng.random() < 0.5:
        # Lower the scores of the picks, raise all others.
        signs = np.sign(scores)
        signs[picks] *= -1
    return scores + noise * signs


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.slow if part else ()) for part in range(4)])
def test_certain_picks_stay_under_noise(part):
    certain = 0
    for seed in range(60 * part, 60 * part + 60):
        rows, scores, k, objective, options = problem(seed)
        if objective in ("mi", "entropy"):
            continue
        try:
            chosen = select(rows, scores, k, objective=objective, device="cpu", **options)
        except ValueError:
            continue
        if not len(chosen):
            continue
        rng = np.random.default_rng(seed)
        noise = float(10.0 ** rng.uniform(-5, -1) * np.abs(scores).max())
        found = stability(chosen, rows, scores, score_noise=noise, runs=0)
        assert found.runs == ()
        for _ in range(8 if found.certain else 0):
            other = moved(scores, noise, rng, objective, chosen.indices)
            again = select(rows, other, k, objective=objective, device="cpu", **options)
            assert again[: found.certain] == chosen[: found.certain], f"seed {seed}, {objective}, {options}"
        certain += found.certain
    assert certain > 5


@pytest.mark.parametrize("kind", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("how", [{}, {"center": True}, {"normalize": False}, {"initial": [3, 9]}])
def test_certain_picks_stay_in_a_narrower_format(kind, how):
    rows = F / (4 if "normalize" in how else 1)
    chosen = select(rows, G, 60, device="cpu", sign="any", **how)
    found = stability(chosen, rows, G, embeddings=kind)
    again = select(RoundedRows(rows, kind), G, 60, device="cpu", sign="any", **how)
    assert again[: found.certain] == chosen[: found.certain]
    assert found.certain > {"bf16": 0, "fp16": 3, "fp32": 50}[kind]
    if found.certain < 60:
        (run,) = found.runs
        assert run.indices.tolist() == again.tolist()
        assert run.what == kind
        assert run.overlap == len(set(again) & set(chosen)) / 60
        assert found.changed.tolist() == [t for t, pick in enumerate(chosen) if pick not in set(again)]
        first = next((t for t, (a, b) in enumerate(zip(again, chosen, strict=True)) if a != b), None)
        assert run.first_different == first
        assert first is None or first >= found.certain


def test_both_changes_add_up():
    chosen = select(F, G, 20, device="cpu", sign="any")
    parts = (
        stability(chosen, F, G, score_noise=1e-3, runs=0),
        stability(chosen, F, G, embeddings="fp16", runs=0),
    )
    both = stability(chosen, F, G, score_noise=1e-3, embeddings="fp16", runs=2, seed=4)
    np.testing.assert_allclose(both.reach, parts[0].reach + parts[1].reach)
    assert both.certain <= min(part.certain for part in parts)
    assert [run.what for run in both.runs] == ["noise 1, fp16", "noise 2, fp16"]
    assert both.what == "scores moved by up to 0.001 and embeddings in fp16"
    same = stability(chosen, F, G, score_noise=1e-3, embeddings="fp16", runs=2, seed=4)
    assert [run.indices.tolist() for run in same.runs] == [run.indices.tolist() for run in both.runs]


def test_no_second_run_where_the_margins_suffice(monkeypatch):
    chosen = select(F, G, 20, device="cpu", sign="any")
    monkeypatch.setattr(sys.modules["gip_gpu.verification.stability"], "select", None)
    found = stability(chosen, F, G, score_noise=1e-9)
    assert (found.certain, found.first_in_doubt, found.in_doubt, found.runs, found.why) == (20, None, 0, (), "")
    assert found.overlap == 1
    assert not len(found.changed)
    assert str(found) == "scores moved by up to 1e-09: 20 of 20 picks are certain"


@pytest.mark.parametrize(
    ("objective", "options", "change", "why"),
    [
        ("lr", {}, {"score_noise": 1e-9}, "divides by distances"),
        ("omp", {}, {"embeddings": "bf16"}, "turn of projected rows"),
        ("entropy", {}, {"embeddings": "bf16"}, "turn of projected rows"),
        ("mi", {"query": "ridge", "epsilon": 0.1}, {"score_noise": 1e-9}, "a fitted query"),
    ],
)
def test_a_second_run_where_they_do_not(objective, options, change, why):
    scores, signs = (None, {}) if objective == "entropy" else (G, {} if objective == "mi" else {"sign": "any"})
    chosen = select(F, scores, 8, device="cpu", objective=objective, **options, **signs)
    found = stability(chosen, F, scores, runs=2, **change)
    assert found.certain == 0
    assert why in found.why
    assert len(found.runs) == (2 if "score_noise" in change else 1)
    assert found.first_in_doubt == 0
    assert np.isinf(found.reach).all()


def test_ties_and_rounds_are_in_doubt():
    rows, scores = np.concatenate([UNIT[:20], UNIT[:20]]), np.tile(np.arange(20.0) + 1, 2)
    found = stability(select(rows, scores, 5, device="cpu"), rows, scores, score_noise=1e-12, runs=1)
    assert found.why == "2 items tie"
    narrow = UNIT[:30, :3] / np.linalg.norm(UNIT[:30, :3], axis=1, keepdims=True)
    queried = narrow @ [1.0, 2.0, 3.0]
    chosen = select(narrow, queried, 29, device="cpu", sign="any")
    assert len(chosen.rounds) > 1
    found = stability(chosen, narrow, queried, score_noise=1e-15, runs=0)
    assert found.certain <= chosen.rounds[1]
    assert np.isinf(found.reach[chosen.rounds[1] :]).all()


def test_the_bounds_against_the_residuals():
    """The residuals of all items, before each pick, move by no more than the bounds."""
    picks = RNG.permutation(200)[:15]
    noise = 0.01
    other_scores = G + noise * RNG.choice([-1.0, 1.0], G.shape)
    other_rows = RoundedRows(F, "bf16")
    h = largest_move(Rows(F), Rows(other_rows))
    assert 0 < h <= 2.0**-8
    other_unit = Rows(other_rows).block(0, 200)
    W, by_score, by_row = G.copy(), other_scores.copy(), G.copy()
    scored = stability_bounds.score_moves(noise * math.sqrt(2), 15, 1.0)
    residuals = []
    for pick in picks:
        residuals.append(W[pick].copy())
        W -= np.outer(UNIT @ UNIT[pick], W[pick])
    turned = stability_bounds.embedding_moves(h, UNIT[picks], np.array(residuals), 1 + 1e-12)
    W = G.copy()
    for t, pick in enumerate(picks):
        assert np.linalg.norm(by_score - W, axis=1).max() <= scored[t] * (1 + 1e-12)
        assert np.linalg.norm(by_row - W, axis=1).max() <= turned[t] + 1e-12
        W -= np.outer(UNIT @ UNIT[pick], W[pick])
        by_score -= np.outer(UNIT @ UNIT[pick], by_score[pick])
        by_row -= np.outer(other_unit @ other_unit[pick], by_row[pick])
    for epsilon in (0.0, 0.3):
        bound = stability_bounds.projected_score_moves(noise * math.sqrt(2), UNIT[picks[:9]], epsilon)
        for c in range(9):
            S = UNIT[picks[:c]]
            inverse = np.linalg.inv(S @ S.T + epsilon * np.eye(c))
            moves = (other_scores - G) - UNIT @ S.T @ inverse @ (other_scores - G)[picks[:c]]
            assert np.linalg.norm(moves, axis=1).max() <= bound[c] * (1 + 1e-12)


def test_long_rows_are_not_bounded():
    assert np.isinf(stability_bounds.score_moves(0.1, 3, 1.5)).all()
    assert np.isinf(stability_bounds.embedding_moves(0.1, UNIT[:3], G[:3], 1.5)).all()


def test_rounding_to_formats():
    torch = pytest.importorskip("torch")
    values = np.concatenate([RNG.standard_normal(5000), 10.0 ** RNG.uniform(-30, 30, 5000), [0.0, -0.0, 1.00390625]])
    for kind, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        expected = torch.from_numpy(values).float().to(dtype).float().numpy()
        np.testing.assert_array_equal(rounded(values, kind), expected)
    rows = RoundedRows(values[:10000].reshape(100, 100), "bf16")
    np.testing.assert_array_equal(rows.take([7, 3]), rows[:][[7, 3]])


def test_dropped_rows_and_standardised_scores():
    rows, ratings = F.copy(), RNG.integers(0, 6, (200, 3)).astype(float)
    rows[4] = np.nan
    chosen = select(rows, ratings, 12, device="cpu", standardize="zscore", sign="positive", on_nan="drop")
    found = stability(chosen, rows, ratings, score_noise=0.3, runs=2)
    assert found.certain < 12
    for run in found.runs:
        assert 4 not in run.indices
        assert 0 < run.overlap <= 1
    assert found.kept.shape == (12,)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({}, TypeError, "no change is given"),
        ({"score_noise": -1.0}, ValueError, "score_noise is -1.0"),
        ({"score_noise": "1"}, TypeError, "score_noise is '1'"),
        ({"score_noise": math.nan}, ValueError, "score_noise is nan"),
        ({"score_noise": 0.1, "runs": -1}, ValueError, "runs is -1"),
        ({"score_noise": 0.1, "runs": 1.5}, TypeError, "runs is 1.5"),
        ({"embeddings": "int4"}, ValueError, "embeddings is 'int4'"),
    ],
)
def test_refused_changes(change, error, message):
    chosen = select(F, G, 3, device="cpu", sign="any")
    with pytest.raises(error, match=message):
        stability(chosen, F, G, **change)


def test_refused_input():
    chosen = select(F, G, 3, device="cpu", sign="any")
    with pytest.raises(ValueError, match="G is not the input of the selection"):
        stability(chosen, F, G + 1, score_noise=0.1)
    entropy = select(F, None, 3, device="cpu")
    with pytest.raises(ValueError, match="the selection has no scores"):
        stability(entropy, F, score_noise=0.1)
    more = gip_gpu.extend(chosen, F, G, 3, device="cpu", sign="any")
    with pytest.raises(ValueError, match="extends another"):
        stability(more, F, G, score_noise=0.1)
    unknown = dataclasses.replace(chosen, provenance=None)
    assert stability(unknown, F, G, score_noise=1e-9, runs=0).certain == 3


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"real embeddings are not in {REAL_DATA}")
def test_real_embeddings():
    rows = np.load(REAL_DATA / "wildbench_minilm_f16.npy")
    ratings = np.load(REAL_DATA / "wildbench_judges.npy")
    chosen = select(rows, ratings, 100, device="cpu")
    found = stability(chosen, rows, ratings, embeddings="bf16")
    assert found.runs[0].overlap > 0.5
    assert found.runs[0].first_different is None or found.runs[0].first_different >= found.certain
