"""Selection: its numbers are what their names say, and it survives a round trip through a file."""

import collections.abc
import copy
import dataclasses
import json
import pickle
import sys
import unittest.mock

import numpy as np
import pytest

from gip_gpu import Certificate, Selection, extend, select, signals
from gip_gpu.data.rows import Rows


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
    assert np.asarray(chosen).flags.writeable
    assert {"prepare", "query", "columns", "refresh", "steps", "total"} == set(chosen.timings)
    assert chosen.peak_bytes > 10_000_000


def arrays_of(chosen):
    parts = (chosen, chosen.certificate, chosen.projection)
    return [value for part in parts for value in vars(part).values() if isinstance(value, np.ndarray)]


@pytest.mark.parametrize("objective", ["mp", "lr"])
def test_its_arrays_are_read_only(problem, tmp_path, objective):
    """Sorting or shuffling one of them would break its correspondence to the others."""
    F, G, _ = problem
    chosen = select(F, G, 9, objective=objective)
    chosen.save(tmp_path / "chosen.json")
    chosen.save(tmp_path / "chosen.npz")
    loaded = [Selection.load(tmp_path / f"chosen{suffix}") for suffix in (".json", ".npz")]
    copies = [pickle.loads(pickle.dumps(chosen)), copy.copy(chosen), copy.deepcopy(chosen)]
    for each in (chosen, *loaded, *copies, extend(chosen, F, G, 5), select(F, G, 9, initial=[1], on_nan="drop")):
        arrays = arrays_of(each)
        assert len(arrays) == 7 + (1 if each.projection.S is None else 2)
        assert not any(array.flags.writeable for array in arrays)
    listed = chosen.tolist()
    np.asarray(chosen).sort()
    np.random.default_rng(0).shuffle(np.asarray(chosen))
    assert chosen.tolist() == listed
    for change in (chosen.indices.sort, chosen.__array__(copy=False).sort, chosen.certificate.margins.sort):
        with pytest.raises(ValueError, match="read-only"):
            change()
    given = np.array([0.5])
    assert not Certificate(given, np.array([1]), np.array([1]), 0, (0,)).margins.flags.writeable
    assert given.flags.writeable


def test_is_a_sequence_of_indices(problem):
    F, G, chosen = problem
    listed = chosen.indices.tolist()
    assert isinstance(chosen, collections.abc.Sequence)
    assert chosen.tolist() == listed
    assert {type(index) for index in chosen.tolist()} == {int}
    assert (chosen[3], type(chosen[3]), chosen[np.int64(-1)]) == (listed[3], int, listed[-1])
    assert (chosen[:10], chosen[::-2]) == (listed[:10], listed[::-2])
    assert (list(reversed(chosen)), chosen.index(listed[7]), chosen.count(listed[7])) == (listed[::-1], 7, 1)
    for place in (60, -61, 10**30):
        with pytest.raises(IndexError, match=f"^selection index {place} is out of range; there are 60 picks$"):
            chosen[place]
    for key in ([1, 2], 1.0, "a", None):
        with pytest.raises(TypeError, match=r"indexed by an int or a slice, got a .*; chosen\.indices takes arrays"):
            chosen[key]
    with pytest.raises(TypeError):
        chosen[0] = 1
    for item in (listed[0], np.int64(listed[0]), float(listed[0]), np.array(listed[0])):
        assert item in chosen
    left = min({*range(400)} - {*listed})
    for item in (left, -1, 2**70, 0.5, "a", None, [listed[0]], listed, chosen.indices, np.array([]), [chosen.indices]):
        assert item not in chosen
    assert json.loads(json.dumps(chosen.tolist())) == listed
    assert set(chosen) == {*listed}
    assert bool(chosen)
    assert not select(np.eye(4), np.zeros(4), 2, on_exhausted="stop")
    # A selection's slice works as `initial`.
    np.testing.assert_array_equal(select(F, G, 5, initial=chosen[:4]).indices, select(F, G, 9).indices[4:])


