"""Outputs of a selection: files and a summary."""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu.api import selection_file
from gip_gpu.api.selection import Selection
from gip_gpu.cli import jsonl
from gip_gpu.cli.id_checks import Id, Ids
from gip_gpu.cli.progress_log import ProgressLog
from gip_gpu.cli.streams import say
from gip_gpu.cli.summary import Summary
from gip_gpu.records.lines import Lines
from gip_gpu.sources.columns import load
from gip_gpu.system import compressed, memory
from gip_gpu.system.atomic_write import Together, check_target
from gip_gpu.system.files import suffix_of

# Formats that hold given ids; the others hold the whole result or an array of numbers.
WITH_IDS = (".csv", ".txt", ".parquet")
CHOICE_SUFFIXES = (".npy", *WITH_IDS, ".json", ".npz")
STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class Outputs:
    """Destinations of a selection.

    Attributes:
        choice: file of the indices or of the whole result. "-" prints the indices on standard output; None prints them
            unless chosen rows are written.
        rows: file of the chosen rows.
        force: whether existing files are overwritten.
        log: the log that gets the summary.
    """

    choice: Path | None
    rows: Path | None
    force: bool
    log: ProgressLog

    @property
    def printed(self) -> bool:
        """Whether standard output gets the indices, or their ids."""
        return self.choice == STANDARD_OUTPUT or (self.choice is None and self.rows is None)

    @property
    def files(self) -> list[tuple[Path, Sequence[str]]]:
        """Files to write, with their allowed suffixes."""
        choice = None if self.choice == STANDARD_OUTPUT else self.choice
        given = ((choice, CHOICE_SUFFIXES), (self.rows, jsonl.SUFFIXES))
        return [(path, suffixes) for path, suffixes in given if path is not None]

    def check(self, taken: set[str]) -> None:
        """Checks before the run that all files can be written.

        Args:
            taken: real paths of files of this run; the outputs are added.

        Raises:
            click.UsageError: a file that is named twice.
            ValueError: a file that cannot be written.
            ImportError: a format whose library is missing.
        """
        for path, suffixes in self.files:
            check_file(path, suffixes, taken, self.force, "an output")
            compressed.check_codec(path)
            if suffix_of(path) == ".parquet":
                load()

    def check_ids(self, ids: Ids) -> None:
        """Checks before the run that the outputs can hold the ids, else ValueError, and warns of duplicates."""
        if self.printed:
            ids.check_lines(getattr(sys.stdout, "encoding", None) or "utf-8")
        elif self.choice is not None and suffix_of(self.choice) == ".txt":
            ids.check_lines("utf-8")
        ids.warn_duplicates()

    def write(self, selection: Selection, rows: Lines | None, ids: Ids | None, cost: str = "") -> None:
        """Writes all files or none, then prints the summary, with the cost of the picks if there is a budget."""
        named = None if ids is None else ids.take(selection)
        with Together() as together:
            for path, _ in self.files:
                with _naming(path), together.open(path) as file:
                    if path == self.rows:
                        assert rows is not None
                        with compressed.compressing(file, path) as target:
                            rows.copy(selection, target)
                    else:
                        file.write(encoded(selection, suffix_of(path), named, "" if ids is None else ids.type))
            if self.printed:
                lines = "".join(f"{line}\n" for line in (selection if named is None else named))
                note = "no file was written" if self.files else ""
                say(lines, "the indices" if named is None else "the ids", nl=False, note=note)
        written = [str(path) for path, _ in self.files]
        note = f"{' and '.join(written)} {'is' if len(written) == 1 else 'are'} written" if written else ""
        self.log.summary(summary(selection, written, cost=cost), err=self.printed, note=note)


def check_file(path: Path, suffixes: Sequence[str], taken: set[str], force: bool, what: str) -> None:
    """Checks that this run may write a file, and adds it to `taken`, the real paths of its files."""
    if os.path.realpath(path) in taken:
        raise click.UsageError(f"{path} is named twice, as {what} and as another file of this run")
    if os.path.dirname(os.path.realpath(path)) in taken:
        raise click.UsageError(f"{path} is in a folder of shards that this run reads")
    check_target(path, suffixes, overwrite=force)
    taken.add(os.path.realpath(path))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the name of the file to an OSError of writing it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


