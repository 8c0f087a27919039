"""Warnings of scores that are probably unintended: negative with the sign ignored, or equal for all items."""

import warnings

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Pool, cli, extend, select, signals
from gip_gpu.api import score_checks
from gip_gpu.api.score_checks import Traits
from gip_gpu.exceptions import ScoreSignWarning, ScoreWarning, TiedScoresWarning

RNG = np.random.default_rng(0)
F = RNG.standard_normal((400, 12)).astype(np.float32)
RATINGS = RNG.integers(1, 6, (400, 2)).astype(float)
CENTRED = RATINGS - RATINGS.mean(axis=0)
SIGN = r"^G has negative scores for \d+ of 400 items, .* pass sign='positive'; sign='any' is right for scores F Q"


@pytest.fixture(autouse=True)
def nothing_else():
    """Turns every warning that a test does not expect into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("objective", ["mp", "omp", "lr"])
def test_negative_scores_where_the_sign_is_ignored(objective):
    with pytest.warns(ScoreSignWarning, match=SIGN) as told:
        chosen = select(F, CENTRED, 5, objective=objective)
    assert len(told) == 1
    assert told[0].filename == __file__
    # The picks equal those of an explicit sign="any", which does not warn.
    assert chosen.indices.tolist() == select(F, CENTRED, 5, objective=objective, sign="any").indices.tolist()
    assert chosen.projection.options.sign == "any"
    select(F, CENTRED, 5, objective=objective, sign="positive")


def test_each_entry_point():
    pool = Pool(F)
    with pytest.warns(ScoreSignWarning, match=SIGN) as told:
        before = pool.select(CENTRED, 5)
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(ScoreSignWarning, match="^G_new has negative scores") as told:
        extend(before, F[:30], CENTRED[:30], 2)
    assert [warning.filename for warning in told] == [__file__]
    extend(before, F[:30], CENTRED[:30], 2, sign="any")
    extend(before, F[:30], RATINGS[:30], 2)
    with pytest.raises(ValueError, match=r"^sign is 'positive'; the selection was made with sign='any'$"):
        extend(before, F[:30], CENTRED[:30], 2, sign="positive")


def test_a_line_warns_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            select(F, CENTRED, 2)
    assert [warning.category for warning in told] == [ScoreSignWarning]


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("F.npy", F)
    np.save("G.npy", CENTRED)
    warnings.simplefilter("default")
    assert cli.main(["select", "F.npy", "--scores", "G.npy", "-k", "5", "-o", "out.npy"]) == 0
    assert capsys.readouterr().err.startswith("gip-gpu: warning: G has negative scores")
    for more in ("--sign any", "--sign positive", "--quiet", "--standardize rank"):
        assert cli.main(f"select F.npy --scores G.npy -k 5 -o out.npy --force {more}".split()) == 0
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("normalize", [True, False])
def test_scores_of_a_query_are_directions(normalize):
    """Also next to other columns, in float16, and with half of the rows in a plane."""
    scores = signals.from_query(F, RNG.standard_normal((12, 3)), normalize=normalize)
    own = signals.self_compression(F, normalize=normalize)
    assert (own < 0).any()
    flat = np.concatenate([F[:200] * (np.arange(12) < 2), F[200:]])
    for rows, G in [
        (F, scores),
        (F, own),
        (F, own.astype(np.float16)),
        (F, np.column_stack([RATINGS, own])),
        (flat, signals.self_compression(flat, normalize=normalize)),
    ]:
        select(rows, G, 5, normalize=normalize)
    with pytest.warns(ScoreSignWarning):
        select(F, np.column_stack([CENTRED, own]), 5, normalize=normalize)
    with pytest.warns(ScoreSignWarning):
        select(flat, CENTRED, 5, normalize=normalize)
    # Scores of one query for half of the items and of another for the rest are those of no query.
    with pytest.warns(ScoreSignWarning):
        select(F, np.where(np.arange(400) % 2, scores[:, 0], scores[:, 1]), 5, normalize=normalize)


def test_where_rows_are_too_few_to_tell():
    with pytest.warns(ScoreSignWarning):
        select(F[:12], signals.from_query(F[:12], -F[0]), 2)


def test_where_negative_scores_are_meant():
    select(F, CENTRED, 5, query="ridge")
    select(F, CENTRED, 5, objective="mi", query="ridge")
    select(F, CENTRED[:, 0], 5, objective="mi")
    select(F, RATINGS, 5)
    # Rounding of zero is not negative.
    select(F, RATINGS - np.where(RATINGS == 1, 1 + 1e-15, 0), 5)


def test_z_scores_are_said_to_be_negative():
    with pytest.warns(ScoreSignWarning, match=r"items \(as z-scores below the mean are\), and objective"):
        select(F, RATINGS, 5, standardize="zscore")
    select(F, RATINGS, 5, standardize="zscore", sign="positive")
    select(F, RATINGS, 5, standardize="rank")


def test_traits_of_parts():
    """Joined traits equal those of all items: a part that contradicts a query counts, an undecided part does not."""
    rows = gip_gpu.reference.Rows(F)
    whole = Traits.of(rows, CENTRED, directed=True)
    cuts = [slice(0, 5), slice(5, 150), slice(150, 400)]
    parts = [Traits.of(gip_gpu.reference.Rows(F[cut]), CENTRED[cut], directed=True) for cut in cuts]
    assert parts[0].queried is None
    joined = Traits.joined(parts)
    assert joined.lowest.tolist() == whole.lowest.tolist()
    assert joined.highest.tolist() == whole.highest.tolist()
    assert (joined.negative, joined.queried) == (whole.negative, whole.queried)
    assert (whole.queried, Traits.joined(parts[:1]).queried) == (False, None)


@pytest.mark.parametrize("on_exhausted", ["restart", "stop", "continue"])
def test_scores_that_are_all_zero(on_exhausted):
    with pytest.warns(
        TiedScoresWarning, match="^G is zero for all 400 items: nothing distinguishes them.*G=None"
    ) as told:
        select(F, np.zeros((400, 2)), 5, on_exhausted=on_exhausted)
    assert len(told) == 1


def test_constant_scores():
    for G in (np.ones(400), np.tile([1.0, 3.0], (400, 1))):
        with pytest.warns(TiedScoresWarning, match="^G is the same for all 400 items") as told:
            select(F, G, 5)
        assert len(told) == 1
    # No warning: one column distinguishes the items, a query replaces the scores, or there is only one item.
    select(F, np.column_stack([np.ones(400), RATINGS]), 5)
    select(F, np.ones(400), 5, query="ridge")
    select(F[:1], [3.0], 1)


def test_picks_in_order():
    few = np.zeros(400)
    few[[7, 9]] = 1
    with pytest.warns(
        TiedScoresWarning, match="^the last 3 of 5 picks are rows in order: .*on_exhausted='stop' leaves"
    ):
        assert select(np.eye(400), few, 5).indices.tolist() == [7, 9, 0, 1, 2]
    assert select(np.eye(400), few, 5, on_exhausted="stop").indices.tolist() == [7, 9]
    with pytest.warns(TiedScoresWarning, match="^the last 4 of 4 picks"):
        select(F, -RATINGS, 4, sign="positive")
    # Two picks that exhaust one round are not picks in order.
    select(np.eye(400), few, 2)


def test_classes():
    assert issubclass(ScoreSignWarning, ScoreWarning)
    assert issubclass(TiedScoresWarning, ScoreWarning)
    assert issubclass(ScoreWarning, UserWarning)


def test_a_few_steps_say_yes_where_the_decomposition_does(monkeypatch):
    """A few steps find a query only if the decomposition does; where they are undecided, the decomposition decides."""
    seen = []
    monkeypatch.setattr(score_checks, "SHORT", 0)
    reached, soon = score_checks._reached, score_checks._reached_soon
    monkeypatch.setattr(score_checks, "_reached", lambda *pair: seen.append("all") or reached(*pair))
    monkeypatch.setattr(score_checks, "_reached_soon", lambda *pair: seen.append("few") or soon(*pair))
    select(F, signals.self_compression(F), 2)
    assert seen == ["few"]
    seen.clear()
    with pytest.warns(ScoreSignWarning):
        select(F, CENTRED, 2)
    assert seen == ["few", "all"]
    seen.clear()
    # The rows are nearly in a plane, and the query is across it.
    steep = F * np.float32(10.0) ** -np.arange(12)
    across = signals.from_query(steep, 10.0 ** np.arange(12), normalize=False)
    select(steep, across, 2, normalize=False)
    assert seen == ["few", "all"]