def test_equality_is_that_of_the_indices(problem):
    F, G, chosen = problem
    listed = chosen.tolist()
    same = (select(F, G, 60, columns="gram"), listed, tuple(listed), chosen.indices, chosen.indices.astype(float))
    for other in same:
        assert (chosen == other) is True
        assert (chosen != other) is False
    for other in (
        listed[:-1],
        listed[::-1],
        chosen.indices[None],
        [*listed[:-1], "a"],
        set(listed),
        "a",
        None,
        3,
        [chosen.indices] * 60,
        [[*listed]],
        dict.fromkeys(listed),
        np.int64(3),
        np.ndarray,
    ):
        assert (chosen == other) is False
        assert (chosen != other) is True
    assert listed == chosen
    # An object that is no collection uses its own equality.
    assert chosen == unittest.mock.ANY
    assert hash(chosen) == hash(tuple(listed))
    assert {chosen: 1}[select(F, G, 60)] == 1
    for again in (pickle.loads(pickle.dumps(chosen)), copy.copy(chosen), copy.deepcopy(chosen)):
        assert again == chosen
        assert repr(again) == repr(chosen)


@pytest.mark.parametrize("k", [5, 60])
def test_with_torch(problem, k):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    F, G, _ = problem
    chosen, T = select(F, G, k), torch.arange(400)
    assert torch.as_tensor(chosen).dtype == torch.int64
    assert torch.as_tensor(chosen).tolist() == T[chosen].tolist() == chosen.tolist()
    assert chosen == torch.as_tensor(chosen)
    assert (chosen == torch.as_tensor(chosen).to("meta")) is False
    assert torch.tensor(chosen[0]) in chosen
    for tensor in (torch.empty((), device="meta"), torch.as_tensor(chosen), torch.empty(k, device="meta")):
        assert tensor not in chosen
    assert torch.from_numpy(np.asarray(chosen)).tolist() == chosen
    assert torch.as_tensor(chosen[:3]).tolist() == chosen[:3]
    data = torch.utils.data.TensorDataset(T)
    subset = torch.utils.data.Subset(data, chosen)
    assert [item.item() for (item,) in subset] == chosen.tolist()
    assert subset[0][0] == chosen[0]
    assert sorted(torch.utils.data.SubsetRandomSampler(chosen)) == sorted(chosen)
    loader = torch.utils.data.DataLoader(data, sampler=torch.utils.data.SubsetRandomSampler(chosen), batch_size=2)
    assert sorted(item.item() for (batch,) in loader for item in batch) == sorted(chosen)


def test_with_pandas(problem):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    chosen = problem[2]
    frame = chosen.to_frame()
    assert list(frame.columns) == ["rank", "index", "gain", "margin"]
    assert frame["rank"].tolist() == list(range(60))
    assert frame["index"].tolist() == chosen
    assert frame["gain"].tolist() == chosen.gains.tolist()
    assert frame["margin"].tolist() == chosen.certificate.margins.tolist()
    frame.loc[0, "index"] = -1
    assert chosen[0] != -1
    pool = pandas.DataFrame({"item": np.arange(400)})
    assert pool.iloc[chosen]["item"].tolist() == chosen
    assert pool["item"].isin(chosen).sum() == 60
    frames = pandas.DataFrame(chosen), pandas.DataFrame(chosen, columns=["item"])
    assert [frame.iloc[:, 0].tolist() == chosen for frame in frames] == [True, True]
    assert pandas.DataFrame({"item": chosen})["item"].tolist() == pandas.Series(chosen).tolist() == chosen
    frames[0].iloc[0, 0] = -1
    assert chosen == frames[1]["item"]
    for other in (frames[0], pool, frames[0][0], pandas.DataFrame(), pandas.NA, [pandas.NA] * 60):
        assert (chosen == other) is False
        assert (other in chosen) is False


