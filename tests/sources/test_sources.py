"""Matrices in files give the rows of the array that was written, and memory does not grow with the file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Pool, metrics, signals
from gip_gpu.cli import main
from gip_gpu.sources import as_source, open_matrix
from gip_gpu.sources.mapped import MemmapSource
from tests.support.source_checks import F, G, asked_by_threads, same

DTYPES = ("f2", "f4", "f8", ">f4", ">f8", "i1", ">i4", "u2", "?")

# Formats


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(dtype: str, order: str, tmp_path: Path) -> None:
    array = np.asarray(F, dtype, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "F.npy", array)
    source = open_matrix(tmp_path / "F.npy")
    same(source, array)
    assert source.nbytes == array.nbytes
    same(pickle.loads(pickle.dumps(source)), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_the_npy_header(version: tuple[int, int], tmp_path: Path) -> None:
    with open(tmp_path / "F.npy", "wb") as file:
        np.lib.format.write_array(file, F, version)
    same(open_matrix(tmp_path / "F.npy"), F)


def test_a_vector_is_one_column(tmp_path: Path) -> None:
    np.save(tmp_path / "g.npy", G[:, 0])
    same(open_matrix(tmp_path / "g.npy"), G[:, :1])
    with pytest.raises(ValueError, match=r"g.npy holds float64 \(101,\); it must be 2-d"):
        open_matrix(tmp_path / "g.npy", dimensions=(2,))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_maps(mode: str, tmp_path: Path) -> None:
    big = np.random.default_rng(0).random((2000, 40)).astype("f2")  # some pages
    np.save(tmp_path / "F.npy", big)
    array = np.load(tmp_path / "F.npy", mmap_mode=mode)  # type: ignore[call-overload]
    same(MemmapSource(array), big)
    found = as_source(array[101:1500])
    assert isinstance(found, MemmapSource)
    assert found.drops == (mode != "c")
    same(found, big[101:1500])
    same(pickle.loads(pickle.dumps(found)), big[101:1500])
    if mode != "r":
        array[110] = 3  # releasing a page must not lose values written to it
        found.read(0, 1399)
        assert (found[9] == 3).all()
        assert (array[110] == 3).all()
    for kept in (array[:, 3:], array[::2], array.T, array + 1, np.asarray(array)):
        assert as_source(kept) is None


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_shards_in_their_natural_order(suffix: str, tmp_path: Path) -> None:
    save = np.save
    if suffix == "safetensors":
        write = pytest.importorskip("safetensors.numpy").save_file
        save = lambda path, array: write({"rows": array}, path)  # noqa: E731
    for number, (start, stop) in {1: (0, 10), 2: (10, 11), 10: (11, 60), 11: (60, 101)}.items():
        save(tmp_path / f"shard-{number}.{suffix}", F[start:stop].astype(np.float32))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    (tmp_path / "_part.npy").write_text("half written")
    source = open_matrix(tmp_path)
    same(source, F.astype(np.float32))
    same(pickle.loads(pickle.dumps(source)), F.astype(np.float32))
    np.save(tmp_path / "z.npy", F[:3])
    with pytest.raises(ValueError, match=r"z.npy has rows of 7 float64, and .*shard-1.* of 7 float32; the shards"):
        open_matrix(tmp_path)


def test_a_folder_without_shards_says_what_it_holds(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / f"{name}.txt").touch()
    with pytest.raises(ValueError, match=r"is a folder without a .npy or .*; it holds a.txt, .* and 2 more"):
        open_matrix(tmp_path)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?"])
def test_safetensors(dtype: str, tmp_path: Path) -> None:
    write = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "F.safetensors"
    write({"a": F.astype(dtype), "g": G[:, 0].copy(), "b": G, "cube": np.ones((2, 2, 2))}, path, {"any": "thing"})
    same(open_matrix(path, "a"), F.astype(dtype))
    same(open_matrix(path, "g"), G[:, :1])
    with pytest.raises(ValueError, match=r"must hold one tensor, 2-d, .* \(101, 7\).*give the key of one"):
        open_matrix(path, dimensions=(2,))
    with pytest.raises(ValueError, match=r"must hold a tensor 'cube', 1-d or 2-d"):
        open_matrix(path, "cube")


@pytest.mark.slow
def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(F).bfloat16()
    tensor[0, :3] = torch.tensor([float("inf"), -0.0, 1e-40])
    pytest.importorskip("safetensors.torch").save_file({"F": tensor}, tmp_path / "F.safetensors")
    source = open_matrix(tmp_path / "F.safetensors")
    same(source, tensor.float().numpy())
    assert source.nbytes == tensor.nbytes


# Errors


def header(entries: object, data: bytes = bytes(48)) -> bytes:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header of 0 bytes goes beyond its end"),
        (bytes(7), "goes beyond its end"),
        (b"\xff" * 64, "goes beyond its end"),
        (header(b"{]"), "Expecting property name"),
        (header([ENTRY]), "its header is no JSON object"),
        (header({"F": [ENTRY]}), "no place inside the file for tensor 'F'"),
        (header({"F": {**ENTRY, "shape": [4, -3]}}), "no place inside the file"),
        (header({"F": {**ENTRY, "shape": [True, 3]}}), "no place inside the file"),
        (header({"F": {**ENTRY, "data_offsets": [0, 49]}}), "no place inside the file"),
        (header({"F": {**ENTRY, "data_offsets": [48, 0]}}), "no place inside the file"),
        (header({"F": {**ENTRY, "data_offsets": [0, 44]}}), r"tensor 'F', F32 \(4, 3\), has 44 bytes, not 48"),
        (header({"F": ENTRY}, bytes(47)), "no place inside the file"),
        (header({"F": ENTRY}, bytes(49)), "it has 49 bytes of data, and its header declares 48"),
        (header({"F": {**ENTRY, "dtype": "F4", "data_offsets": [0, 48]}}), "it holds F: F4"),
        (header({"F": {**ENTRY, "dtype": "F8_E4M3"}}), r"tensor 'F', F8_E4M3 \(4, 3\), has 48 bytes, not 12"),
        (header({"F": {**ENTRY, "shape": [0, 3], "data_offsets": [0, 0]}}, b""), "must have at least one row"),
        (header({"__metadata__": {"F": "x"}}, b""), "it holds none"),
    ],
)
def test_damaged_safetensors(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "F.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"F.safetensors.*{message}"):
        open_matrix(path)


def test_damaged_npy(tmp_path: Path) -> None:
    path = tmp_path / "F.npy"
    np.save(path, F)
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "too few for float64 .101, 7.; it may be cut off"),
        (whole[:50], "it may be cut off"),
        (b"", "it may be cut off"),
        (whole[:6] + b"\x04" + whole[7:], r"version 4.0, and 1.0 to 3.0 are known"),
        (whole.replace(b"(101, 7)", b"(-101,7)"), "too few"),
        (whole.replace(b"(101, 7)", b"(0, 1000)"), "at least one row"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"F.npy.*{message}"):
            open_matrix(path)


def test_paths_that_are_no_matrix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*none.npy: No such file"):
        open_matrix(tmp_path / "none.npy")
    with pytest.raises(ValueError, match="cannot read nowhere: No such file"):
        gip_gpu.select("nowhere", [1.0], 1)
    np.save(tmp_path / "F.npy", F)
    with pytest.raises(ValueError, match=r"key is 'F', but .*F.npy is no"):
        open_matrix(tmp_path, "F")


def test_wrong_requests(tmp_path: Path) -> None:
    np.save(tmp_path / "F.npy", F)
    source = open_matrix(tmp_path / "F.npy")
    for start, stop in ((-1, 3), (4, 3), (0, 102)):
        with pytest.raises(IndexError, match=r"F.npy has rows 0 to 101"):
            source.read(start, stop)
    for out in (
        np.empty((3, 7), "f4"),
        np.empty((2, 7)),
        np.empty((3, 7), order="F"),
        np.broadcast_to(1.0, (3, 7)),
        [1],
    ):
        with pytest.raises(ValueError, match=r"out must be a writeable C-contiguous array, float64 \(3, 7\)"):
            source.read(0, 3, out)  # type: ignore[arg-type]
    for indices in ([101], [0, -102], 101):
        with pytest.raises(IndexError, match="has 101 rows"):
            source[indices]
    for wrong in ([0.5], [[1]], ["a"]):
        with pytest.raises(TypeError, match="one-dimensional array of integers"):
            source.take(wrong)
    with pytest.raises(IndexError, match="a mask must have shape"):
        source[np.ones(3, bool)]
    with pytest.raises(TypeError, match=r"F.npy is read in blocks; as an array in memory it is source\[:\]"):
        np.asarray(source)
    with source:
        assert len(source) == 101
    with pytest.raises(ValueError, match=r"F.npy is closed"):
        source.read(0, 1)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "F.npy"
    np.save(path, F)
    source, mapped = open_matrix(path), MemmapSource(np.load(path, mmap_mode="r"))
    folder = open_matrix(tmp_path)
    for changed in (source, folder):
        assert (changed[100] == F[100]).all()
    os.truncate(path, path.stat().st_size - 8)
    for changed in (source, folder, pickle.loads(pickle.dumps(source))):
        for ask in (lambda s: s[3], lambda s: s.read(0, 101)):
            with pytest.raises(ValueError, match=r"cannot read .*F.npy: it has changed since it was opened"):
                ask(changed)
    with pytest.raises(ValueError, match=r"cannot read .*F.npy: it has been cut off"):
        mapped.read(0, 3)
    np.save(path, F + 1)  # of the size it had
    with pytest.raises(ValueError, match="it has changed"):
        source.take([3])
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*F.npy: No such file"):
        source.take([3])


def test_a_file_that_changes_while_it_is_mapped(tmp_path: Path) -> None:
    def rewrite(path: Path) -> None:
        np.save(path, F + 1)

    def write_through_another(path: Path) -> None:
        other = np.load(path, mmap_mode="r+")
        other[3] += 1
        other.flush()

    def replace(path: Path) -> None:
        status = path.stat()
        np.save(tmp_path / "other.npy", F + 1)
        os.utime(tmp_path / "other.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(tmp_path / "other.npy", path)

    path = tmp_path / "F.npy"
    for change in (rewrite, write_through_another, replace):
        np.save(path, F)
        os.utime(path, (1, 1))
        sources = open_matrix(path), MemmapSource(np.load(path, mmap_mode="r"))
        for source in sources:
            assert (source[100] == F[100]).all()
        path.chmod(0o600)
        for source in sources:
            assert (source[100] == F[100]).all()
        change(path)
        for source in sources:
            with pytest.raises(ValueError, match=r"cannot read .*F.npy: it has changed since it was opened"):
                source.read(0, 3)
    # Reads see values written through the map itself.
    mapped = MemmapSource(array := np.load(path, mmap_mode="r+"))
    array[3] = 7
    array.flush()
    assert (mapped[3] == 7).all()


def test_a_small_file_that_changes_while_it_is_mapped(tmp_path: Path) -> None:
    """Its pages may stay resident, so it is an ordinary array, but one of a file."""
    path = tmp_path / "F.npy"
    for change in (lambda: np.save(path, F + 1), lambda: os.truncate(path, 1000)):
        np.save(path, F)
        os.utime(path, (1, 1))
        pool = gip_gpu.Pool(np.load(path, mmap_mode="r"))
        copy = pickle.loads(pickle.dumps(pool))
        first = pool.select(F[:, 0], 5).indices
        change()
        with pytest.raises(ValueError, match=r"cannot read .*F.npy: it has changed since it was opened"):
            pool.select(F[:, 0], 5)
        assert (copy.select(F[:, 0], 5).indices == first).all()


def test_threads_read_and_take_at_once(tmp_path: Path) -> None:
    array = np.arange(40_000.0).reshape(10_000, 4)
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", array[number * 2500 : (number + 1) * 2500])
    assert asked_by_threads(open_matrix(tmp_path), array, 40)
    np.save(tmp_path / "all.npy", array)
    assert asked_by_threads(MemmapSource(np.load(tmp_path / "all.npy", mmap_mode="r")), array, 40)


# Where an array can stand


def test_selections_from_files_are_those_from_arrays(tmp_path: Path) -> None:
    given = F.astype(np.float32)
    np.save(tmp_path / "F.npy", given)
    np.save(tmp_path / "G.npy", G)
    (tmp_path / "shards").mkdir()
    for number in range(3):
        np.save(tmp_path / "shards" / f"{number}.npy", given[number * 40 : (number + 1) * 40])
    for options in (
        {},
        {"normalize": False, "objective": "omp"},
        {"objective": "lr", "epsilon": 0.1},
        {"query": "ridge"},
    ):
        expected = gip_gpu.select(given, G, 12, device="cpu", **options)
        for place in (tmp_path / "F.npy", str(tmp_path / "shards"), np.load(tmp_path / "F.npy", mmap_mode="r")):
            found = gip_gpu.select(place, str(tmp_path / "G.npy"), 12, device="cpu", **options)
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.gains, expected.gains)
    pool = pickle.loads(pickle.dumps(Pool(tmp_path / "F.npy", device="cpu")))
    np.testing.assert_array_equal(pool.select(G, 12).indices, gip_gpu.select(given, G, 12, device="cpu").indices)


def test_the_command_line_takes_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (2, 10):
        np.save(shards / f"{number}.npy", F[:50] if number == 2 else F[50:])
    line = ["select", str(shards), "--scores", "self-compression", "-k", "9", "--quiet", "--device", "cpu"]
    assert main(line) == 0
    expected = gip_gpu.select(F, signals.self_compression(F), 9, device="cpu")
    assert capsys.readouterr().out.split() == [str(index) for index in expected.indices]
    assert main([*line, "-o", str(shards / "2.npy"), "--force"]) == 2
    assert "2.npy is in a folder of shards that this run reads" in capsys.readouterr().err
    assert main([*line, "--key", "F"]) == 2
    assert "key is 'F', but" in capsys.readouterr().err


@pytest.mark.parametrize("resident", [True, False])
def test_the_kernels_get_their_rows_from_files(resident: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    pytest.importorskip("torch")
    from gip_gpu.backends.triton.backend import TritonBackend
    from gip_gpu.planning.cpu_costs import Layout
    from gip_gpu.planning.gpu_costs import GpuCosts

    if why := TritonBackend.missing("cpu"):
        pytest.skip(why)
    monkeypatch.setattr(GpuCosts, "layouts", lambda self: (Layout(resident=resident),))
    np.save(tmp_path / "F.npy", F.astype(np.int8))
    pool = Pool(tmp_path / "F.npy", device="cpu", backend="triton", columns="lazy")
    expected = gip_gpu.select(F.astype(np.int8), G, 4, device="cpu", backend="numpy")
    np.testing.assert_array_equal(pool.select(G, 4).indices, expected.indices)
    assert pool._prepared.backend.resident == resident  # type: ignore[union-attr]


def test_measures_and_signals_of_files(tmp_path: Path) -> None:
    path, scores = tmp_path / "F.npy", tmp_path / "G.npy"
    np.save(path, F)
    np.save(scores, G)
    chosen = [3, 1, 90]
    np.testing.assert_array_equal(signals.self_compression(path), signals.self_compression(F))
    np.testing.assert_array_equal(signals.ridge_query(path, scores, 0.1), signals.ridge_query(F, G, 0.1))
    np.testing.assert_array_equal(signals.multi_attribute(scores), signals.multi_attribute(G))
    assert metrics.mean_pairwise_cosine(path, chosen) == metrics.mean_pairwise_cosine(F, chosen)
    assert metrics.explained_share(path, scores, chosen) == metrics.explained_share(F, G, chosen)
    assert metrics.entropy(path, chosen) == metrics.entropy(F, chosen)


def test_bad_rows_of_a_file_are_named(tmp_path: Path) -> None:
    broken = F.copy()
    broken[40, 2] = np.nan
    np.save(tmp_path / "F.npy", broken)
    with pytest.raises(ValueError, match=r"F has a value that is not finite in row 40 \(\["):
        Pool(tmp_path / "F.npy", device="cpu")
    np.save(tmp_path / "F.npy", F * (np.arange(101) != 7)[:, None])
    with pytest.raises(ValueError, match=r"F has a zero row, row 7"):
        Pool(tmp_path / "F.npy", device="cpu")
    with pytest.raises(ValueError, match=r"G has 101 rows and F has 50"):
        gip_gpu.select(F[:50], str(tmp_path / "F.npy"), 3)


# Memory

READ = """
import sys
import numpy as np
from gip_gpu.sources import as_source, open_matrix

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

