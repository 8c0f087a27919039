"""Files: input is validated and errors name the file, output is written completely or not at all."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import tracemalloc
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu.cli.jsonl import read_jsonl_rows
from gip_gpu.sources import Source, open_matrix
from gip_gpu.system.atomic_write import Together, atomic_write, check_target

F = np.arange(12, dtype=np.float32).reshape(4, 3)
# As the command line opens its files.
read_embeddings, read_scores = partial(open_matrix, dimensions=(2,)), open_matrix


def save_npy(path: Path, array: object) -> Path:
    np.save(path, array)
    return path


# Embeddings


def test_npy_is_read_in_blocks(tmp_path: Path) -> None:
    for array in (F, np.asfortranarray(F), F.astype(np.float16), F.astype(">i4")):
        found = read_embeddings(save_npy(tmp_path / "F.npy", array))
        assert isinstance(found, Source)
        assert found.dtype == array.dtype
        assert (found[:] == array).all()


def test_npz_needs_one_matrix_or_a_key(tmp_path: Path) -> None:
    path = tmp_path / "pool.npz"
    texts = np.array([{"any": "object"}], dtype=object)
    np.savez_compressed(path, F=F, g=np.arange(4), texts=texts)
    assert (read_embeddings(path)[:] == F).all()
    np.savez(path, F=F, G=F[:, :2])
    assert (read_embeddings(path, key="G")[:] == F[:, :2]).all()
    with pytest.raises(ValueError, match=r"must hold one array.*F: float32 \(4, 3\), G: .*give the key of one"):
        read_embeddings(path)
    with pytest.raises(ValueError, match=r"must hold an array 'H'.*it holds F: float32 \(4, 3\), G"):
        read_embeddings(path, key="H")
    np.savez(path, g=np.arange(4), texts=texts)
    with pytest.raises(ValueError, match=r"must hold one array, 2-d, of real numbers; it holds g: int64"):
        read_embeddings(path)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds float32 \(12,\); it must be 2-d"):
        read_embeddings(save_npy(tmp_path / "a.npy", F.ravel()))
    with pytest.raises(ValueError, match=r"holds <U1 \(1, 1\); it must be 2-d, of real numbers"):
        read_embeddings(save_npy(tmp_path / "b.npy", [["x"]]))
    with pytest.raises(
        ValueError,
        match=r"has suffix '.txt'; it must be .npy or .npz",
    ):
        read_embeddings(tmp_path / "F.txt")
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        read_embeddings(tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"key is 'F', but .* is no .npz"):
        read_embeddings(save_npy(tmp_path / "c.npy", F), key="F")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(
        ValueError, match=r"cannot read .*folder.npy: it is a folder without a .npy or .*it holds nothing"
    ):
        read_embeddings(tmp_path / "folder.npy")


class Bomb:
    """An object whose unpickling would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("read", [read_embeddings, read_scores])
