"""Centring: the exact mean row, the same bits from every source, and the reference's picks on centred rows."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import Pool, Selection, cli, extend, reference, select, signals
from gip_gpu.data.center import CONE, CentredRows, centred, measure
from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import exact_sums
from gip_gpu.planning.cpu_costs import HostCosts
from gip_gpu.sources import open_matrix

RNG = np.random.default_rng(3)
CONE_ROWS = (0.4 * RNG.standard_normal((260, 12)) + RNG.standard_normal(12)).astype(np.float32)
SCORES = RNG.standard_normal((260, 2))
RECORDED = ("indices", "gains", "weights", "explained")


def mean_of(F):
    """The mean row by fractions, rounded once."""
    return [float(sum(map(Fraction, column), Fraction(0)) / len(F)) for column in np.asarray(F, float).T.tolist()]


def same_bits(one, other):
    for name in RECORDED:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.certificate.margins, other.certificate.margins)
    assert one.preparation == other.preparation


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_folded_sums_are_exact(seed):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 60, 2)
    values = rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-rng.integers(1, 150), rng.integers(1, 150), (m, n))
    values[rng.random((m, n)) < 0.2] = 0
    folded = exact_sums.folded(values)
    assert exact_sums.column_sums(np.array([*folded, np.zeros(n)])) == exact_sums.column_sums(values)
    assert all(row.shape == (n,) for row in folded)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int8, np.int64, bool, np.longdouble])
def test_mean_is_exact_in_every_block_size_and_type(dtype):
    F = (20 * RNG.standard_normal((90, 4))).astype(dtype)
    for cuts in ([0, 90], [0, 1, 2, 50, 90], list(range(91))):
        bounds = list(pairwise(cuts))
        assert measure(F, True, bounds).mean.tolist() == mean_of(F)
    mean = measure(F, True, [(0, 90)]).mean
    expected = F.astype(float) - mean
    np.testing.assert_array_equal(centred(F, mean), expected)
    np.testing.assert_array_equal(CentredRows(F, mean)[:], expected)
    np.testing.assert_array_equal(CentredRows(F, mean).take([5, -1, 5, 17]), expected[[5, -1, 5, 17]])


def test_widely_spread_values():
    F = RNG.standard_normal((70, 3)) * 10.0 ** RNG.uniform(-140, 140, (70, 3))
    assert Rows(F, center=True).center.mean.tolist() == mean_of(F)


@pytest.mark.parametrize("sign", ["any", "positive"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("columns", ["auto", "lazy"])
def test_picks_of_the_reference(normalize, columns, sign):
    F = CONE_ROWS / (1 if normalize else 9)
    by_hand = F.astype(float) - mean_of(F)
    how = {"normalize": normalize, "center": True}
    for objective in ("mp", "omp", "lr"):
        chosen = select(F, SCORES, 60, device="cpu", objective=objective, columns=columns, sign=sign, **how)
        same = select(
            by_hand, SCORES, 60, device="cpu", objective=objective, columns=columns, sign=sign, normalize=normalize
        )
        for name in RECORDED:
            np.testing.assert_array_equal(getattr(chosen, name), getattr(same, name))
        if objective == "mp" and sign == "any":
            expected = reference.matching_pursuit(F, SCORES, 60, on_exhausted="restart", **how)
        else:
            expected = reference.greedy(F, SCORES, 60, objective=objective, sign=sign, **how)
        np.testing.assert_array_equal(chosen.indices, expected)
        assert chosen.indices.tolist() != select(F, SCORES, 60, device="cpu", objective=objective, sign=sign).tolist()


def test_objectives_without_signs():
    for epsilon in (0.0, 0.05):
        chosen = select(CONE_ROWS, None, 30, device="cpu", epsilon=epsilon, center=True)
        expected = reference.greedy(CONE_ROWS, None, 30, objective="entropy", epsilon=epsilon, center=True)
        np.testing.assert_array_equal(chosen.indices, expected)
    how = {"objective": "mi", "query": "ridge", "epsilon": 0.1, "center": True}
    chosen = select(CONE_ROWS, SCORES, 30, device="cpu", **how)
    np.testing.assert_array_equal(chosen.indices, reference.greedy(CONE_ROWS, SCORES, 30, **how))
    assert reference.brute_force(CONE_ROWS, SCORES, 4, **how).tolist() == chosen.tolist()[:4]
    assert (
        reference.greedy_lr(CONE_ROWS, SCORES, 9, center=True).tolist()
        == reference.greedy(CONE_ROWS, SCORES, 9, objective="lr", center=True).tolist()
    )


@pytest.mark.parametrize("objective", ["mp", "lr"])
def test_same_bits_from_array_file_shards_and_blocks(objective, tmp_path, monkeypatch):
    np.save(tmp_path / "F.npy", CONE_ROWS)
    (tmp_path / "shards").mkdir()
    for number, part in enumerate(np.array_split(CONE_ROWS, 4)):
        np.save(tmp_path / "shards" / f"{number}.npy", part)
    how = {"device": "cpu", "objective": objective, "columns": "lazy", "center": True, "sign": "any"}
    whole = select(CONE_ROWS, SCORES, 40, **how)
    fortran = select(np.asfortranarray(CONE_ROWS), SCORES, 40, **how)
    mapped = select(np.load(tmp_path / "F.npy", mmap_mode="r"), SCORES, 40, **how)
    for other in (fortran, mapped):
        same_bits(whole, other)
    for place in (tmp_path / "F.npy", tmp_path / "shards"):
        same_bits(whole, select(place, SCORES, 40, **how))
        same_bits(whole, select(place, SCORES, 40, memory_limit="30MB", **how))
    # A large array is centred when it is read.
    monkeypatch.setattr("gip_gpu.data.center.SMALL", 100)
    assert isinstance(Rows(CONE_ROWS, center=True).values, CentredRows)
    same_bits(whole, select(CONE_ROWS, SCORES, 40, **how))


def test_streamed(tmp_path, monkeypatch):
    layouts = HostCosts.layouts
    monkeypatch.setattr(HostCosts, "layouts", lambda costs: [way for way in layouts(costs) if not way.resident])
    np.save(tmp_path / "F.npy", CONE_ROWS)
    how = {"device": "cpu", "columns": "lazy", "center": True, "sign": "any"}
    for objective in ("mp", "omp"):
        streamed = select(tmp_path / "F.npy", SCORES, 25, objective=objective, **how)
        assert not streamed.plan.resident
        same_bits(streamed, select(CONE_ROWS, SCORES, 25, objective=objective, **how))


def test_duplicates_and_dependent_rows():
    F = np.concatenate([CONE_ROWS[:40], CONE_ROWS[:40], CONE_ROWS[40:60]])
    g = np.concatenate([SCORES[:40], SCORES[:40], SCORES[40:60]])
    chosen = select(F, g, 90, device="cpu", center=True, sign="any")
    expected = reference.matching_pursuit(F, g, 90, on_exhausted="restart", center=True)
    np.testing.assert_array_equal(chosen.indices, expected)
    assert chosen.certificate.tied > 5
    # Centring lowers the rank of few rows by one: the last of them depends on the others.
    few = RNG.standard_normal((6, 20))
    stopped = select(few, SCORES[:6], 6, device="cpu", objective="lr", center=True, on_exhausted="stop", sign="any")
    assert len(stopped) == 5
    assert len(select(few, SCORES[:6], 6, device="cpu", objective="lr", on_exhausted="stop", sign="any")) == 6


def test_rows_equal_to_the_mean_are_named():
    F = np.array([[2.0, 2.0], [1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    with pytest.raises(ValueError, match=r"F has 2 rows equal to the mean row \(0, 2\).*--no-center"):
        select(F, [1, 2, 3, 4], 2, device="cpu", center=True)
    assert len(select(F, [1, 2, 3, 4], 2, device="cpu", center=True, normalize=False)) == 2
    with pytest.raises(ValueError, match="3 rows equal to the mean"):
        select(np.ones((3, 4)), [1, 2, 3], 2, device="cpu", center=True)
    chosen = select(F[[0, 1]], [1, 2], 1, device="cpu")
    with pytest.raises(ValueError, match="F_new has 1 row equal to the mean row"):
        extend(select(F[[1, 3]], [1, 2], 1, device="cpu", center=True), F[:2], [1, 2], 1, device="cpu")
    assert chosen.preparation is None


def test_bad_rows_are_named_before_centring():
    for value, message in ((np.nan, r"not finite in row 7 \(\[nan"), (1e160, "has norm 1e\\+160 in row 7")):
        F = CONE_ROWS.astype(float)
        F[7, 0] = value
        with pytest.raises(ValueError, match=message):
            select(F, SCORES, 3, device="cpu", center=True)


@pytest.mark.parametrize(("value", "error"), [(1, TypeError), (None, TypeError), ("yes", ValueError), (0.5, TypeError)])
def test_other_values_are_refused(value, error):
    for call in (
        lambda: select(CONE_ROWS, SCORES, 3, center=value),
        lambda: Pool(CONE_ROWS, center=value),
        lambda: reference.matching_pursuit(CONE_ROWS, SCORES, 3, center=value),
    ):
        with pytest.raises(error, match="center is"):
            call()


def test_auto_measures_the_cone(caplog):
    with caplog.at_level("INFO", logger="gip_gpu"):
        narrow = select(CONE_ROWS, SCORES, 10, device="cpu", center="auto")
        wide = select(CONE_ROWS - CONE_ROWS.mean(axis=0), SCORES, 10, device="cpu", center="auto")
    same_bits(narrow, select(CONE_ROWS, SCORES, 10, device="cpu", center=True))
    assert narrow.preparation.cone > CONE
    assert wide.preparation is None
    messages = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("center='auto': centred: the mean row has") for text in messages)
    assert any(text.startswith("center='auto': not centred: the mean row has 0.0%") for text in messages)
    assert "embeddings: centred" in repr(narrow)


def test_few_independent_rows_have_no_cone():
    # Of 4 independent rows the mean has a quarter of the energy, by chance.
    shares = [measure(RNG.standard_normal((4, 300)), "auto", [(0, 4)]).cone for _ in range(30)]
    assert max(shares) < 0.1
    assert not measure(np.ones((1, 5)), "auto", [(0, 1)]).subtracted


def test_only_rows_that_take_part_count():
    F, g = CONE_ROWS.copy(), SCORES.copy()
    F[[3, 90]] = np.inf
    g[11] = np.nan
    left = np.delete(np.arange(260), [3, 11, 90])
    found = select(F, g, 20, device="cpu", center=True, on_nan="drop", sign="any")
    same = select(F[left], g[left], 20, device="cpu", center=True, sign="any")
    np.testing.assert_array_equal(found.indices, left[same.indices])
    np.testing.assert_array_equal(found.gains, same.gains)
    pool = Pool(F, device="cpu", center=True, on_nan="drop")
    np.testing.assert_array_equal(pool.select(g, 20, sign="any").gains, same.gains)
    rest = np.delete(np.arange(260), [3, 90])
    whole = select(F[rest], SCORES[rest], 20, device="cpu", center=True, sign="any")
    np.testing.assert_allclose(pool.select(SCORES, 20, sign="any").gains, whole.gains, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_and_extended_by_the_same_center(suffix, tmp_path):
    first = select(CONE_ROWS[:200], SCORES[:200], 8, device="cpu", objective="lr", center=True, sign="any")
    first.save(tmp_path / f"chosen{suffix}")
    loaded = Selection.load(tmp_path / f"chosen{suffix}")
    assert loaded.preparation == first.preparation
    assert loaded.preparation.center == tuple(mean_of(CONE_ROWS[:200]))
    more = extend(loaded, CONE_ROWS[200:], SCORES[200:], 6, device="cpu", center=True, sign="any")
    by_hand = CONE_ROWS.astype(float) - mean_of(CONE_ROWS[:200])
    whole = select(
        by_hand[np.r_[first.indices, 200:260]],
        SCORES[np.r_[first.indices, 200:260]],
        6,
        device="cpu",
        objective="lr",
        initial=range(8),
        sign="any",
    )
    np.testing.assert_array_equal(more.indices, whole.indices - 8)
    assert more.preparation.center == first.preparation.center
    with pytest.raises(ValueError, match="center is False; the selection was made with center=True"):
        extend(loaded, CONE_ROWS[200:], SCORES[200:], 6, device="cpu", center=False)


def test_resumed_only_with_the_same_center(tmp_path):
    path = tmp_path / "run.checkpoint"
    how = {"device": "cpu", "sign": "any"}
    select(CONE_ROWS, SCORES, 10, checkpoint=path, center=True, **how)
    resumed = select(CONE_ROWS, SCORES, 25, checkpoint=path, center="auto", **how)
    assert resumed.resumed == 10
    np.testing.assert_array_equal(resumed.indices, select(CONE_ROWS, SCORES, 25, center=True, **how).indices)
    with pytest.raises(ValueError, match="of other centring"):
        select(CONE_ROWS, SCORES, 25, checkpoint=path, **how)
    path.unlink()
    select(CONE_ROWS, SCORES, 10, checkpoint=path, **how)
    with pytest.raises(ValueError, match="of other centring"):
        select(CONE_ROWS, SCORES, 25, checkpoint=path, center=True, **how)


def test_self_compression_of_centred_rows():
    by_hand = CONE_ROWS.astype(float) - mean_of(CONE_ROWS)
    np.testing.assert_array_equal(signals.self_compression(CONE_ROWS, center=True), signals.self_compression(by_hand))


def test_rows_on_a_device_are_centred_on_the_host():
    torch = pytest.importorskip("torch")
    # A CPU tensor stands for one on a GPU.
    rows = Rows(DeviceMatrix(torch.from_numpy(CONE_ROWS)), center=True)
    plain = Rows(CONE_ROWS, center=True)
    np.testing.assert_array_equal(rows.block(0, 260), plain.block(0, 260))
    np.testing.assert_array_equal(rows.take([4, 200]), plain.take([4, 200]))


def test_a_process_group_of_one(tmp_path):
    torch = pytest.importorskip("torch.distributed", reason="many processes need torch")
    from gip_gpu import distributed

    torch.init_process_group("gloo", store=torch.HashStore(), rank=0, world_size=1)
    try:
        for objective in ("mp", "lr"):
            how = {"device": "cpu", "objective": objective, "center": True, "sign": "any"}
            alone = select(CONE_ROWS, SCORES, 20, **how)
            found = distributed.select(CONE_ROWS, SCORES, 20, **how)
            assert found == alone
            assert found.preparation == alone.preparation
            assert found.provenance == alone.provenance
            # One process resumes from the checkpoint of many.
            path = tmp_path / objective
            distributed.select(CONE_ROWS, SCORES, 7, checkpoint=path, **how)
            assert select(CONE_ROWS, SCORES, 20, checkpoint=path, **how) == alone
            with pytest.raises(ValueError, match="of other centring"):
                distributed.select(CONE_ROWS, SCORES, 20, checkpoint=path, **{**how, "center": False})
        with pytest.raises(ValueError, match="F has 3 rows equal to the mean row"):
            distributed.select(np.ones((3, 4)), [1, 2, 3], 2, device="cpu", center=True)
    finally:
        torch.destroy_process_group()


def test_command_line(tmp_path, monkeypatch, capsys):
    def status(line):
        return cli.main(line.split())

    monkeypatch.chdir(tmp_path)
    np.save("F.npy", CONE_ROWS)
    np.save("G.npy", np.abs(SCORES))
    assert status("select F.npy --scores G.npy -k 9 --center -o chosen.npz") == 0
    assert "centred: the mean row has" in capsys.readouterr().out
    chosen = Selection.load("chosen.npz")
    same_bits(chosen, select(open_matrix("F.npy"), np.abs(SCORES), 9, center=True))
    assert status("select F.npy --scores G.npy -k 9 --no-center -o plain.npz") == 0
    assert Selection.load("plain.npz").preparation is None
    assert status("select F.npy --scores self-compression -k 9 --center-auto -o own.npz") == 0
    own = select(CONE_ROWS, signals.self_compression(CONE_ROWS, center=True), 9, center=True, sign="any")
    assert Selection.load("own.npz") == own
    capsys.readouterr()
    assert status("plan F.npy -k 9 --center-auto") == 0
    assert "centred: the mean row has" in capsys.readouterr().out
    assert status("plan --rows 100 --dim 9 -k 9 --center") == 0
    assert "centred" in capsys.readouterr().out
    assert status("plan --rows 100 --dim 9 -k 9 --center-auto") == 2
    assert "--center-auto reads the embeddings" in capsys.readouterr().err
    assert status("plan --rows 100 --dim 9 -k 9 --center --devices 4") == 2