kind, path = sys.argv[1:]
if path.endswith(("parquet", "arrow", "feather")):
    import pyarrow.compute, pyarrow.parquet
source = as_source(np.load(path, mmap_mode="r")) if kind == "memmap" else open_matrix(path)
source[[5]]
before, total = peak(), 0.0
for start in range(0, len(source), 683):
    total += float(source.read(start, min(start + 683, len(source)))[:, 0].sum(dtype=float))
source.take(np.arange(0, len(source), 997))
print(peak() - before, source.nbytes, total)
"""


def write_npy(path: Path, block: np.ndarray, count: int) -> None:
    array = np.lib.format.open_memmap(path, "w+", block.dtype, (count * len(block), block.shape[1]))
    array.reshape(count, *block.shape)[:] = block


def write_large(kind: str, folder: Path, block: np.ndarray, count: int) -> Path:
    """Writes a matrix of `count` copies of this block."""
    path = folder / f"F.{'feather' if kind == 'lz4' else kind}"
    if kind == "shards":
        path.mkdir()
        for number in range(4):
            write_npy(path / f"{number}.npy", block, count // 4)
    elif kind == "safetensors":
        entry = {
            "dtype": "F32",
            "shape": [count * len(block), block.shape[1]],
            "data_offsets": [0, count * block.nbytes],
        }
        with open(path, "wb") as file:
            file.write(header({"F": entry}, b""))
            for _ in range(count):
                file.write(block.tobytes())
    elif kind in ("parquet", "arrow", "feather", "lz4"):
        pa = pytest.importorskip("pyarrow")
        rows = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), block.shape[1])
        table = pa.concat_tables([pa.table({"F": rows})] * count)
        if kind == "parquet":  # a single row group
            from pyarrow import parquet

            parquet.write_table(table, path, use_dictionary=False, compression="none")
        else:
            with pa.OSFile(str(path), "wb") as file:
                new = pa.ipc.new_stream if kind == "arrow" else pa.ipc.new_file
                with new(
                    file, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4" if kind == "lz4" else None)
                ) as writer:
                    writer.write_table(table)
    else:
        path = folder / "F.npy"
        write_npy(path, block, count)
    return path


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "memmap", "shards", "safetensors", "parquet", "arrow", "feather", "lz4"])
def test_resident_memory_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    """All of a file of 300 MB passes through a process that never holds more than some blocks of it."""
    block = np.random.default_rng(0).random((1000, 750), dtype=np.float32)
    path = write_large(kind, tmp_path, block, 100)
    run = subprocess.run([sys.executable, "-c", READ, kind, str(path)], capture_output=True, text=True, check=True)
    shutil.rmtree(tmp_path)  # not to wait for pytest's own tidying
    grown, nbytes, total = map(float, run.stdout.split())
    assert nbytes == 100 * block.nbytes
    np.testing.assert_allclose(total, 100 * block[:, 0].sum(dtype=np.float64), rtol=1e-5)
    assert grown < 100e6, f"{grown / 1e6:.0f} MB"