def test_pickles_are_never_loaded(read: object, tmp_path: Path) -> None:
    assert callable(read)
    exploded = tmp_path / "exploded"
    bomb = np.array([[Bomb(exploded)]], dtype=object)
    np.savez(tmp_path / "bomb.npz", F=bomb)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb(exploded)))
    for path in (save_npy(tmp_path / "bomb.npy", bomb), tmp_path / "bomb.npz", tmp_path / "plain.npy"):
        with pytest.raises(ValueError, match=str(path)):
            read(path)
    assert not exploded.exists()
    np.load(tmp_path / "bomb.npy", allow_pickle=True)
    assert exploded.exists()  # the bomb was live


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_give_one_line_or_an_array(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    if suffix == ".csv":
        buffer.write(b"a,b\n1,2\n3,4.5\n")
    else:
        {".npy": np.save, ".npz": np.savez_compressed}[suffix](buffer, F)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's own, about headers that look like those of Python 2
        try:
            assert read_scores(path).ndim in (1, 2)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017, it need not be raised


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_truncated_files_say_so(cut: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "F.npz", F=F)
    for path in (save_npy(tmp_path / "F.npy", F), tmp_path / "F.npz"):
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(ValueError, match=r"cannot read .*it may be cut off"):
            read_embeddings(path)


# Scores


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1\n2\n", [[1], [2]]),
        ("score\n1\n2\n", [[1], [2]]),
        ("\ufeff1\n2\n", [[1], [2]]),
        ("a,b\n1,2\n3,4e-1\n\n\n", [[1, 2], [3, 0.4]]),
        ("\ufeffa,b\r\n 1,-2 \r\n", [[1, -2]]),
        ('"a, b",c\n"1",2', [[1, 2]]),
    ],
)
def test_csv_with_and_without_a_header(text: str, wanted: list[list[float]], tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    found = read_scores(path)
    assert found.dtype == np.float64
    assert found[:].tolist() == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rows of numbers"),
        ("a,b\n", "it has no rows of numbers"),
        ("a\n1\nx\n", "line 3, column 1: 'x' is not a number"),
        ("1,2\n3,x\n", "line 2, column 2: 'x' is not a number"),
        ("1,2\n3\n", "line 2 has 1 columns and the lines above have 2"),
        ("a,b\n1\n", "line 2 has 1 columns and the lines above have 2"),
        ("1\n\n2\n", "line 2 is empty"),
        (",score\n0,7\n1,8\n", "line 1: column 1 has no name; does it hold row numbers"),
        ("1;2\n3;4\n", "line 2, column 1: '3;4' is not a number"),
        ('1\n"2\n', "unexpected end of data"),
    ],
)
def test_bad_csv_names_the_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"cannot read .*scores.csv: .*{message}"):
        read_scores(path)


def test_scores_from_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "G.npz", g=np.arange(4), texts=np.array(["x"]))
    assert read_scores(tmp_path / "G.npz")[:].tolist() == [[0], [1], [2], [3]]
    assert read_scores(save_npy(tmp_path / "G.npy", F)).shape == (4, 3)
    with pytest.raises(ValueError, match=r"holds float64 \(\); it must be 1-d or 2-d"):
        read_scores(save_npy(tmp_path / "G.npy", 1.0))
    with pytest.raises(ValueError, match=r"it must be .npy or .* or .csv or .tsv or .jsonl"):
        read_scores(tmp_path / "G.dat")


