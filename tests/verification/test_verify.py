"""verify: a selection equals its input on all options, and finds what was changed."""

import dataclasses

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Selection, select, verify
from tests.support import golden
from tests.support.paths import REAL_DATA
from tests.support.random_problems import OBJECTIVES, problem

RNG = np.random.default_rng(8)
F = (RNG.standard_normal((420, 16)) + 0.3 * RNG.standard_normal(16)).astype(np.float32)
G = RNG.standard_normal((420, 2))
QUERIED = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True) @ RNG.standard_normal((16, 2))


def chosen_by(objective, k=40, **options):
    scores = None if objective == "entropy" else QUERIED if objective == "mi" else G
    signs = {} if objective in ("mi", "entropy") else {"sign": "any"}
    return select(F, scores, k, device="cpu", objective=objective, **{**signs, **options}), scores


def forged(selection, **changes):
    """Returns a selection with other fields, also those of its certificate."""
    names = {entry.name for entry in dataclasses.fields(selection.certificate)}
    proof = {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in names}
    return dataclasses.replace(selection, **rest, certificate=dataclasses.replace(selection.certificate, **proof))


def without_fingerprints(selection):
    return dataclasses.replace(selection, provenance=dataclasses.replace(selection.provenance, F=None, G=None))


def changed(values, place, value):
    copy = np.array(values)
    copy[place] = value
    return copy


# Scores of some problems are outside of the range of F, which "mi" warns of.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.slow if part else ()) for part in range(5)])
def test_random_problems_on_all_options(part):
    found, held, picks = dict.fromkeys(OBJECTIVES, 0), 0, 0
    for seed in range(100 * part, 100 * part + 100):
        rows, scores, k, objective, options = problem(seed)
        try:
            selection = select(rows, scores, k, objective=objective, device="cpu", **options)
        except ValueError:
            continue
        verdict = verify(selection, rows, scores)
        assert verdict.ok, f"seed {seed}, {objective}, {options}: {verdict}"
        assert set(verdict.fingerprints.values()) == {"equal"}
        assert verdict.verdicts.shape == (len(selection),)
        found[objective] += 1
        held, picks = held + len(verdict.holding), picks + len(selection)
    assert min(found.values()) > 5
    assert held > 0.9 * picks