def encoded(selection: Selection, suffix: str, ids: Sequence[Id] | None = None, id_type: str = "string") -> bytes:
    """Returns the content of a file of one of `CHOICE_SUFFIXES`: indices, a table of the picks, or the whole result.

    Args:
        selection: the result.
        suffix: suffix of the file.
        ids: ids of the picks, for the formats that hold them.
        id_type: type of the id column in a typed table: "int64", "uint64" or "string".
    """
    if suffix in selection_file.SUFFIXES:
        return selection_file.encode(selection, suffix)
    buffer = io.BytesIO()
    if suffix == ".npy":
        # In memory first: NumPy's error on a full disk does not give the reason.
        np.save(buffer, selection.indices)
    elif suffix == ".txt":
        buffer.write("".join(f"{line}\n" for line in (selection if ids is None else ids)).encode())
    elif suffix == ".parquet":
        import pyarrow.parquet

        pa, columns = load(), _columns(selection, ids)
        if ids is not None:
            # The type depends on all ids of the pool, so that all selections from it have the same column type.
            kind = str if id_type == "string" else int
            columns["id"] = pa.array([kind(value) for value in ids], id_type)
        pyarrow.parquet.write_table(pa.table(columns), buffer)
    else:
        columns = _columns(selection, ids)
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows(zip(*(_listed(column) for column in columns.values()), strict=True))
        buffer.write(text.getvalue().encode())
    return buffer.getvalue()


def _columns(selection: Selection, ids: Sequence[Id] | None) -> dict[str, Any]:
    """Returns the columns of a table with one row per pick."""
    return {
        "rank": np.arange(len(selection)),
        "index": selection.indices,
        **({} if ids is None else {"id": ids}),
        "gain": selection.gains,
        "explained": selection.explained,
        "margin": selection.certificate.margins,
    }


def _listed(column: Any) -> list[Any]:
    return list(column.tolist() if isinstance(column, np.ndarray) else column)


def summary(
    selection: Selection,
    written: Sequence[str],
    before: Sequence[tuple[str, str]] = (),
    after: Sequence[tuple[str, str]] = (),
    cost: str = "",
) -> Summary:
    """Returns the summary of a selection, with some entries before and after its own, and the cost of its picks."""
    chosen, share = selection.plan, selection.range_share
    # A budget may have asked for no number.
    short = len(selection) < chosen.k and not cost
    entries = [
        *before,
        ("items", f"{chosen.m:,} of length {chosen.d:,}"),
        ("signals", f"{chosen.n:,}"),
        *(() if selection.preparation is None else selection.preparation.said),
        ("chosen", f"{len(selection):,}" + (f" of {chosen.k:,} asked for" if short else "")),
        *([("cost", cost)] if cost else []),
        ("objective", chosen.objective),
        ("Gram columns", f"{chosen.kept}, on {chosen.device} ({chosen.backend})"),
        ("time", f"{selection.timings['total']:.3g} s, {selection.work}"),
        ("peak memory", memory.readable(selection.peak_bytes)),
        ("explained share", _explained(selection.explained, selection.rounds)),
        *([] if share is None else [("G in the range of F", f"{share:.2%} of its energy")]),
        *(("written", path) for path in written),
        *after,
    ]
    return Summary(entries, str(selection.certificate))


def cost_of(selection: Selection, limits: Mapping[str, Any]) -> str:
    """Returns the cost of the picks and the budget, from the constraints of the selection; "" without a budget."""
    if limits.get("costs") is None:
        return ""
    return f"{sum(np.asarray(limits['costs'])[selection.indices].tolist()):,} of {limits['budget']:,}"


def _explained(explained: NDArray[np.float64], rounds: Sequence[int]) -> str:
    if not len(explained):
        return "none"
    first = explained[rounds[1] - 1] if len(rounds) > 1 else explained[-1]
    # A value below 0 is not a share.
    return (f"{first:.4%}" if first >= 0 else "none") + (
        f" by the first of {len(rounds)} rounds" if len(rounds) > 1 else ""
    )
