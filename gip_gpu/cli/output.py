"""What a selection leaves behind: files, and a summary."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from gip_gpu import memory
from gip_gpu.selection import Selection
from gip_gpu.writing import atomic_write

CHOICE_SUFFIXES = (".npy", ".csv", ".txt", ".json", ".npz")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says of an error of the system that it came from writing this file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


def write_choice(selection: Selection, path: Path) -> None:
    """Writes the indices, or all of the result, as the name's suffix says, one of `CHOICE_SUFFIXES`."""
    if path.suffix in (".npz", ".json"):
        selection.save(path)
        return
    with atomic_write(path) as file:
        file.write(_encoded(selection, path.suffix))


def _encoded(selection: Selection, suffix: str) -> bytes:
    if suffix == ".npy":
        # Written straight to a file that does not fit the disk, NumPy's error does not say why.
        buffer = io.BytesIO()
        np.save(buffer, selection.indices)
        return buffer.getvalue()
    if suffix == ".txt":
        return "".join(f"{index}\n" for index in selection).encode()
    values = zip(selection, selection.gains.tolist(), selection.explained.tolist(), strict=True)
    lines = (f"{rank},{index},{gain!r},{share!r}\n" for rank, (index, gain, share) in enumerate(values))
    return ("rank,index,gain,explained\n" + "".join(lines)).encode()


def summary(selection: Selection, written: Sequence[str]) -> str:
    """The result in a table, and its certificate."""
    chosen, share = selection.plan, selection.range_share
    entries = [
        ("items", f"{chosen.m:,} of length {chosen.d:,}"),
        ("signals", f"{chosen.n:,}"),
        ("chosen", f"{len(selection):,}" + (f" of {chosen.k:,} asked for" if len(selection) < chosen.k else "")),
        ("objective", chosen.objective),
        ("Gram columns", f"{chosen.kept}, on {chosen.device} ({chosen.backend})"),
        ("time", f"{selection.timings['total']:.3g} s, {selection.work}"),
        ("peak memory", memory.readable(selection.peak_bytes)),
        ("explained share", _explained(selection.explained, selection.rounds)),
        *([] if share is None else [("G in the range of F", f"{share:.2%} of its energy")]),
        *(("written", path) for path in written),
    ]
    return f"{table(entries)}\ncertificate: {selection.certificate}"


def _explained(explained: NDArray[np.float64], rounds: Sequence[int]) -> str:
    if not len(explained):
        return "none"
    first = explained[rounds[1] - 1] if len(rounds) > 1 else explained[-1]
    # Below 0 it is no share.
    return (f"{first:.4%}" if first >= 0 else "none") + (
        f" by the first of {len(rounds)} rounds" if len(rounds) > 1 else ""
    )


def table(entries: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    return str(tabulate(entries, tablefmt="simple", disable_numparse=True))