@pytest.mark.parametrize("objective", OBJECTIVES)
class TestEachObjective:
    def test_holds(self, objective):
        selection, scores = chosen_by(objective)
        verdict = verify(selection, F, scores)
        assert verdict.ok
        if objective != "mi":
            assert str(verdict) == "verified: 40 of 40 picks hold, 0 hang on rounding, 0 differ"
        # Near the end of a round of "mi" the metric is nearly singular.
        assert len(verdict.holding) > 36
        assert verdict.largest_gain_error < (1e-8 if objective == "mi" else 1e-9)

    def test_one_swapped_index(self, objective):
        selection, scores = chosen_by(objective)
        for t in (0, 17, 38):
            order = np.arange(40)
            order[[t, t + 1]] = t + 1, t
            verdict = verify(forged(selection, indices=selection.indices[order]), F, scores)
            assert not verdict.ok
            # Without scores all unit rows tie for the first pick, and the lowest index wins.
            assert verdict.differing[0] == t
            assert f"pick {t}: item {selection.indices[t]} " in str(verdict)

    def test_one_other_index(self, objective):
        selection, scores = chosen_by(objective)
        others = np.setdiff1d(np.arange(1, 420), selection.indices)
        for t in (0, 20, 39):
            verdict = verify(forged(selection, indices=changed(selection.indices, t, others[t])), F, scores)
            assert verdict.differing[0] == t

    def test_one_altered_row(self, objective):
        selection, scores = chosen_by(objective)
        row = int(selection.indices[12])
        for place in ((row, 3), (int(np.setdiff1d(np.arange(420), selection.indices)[50]), 0)):
            altered = changed(F, place, F[place] + np.float32(1e-6) * np.abs(F[place]) + 1e-7)
            verdict = verify(selection, altered, scores)
            assert not verdict.ok
            assert verdict.fingerprints["F"] == "differs"
            assert "F is not the input of the selection" in verdict.problems[0]
        # The replay finds a chosen row without fingerprints.
        verdict = verify(without_fingerprints(selection), changed(F, (row, 3), F[row, 3] + 0.1), scores)
        assert verdict.differing[0] <= 12
        assert verdict.fingerprints["F"] == "not stored"

    def test_one_altered_score(self, objective):
        selection, scores = chosen_by(objective)
        if scores is None:
            return
        row = int(selection.indices[7])
        for place in ((row, 1), (int(np.setdiff1d(np.arange(420), selection.indices)[9]), 0)):
            verdict = verify(selection, F, changed(scores, place, scores[place] * (1 + 1e-12)))
            assert not verdict.ok
            assert verdict.fingerprints == {"F": "equal", "G": "differs"}
        verdict = verify(without_fingerprints(selection), F, changed(scores, (row, 1), scores[row, 1] + 0.5))
        assert not verdict.ok

    def test_one_forged_gain(self, objective):
        selection, scores = chosen_by(objective)
        for t in (0, 25, 39):
            gains = changed(selection.gains, t, selection.gains[t] * (1 + 1e-7))
            verdict = verify(forged(selection, gains=gains), F, scores)
            assert verdict.differing.tolist() == [t]
            assert "its gain is recorded as" in verdict.reasons[t]

    def test_forged_margin_weights_and_share(self, objective):
        selection, scores = chosen_by(objective)
        margins = changed(selection.certificate.margins, 30, 0.9)
        verdict = verify(forged(selection, margins=margins), F, scores)
        assert verdict.differing.tolist() == [30]
        assert "its margin is recorded as 0.9, and is at most" in verdict.reasons[30]
        less = 0.05 * (1 + np.abs(selection.explained[:12]).max())
        explained = changed(selection.explained, 11, selection.explained[11] - less)
        verdict = verify(forged(selection, explained=explained), F, scores)
        assert verdict.differing.tolist() == [11]
        if scores is not None:
            weights = changed(selection.weights, (4, 1), selection.weights[4, 1] + 1e-4)
            assert verify(forged(selection, weights=weights), F, scores).differing.tolist() == [4]

    def test_more_than_one_panel(self, objective, monkeypatch):
        monkeypatch.setattr("gip_gpu.verification.replay.PANEL", 7)
        monkeypatch.setattr("gip_gpu.verification.survey.BLOCK", 1 << 9)
        selection, scores = chosen_by(objective, on_exhausted="restart", k=60)
        assert verify(selection, F, scores).ok
        indices = selection.indices[np.r_[:30, 31, 30, 32:60]]
        assert verify(forged(selection, indices=indices), F, scores).differing[0] == 30

    def test_initial_rows_are_part_of_it(self, objective):
        selection, scores = chosen_by(objective, initial=[3, 99, 200])
        assert verify(selection, F, scores).ok
        other = dataclasses.replace(selection.provenance, initial=(3, 99, 201))
        assert not verify(dataclasses.replace(selection, provenance=other), F, scores).ok

    def test_settings_are_part_of_it(self, objective):
        selection, scores = chosen_by(objective, epsilon=0.0 if objective == "mp" else 0.1)
        other = dataclasses.replace(selection.provenance, normalize=False)
        assert not verify(dataclasses.replace(selection, provenance=other), F, scores).ok
        if objective != "mp":
            options = dataclasses.replace(selection.provenance.options, epsilon=0.2)
            other = dataclasses.replace(selection.provenance, options=options)
            assert not verify(dataclasses.replace(selection, provenance=other), F, scores).ok

    @pytest.mark.parametrize("suffix", [".npz", ".json"])
    def test_files(self, objective, suffix, tmp_path):
        (tmp_path / "shards").mkdir()
        for number, part in enumerate(np.array_split(F, 3)):
            np.save(tmp_path / "shards" / f"{number}.npy", part)
        _, scores = chosen_by(objective)
        if scores is not None:
            np.save(tmp_path / "G.npy", scores)
        place = None if scores is None else tmp_path / "G.npy"
        selection = select(tmp_path / "shards", place, 25, device="cpu", objective=objective)
        selection.save(tmp_path / f"chosen{suffix}")
        loaded = Selection.load(tmp_path / f"chosen{suffix}")
        assert loaded.provenance == selection.provenance
        assert verify(loaded, tmp_path / "shards", place).ok
        # The same rows in memory have the same fingerprint.
        assert verify(loaded, F, scores).fingerprints["F"] == "equal"