def test_with_polars(problem):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    chosen, pool = problem[2], polars.DataFrame({"item": np.arange(400)})
    assert pool[chosen]["item"].to_list() == chosen
    assert pool["item"].gather(chosen).to_list() == polars.Series(chosen).to_list() == chosen
    assert (chosen == polars.Series(chosen)) is True
    for other in (polars.Series(chosen[::-1]), polars.Series(["a"]), pool, polars.DataFrame(chosen)):
        assert (chosen == other) is False
        assert (other in chosen) is False


def test_with_arrow(problem):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    chosen, pool = problem[2], arrow.table({"item": np.arange(400)})
    assert pool.take(chosen.indices)["item"].to_pylist() == pool.take(arrow.array(chosen))["item"].to_pylist() == chosen
    assert chosen == arrow.array(chosen)
    assert chosen == pool.take(chosen.indices)["item"]
    for other in (pool, pool["item"], arrow.array(chosen[:-1])):
        assert (chosen == other) is False
        assert (other in chosen) is False


def test_with_datasets(problem):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    chosen, pool = problem[2], datasets.Dataset.from_dict({"item": range(400)})
    assert list(pool.select(chosen)["item"]) == chosen
    assert pool[chosen]["item"] == chosen


def test_a_frame_without_pandas(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'needs pandas: pip install "gip_gpu\[data\]"'):
        problem[2].to_frame()


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
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(1))
    for name in ("cut.npz", "other.json", "text.json", "array.npz", "lengths.json", "list.json", "pickle.npz"):
        with pytest.raises(ValueError, match=rf"{name} holds no selection that can be read: (?!.*unsafely)"):
            Selection.load(tmp_path / name)


