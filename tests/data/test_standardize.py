"""Standardised scores: their values, the record of them, and their use in `extend`."""

import dataclasses
import re
import statistics
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gip_gpu import Pool, Selection, cli, extend, select
from gip_gpu.data.preparation import Preparation
from gip_gpu.data.standardize import Standardization, by_rank, levels, ranks, standardized
from gip_gpu.exceptions import TiedScoresWarning
from gip_gpu.numerics import exact_sums
from gip_gpu.reference import greedy, matching_pursuit

RNG = np.random.default_rng(0)
F = RNG.standard_normal((300, 12)).astype(np.float32)
# Ratings, and lengths whose spread is a thousand times theirs.
G = np.column_stack([RNG.integers(1, 6, 300), RNG.integers(20, 4000, 300)]).astype(float)


def z_scores(scores):
    """By Python's exact statistics."""
    columns = []
    for column in scores.T.tolist():
        center = float(statistics.mean(map(Fraction, column)))
        spread = statistics.pstdev([x - center for x in column], mu=0)
        columns.append([(x - center) / spread for x in column])
    return np.array(columns).T


def average_ranks(scores):
    """From 0 to 1, by comparing each pair."""
    below = (scores[:, None, :] > scores[None, :, :]).sum(axis=1)
    equal = (scores[:, None, :] == scores[None, :, :]).sum(axis=1) - 1
    return (below + equal / 2) / (len(scores) - 1)


def test_the_values():
    scores, done = standardized(G, "zscore")
    np.testing.assert_allclose(scores, z_scores(G), rtol=1e-14)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(scores.std(axis=0), 1, rtol=1e-14)
    np.testing.assert_array_equal(done.apply(G[:7]), scores[:7])
    scores, done = standardized(G, "rank")
    np.testing.assert_allclose(scores, average_ranks(G), rtol=1e-14)
    assert (done, scores.min() >= 0, scores.max() <= 1) == (Standardization("rank"), True, True)


@pytest.mark.parametrize("method", ["zscore", "rank"])
@pytest.mark.parametrize("objective", ["mp", "lr"])
def test_select_from_them(method, objective):
    scores = {"zscore": z_scores, "rank": average_ranks}[method](G)
    expected = matching_pursuit(F, scores, 9) if objective == "mp" else greedy(F, scores, 9, objective=objective)
    options = {"objective": objective, "standardize": method}
    found = select(F, G, 9, **options)
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(Pool(F).select(G, 9, **options).indices, expected)
    assert found.indices.tolist() != select(F, G, 9, objective=objective).indices.tolist()
    assert found.preparation.standardized.method == method
    assert f"]; scores: {method}\n" in repr(found)
    assert select(F, G, 3).preparation is None


def test_the_scale_of_a_column_does_not_matter():
    for method in ("zscore", "rank"):
        chosen = select(F, G, 20, standardize=method).indices
        np.testing.assert_array_equal(select(F, G * [1e6, 1e-3] + [5, 0], 20, standardize=method).indices, chosen)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved(tmp_path, suffix):
    for options in ({"standardize": "zscore"}, {"standardize": "rank"}, {}):
        chosen = select(F, G, 5, **options)
        chosen.save(tmp_path / f"chosen{suffix}")
        assert Selection.load(tmp_path / f"chosen{suffix}").preparation == chosen.preparation


def test_constant_columns():
    constant = np.column_stack([np.full(300, 0.1), G[:, 0]])
    for method in ("zscore", "rank"):
        with pytest.warns(TiedScoresWarning, match="^G is constant in column 0: standardised it is 0") as told:
            chosen = select(F, constant, 5, standardize=method)
        assert told[0].filename == __file__
        assert chosen.indices.tolist() == select(F, G[:, 0], 5, standardize=method).indices.tolist()
        assert not chosen.weights[:, 0].any()
        for same in (constant[:, 0], np.full((300, 2), [0.1, 7])):
            text = re.escape(f"(every column is constant), and standardize={method!r} makes it zero: nothing")
            with pytest.warns(TiedScoresWarning, match=f"^G is the same for all 300 items {text}"):
                select(F, same, 5, standardize=method)


