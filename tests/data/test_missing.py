"""Rows with non-finite values: an error names them, or they are dropped and the indices stay those of the input."""

import re
import sys

import numpy as np
import pytest

from gip_gpu import Pool, Selection, cli, extend, select
from gip_gpu.data import missing_values
from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.missing_values import Kept, KeptRows
from gip_gpu.sources import open_matrix

RNG = np.random.default_rng(0)
WHOLE = RNG.standard_normal((300, 12)).astype(np.float32)
RATINGS = RNG.integers(1, 6, (300, 2)).astype(float)
# Neighbours, both ends, and infinities; in both matrices, in F alone and in G alone.
F, G = WHOLE.copy(), RATINGS.copy()
F[[0, 40, 41, 42, 299], 3] = np.nan
F[77, 0] = -np.inf
G[[41, 77, 100, 298]] = np.nan
G[150, 1] = np.inf
FINITE = np.flatnonzero(np.isfinite(F).all(axis=1))
LEFT = FINITE[np.isfinite(G[FINITE]).all(axis=1)]
KINDS = [("mp", {}), ("omp", {}), ("lr", {"epsilon": 0.1}), ("mi", {"query": "ridge"}), ("entropy", {})]


def right(k=20, **options):
    """Computes the expected selection from the remaining rows."""
    return LEFT[select(F[LEFT], G[LEFT], k, **options).indices]


@pytest.mark.parametrize(("objective", "options"), KINDS)
@pytest.mark.parametrize("small", [True, False])
def test_as_from_the_rows_that_are_left(objective, options, small, monkeypatch):
    if not small:
        # Rows are then read as those of a large matrix.
        monkeypatch.setattr(missing_values, "SMALL", 0)
    left, scores = (FINITE, None) if objective == "entropy" else (LEFT, G)
    expected = select(F[left], None if scores is None else G[left], 10, objective=objective, **options)
    found = select(F, scores, 10, objective=objective, on_nan="drop", **options)
    np.testing.assert_array_equal(found.indices, left[expected.indices])
    assert (found.preparation.rows, found.preparation.dropped) == (300, 300 - len(left))
    assert f"; rows left out: {300 - len(left)} of 300, not finite\n" in repr(found)


def test_nothing_to_leave_out():
    chosen = select(WHOLE, RATINGS, 20, on_nan="drop")
    assert chosen.preparation is None
    np.testing.assert_array_equal(chosen.indices, select(WHOLE, RATINGS, 20).indices)


@pytest.mark.parametrize("standardize", ["rank", "zscore"])
def test_scales_are_those_of_the_rows_that_are_left(standardize):
    options = {"standardize": standardize, "sign": "positive"}
    np.testing.assert_array_equal(select(F, G, 20, on_nan="drop", **options).indices, right(**options))


def test_initial_and_shares():
    initial = [int(LEFT[5]), int(LEFT[200])]
    expected = LEFT[select(F[LEFT], G[LEFT], 20, initial=[5, 200]).indices]
    np.testing.assert_array_equal(select(F, G, 20, initial=initial, on_nan="drop").indices, expected)
    assert len(select(F, G, 0.5, on_nan="drop")) == round(0.5 * len(LEFT))
    chosen = select(F, G, 5, on_nan="drop")
    assert set(select(F, G, 20, initial=chosen, on_nan="drop")).isdisjoint(chosen)
    with pytest.raises(ValueError, match=r"^initial has row 42, which has a value that is not finite and is left out"):
        select(F, G, 20, initial=[3, 42], on_nan="drop")
    for k, first in ((len(LEFT) + 1, None), (len(LEFT), [3])):
        with pytest.raises(ValueError, match=rf"on_nan='drop' leaves {len(LEFT)} of 300 rows"):
            select(F, G, k, initial=first, on_nan="drop")
    assert sorted(select(F, G, len(LEFT), on_nan="drop")) == LEFT.tolist()