# Rows of a .jsonl


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'{"a": 1}\n{"a": 2}\n', [b'{"a": 1}\n', b'{"a": 2}\n']),
        (b'{"a": 1}\n{"a": 2}', [b'{"a": 1}\n', b'{"a": 2}\n']),
        (b'{"a": 1}\r\n{"a": 2}\r\n \n\n', [b'{"a": 1}\r\n', b'{"a": 2}\r\n']),
        ('\ufeff{"ä": "\u2028"}\nno json\n'.encode(), ['{"ä": "\u2028"}\n'.encode(), b"no json\n"]),
    ],
)
def test_rows_are_copied_byte_for_byte(content: bytes, rows: list[bytes], tmp_path: Path) -> None:
    for name, stored in (("data.jsonl", content), ("data.jsonl.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(stored)
        found, target = read_jsonl_rows(tmp_path / name, 2, check=False), io.BytesIO()
        assert len(found) == 2
        found.copy([1, 0, 1], target)
        assert target.getvalue() == rows[1] + rows[0] + rows[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\n2\n", "it has 2 rows and the embeddings have 3"),
        (b"1\n2\n3\n4\n", "it has 4 rows and the embeddings have 3"),
        (b"1\n\n2\n3\n", "line 2 is empty"),
        (b"1\n2\n \t\n\n3\n", "line 3 is empty"),
        (b"\n1\n2\n3\n", "line 1 is empty"),
        (b"", "it has 0 rows and the embeddings have 3"),
    ],
)
def test_bad_rows_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read .*data.jsonl: {message}"):
        read_jsonl_rows(path, 3)


def test_rows_must_exist_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with pytest.raises(ValueError, match="No such file"):
        read_jsonl_rows(path)
    with pytest.raises(ValueError, match=r"suffix '.json'; it must be .jsonl or .ndjson"):
        read_jsonl_rows(tmp_path / "data.json")
    path.write_bytes(b"\n")
    with pytest.raises(ValueError, match="it has no rows"):
        read_jsonl_rows(path)
    path.write_bytes(b"1\n2\n")
    rows = read_jsonl_rows(path)
    path.write_bytes(b"1\n2\n3\n")
    with pytest.raises(ValueError, match="has changed since it was opened"):
        rows.copy([0], io.BytesIO())


def test_rows_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes((b'"' + b"x" * 997 + b'"\n') * 20_000)
    tracemalloc.start()
    read_jsonl_rows(path, 20_000).copy(range(0, 20_000, 2), io.BufferedWriter(NullIO()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6, f"{peak / 1e6:.1f} MB for a file of 20 MB"


class NullIO(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        return len(content)  # type: ignore[arg-type]


# Writing


def test_a_write_is_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    with atomic_write(path) as file:
        file.write(b"newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["out.txt", "plain.txt"]


def write_half(path: Path, error: type[BaseException]) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        raise error


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    for before in ([], ["out.txt"]):
        with pytest.raises(error):
            write_half(path, error)
        assert os.listdir(tmp_path) == before
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"


def write_two(first: Path, second: Path, fail: BaseException | None = None) -> None:
    before = [path.is_file() for path in (first, second)]
    with Together() as together:
        for path in (first, second):
            with together.open(path) as file:
                file.write(b"new")
        assert [path.is_file() for path in (first, second)] == before
        if fail is not None:
            raise fail


@pytest.mark.parametrize("before", [[], ["a", "b"]])
def test_files_are_written_together_or_not_at_all(before: list[str], tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for name in before:
        (tmp_path / name).write_bytes(b"old")
    for error in (OSError("full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_two(a, b, error)
        assert sorted(os.listdir(tmp_path)) == before
        assert all((tmp_path / name).read_bytes() == b"old" for name in before)
    write_two(a, b)
    assert a.read_bytes() == b.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_rename_that_fails_takes_new_files_back(tmp_path: Path) -> None:
    """A folder of that name may appear while the files are written."""
    a, b = tmp_path / "a", tmp_path / "b"
    b.mkdir()
    with pytest.raises(IsADirectoryError):
        write_two(a, b)
    assert os.listdir(tmp_path) == ["b"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "out.txt", tmp_path / "link.txt"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_long_names_fit(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def unwritable_folder(parent: Path) -> Path:
    """A folder in which no file can be made; permission bits do not bind root, so for root it is one of /proc."""
    if os.geteuid() == 0:
        folder = Path("/proc/self")
        if not folder.is_dir():
            pytest.skip("root may write to every folder here")
        return folder
    folder = parent / "read-only"
    folder.mkdir(mode=0o555)
    return folder


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of another kind")
def test_targets_are_checked_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    check_target(path, (".npy",), overwrite=False)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match=r"suffix '.npy'; it must be .csv or .txt"):
        check_target(path, (".csv", ".txt"), overwrite=False)
    with pytest.raises(ValueError, match="there is no folder"):
        check_target(tmp_path / "none" / "out.npy", (".npy",), overwrite=False)
    with pytest.raises(ValueError, match="cannot write"):
        check_target(unwritable_folder(tmp_path) / "out.npy", (".npy",), overwrite=False)
    path.touch()
    with pytest.raises(ValueError, match="it exists; --force overwrites it"):
        check_target(path, (".npy",), overwrite=False)
    check_target(path, (".npy",), overwrite=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="it is no regular file"):
        check_target(path, (".npy",), overwrite=True)
