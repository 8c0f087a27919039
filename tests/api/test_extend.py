"""extend: picks from rows that joined a pool, after the picks of a selection, without the old rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import Selection, extend, select
from tests.support.emulated import device_options
from tests.support.initial_items import KINDS, assert_rest, expect, problem

KEPT = [(objective, options) for objective, options in KINDS if "query" not in options]


def halves(objective, m=300, seed=5):
    """Rows and scores of the old part and of the new one."""
    F, G = problem(objective, m, seed=seed)
    cut = 2 * m // 3
    none = G is None
    return F[:cut], None if none else G[:cut], F[cut:], None if none else G[cut:]


def stacked(F, G, chosen, F_new, G_new):
    """The chosen rows and the new ones."""
    scores = None if G is None else np.concatenate([np.asarray(G)[chosen], G_new])
    return np.concatenate([F[chosen], F_new]), scores


def expected(F, G, chosen, F_new, G_new, k, objective, options):
    """Returns the reference's picks from both parts, as rows of F_new."""
    both, scores = stacked(F, G, chosen, F_new, G_new)
    return expect(both, scores, k, objective, options, range(len(chosen))) - len(chosen)


@pytest.mark.parametrize(("objective", "options"), KEPT)
@pytest.mark.parametrize("normalize", [True, False])
def test_as_if_the_chosen_rows_were_there(objective, options, normalize):
    F, G, F_new, G_new = halves(objective)
    if not normalize:
        # The largest row is a new one, so the power of two that scales the rows differs from the selection's.
        F, F_new = F / 40, F_new / 8
        if "epsilon" in options:
            options = {**options, "epsilon": options["epsilon"] / 100}
    options = {**options, "normalize": normalize}
    before = select(F, G, 9, objective=objective, **options)
    chosen = extend(before, F_new, G_new, 10)
    np.testing.assert_array_equal(chosen.indices, expected(F, G, before.indices, F_new, G_new, 10, objective, options))
    both, scores = stacked(F, G, before.indices, F_new, G_new)
    whole = select(both, scores, 10, objective=objective, initial=range(9), **options)
    np.testing.assert_allclose(chosen.gains, whole.gains, rtol=1e-8)
    np.testing.assert_allclose(chosen.weights, whole.weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(chosen.certificate.ties, whole.certificate.ties)
    assert chosen.plan.objective == objective
    if G is not None:
        # The bound on the rounding of A starts from that of the selection.
        assert extend(before, F_new, G_new, 1).projection.drift > before.projection.drift > 0
    # Projecting out the earlier picks changes the result.
    alone = select(F_new, G_new, 10, objective=objective, **options)
    assert chosen.indices.tolist() != alone.indices.tolist()


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize(("objective", "options"), KEPT[::2])
def test_saved_and_extended_again(objective, options, suffix, tmp_path):
    F, G, F_new, G_new = halves(objective)
    before = select(F, G, 6, objective=objective, initial=[3, 5], **options)
    before.save(tmp_path / f"before{suffix}")
    loaded = Selection.load(tmp_path / f"before{suffix}")
    np.testing.assert_array_equal(loaded.projection.A, before.projection.A)
    assert loaded.projection.options == before.projection.options
    first = extend(loaded, F_new[:50], None if G is None else G_new[:50], 5)
    first.save(tmp_path / f"first{suffix}")
    second = extend(Selection.load(tmp_path / f"first{suffix}"), F_new[50:], None if G is None else G_new[50:], 5)
    picks = np.array([3, 5, *before])
    rows, scores = stacked(F, G, picks, F_new, G_new)
    members = np.array([*range(8), *(8 + first.indices), *range(58, len(rows))])
    wanted = expect(rows[members], None if G is None else scores[members], 5, objective, options, range(13)) - 13
    np.testing.assert_array_equal(second.indices, wanted)


def test_old_files_load_but_cannot_be_extended(tmp_path):
    import json

    F, G, F_new, G_new = halves("mp")
    path = tmp_path / "old.json"
    select(F, G, 6).save(path)
    content = json.loads(path.read_text())
    del content["meta"]["projection"], content["projection_A"]
    path.write_text(json.dumps(content))
    old = Selection.load(path)
    assert len(old) == 6
    with pytest.raises(
        ValueError, match=r"the selection cannot be extended: .* did not store the projection; select from all rows"
    ):
        extend(old, F_new, G_new, 5)


@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_backends(backend, request):
    run = device_options(backend, request)
    # Triton's interpreter is slow.
    for objective in ("lr",) if backend == "triton" else ("mp", "lr", "entropy"):
        F, G, F_new, G_new = halves(objective, m=45)
        # `before` runs on this device; `chosen` continues from it on the CPU.
        before = extend(select(F[:1], None if G is None else G[:1], 1, objective=objective), F, G, 2, **run)
        chosen = extend(before, F_new, G_new, 2, device="cpu")
        picks = [0, *before]
        wanted = expected(F, G, picks, F_new, G_new, 2, objective, {})
        np.testing.assert_array_equal(chosen.indices, wanted)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KEPT), normalize=st.booleans())
