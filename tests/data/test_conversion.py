"""Tensors, columns and tables of other libraries: accepted if their meaning is clear, else an error with a fix."""

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gip_gpu
from gip_gpu.data.device_arrays import DeviceMatrix, to_host
from gip_gpu.data.user_arrays import as_matrix, as_query, as_scores

F = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
QUALITY = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])
TEXTS = list("abcdefghi")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


def objects(rows):
    column = np.empty(len(rows), object)
    column[:] = rows
    return column


def same(value, expected):
    """Checks that a value works as rows, as scores, and in a whole selection."""
    np.testing.assert_array_equal(as_matrix(value, "F"), expected)
    np.testing.assert_array_equal(as_scores(value, (len(expected), 2)), expected)
    np.testing.assert_array_equal(as_query(value, len(expected)), expected)
    found = gip_gpu.select(value, QUALITY[: len(expected)], 3, device="cpu")
    np.testing.assert_array_equal(found.indices, gip_gpu.select(expected, QUALITY, 3, device="cpu").indices)


def test_columns_of_arrays():
    same(objects(list(F)), F)
    same(objects(F.tolist()), F.astype(np.float64))
    same(objects([F[0], *F[1:].astype(np.float64)]), F.astype(np.float64))


def test_columns_of_tensors(torch):
    same(objects(list(torch.from_numpy(F))), F)
    same(list(torch.from_numpy(F)), F)
    # NumPy cannot convert these tensors one by one.
    tensor = torch.from_numpy(F).bfloat16()
    same(list(tensor), tensor.float().numpy())


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([F[0], F[1, :3], F[2]], ValueError, r"F is a column of arrays, and row 1 is of shape \(3,\), where row 0"),
        ([F[0], None], ValueError, "F is a column of arrays, and row 1 is None"),
        ([None, F[0]], ValueError, "F is a column of arrays, and row 0 is None"),
        ([F[:2], F[2:4]], ValueError, r"row 0 is of shape \(2, 4\), .*; all must be 1-d"),
        (
            [["a", "b"], ["c", "d"]],
            TypeError,
            "F is a column of arrays, and row 0 has dtype <U1; all must be real numbers",
        ),
        (["ab", "cd"], TypeError, "F has dtype object; it must hold real numbers"),
        ([1, 2], TypeError, r"F has dtype object; .*; F.astype\(float\) makes them of other numbers"),
    ],
)
def test_columns_that_are_no_matrix(rows, error, message):
    with pytest.raises(error, match=message):
        as_matrix(objects(rows), "F")


FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


@pytest.mark.parametrize("kind", FLOAT8)
def test_floats_of_8_bits(torch, kind):
    if not hasattr(torch, kind):
        pytest.skip(f"this torch has no {kind}")
    tensor = torch.from_numpy(F).to(getattr(torch, kind))
    expected = tensor.float().numpy()
    same(tensor, expected)
    np.testing.assert_array_equal(to_host(tensor), expected)
    on_device = DeviceMatrix(tensor)
    assert on_device.format == "fp16"
    np.testing.assert_array_equal(on_device[[3, 1]], expected[[3, 1]])


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_small_floats_of_ml_dtypes(kind):
    """JAX uses these types."""
    kinds = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    array = F.astype(getattr(kinds, kind))
    same(array, array.astype(np.float32))


def test_nested_tensors(torch):
    for layout in (torch.strided, torch.jagged):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own warning of a prototype
            nested = torch.nested.nested_tensor(list(torch.from_numpy(F)), layout=layout)
            ragged = torch.nested.nested_tensor([torch.ones(3), torch.ones(4)], layout=layout)
        for take in (lambda value: as_matrix(value, "F"), DeviceMatrix):
            np.testing.assert_array_equal(take(nested)[:], F)
            with pytest.raises(
                TypeError, match=r"F is a nested tensor with parts of several shapes, \(3,\) and \(4,\)"
            ):
                take(ragged)


def test_sparse_tensors(torch):
    sparse = torch.from_numpy(F).to_sparse()
    for take in (lambda value: as_matrix(value, "F"), DeviceMatrix, to_host):
        with pytest.raises(TypeError, match=r"F is a sparse tensor; it must be dense: F.to_dense\(\)"):
            take(sparse)
    with pytest.raises(TypeError, match=r"G is a sparse tensor; it must be dense: G.to_dense\(\)"):
        as_scores(sparse, (9, 4))


