"""Bad input raises an error that names the argument, what it got and what it wants, before any work."""

import contextlib
import sys

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.greedy import loop
from gip_gpu.reference import matching_pursuit

RNG = np.random.default_rng(1)
F = RNG.standard_normal((60, 7))
G = RNG.standard_normal(60)


def with_value(array, row, value):
    changed = array.copy()
    changed[row] = value
    return changed


BAD = {
    "F nan": ({"F": with_value(F, 7, np.nan)}, ValueError, r"F has a value that is not finite in row 7 \(\[nan"),
    "F inf": ({"F": with_value(F, 9, -np.inf)}, ValueError, r"F .*not finite in row 9"),
    "F zero row": ({"F": with_value(F, 3, 0)}, ValueError, r"F has a zero row, row 3 .*normalize=False"),
    "F too large": ({"F": with_value(F, 3, 1e200)}, ValueError, r"F has norm 2.6\d+e\+200 in row 3"),
    "G nan": ({"G": with_value(G, 5, np.nan)}, ValueError, r"G .*not finite in row 5"),
    "G inf": ({"G": with_value(G, 5, np.inf)}, ValueError, r"G .*not finite in row 5"),
    "G too large": ({"G": with_value(G, 5, 1e200)}, ValueError, r"G has a value beyond 1e\+150 in row 5"),
    "F transposed": ({"F": F.T}, ValueError, r"F has 7 .*\(7, 60\).*F looks transposed.*give F.T"),
    "G tiny": ({"G": G * 1e-160}, ValueError, r"G has no value beyond 1e-150 in size; scale the scores up"),
    "G transposed": ({"G": np.ones((2, 60))}, ValueError, r"G looks transposed: give G.T"),
    "G longer": ({"G": np.ones(61)}, ValueError, r"G has 61 rows and F has 60"),
    "G 3-d": ({"G": np.ones((60, 1, 1))}, ValueError, r"G has shape \(60, 1, 1\)"),
    "G empty": ({"G": np.ones((60, 0))}, ValueError, r"G has shape \(60, 0\)"),
    "G none": ({"G": None, "objective": "lr"}, TypeError, r"G is None; objective 'lr'.*self_compression"),
    "G for entropy": ({"objective": "entropy"}, ValueError, r"'entropy' takes no scores; G must be None"),
    "F 1-d": ({"F": np.ones(60)}, ValueError, r"F has shape \(60,\).*F.reshape\(-1, 1\)"),
    "F 3-d": ({"F": np.ones((60, 7, 1))}, ValueError, r"F has shape \(60, 7, 1\); it must be a 2-d array"),
    "F scalar": ({"F": 3.0}, ValueError, r"F has shape \(\)"),
    "F no rows": ({"F": np.ones((0, 7))}, ValueError, r"F has shape \(0, 7\)"),
    "F no columns": ({"F": np.ones((60, 0))}, ValueError, r"F has shape \(60, 0\)"),
    "F complex": ({"F": F + 1j}, TypeError, r"F has dtype complex128"),
    "F object": ({"F": F.astype(object)}, TypeError, r"F has dtype object"),
    "F strings": ({"F": F.astype(str)}, TypeError, r"F has dtype <U"),
    "F dates": ({"F": np.zeros((60, 7), "M8[s]")}, TypeError, r"F has dtype datetime64"),
    "F structured": ({"F": np.zeros((60, 7), [("a", float)])}, TypeError, r"F has dtype \[\('a'"),
    "F ragged": ({"F": [[1.0, 2.0], [3.0]]}, TypeError, r"F is a list that is no array of numbers"),
    "F none": ({"F": None}, TypeError, r"F has dtype object"),
    "F masked": ({"F": np.ma.masked_less(F, 0)}, TypeError, r"F is a masked array with masked values"),
    "G strings": ({"G": G.astype(str)}, TypeError, r"G has dtype <U"),
    "k zero": ({"k": 0}, ValueError, r"k is 0; k must be an int from 1 to m = 60"),
    "k negative": ({"k": -3}, ValueError, r"k is -3"),
    "k too large": ({"k": 61}, ValueError, r"k is 61"),
    "k bool": ({"k": True}, TypeError, r"k is True, a bool"),
    "k numpy bool": ({"k": np.bool_(True)}, TypeError, r"a bool"),
    "k string": ({"k": "5"}, TypeError, r"k is '5', a str"),
    "k float": ({"k": 5.0}, ValueError, r"k is 5.0"),
    "k nan": ({"k": float("nan")}, ValueError, r"k is nan"),
    "k none": ({"k": None}, TypeError, r"k is None"),
    "device": ({"device": "gpu"}, ValueError, r"device is 'gpu'.*'auto', 'cpu'"),
    "device type": ({"device": 0}, TypeError, r"device is 0, a int"),
    "device cuda": ({"device": "cuda"}, ValueError, r"device is 'cuda'.*looked for"),
    "device cuda:3": ({"device": "cuda:3"}, ValueError, r"device is 'cuda:3'.*looked for"),
    "backend": ({"backend": "jax"}, ValueError, r"backend is 'jax'.*'numpy'"),
    "backend type": ({"backend": np}, TypeError, r"backend is <module"),
    "objective": ({"objective": "best"}, ValueError, r"objective is 'best'.*'mp'"),
    "precision": ({"precision": "int4"}, ValueError, r"precision is 'int4'.*'fp32'"),
    "precision type": ({"precision": np.float32}, TypeError, r"precision is <class"),
    "columns": ({"columns": "all"}, ValueError, r"columns is 'all'.*'gram', 'lazy'"),
    "query": ({"query": "both"}, ValueError, r"query is 'both'.*'direct'"),
    "epsilon negative": ({"objective": "lr", "epsilon": -0.1}, ValueError, r"epsilon is -0.1.*from 0"),
    "epsilon nan": ({"objective": "lr", "epsilon": float("nan")}, ValueError, r"epsilon is nan"),
    "epsilon bool": ({"objective": "lr", "epsilon": True}, TypeError, r"epsilon is True, a bool"),
    "epsilon string": ({"objective": "lr", "epsilon": "small"}, TypeError, r"epsilon is 'small', a str"),
    "epsilon without use": ({"epsilon": 0.1}, ValueError, r"epsilon is 0.1.*'mp' uses only with query='ridge'"),
    "ridge without scores": ({"G": None, "query": "ridge"}, ValueError, r"query is 'ridge'.*G is None"),
    "sign": ({"sign": "+"}, ValueError, r"sign is '\+'.*'positive'"),
    "sign of mi": ({"objective": "mi", "sign": "positive"}, ValueError, r"sign is 'positive'.*'mi'"),
    "continue": ({"objective": "lr", "on_exhausted": "continue"}, ValueError, r"'continue'.*'restart' or 'stop'"),
    "gram": ({"objective": "lr", "columns": "gram"}, ValueError, r"columns is 'gram'.*'lr'.*'auto' or 'lazy'"),
    "on_exhausted": ({"on_exhausted": "no"}, ValueError, r"on_exhausted is 'no'.*'restart'"),
    "normalize": ({"normalize": "l2"}, TypeError, r"normalize is 'l2'.*True or False"),
    "progress": ({"progress": 3}, TypeError, r"progress is 3"),
    "memory_limit text": ({"memory_limit": "lots"}, ValueError, r"memory_limit is 'lots'.*'2GB'"),
    "memory_limit unit": ({"memory_limit": "2XB"}, ValueError, r"memory_limit is '2XB'"),
    "memory_limit zero": ({"memory_limit": 0}, ValueError, r"memory_limit is 0"),
    "memory_limit share": ({"memory_limit": 1.5}, ValueError, r"memory_limit is 1.5.*share"),
    "memory_limit bool": ({"memory_limit": True}, TypeError, r"memory_limit is True"),
    "memory_limit type": ({"memory_limit": [1]}, TypeError, r"memory_limit is \[1\]"),
    "memory_limit small": (
        {"memory_limit": 1000},
        ValueError,
        r"1 kB is what memory_limit allows.* need at least \d.* MB",
    ),
    "gram does not fit": (
        {"memory_limit": "8.39MB", "columns": "gram"},
        ValueError,
        r"columns='gram' needs 8.4\d* MB.*lazy",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, monkeypatch):
    changes, error, message = BAD[case]
    monkeypatch.setattr(loop, "run", lambda *_: pytest.fail("work began"))
    arguments = {"F": F, "G": G, "k": 5, **changes}
    with pytest.raises(error, match=message):
        select(**arguments)
    of_selection = {"G", "k", "objective", "epsilon", "query", "sign", "on_exhausted", "progress"}
    options = {name: value for name, value in arguments.items() if name not in of_selection}
    rest = {name: value for name, value in arguments.items() if name in of_selection}
    with pytest.raises(error, match=message):
        Pool(**options).select(**rest)


class Interface:
    """An object with only NumPy's array interface."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.kept = array


class Capsule:
    """An object with only DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def forms(tmp_path):
    yield "list", F.tolist(), G.tolist()
    yield "Fortran order", np.asfortranarray(F), G
    yield "negative strides", np.ascontiguousarray(F[::-1, ::-1])[::-1, ::-1], np.ascontiguousarray(G[::-1])[::-1]
    yield "every second row", np.repeat(F, 2, axis=0)[::2], np.repeat(G, 2)[::2]
    yield "big-endian", F.astype(">f8"), G.astype(">f8")
    yield "array interface", Interface(F), Interface(G)
    yield "dlpack", Capsule(F), Capsule(G)
    yield "unmasked", np.ma.array(F), np.ma.array(G)
    yield "column", F, G[:, None]
    np.save(tmp_path / "F.npy", F)
    yield "memory map", np.load(tmp_path / "F.npy", mmap_mode="r"), G


def test_forms_of_input(tmp_path):
    expected = matching_pursuit(F, G, 20)
    for form, rows, scores in forms(tmp_path):
        np.testing.assert_array_equal(select(rows, scores, 20).indices, expected, err_msg=form)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?"])
def test_types_of_input(dtype):
    rows = (F * 3).astype(dtype) if dtype != "?" else F > 0
    rows[~rows.astype(bool).any(axis=1)] = 1
    scores = (np.abs(G) * 3).astype(dtype)
    chosen = select(rows, scores, 20)
    np.testing.assert_array_equal(
        chosen, matching_pursuit(rows.astype(float), scores.astype(float), 20, on_exhausted="restart")
    )


def test_torch_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    expected = matching_pursuit(F, G, 20)
    rows = torch.from_numpy(F.copy()).requires_grad_()
    np.testing.assert_array_equal(select(rows, torch.from_numpy(G), 20), expected)
    np.testing.assert_array_equal(select(rows.T.contiguous().T, torch.from_numpy(G)[:, None], 20), expected)
    half = rows.detach().bfloat16()
    np.testing.assert_array_equal(select(half, G, 20), matching_pursuit(half.double().numpy(), G, 20))
    with pytest.raises(TypeError, match="sparse tensor"):
        select(rows.detach().to_sparse(), G, 20)
    with pytest.raises(TypeError, match=r"on meta.*F\.cpu\(\)"):
        select(rows.detach().to("meta"), G, 20)


def test_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    with pytest.raises(TypeError, match=r"sparse csr_array.*F\.toarray\(\)"):
        select(sparse.csr_array(F), G, 5)


def test_input_is_not_modified():
    rows, scores = F.astype(np.float32), G.copy()
    rows.flags.writeable = scores.flags.writeable = False
    for normalize in (True, False):
        for columns in ("gram", "lazy"):
            with contextlib.suppress(ValueError):
                select(rows, scores, 20, columns=columns, normalize=normalize)
    np.testing.assert_array_equal(rows, F.astype(np.float32))
    np.testing.assert_array_equal(scores, G)


def test_share_of_the_pool():
    assert len(select(F, G, 0.1)) == 6
    assert len(select(F, G, 1e-6)) == 1
    assert len(select(F, G, np.float32(0.5))) == 30
    assert len(select(F, G, np.int16(3))) == 3


def test_torch_is_not_imported_to_look():
    if "torch" not in sys.modules:
        select(F, G, 3)
        assert "torch" not in sys.modules


def test_reference_checks_its_input():
    for arguments, message in (
        ((F, G, 61), "k is 61"),
        ((F, with_value(G, 2, np.nan), 3), "row 2"),
        ((F, np.ones((2, 60)), 3), "G looks transposed"),
    ):
        with pytest.raises(ValueError, match=message):
            matching_pursuit(*arguments)
    with pytest.raises(ValueError, match="on_exhausted is 'restrat'"):
        matching_pursuit(F, G, 3, on_exhausted="restrat")