def test_random_pools(seed, kind, normalize):
    """Duplicates, exhaustion before and after, rows that add nothing, selections of several rounds."""
    objective, options = kind
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(6, 40)), int(rng.integers(2, 8))
    F = rng.standard_normal((m, d))[rng.integers(0, m, m)]
    if not normalize:
        F *= rng.uniform(0.1, 1, (m, 1)) / np.linalg.norm(F, axis=1).max()
    G = None if objective == "entropy" else rng.integers(-2, 3, (m, 2)) + rng.random()
    cut = int(rng.integers(1, m))
    old = None if G is None else G[:cut]
    new = None if G is None else G[cut:]
    how = {**options, "normalize": normalize}
    before = select(F[:cut], old, int(rng.integers(1, cut + 1)), objective=objective, **how)
    if before.projection is None:
        # No remaining item had a score that counts.
        assert before.gains[-1] == 0
        return
    last = before.indices[before.rounds[-1] :]
    k = int(rng.integers(1, m - cut + 1))
    chosen = extend(before, F[cut:], new, k)
    np.testing.assert_array_equal(chosen.indices, expected(F[:cut], old, last, F[cut:], new, k, objective, how))


def test_several_rounds():
    """Only the picks of the last round are projected out, as within the selection."""
    rng = np.random.default_rng(3)
    F, F_new = rng.standard_normal((60, 3)), rng.standard_normal((30, 3))
    q = rng.standard_normal(3)
    G, G_new = (X / np.linalg.norm(X, axis=1, keepdims=True) @ q for X in (F, F_new))
    before = select(F, G, 50)
    assert len(before.rounds) > 2
    last = before.indices[before.rounds[-1] :]
    chosen = extend(before, F_new, G_new, 20)
    np.testing.assert_array_equal(chosen.indices, expected(F, G, last, F_new, G_new, 20, "mp", {}))


@pytest.mark.parametrize("objective", ["lr", "entropy"])
@pytest.mark.parametrize("how", ["restart", "stop"])
def test_nothing_left_to_add(objective, how):
    """If the earlier picks span everything, a new round begins, or there is no pick."""
    rng = np.random.default_rng(3)
    F, F_new = rng.standard_normal((20, 3)), rng.standard_normal((10, 3))
    G = G_new = None
    if objective == "lr":
        G, G_new = rng.standard_normal(20), rng.standard_normal(10)
    before = select(F, G, 3, objective=objective, on_exhausted=how)
    chosen = extend(before, F_new, G_new, 4)
    options = {"on_exhausted": how}
    wanted = expected(F, G, before.indices, F_new, G_new, 4, objective, options)
    np.testing.assert_array_equal(chosen.indices, wanted)
    assert len(chosen) == (4 if how == "restart" else 0)
    assert chosen.rounds == ((0, 3) if how == "restart" else ())


def test_from_a_checkpoint(tmp_path):
    F, G, F_new, G_new = halves("lr")
    path = tmp_path / "run"
    whole = extend(select(F, G, 10, objective="lr"), F_new, G_new, 5)
    for k in (4, 10, 10):
        chosen = select(F, G, k, objective="lr", checkpoint=path)
    np.testing.assert_array_equal(extend(chosen, F_new, G_new, 5).indices, whole.indices)
    with pytest.raises(ValueError, match=r"cannot be extended: .* the beginning of a longer checkpoint"):
        extend(select(F, G, 7, objective="lr", checkpoint=path), F_new, G_new, 5)


@pytest.mark.parametrize("objective", ["mp", "lr"])
def test_with_a_checkpoint(objective, tmp_path):
    F, G, F_new, G_new = halves(objective)
    before, path = select(F, G, 8, objective=objective), tmp_path / "run"
    whole = extend(before, F_new, G_new, 12)
    for k in (3, 12):
        chosen = extend(before, F_new, G_new, k, checkpoint=path)
    assert_rest(whole, chosen)
    # Extending the result again gives the same picks too.
    again = extend(chosen, F, G, 5), extend(whole, F, G, 5)
    np.testing.assert_array_equal(*(each.indices for each in again))
    other = select(F, G, 7, objective=objective)
    with pytest.raises(ValueError, match="of another selection: of other picks before these rows joined; delete it"):
        extend(other, F_new, G_new, 3, checkpoint=path)
    with pytest.raises(ValueError, match="of another selection: of other picks before these rows joined; delete it"):
        select(F_new, G_new, 3, objective=objective, checkpoint=path)