def narrow_pool():
    """Rows of length 3 and scores of a query, which few picks explain."""
    rows = np.random.default_rng(1).standard_normal((40, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, rows @ [1.0, 2.0, 3.0]


def test_rounds_of_exhausted_scores():
    narrow, queried = narrow_pool()
    for objective in ("mp", "omp", "lr", "entropy"):
        scores, how = (None, {}) if objective == "entropy" else (queried, {"sign": "any"})
        selection = select(narrow, scores, 39, device="cpu", objective=objective, **how)
        assert len(selection.rounds) > 1
        assert verify(selection, narrow, scores).ok
        early = forged(selection, rounds=(0, 2, *selection.rounds[1:]))
        verdict = verify(early, narrow, scores)
        assert any("a round began after pick 1" in text for text in verdict.problems)
        late = forged(selection, rounds=(0, *selection.rounds[2:]))
        assert not verify(late, narrow, scores).ok
        stopped = select(narrow, scores, 39, device="cpu", objective=objective, on_exhausted="stop", **how)
        assert len(stopped) < 39
        assert verify(stopped, narrow, scores).ok
        short = {name: getattr(stopped, name)[:-1] for name in ("indices", "gains", "weights", "explained")}
        proof = {name: getattr(stopped.certificate, name)[:-1] for name in ("margins", "candidates", "ties")}
        verdict = verify(forged(stopped, **short, **proof), narrow, scores)
        assert "the selection ended after pick" in verdict.problems[0]


def test_the_literal_loop():
    rows, scores = narrow_pool()
    selection = select(rows, scores, 40, device="cpu", on_exhausted="continue", sign="any")
    verdict = verify(selection, rows, scores)
    assert verdict.ok
    # Scores fall below the rounding of the loop, which decides the last picks.
    assert 10 < verdict.rounding[0] < 30
    assert verify(forged(selection, indices=selection.indices[np.r_[1, 0, 2:40]]), rows, scores).differing[0] == 0


@pytest.mark.parametrize("scores", [np.zeros(30), -np.arange(1.0, 31)])
def test_items_taken_in_order(scores):
    rows = F[:30]
    selection = select(rows, scores, 9, device="cpu", sign="positive")
    assert not selection.gains.any()
    assert verify(selection, rows, scores).ok
    verdict = verify(forged(selection, indices=selection.indices[np.r_[:4, 5, 4, 6:9]]), rows, scores)
    assert verdict.differing.tolist() == [4, 5]
    scores = scores.copy()
    scores[3] = 1
    assert not verify(without_fingerprints(selection), rows, scores).ok


def test_duplicates_and_ties():
    rows, scores = np.concatenate([F[:50], F[:50], 3 * F[:50]]), np.tile(np.arange(50) % 4 + 1.0, 3)
    for objective in OBJECTIVES:
        g = None if objective == "entropy" else scores
        selection = select(rows, g, 40, device="cpu", objective=objective)
        assert selection.certificate.tied
        assert verify(selection, rows, g).ok
        twin = changed(selection.indices, 0, selection.indices[0] + 50)
        verdict = verify(forged(selection, indices=twin), rows, g)
        assert verdict.differing[0] == 0
        assert "the lowest index wins" in verdict.reasons[0]


@pytest.mark.parametrize("standardize", ["rank", "zscore"])
def test_prepared_input(standardize):
    ratings = RNG.integers(0, 6, (420, 3)).astype(float)
    rows = F.copy()
    rows[[5, 77]] = np.nan
    ratings[8] = np.nan
    how = {"device": "cpu", "standardize": standardize, "sign": "positive", "on_nan": "drop", "center": True}
    selection = select(rows, ratings, 50, initial=[300, 2], **how)
    assert verify(selection, rows, ratings).ok
    assert not verify(selection, rows, changed(ratings, (9, 0), 5 - ratings[9, 0])).ok
    verdict = verify(selection, changed(rows, (9, 0), 1), ratings)
    assert "the mean row of F is not the recorded center" in verdict.problems
    with pytest.raises(ValueError, match=r"418 rows of F and G are finite; the selection was made from 417"):
        verify(selection, changed(rows, 5, 1.0), ratings)
    with pytest.raises(ValueError, match=r"the selection has row .* which has a value that is not finite"):
        verify(selection, changed(changed(rows, 5, 1.0), int(selection.indices[0]), np.inf), ratings)


@pytest.mark.parametrize("objective", ["mp", "omp", "lr", "entropy"])
@pytest.mark.parametrize("normalize", [True, False])
def test_extended_selections(objective, normalize):
    scale = 1 if normalize else 1 / 8
    scores = (None, None) if objective == "entropy" else (np.abs(G[:200]), np.abs(G[200:]))
    first = select(F[:200] * scale, scores[0], 9, device="cpu", objective=objective, normalize=normalize)
    more = gip_gpu.extend(first, F[200:] * scale, scores[1], 20, device="cpu")
    assert verify(more, F[200:] * scale, scores[1], prior=first).ok
    swapped = forged(more, indices=more.indices[np.r_[:5, 6, 5, 7:20]])
    assert verify(swapped, F[200:] * scale, scores[1], prior=first).differing[0] == 5
    with pytest.raises(ValueError, match="extends another"):
        verify(more, F[200:] * scale, scores[1])
    with pytest.raises(ValueError, match="prior is not the selection"):
        verify(more, F[200:] * scale, scores[1], prior=more)
    with pytest.raises(ValueError, match="extends no other"):
        verify(first, F[:200] * scale, scores[0], prior=more)


@pytest.mark.parametrize("suffix", golden.SAVED)
def test_files_of_earlier_versions(suffix):
    saved = Selection.load(golden.DATA / f"lr{suffix}")
    assert saved.provenance is None
    p = golden.pools()
    verdict = verify(saved, p["F"], p["g"])
    assert verdict.ok
    assert verdict.fingerprints == {"F": "not stored", "G": "not stored"}
    assert dict(verdict.table())["fingerprint of F"] == "not stored"
    assert not verify(forged(saved, indices=saved.indices[::-1]), p["F"], p["g"]).ok
    with pytest.raises(ValueError, match="stored no settings"):
        verify(dataclasses.replace(saved, projection=None), p["F"], p["g"])


@pytest.mark.parametrize("spoil", [{"F": 3}, {"initial": [0, 0]}, {"initial": [420]}, {"options": None}, {"prior": 1}])
def test_damaged_provenance(spoil, tmp_path):
    import json

    selection, _ = chosen_by("mp", 5)
    selection.save(tmp_path / "chosen.json")
    content = json.loads((tmp_path / "chosen.json").read_text())
    content["meta"]["provenance"].update(spoil)
    (tmp_path / "chosen.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="provenance"):
        Selection.load(tmp_path / "chosen.json")


def test_refused_input():
    selection, _ = chosen_by("mp", 5)
    with pytest.raises(TypeError, match=r"selection is a list; it must be a gip_gpu.Selection"):
        verify([1, 2], F, G)
    with pytest.raises(ValueError, match=r"F has shape \(419, 16\); the selection was made from \(420, 16\)"):
        verify(selection, F[1:], G[1:])
    with pytest.raises(TypeError, match="G is None"):
        verify(selection, F)
    with pytest.raises(ValueError, match="G has 1 columns"):
        verify(selection, F, G[:, :1])
    with pytest.raises(ValueError, match="not finite in row 4"):
        verify(selection, changed(F, (4, 0), np.nan), G)


def test_a_resumed_selection_and_one_of_a_pool(tmp_path):
    select(F, G, 10, device="cpu", sign="any", checkpoint=tmp_path / "run")
    resumed = select(F, G, 30, device="cpu", sign="any", checkpoint=tmp_path / "run")
    assert resumed.resumed == 10
    assert verify(resumed, F, G).ok
    pool = gip_gpu.Pool(F, device="cpu", columns="lazy")
    for g in (G, np.abs(G[:, 0])):
        assert verify(pool.select(g, 30, sign="any"), F, g).ok


def test_fingerprints_of_distributed_selections():
    torch = pytest.importorskip("torch.distributed", reason="many processes need torch")
    from gip_gpu import distributed

    torch.init_process_group("gloo", store=torch.HashStore(), rank=0, world_size=1)
    try:
        ratings = RNG.integers(0, 6, (420, 2))
        for options in ({}, {"standardize": "rank"}):
            selection = distributed.select(F, ratings, 12, device="cpu", **options)
            verdict = verify(selection, F, ratings)
            assert verdict.ok
            assert verdict.fingerprints == {"F": "equal", "G": "equal"}
            assert selection.provenance == select(F, ratings, 12, device="cpu", **options).provenance
    finally:
        torch.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"real embeddings are not in {REAL_DATA}")
@pytest.mark.parametrize("objective", ["mp", "lr", "entropy"])
def test_real_embeddings(objective):
    rows = np.load(REAL_DATA / "gsm8k_minilm_f16.npy")
    scores = None if objective == "entropy" else gip_gpu.signals.self_compression(rows, center=True)
    selection = select(rows, scores, 400, device="cpu", objective=objective, center=True, sign="any")
    verdict = verify(selection, rows, scores)
    assert verdict.ok
    assert len(verdict.holding) > 395
    swapped = forged(selection, indices=selection.indices[np.r_[:300, 301, 300, 302:400]])
    assert verify(swapped, rows, scores).differing[0] == 300