def test_tensors_that_numpy_does_not_have(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own warning that it will remove them
        quantized = torch.quantize_per_tensor(torch.from_numpy(F), 0.1, 0, torch.qint8)
        with pytest.raises(TypeError, match=r"F is a tensor of qint8, .* F.dequantize\(\)"):
            as_matrix(quantized, "F")


def test_columns_and_tables_of_pandas():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({"id": TEXTS, "embedding": list(F), "quality": QUALITY})
    same(table["embedding"], F)
    same(pd.DataFrame(F), F)
    message = r"is a DataFrame that holds id: \w+, embedding: object, quality: int64; it must be an array or one column"
    with pytest.raises(TypeError, match=f"F {message}"):
        as_matrix(table, "F")
    with pytest.raises(TypeError, match=rf"G {message}, as G\['embedding'\] is"):
        as_scores(table, (9, 4))
    scores = pd.DataFrame({"id": range(9), "quality": QUALITY, "b": QUALITY[::-1]})
    with pytest.raises(ValueError, match=r"column 'id' has the name of .*; give .*, G\[\['quality', 'b'\]\], or an"):
        as_scores(scores, (9, 4))
    with pytest.raises(
        ValueError, match=r"column 'n' holds 0 to 8, as row numbers do; give .*, G\[\['quality', 'b'\]\]"
    ):
        as_scores(scores.rename(columns={"id": "n"}), (9, 4))
    np.testing.assert_array_equal(
        as_scores(scores[["quality", "b"]], (9, 4)), np.column_stack([QUALITY, QUALITY[::-1]])
    )
    np.testing.assert_array_equal(as_scores(scores[["id"]], (9, 4))[:, 0], range(9))
    np.testing.assert_array_equal(as_scores(scores.to_numpy(), (9, 4))[:, 0], range(9))


def test_columns_and_tables_of_polars():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    table = pl.DataFrame({"id": TEXTS, "list": F.tolist(), "quality": QUALITY}).with_columns(
        array=pl.Series(F, dtype=pl.Array(pl.Float32, 4))
    )
    same(table["array"], F)
    same(table["list"], F.astype(np.float64))
    np.testing.assert_array_equal(as_scores(table["quality"], (9, 4))[:, 0], QUALITY)
    np.testing.assert_array_equal(as_scores(table[["quality"]], (9, 4))[:, 0], QUALITY)
    for value, call in ((table, "F['list']"), (table.lazy(), "F.collect()['list']")):
        with pytest.raises(TypeError, match=rf"F is a \w+Frame that holds id: String, .*as {re.escape(call)} is"):
            as_matrix(value, "F")
    ragged = pl.Series([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match=r"F is a column of arrays, and row 1 is of shape \(1,\)"):
        as_matrix(ragged, "F")


def test_columns_and_tables_of_pyarrow():
    pa = pytest.importorskip("pyarrow")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(F.ravel()), 4)
    for column in (fixed, fixed.cast(pa.list_(pa.float32())), pa.chunked_array([fixed[:4], fixed[4:]])):
        same(column, F)
    np.testing.assert_array_equal(as_scores(pa.array(QUALITY), (9, 4))[:, 0], QUALITY)
    table = pa.table({"id": TEXTS, "embedding": fixed})
    with pytest.raises(
        TypeError, match=r"F is a Table that holds id: string, embedding: fixed.*as F\['embedding'\] is"
    ):
        as_matrix(table, "F")
    same(table["embedding"], F)
    with pytest.raises(TypeError, match="F is a StringArray of string; it must hold numbers or lists of them"):
        as_matrix(pa.array(TEXTS), "F")
    with pytest.raises(ValueError, match="F: row 1 is null"):
        as_matrix(pa.array([[1], None]), "F")
    with pytest.raises(ValueError, match=r"F has a value that is not finite in row 1 \(\[nan\]\)"):
        gip_gpu.select(pa.array([[1.0], None]), [1.0, 2.0], 1, device="cpu")
    with pytest.raises(ValueError, match=r"column 'id' has the name of an identifier; .*, G.select\(\['q'\]\)"):
        as_scores(pa.table({"id": QUALITY, "q": QUALITY}), (9, 4))


def test_columns_and_data_sets_of_datasets():
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed: extra 'data'")
    data = datasets.Dataset.from_dict({"id": TEXTS, "embedding": F.tolist(), "quality": QUALITY})
    same(data["embedding"], F.astype(np.float64))
    same(data.with_format("numpy")["embedding"], F)
    np.testing.assert_array_equal(as_scores(data["quality"], (9, 4))[:, 0], QUALITY)
    with pytest.raises(
        TypeError, match=r"F is a Dataset that holds id: string, embedding: .*, quality: int64; .*F\['embedding'\]"
    ):
        as_matrix(data, "F")
    with pytest.raises(TypeError, match=r"G is a DatasetDict that holds train; it must be .*G\['train'\]"):
        as_scores(datasets.DatasetDict({"train": data}), (9, 4))
    with pytest.raises(
        TypeError, match=r"F is a IterableDataset .*as np.array\(\[row\['embedding'\] for row in F\]\) is"
    ):
        as_matrix(data.to_iterable_dataset(), "F")


def test_mappings(tmp_path):
    np.savez(tmp_path / "pool.npz", embedding=F, quality=QUALITY)
    message = r"F is a NpzFile that holds embedding, quality; .* as F\['embedding'\] is"
    with np.load(tmp_path / "pool.npz") as archive, pytest.raises(TypeError, match=message):
        as_matrix(archive, "F")
    with pytest.raises(TypeError, match=r"G is a dict that holds quality; .* as G\['quality'\] is"):
        as_scores({"quality": QUALITY}, (9, 4))


def test_no_library_is_imported_to_look():
    code = "import sys, gip_gpu; gip_gpu.select([[1.0, 2.0], [2.0, 1.0]], [1, 2], 1, device='cpu')\n"
    code += "print([name for name in ('torch', 'pandas', 'polars', 'pyarrow', 'datasets') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
