"""Files of unusual sizes: shards without rows, archives larger than memory, 8-bit floats."""

import io
import logging
import re
import zipfile

import numpy as np
import pytest

import gip_gpu
from gip_gpu.cli import main
from gip_gpu.sources import npz, open_matrix
from gip_gpu.sources.float8 import FLOAT8, float8_values
from gip_gpu.sources.raw import RawSource
from gip_gpu.system import memory
from tests.support.source_checks import F, G, same

# .npz


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_arrays_are_read_in_blocks(dtype, order, tmp_path, monkeypatch):
    array = np.asarray(F.astype(dtype), order=order)
    np.savez(tmp_path / "F.npz", texts=np.array(["x"] * 101), F=array, g=G[:, 0])
    monkeypatch.setattr(memory, "available", lambda: 10)  # too little for the array
    source = open_matrix(tmp_path / "F.npz", "F")
    assert isinstance(source, RawSource)
    same(source, array)
    same(open_matrix(tmp_path / "F.npz", "g"), G[:, :1])
    with open(tmp_path / "F.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="it has changed since it was opened"):
        source.read(0, 3)


def test_arrays_are_stored_and_compressed_with_every_writer(tmp_path):
    """Also with the sizes after the values, where a writer cannot go back."""

    class Stream(io.RawIOBase):
        def __init__(self):
            self.parts = []

        def writable(self):
            return True

        def write(self, data):
            self.parts.append(bytes(data))
            return len(data)

    for save in (np.savez, np.savez_compressed):
        stream = Stream()
        save(stream, F=F, G=G)
        (tmp_path / "F.npz").write_bytes(b"".join(stream.parts))
        same(open_matrix(tmp_path / "F.npz", "F"), F)
        same(open_matrix(tmp_path / "F.npz", "G"), G)


def declare(path, shape, values=b"", compression=zipfile.ZIP_DEFLATED):
    """Writes a .npz whose header declares this shape of F, with these bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("F.npy", header.getvalue() + values)


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch, capsys):
    np.savez_compressed(tmp_path / "F.npz", F=np.zeros((5000, 100)))
    np.save(tmp_path / "g.npy", np.ones(5000))
    monkeypatch.setattr(npz.np, "load", lambda *_, **__: pytest.fail("it was read"))
    wanted = r"cannot read .*F.npz: array 'F', float64 \(5000, 100\), is compressed and takes 4 MB in memory, but "
    hint = "; saved by np.save as .npy, or by np.savez, it is read in blocks"
    for call in (
        lambda: open_matrix(tmp_path / "F.npz", memory_limit="1MB"),
        lambda: gip_gpu.select(tmp_path / "F.npz", np.ones(5000), 5, memory_limit="1MB"),
        lambda: gip_gpu.Pool(tmp_path / "F.npz", memory_limit=1_000_000),
    ):
        with pytest.raises(ValueError, match=f"{wanted}the limit is 1 MB{hint}$"):
            call()
    for line in (["select", "--scores", str(tmp_path / "g.npy")], ["plan"]):
        assert main([line[0], str(tmp_path / "F.npz"), *line[1:], "-k", "5", "--memory-limit", "1MB"]) == 2
        assert re.search(f"{wanted}the limit is 1 MB{hint}\n$", capsys.readouterr().err)
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    with pytest.raises(ValueError, match=f"{wanted}the limit is 2 MB{hint}$"):
        gip_gpu.select(tmp_path / "F.npz", np.ones(5000), 5)
    with pytest.raises(ValueError, match="memory_limit is 'much'; memory_limit must be bytes"):
        open_matrix(tmp_path / "F.npz", memory_limit="much")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_header_that_promises_more_than_there_is(compression, tmp_path):
    declare(tmp_path / "F.npz", (4_000_000, 1000), bytes(80), compression)
    message = r"F.npz: array 'F' has 80 bytes of values, too few for float64 \(4000000, 1000\); it may be cut off"
    with pytest.raises(ValueError, match=message):
        gip_gpu.select(tmp_path / "F.npz", np.ones(10), 5)
    declare(tmp_path / "F.npz", (0, 1000), b"", compression)
    with pytest.raises(ValueError, match=r"holds float64 \(0, 1000\); it must have at least one row"):
        open_matrix(tmp_path / "F.npz")


def test_memory_that_is_not_there_is_no_damage(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "F.npz", F=F)

    def load(*_, **__):
        raise MemoryError("Unable to allocate 29.8 GiB")

    monkeypatch.setattr(npz.np, "load", load)
    with pytest.raises(ValueError, match=r"F.npz: not enough memory: Unable to allocate 29.8 GiB$"):
        open_matrix(tmp_path / "F.npz")


def test_a_folder_in_the_folder_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "dataset_dict.json").touch()
    place = re.escape(str(tmp_path / "train"))
    with pytest.raises(ValueError, match=rf"holds dataset_dict.json, train; if a folder in it is meant, .*: {place}$"):
        open_matrix(tmp_path)


# Shards without rows


def shards(folder, kind, none):
    """Writes five shards of F; these have no rows."""
    folder.mkdir(exist_ok=True)
    parts = iter(np.array_split(F.astype("f4"), max(1, 5 - len(none))))
    for number in range(5):
        part = np.empty((0, 7), "f4") if number in none else next(parts)
        path = folder / f"part-{number}.{'feather' if kind in ('lz4', 'untyped feather') else kind.split()[-1]}"
        if kind == "npy":
            np.save(path, part)
        elif kind == "list npy":  # np.save of an empty list
            np.save(path, part if len(part) else [])
        elif kind == "safetensors":
            pytest.importorskip("safetensors.numpy").save_file({"F": part}, path)
        else:
            pa = pytest.importorskip("pyarrow")
            rows = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), 7)
            table = pa.table({"text": ["x"] * len(part), "F": rows})
            if kind.startswith("untyped") and not len(part):  # as pandas writes it
                table = pa.table({"text": pa.nulls(0), "F": pa.nulls(0)})
            if kind.endswith("parquet"):
                pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=9)
            elif kind.endswith("feather") or kind == "lz4":
                feather = pytest.importorskip("pyarrow.feather")
                feather.write_feather(table, path, compression="lz4" if kind == "lz4" else "uncompressed")
            else:
                with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)
    return folder


KINDS = ("npy", "list npy", "safetensors", "parquet", "untyped parquet", "arrow", "untyped arrow", "feather", "lz4")


@pytest.mark.parametrize("kind", [*KINDS, "untyped feather"])
def test_shards_without_rows_are_skipped(kind, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "gip_gpu")
    for none in ((0,), (2, 4), (0, 1, 2, 4)):
        caplog.clear()
        folder = shards(tmp_path / str(none), kind, none)
        same(open_matrix(folder), F.astype("f4"))
        assert [record.levelname for record in caplog.records] == ["DEBUG"] * len(none)
        for number, message in zip(none, caplog.messages, strict=True):
            assert re.fullmatch(
                rf"{re.escape(str(folder))}/part-{number}\.\w+ has no rows; the shard is skipped", message
            )
    found = gip_gpu.select(folder, G, 9, device="cpu")
    np.testing.assert_array_equal(found.indices, gip_gpu.select(F.astype("f4"), G, 9, device="cpu").indices)
    with pytest.raises(ValueError, match="none of its 5 shards has rows"):
        open_matrix(shards(tmp_path / "none", kind, range(5)))


def test_a_shard_without_columns_is_an_error(tmp_path):
    np.save(tmp_path / "0.npy", F)
    np.save(tmp_path / "1.npy", F[:, :0])
    with pytest.raises(
        ValueError, match=r"1.npy holds float64 \(101, 0\); it must have at least one row and one column"
    ):
        open_matrix(tmp_path)


# Floats of 8 bits


@pytest.mark.parametrize("kind", FLOAT8)
def test_floats_of_8_bits_have_the_values_of_torch(kind, tmp_path):
    torch = pytest.importorskip("torch")
    name = {"F8_E4M3": "float8_e4m3fn"}.get(kind, kind.lower().replace("f8", "float8"))
    tensor = torch.arange(256, dtype=torch.uint8).view(getattr(torch, name))
    np.testing.assert_array_equal(float8_values(kind), tensor.float().numpy())
    assert np.signbit(float8_values(kind)[0x80]) == np.signbit(tensor.float().numpy()[0x80]) or np.isnan(
        float8_values(kind)[0x80]
    )
    given = torch.from_numpy(F).to(tensor.dtype)
    pytest.importorskip("safetensors.torch").save_file({"F": given}, tmp_path / "F.safetensors")
    source = open_matrix(tmp_path / "F.safetensors")
    same(source, given.float().numpy())
    assert source.nbytes == F.size