def test_what_cannot_be_extended():
    F, G, F_new, G_new = halves("mp")
    before = select(F, G, 5)
    for call, error, message in (
        (lambda: extend(before, F_new[:, :-1], G_new, 5), ValueError, "F_new has 23 columns; .* of length 24"),
        (lambda: extend(before, F_new, G_new[:, :2], 5), ValueError, "G_new has 2 columns; .* made with 3"),
        (lambda: extend(before, F_new, None, 5), TypeError, "G_new is None; .* must be scores of 3 signals"),
        (lambda: extend(before, F_new, G_new, 5, normalize=False), ValueError, "normalize is False; .*normalize=True"),
        (lambda: extend(before, F_new, G_new, 101), ValueError, "k is 101; k must be an int from 1 to m = 100"),
        (lambda: extend([1, 2], F_new, G_new, 5), TypeError, "selection is a list; it must be a gip_gpu.Selection"),
        (lambda: extend(before, F_new[0], G_new, 5), ValueError, r"F_new has shape \(24,\)"),
        (lambda: extend(before, F_new * 0, G_new, 5), ValueError, r"^F_new has a zero row, row 0 \(\["),
        (
            lambda: extend(before, F_new, G_new * np.nan, 5),
            ValueError,
            "^G_new has a value that is not finite in row 0",
        ),
        (
            lambda: extend(before, F_new, G_new[1:], 5),
            ValueError,
            "^G_new has 99 rows and F_new has 100 .*; row i of G_new belongs to row i of F_new$",
        ),
        (
            lambda: extend(before, F_new, G_new.T, 5),
            ValueError,
            "^G_new has 3 rows.*; G_new looks transposed: give G_new",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
    fitted = select(F, G, 5, query="ridge", epsilon=0.1)
    with pytest.raises(ValueError, match="cannot be extended: its scores were a fitted query"):
        extend(fitted, F_new, G_new, 5)
    with pytest.raises(ValueError, match="cannot be extended: it chose nothing, ended with items taken in order"):
        extend(select(F, G * 0, 5), F_new, G_new, 5)
    nothing = select(F, None, 5)
    with pytest.raises(TypeError, match="G_new is given; for this selection it must be None"):
        extend(nothing, F_new, G_new, 5)


@pytest.mark.parametrize("objective", ["mp", "lr", "omp"])
def test_exhaustion_is_measured_by_what_was_chosen(objective):
    """New scores a billionth of the old ones count as rounding of the old ones."""
    before = select(np.eye(6)[:1], [1.0], 1, objective=objective, on_exhausted="stop")
    assert len(extend(before, np.eye(6)[1:], [1e-9] * 5, 3)) == 0
    assert len(extend(before, np.eye(6)[1:], [1e-3] * 5, 3)) == 3


@pytest.mark.parametrize("normalize", [True, False])
def test_a_candidate_that_was_refused_leaves_no_trace(normalize):
    """A selection that ended because the next score exceeds float64's precision is extended from its picks alone."""
    # Each row is nearly in the span of those before it, with a contradicting score; the scores grow as 1, 1e4, 1e8.
    F = np.array([[1, 0, 0, 0], [1, 1e-4, 0, 0], [0, 1, 1e-4, 0]])
    how = {"normalize": normalize, "on_exhausted": "stop"}
    before = select(F, [1.0, 0.0, 0.0], 3, objective="lr", **how)
    assert before.indices.tolist() == [0, 1]
    assert before.projection.crest == pytest.approx(1e4, rel=1e-3)
    F_new, G_new, G = np.array([[0, 3.0, 0, 4.0], [0, 0, 0, 1.0]]), np.array([[0.0], [1.0]]), np.eye(3)[:, :1]
    chosen = extend(before, F_new, G_new, 2)
    assert chosen.indices[0] == 0
    np.testing.assert_array_equal(chosen.indices, expected(F, G, before.indices, F_new, G_new, 2, "lr", how))


def test_rows_of_other_lengths_join():
    """The scale of rounding in a ratio is passed on unchanged, whatever the lengths of the new rows."""
    rng = np.random.default_rng(0)
    for epsilon in (0.0, 1e-8):
        how = {"normalize": False, "epsilon": epsilon}
        F, G = rng.standard_normal((40, 6)), rng.standard_normal((40, 2))
        F_new, G_new = F[::-1] * 10.0 ** rng.uniform(-6, 9, (40, 1)), rng.standard_normal((40, 2))
        before = select(F, G, 3, objective="lr", **how)
        chosen = extend(before, F_new, G_new, 3)
        np.testing.assert_array_equal(chosen.indices, expected(F, G, before.indices, F_new, G_new, 3, "lr", how))
        # The scale is that of the picks as given, whatever power of two the rows were divided by.
        lengths = np.sqrt(epsilon + np.square(F[before.indices]).sum(axis=1))
        scale = (np.linalg.norm(G[before.indices], axis=1) / lengths).max()
        assert before.projection.scale == pytest.approx(scale, rel=1e-12)