def test_a_pool():
    pool = Pool(F, on_nan="drop")
    assert pool.shape == F.shape
    np.testing.assert_array_equal(pool.select(G, 20).indices, right())
    np.testing.assert_array_equal(pool.select(G, 20, initial=[3]).indices, select(F, G, 20, initial=[3], on_nan="drop"))
    # Scores that are finite where F is have the columns of the pool.
    filled = np.where(np.isfinite(G), G, 2)
    for scores in (filled, np.where(np.isfinite(F).all(axis=1)[:, None], filled, np.nan)):
        chosen = pool.select(scores, 20)
        np.testing.assert_array_equal(chosen.indices, FINITE[select(F[FINITE], filled[FINITE], 20).indices])
    assert chosen.preparation.dropped == 300 - len(FINITE)
    with pytest.raises(
        ValueError, match=r"^G has a value that is not finite in row 41 \(\[nan, nan\]\), 5 such rows in "
    ):
        Pool(WHOLE).select(G, 20)


def test_extend():
    before = select(WHOLE, RATINGS, 5, sign="positive")
    found = extend(before, F, G, 9, on_nan="drop")
    np.testing.assert_array_equal(found.indices, LEFT[extend(before, F[LEFT], G[LEFT], 9).indices])
    assert found.preparation.dropped == 300 - len(LEFT)
    with pytest.raises(ValueError, match=r"^F_new has a value that is not finite in row 0 .*6 such rows in all"):
        extend(before, F, RATINGS, 9)


@pytest.mark.parametrize("name", ["F.npy", "F.parquet", "folder"])
def test_files(name, tmp_path, monkeypatch):
    """Rows of the view are read on request, without a copy."""
    path = tmp_path / name
    if name == "F.parquet":
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pa.table({"F": pa.FixedSizeListArray.from_arrays(pa.array(F.ravel(), from_pandas=False), 12)})
        parquet.write_table(table, path, row_group_size=64)
    elif name == "folder":
        path.mkdir()
        np.save(path / "0.npy", F[:100])
        np.save(path / "1.npy", F[100:])
    else:
        np.save(path, F)
    np.save(tmp_path / "G.npy", G)
    read, fill = [], KeptRows._fill
    monkeypatch.setattr(KeptRows, "_fill", lambda self, pieces: read.append(len(pieces)) or fill(self, pieces))
    np.testing.assert_array_equal(select(open_matrix(path), tmp_path / "G.npy", 20, on_nan="drop").indices, right())
    assert read
    with pytest.raises(ValueError, match=r"^checkpoint is .*this run reads"):
        select(path, G, 5, on_nan="drop", checkpoint=path if name != "folder" else path / "0.npy")
    with pytest.raises(ValueError, match=r"^checkpoint is .*this run reads"):
        Pool(path, on_nan="drop").select(G, 5, checkpoint=path if name != "folder" else path / "0.npy")


def test_a_view_of_rows():
    view = KeptRows(WHOLE, LEFT)
    np.testing.assert_array_equal(view[:], WHOLE[LEFT])
    np.testing.assert_array_equal(view[[5, 270, 5]], WHOLE[LEFT][[5, 270, 5]])
    kept = Kept(np.setdiff1d(np.arange(300), LEFT), 300)
    np.testing.assert_array_equal(kept.indices, LEFT)
    np.testing.assert_array_equal(kept.rows_of(np.arange(len(kept))), LEFT)
    np.testing.assert_array_equal(kept.places_of(LEFT[::-1]), np.arange(len(kept))[::-1])
    inner = Kept(np.array([0, 7, len(kept) - 1]), len(kept)).among(kept)
    np.testing.assert_array_equal(inner.indices, np.delete(LEFT, [0, 7, -1]))


def test_a_checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    select(F, G, 9, on_nan="drop", checkpoint=path)
    np.testing.assert_array_equal(select(F, G, 20, on_nan="drop", checkpoint=path).indices, right())
    other = G.copy()
    other[3] = np.nan
    with pytest.raises(ValueError, match="of another selection"):
        select(F, other, 20, on_nan="drop", checkpoint=path)