def test_extended_by_the_scale_of_the_pool_before():
    before = select(F[:200], G[:200], 5, standardize="zscore", sign="positive")
    done = before.preparation.standardized
    # Most are better and shorter than those before.
    joined = np.where(np.arange(100)[:, None] % 9 == 0, G[200:], G[200:] + np.array([2, -3000]))
    more = extend(before, F[200:], joined, 5)
    by_hand = select(F[:200], done.apply(G[:200]), 5, sign="positive")
    np.testing.assert_array_equal(more.indices, extend(by_hand, F[200:], done.apply(joined), 5).indices)
    assert more.preparation == Preparation(100, 0, done)
    assert extend(more, F[:50], G[:50], 2).preparation.standardized == done
    text = "its scores were ranks (standardize='rank'), which change as rows join; select from all rows with initial="
    with pytest.raises(ValueError, match=re.escape(text)):
        extend(select(F[:200], G[:200], 5, standardize="rank"), F[200:], G[200:], 5)


@pytest.mark.parametrize("spread", [1e-300, 1e-160])
def test_scores_that_are_too_many_deviations_away(spread):
    before = select(F[:200], G[:200], 5, standardize="zscore", sign="positive")
    done = Standardization("zscore", before.preparation.standardized.centers, (spread, 1.0))
    narrow = dataclasses.replace(before, preparation=Preparation(200, 0, done))
    with pytest.raises(
        ValueError, match=r"^G_new reaches .* standard deviations .*; select from all rows with initial="
    ):
        extend(narrow, F[200:], 1e20 * G[200:], 5)


def test_a_checkpoint_of_other_scales(tmp_path):
    path = tmp_path / "run.ckpt"
    whole = select(F, G, 8, standardize="rank").indices.tolist()
    select(F, G, 5, standardize="rank", checkpoint=path)
    assert select(F, G, 8, standardize="rank", checkpoint=path).indices.tolist() == whole
    for other in (None, "zscore"):
        with pytest.raises(ValueError, match=f"of another G; of standardize 'rank', not {other!r}; delete it"):
            select(F, G, 8, standardize=other, checkpoint=path)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("F.npy", F)
    np.savetxt("G.csv", G, "%d", ",", header="rating,length", comments="")
    assert cli.main(["select", "F.npy", "--scores", "G.csv", "-k", "20", "--standardize", "rank", "-o", "out.npz"]) == 0
    assert re.search(r"^scores +rank$", capsys.readouterr().out, re.MULTILINE)
    chosen = Selection.load("out.npz")
    assert chosen.indices.tolist() == select(F, G, 20, standardize="rank").indices.tolist()
    assert cli.main(["select", "F.npy", "--objective", "entropy", "-k", "20", "--standardize", "rank"]) == 2
    assert "standardize is 'rank', which is for scores; G is None" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["ranks", True, 3])
def test_what_is_refused(value):
    with pytest.raises((ValueError, TypeError), match="standardize must be one of 'zscore', 'rank'"):
        select(F, G, 5, standardize=value)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=st.floats(-1e150, 1e150)),
    st.data(),
)
def test_parts_give_what_the_whole_does(scores, data):
    """The result is bit-identical for any split of the rows."""
    cut = data.draw(st.integers(1, len(scores) - 1))
    parts = scores[:cut], scores[cut:]
    whole = exact_sums.column_sums(scores)
    assert whole == [sum(both) for both in zip(*map(exact_sums.column_sums, parts), strict=True)]
    for total, column in zip(whole, scores.T.tolist(), strict=True):
        assert Fraction(total, 2**exact_sums.UNIT) == sum(map(Fraction, column))
    places = ranks([[levels(part) for part in pair] for pair in zip(*(part.T for part in parts), strict=True)])
    joined = [by_rank(part, [own[i] for own in places]) for i, part in enumerate(parts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TiedScoresWarning)
        ranked, _ = standardized(scores, "rank")
        scaled, done = standardized(scores, "zscore")
    np.testing.assert_array_equal(np.concatenate(joined), ranked)
    np.testing.assert_array_equal(np.concatenate([done.apply(part) for part in parts]), scaled)
    assert np.isfinite(scaled).all()
