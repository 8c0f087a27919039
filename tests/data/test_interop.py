"""Arrays of other libraries on a GPU; torch CPU tensors are stand-ins if only the library matters."""

import sys
import types

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.backends.gpu import rows as gpu
from gip_gpu.data import device_arrays
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu, to_host
from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_scores
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.gpu_costs import GpuCosts
from gip_gpu.reference import matching_pursuit

torch = pytest.importorskip("torch")


@pytest.fixture
def tensor():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float16", "fp16"), ("bfloat16", "bf16"), ("float32", "fp32"), ("float64", "fp64"), ("int8", "fp64")],
)
def test_rows_of_a_device_matrix(tensor, dtype, kind):
    given = (4 * tensor).to(getattr(torch, dtype))
    given[given.abs().sum(axis=1) == 0] = 1
    matrix = DeviceMatrix(given)
    host = given.double().numpy()
    assert format_of(matrix) == kind
    assert (matrix.shape, len(matrix)) == ((50, 8), 50)
    rows, expected = Rows(matrix), Rows(host)
    np.testing.assert_array_equal(rows.norms, expected.norms)
    np.testing.assert_array_equal(rows.block(3, 20), expected.block(3, 20))
    np.testing.assert_array_equal(rows.take([7, 7, 0]), expected.take([7, 7, 0]))


def test_bad_device_matrices(tensor):
    with pytest.raises(ValueError, match=r"F has shape \(8,\)"):
        DeviceMatrix(tensor[0])
    with pytest.raises(ValueError, match="at least one row"):
        DeviceMatrix(tensor[:0])
    with pytest.raises(TypeError, match="complex64"):
        DeviceMatrix(tensor.to(torch.complex64))
    broken = tensor.clone()
    broken[4, 2] = float("nan")
    with pytest.raises(ValueError, match="not finite in row 4"):
        Rows(DeviceMatrix(broken))


@pytest.mark.parametrize(
    ("dtype", "kind"), [("f2", "fp16"), ("f4", "fp32"), (">f4", "fp32"), ("f8", "fp64"), ("i1", "fp32"), ("i8", "fp64")]
)
def test_format_of_host_rows(dtype, kind):
    assert format_of(np.ones((2, 2), dtype)) == kind


class CupyLike:
    """A stand-in with the attributes and methods of CuPy's arrays."""

    __cuda_array_interface__ = {}  # noqa: RUF012
    device = types.SimpleNamespace(id=3)

    def __init__(self, values):
        self.values = values

    def get(self):
        return self.values


def test_where_an_array_lies(tensor):
    assert not on_gpu(tensor)
    assert not on_gpu(tensor.numpy())
    assert not on_gpu([[1.0]])
    like = CupyLike(np.ones(3))
    assert on_gpu(like)
    assert device_arrays.gpu_of(like) == 3
    np.testing.assert_array_equal(to_host(like), np.ones(3))
    with pytest.raises(TypeError, match="needs torch or cupy"):
        to_host(types.SimpleNamespace())


def test_scores_that_lie_on_a_gpu():
    scores = as_scores(CupyLike(np.arange(4)), (4, 2))
    np.testing.assert_array_equal(scores, [[0.0], [1.0], [2.0], [3.0]])


def test_other_libraries_by_dlpack(tensor, monkeypatch):
    other = types.SimpleNamespace(__dlpack__=tensor.__dlpack__, __dlpack_device__=lambda: (2, 0))
    assert on_gpu(other)
    library = types.SimpleNamespace(from_dlpack=lambda value: tensor, Tensor=torch.Tensor)
    monkeypatch.setitem(sys.modules, "torch", library)
    np.testing.assert_array_equal(to_host(other), tensor.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_selection_from_rows_that_lie_on_the_device(tensor, dtype, monkeypatch):
    pytest.importorskip("triton")
    from gip_gpu.backends.triton.backend import TritonBackend

    if why := TritonBackend.missing("cpu"):
        pytest.skip(why)
    monkeypatch.setattr(gpu, "on_gpu", lambda value: isinstance(value, torch.Tensor))
    given = tensor.to(getattr(torch, dtype))
    scores = np.arange(50.0)
    pool = Pool(given, device="cpu", backend="triton")
    chosen = pool.select(scores, 6)
    expected = matching_pursuit(given.double().numpy(), scores, 6)
    np.testing.assert_array_equal(chosen.indices, expected)
    assert pool._prepared.backend.stored.data_ptr() == given.data_ptr()
    np.testing.assert_array_equal(select(given, scores, 6, device="cpu").indices, expected)


def test_rows_on_the_device_that_are_rounded_chunk_by_chunk(tensor, monkeypatch):
    """bfloat16 rows on a device without room for their float16 copy."""
    pytest.importorskip("triton")
    from gip_gpu.backends.triton.backend import TritonBackend

    if why := TritonBackend.missing("cpu"):
        pytest.skip(why)
    monkeypatch.setattr(gpu, "on_gpu", lambda value: isinstance(value, torch.Tensor))
    monkeypatch.setattr(GpuCosts, "layouts", lambda self: (Layout(resident=False),))
    given, scores = tensor.bfloat16(), np.arange(50.0)
    pool = Pool(given, device="cpu", backend="triton", precision="fp16", columns="lazy")
    chosen = pool.select(scores, 6)
    assert not pool._prepared.backend.resident
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(given.double().numpy(), scores, 6))