GONE = object()
DAMAGE = [
    ("indices", [-5, 1.7], r"indices holds float64 \(2,\); it must hold rows of the pool, ints"),
    ("indices", [-5, 1], "indices holds -5 at place 0; .* from 0 to 399, each once"),
    ("indices", [1, 400], "indices holds 400 at place 1"),
    ("indices", [2**63, 2**63 + 1], "indices holds 9223372036854775808 at place 0"),
    ("indices", [3, 3], "indices holds 3 at place 1 for the second time"),
    ("indices", [True, False], "indices holds bool"),
    ("indices", "12", "indices holds <U2"),
    ("indices", [[1, 2]], r"indices holds int64 \(1, 2\)"),
    ("gains", [1.0], r"gains holds float64 \(1,\); it must hold numbers \(2,\)"),
    ("gains", ["a", "b"], "gains holds <U1"),
    ("weights", [[1.0], [2.0]], r"weights holds float64 \(2, 1\); .* numbers \(2, 3\)"),
    ("gains", [1.0, -0.5], r"gains reach from -0.5 to 1; they must lie in \[0, inf\]"),
    ("gains", [1.0, float("nan")], "gains reach from nan to nan"),
    ("weights", [[1.0, 2.0, float("nan")]] * 2, "weights reach from nan"),
    ("explained", [0.5, 1.1], r"explained reach from 0.5 to 1.1; they must lie in \[-inf, 1\]"),
    ("explained", [float("nan"), 0.5], "explained reach from nan"),
    ("margins", [0.5, 1.5], r"margins reach from 0.5 to 1.5; they must lie in \[0, 1\]"),
    ("margins", [0.5, float("nan")], "margins reach from nan"),
    ("candidates", [1.5, 2], "candidates holds float64 .* it must hold ints"),
    ("ties", [1, -1], "ties holds -1; it must hold counts"),
    ("candidates", [1, 0], r"candidates holds 0 and ties 1 at place 1; ties must lie in \[1, candidates\]"),
    ("candidates", [1, 401], r"candidates holds 401 .* candidates in \[1, 400\]"),
    ("ties", [1, 0], "candidates holds .* and ties 0 at place 1"),
    ("ties", [400, 1], "candidates holds .* and ties 400 at place 0"),
    ("ties", GONE, "it lacks 'ties'"),
    ("meta", GONE, "it lacks 'meta'"),
    ("meta", None, "meta is None; it must be an object"),
    ("meta.timings", None, "timings is None; it must be an object with a number for each name"),
    ("meta.timings", {"total": "1"}, "timings is {'total': '1'}"),
    ("meta.timings", GONE, "it lacks 'timings'"),
    ("meta.plan", None, "plan is None; it must be an object"),
    ("meta.plan.m", GONE, "plan lacks 'm'"),
    ("meta.plan.m", "400", "plan: m is '400'; it must be an int"),
    ("meta.plan.resident", 1, "plan: resident is 1; it must be true or false"),
    ("meta.plan.memory", {"a": None}, "plan: memory is"),
    ("meta.plan.limit", "2GB", "plan: limit is '2GB'; it must be an int or null"),
    ("meta.timings", {"total": float("nan")}, "timings is {'total': nan}"),
    ("meta.plan.objective", "zz", "plan: objective is 'zz'"),
    ("meta.plan.m", 0, "plan: m is 0; it must be at least 1"),
    ("meta.plan.seconds", float("inf"), "plan: seconds is inf; it must be a number"),
    ("meta.range_share", 1.5, r"range_share reach from 1.5 to 1.5; they must lie in \[0, 1\]"),
    ("meta.range_share", -0.5, "range_share reach from -0.5"),
    ("meta.range_share", float("nan"), "range_share is nan; it must be a number or null"),
    ("meta.projection.options.objective", "lr", "projection: objective is 'lr'; that of the plan is 'mp'"),
    ("meta.projection.options.standardize", "zscore", "projection: standardize is 'zscore'"),
    ("projection_S", [[0.0] * 20] * 20, "projection_S is there, with objective 'mp'"),
    ("meta.rounds", None, "rounds is None"),
    ("meta.rounds", [0, 2], r"rounds is \[0, 2\]; it must hold counts of picks below 2"),
    ("meta.refreshes", True, "refreshes is True; it must be an int"),
    ("meta.peak_bytes", -1, "peak_bytes is -1; it must be a count"),
    ("meta.range_share", "all", "range_share is 'all'; it must be a number or null"),
    ("meta.computed", None, "computed is None"),
    ("meta.resumed", 3, "resumed is 3; it must be at most 2, the picks"),
    ("meta.projection", None, "projection is None"),
    ("meta.projection.scale", GONE, "projection lacks 'scale'"),
    ("meta.projection.options.sign", "plus", "sign is 'plus'"),
    ("meta.projection.drift", -1.0, "projection: drift is -1.0; it must be at least 0 and finite"),
    ("meta.projection.least", 0.0, "projection: least is 0.0; it must be above 0 and finite"),
    ("projection_A", [[float("inf")] * 3] * 20, "projection_A has a value that is not finite"),
    ("projection_A", [[1.0]], r"projection_A holds float64 \(1, 1\)"),
]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize(("place", "value", "message"), DAMAGE)
def test_files_are_checked_when_they_are_loaded(problem, tmp_path, place, value, message, suffix):
    select(problem[0], problem[1], 2).save(tmp_path / "chosen.json")
    content = json.loads((tmp_path / "chosen.json").read_text())
    inside = content
    for name in place.split(".")[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[place.split(".")[-1]]
    else:
        inside[place.split(".")[-1]] = value
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        if "meta" in content:
            content["meta"] = json.dumps(content["meta"])
        np.savez(path, **{name: np.asarray(values) for name, values in content.items()})
    with pytest.raises(ValueError, match=rf"damaged{suffix} holds no selection that can be read: .*{message}"):
        Selection.load(path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("dropped", -1, "preparation: dropped is -1"),
        ("dropped", 0, "preparation leaves 400 of 400 rows; they must be 399"),
        ("rows", GONE, "preparation lacks 'rows'"),
        ("standardized.method", "mean", "standardized: method is 'mean'"),
        ("standardized.centers", [1.0], r"centers holds float64 \(1,\)"),
        ("standardized.centers", [], r"centers holds float64 \(0,\)"),
        ("standardized.centers", [0.0, float("inf"), 0.0], "centers reach from 0 to inf"),
        ("standardized.spreads", [1.0, "a", 2.0], "spreads holds <U"),
        ("standardized.spreads", [1.0, -1.0, 2.0], "spreads reach from -1 to 2"),
        ("standardized.spreads", [1.0, float("nan"), 2.0], "spreads reach from nan"),
        ("standardized.spreads", [1.0, True, 2.0], "spreads holds bool"),
        ("standardized", GONE, "it lacks 'standardized'"),
    ],
)
def test_what_was_done_to_a_pool_is_checked_too(problem, tmp_path, place, value, message):
    F, G = problem[0].copy(), problem[1]
    F[0] = np.nan
    chosen = select(F, G, 399, on_nan="drop", standardize="zscore", sign="any")
    assert max(chosen) == 399
    path = tmp_path / "chosen.json"
    chosen.save(path)
    assert Selection.load(path).preparation == chosen.preparation
    content = json.loads(path.read_text())
    inside = content["meta"]["preparation"]
    for name in place.split(".")[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[place.split(".")[-1]]
    else:
        inside[place.split(".")[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"holds no selection that can be read: .*{message}"):
        Selection.load(path)


@pytest.mark.parametrize(
    ("name", "value"), [("indices", [1, True]), ("gains", [1.0, True]), ("weights", [[1, 2, 3], [1, 2, False]])]
)
def test_true_is_no_number(problem, tmp_path, name, value):
    """A bool among numbers is refused; NumPy would convert it to 0 or 1."""
    path = tmp_path / "chosen.json"
    select(problem[0], problem[1], 2).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ValueError, match=f"{name} holds bool, true or false; it must hold numbers"):
        Selection.load(path)


@pytest.mark.parametrize("factor", [1e300, 3.0, -3.0])
def test_a_projector_lengthens_nothing(problem, tmp_path, factor):
    F, G, _ = problem
    chosen = select(F, G, 5, objective="lr")
    longer = dataclasses.replace(chosen.projection, S=chosen.projection.S * factor)
    dataclasses.replace(chosen, projection=longer).save(tmp_path / "chosen.npz")
    with pytest.raises(ValueError, match=r"projection_S has a row or column of norm .*; none exceeds 1"):
        Selection.load(tmp_path / "chosen.npz")
    without = dataclasses.replace(chosen.projection, S=None)
    dataclasses.replace(chosen, projection=without).save(tmp_path / "chosen.npz")
    with pytest.raises(ValueError, match="projection_S is missing, with objective 'lr'"):
        Selection.load(tmp_path / "chosen.npz")


@pytest.mark.parametrize("objective", ["mp", "lr", "omp"])
@pytest.mark.parametrize("factor", [1e300, 1e200, 1e-300, 0.0])
@pytest.mark.parametrize("name", ["A", "scale", "drift", "crest", "least"])
def test_what_extends_from_damaged_numbers(problem, tmp_path, objective, factor, name):
    """Extending from damaged numbers gives a selection or a ValueError, and no other error."""
    F, G, _ = problem
    chosen = select(F, G, 5, objective=objective)
    prior = dataclasses.replace(chosen.projection, **{name: getattr(chosen.projection, name) * factor})
    dataclasses.replace(chosen, projection=prior).save(tmp_path / "chosen.npz")
    loaded = Selection.load(tmp_path / "chosen.npz") if name != "least" or factor == 1e-300 else chosen
    if factor > 1 and (name == "A" or (name == "crest" and prior.crest)):
        with pytest.raises(ValueError, match=r"the selection cannot be extended: what its picks .* beyond float64"):
            extend(loaded, F[:50], G[:50], 5)
    else:
        assert len(extend(loaded, F[:50], G[:50], 5)) == 5


def same(one, other):
    """Returns whether two selections are the same in every array and number."""
    return all(np.array_equal(a, b) for a, b in zip(arrays_of(one), arrays_of(other), strict=True)) and (
        (repr(one), one.plan, one.timings, one.rounds, one.preparation)
        == (*(repr(other), other.plan, other.timings, other.rounds, other.preparation),)
    )


def load_or_refuse(path):
    """Returns the selection of a file; None if the error says that the file holds none."""
    try:
        return Selection.load(path)
    except ValueError as error:
        if not str(error).startswith(f"{path} holds no selection that can be read: "):
            raise
        return None


@pytest.mark.slow
@pytest.mark.parametrize("bit", range(8))
def test_a_bit_of_an_npz_file_that_was_flipped(tmp_path, bit):
    """The checksums of .npz detect the bit, or it does not belong to the selection."""
    chosen = select([[1, 0], [0.8, 0.6], [0, 1]], [3, 2.9, 1], 2, device="cpu")
    path = tmp_path / "chosen.npz"
    chosen.save(path)
    whole = path.read_bytes()
    for place in range(bit, len(whole), 8):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        loaded = load_or_refuse(path)
        assert loaded is None or same(loaded, chosen)


@pytest.mark.parametrize("bit", range(8))
def test_a_bit_of_a_json_file_that_was_flipped(tmp_path, bit):
    """A .json file has no checksums: reading raises an error, or gives a selection that passes all checks."""
    path = tmp_path / "chosen.json"
    select([[1, 0], [0.8, 0.6], [0, 1]], [3, 2.9, 1], 2, device="cpu").save(path)
    whole = path.read_bytes()
    for place in range(bit % 2, len(whole), 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        loaded = load_or_refuse(path)
        assert loaded is None or set(loaded) <= {0, 1, 2}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_files_of_earlier_versions(problem, tmp_path, suffix):
    """Earlier versions did not write some fields, and may have written others."""
    F, G, chosen = problem
    path = tmp_path / f"chosen{suffix}"
    chosen.save(path)
    if suffix == ".json":
        content = json.loads(path.read_text())
        meta = content["meta"]
    else:
        with np.load(path) as archive:
            content = dict(archive)
        meta = json.loads(str(content.pop("meta")))
    for name in ("resumed", "computed", "range_share"):
        del meta[name]
    del meta["plan"]["gram_seconds"]
    meta["plan"]["threads"] = 2
    if suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        np.savez(path, **content, meta=np.array(json.dumps(meta)))
    loaded = Selection.load(path)
    assert loaded == chosen
    assert (loaded.resumed, loaded.computed, loaded.range_share) == (0, 0, None)
    assert extend(loaded, F[:50], G[:50], 5) == extend(chosen, F[:50], G[:50], 5)


@pytest.mark.parametrize("name", ["chosen", "chosen.xyz", ".png"])
def test_a_plot_needs_a_suffix_that_names_a_format(problem, tmp_path, name):
    with pytest.raises(ValueError, match=r"path is '.*'; its suffix must be one of .*, pdf, .*, png, "):
        problem[2].plot(tmp_path / name)
    assert not list(tmp_path.iterdir())


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
    """No margin exceeds the lead in extended precision, down to the float64 floor."""
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
    """With scores far from the range of F the residual grows beyond them, and the explained share is below 0."""
    chosen = select([[1, 0], [1, 1e-3], [0, 1.0]], [1.0, 0.0, 0.0], 2, objective="lr", device="cpu")
    assert chosen.explained[-1] < -1000
    assert "\n  explained none; every pick" in repr(chosen)
    assert "\n  explained 1; every pick" in repr(select(np.eye(2), [1.0, 0.0], 1, device="cpu"))