def test_saved(tmp_path):
    # All remaining rows, so that indices exceed their number.
    chosen = select(F, G, len(LEFT), on_nan="drop", standardize="zscore", sign="positive")
    for name in ("chosen.npz", "chosen.json"):
        chosen.save(tmp_path / name)
        loaded = Selection.load(tmp_path / name)
        assert loaded.preparation == chosen.preparation
        np.testing.assert_array_equal(loaded.indices, chosen.indices)


@pytest.mark.parametrize("scores", ["G.npy", "self-compression"])
def test_the_command_line(scores, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("F.npy", F)
    np.save("G.npy", RATINGS)
    line = f"select F.npy --scores {scores} -k 0.1 -o out.npz --sign positive".split()
    assert cli.main(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("gip-gpu: error: F has a value that is not finite in row 0 (")
    assert "6 such rows in all (0, 40, 41, 42, 77, ...); all must be finite" in error
    np.save("G.npy", G)
    assert cli.main([*line, "--on-nan", "drop"]) == 0
    left = LEFT if scores == "G.npy" else FINITE
    assert re.search(rf"^rows left out +{300 - len(left)} of 300, not finite$", capsys.readouterr().out, re.MULTILINE)
    chosen = Selection.load("out.npz").indices
    if scores == "G.npy":
        np.testing.assert_array_equal(chosen, right(0.1, sign="positive"))
    assert len(chosen) == round(0.1 * len(left))
    assert np.isin(chosen, left).all()


def test_what_is_said():
    with pytest.raises(
        ValueError,
        match=r"^G has a value that is not finite in row 41 \(\[nan, nan\]\), 5 such rows in all "
        r"\(41, 77, 100, 150, 298\); all must be finite; select with on_nan='drop' \(--on-nan drop\) leaves such",
    ):
        select(WHOLE, G, 5)
    with pytest.raises(ValueError, match=r"row 0 \(.*\), 6 such rows in all \(0, 40, 41, 42, 77, \.\.\.\); all must"):
        select(F, RATINGS, 5)
    with pytest.raises(
        ValueError, match=r"each of the 300 rows has a value that is not finite in F or G; on_nan='drop'"
    ):
        select(F, np.full(300, np.nan), 5, on_nan="drop")
    with pytest.raises(ValueError, match="on_nan must be one of 'error', 'drop'"):
        select(F, G, 5, on_nan="omit")
    with pytest.raises(TypeError, match="on_nan must be one of 'error', 'drop'"):
        Pool(F, on_nan=True)


def test_a_finite_row_beyond_float64_is_no_missing_value():
    with pytest.raises(ValueError, match=r"^F has norm 1\.79769e\+308 in row 0"):
        select(np.full((3, 2), 1.7e308), [1.0, 2.0, 3.0], 1)
    with pytest.raises(ValueError, match=r"^G has a value beyond 1e\+150 in row 1"):
        select(WHOLE[:3], [np.nan, 1e200, 1.0], 1, on_nan="drop")


@pytest.mark.parametrize("at_once", [True, False])
def test_rows_on_a_gpu(at_once, triton_in_interpreter, monkeypatch):
    """Torch CPU tensors are stand-ins for GPU tensors, which stay on the device."""
    torch = pytest.importorskip("torch")
    for module in ("gip_gpu.api.select", "gip_gpu.api.prepared", "gip_gpu.backends.gpu.rows"):
        monkeypatch.setattr(sys.modules[module], "on_gpu", lambda value: isinstance(value, torch.Tensor))
    given, options = torch.from_numpy(F), {"device": "cpu", "backend": "triton"}
    if at_once:
        found = select(given, G, 5, on_nan="drop", **options)
    else:
        pool = Pool(given, on_nan="drop", **options)
        assert isinstance(pool._prepared.rows.values, DeviceMatrix)
        assert len(pool.select(np.where(np.isfinite(G), G, 2), 2)) == 2
        found = pool.select(G, 5)
    np.testing.assert_array_equal(found.indices, right(5))
