"""The command `report`."""

import json
import os
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu import signals
from gip_gpu.api.selection import Selection
from gip_gpu.cli.options import FILE
from gip_gpu.cli.output import check_file
from gip_gpu.cli.streams import say
from gip_gpu.cli.values import whole
from gip_gpu.records import Records, open_records
from gip_gpu.sources import open_matrix
from gip_gpu.system import memory
from gip_gpu.system.files import suffix_of

SELF_COMPRESSION = "self-compression"


@click.command()
@click.argument("chosen", type=FILE)
@click.option("--embeddings", type=FILE, required=True, help="The embeddings that CHOSEN was selected from.")
@click.option("--scores", type=FILE, help=f"The scores that it was selected by; or: {SELF_COMPRESSION}.")
@click.option(
    "--rows",
    type=FILE,
    help="The pool's data set, row i for item i: .jsonl, .json (also .gz, .zst), .parquet, a folder.",
)
@click.option("--text", "text_fields", help="Fields of --rows to show: a,b,c.  [default: all]")
@click.option("--groups", "group_field", help="Field of --rows with the group of an item; else clusters are made.")
@click.option(
    "-o", "--out", "--output", "out", type=FILE, default="report.html", show_default=True, help="The .html to write."
)
@click.option("--title", default="Selected data", show_default=True, help="Heading of the report.")
@click.option("--command", help="Command line that made CHOSEN, to be shown.")
@click.option("--stability", type=FILE, help="A .json of names and findings, shown beside the certificate.")
@click.option(
    "--near", type=float, default=0.95, show_default=True, help="Cosine from which two items are near-duplicates."
)
@click.option(
    "--points", type=whole, default=100_000, show_default=True, help="Most items to show; of more, a random sample."
)
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@click.option("--scores-key", help="Name of the scores in their file, or of columns: a,b,c.")
@click.option("--force", is_flag=True, help="Overwrite a report that exists.")
@click.option("--quiet", is_flag=True, help="No message, no warnings.")
@click.pass_context
def report(
    context: click.Context, chosen: Path, embeddings: Path, scores: Path | None, rows: Path | None,
    text_fields: str | None, group_field: str | None, out: Path, title: str, command: str | None,
    stability: Path | None, near: float, points: int, key: str | None, scores_key: str | None, force: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write a report on CHOSEN, a selection in a .npz or .json, as one HTML file.

    The file needs no network: a map of the pool, gains, coverage, scores, near-duplicates, a searchable table of the
    picks, the certificate, time and memory. Open it in any browser, or send it.
    """
    from gip_gpu.report import write

    if rows is None and (text_fields is not None or group_field is not None):
        raise click.UsageError("--text and --groups name fields of --rows, which is not given")
    file = None if scores is None or scores == Path(SELF_COMPRESSION) else scores
    if file is None and scores_key is not None:
        raise click.UsageError(f"--scores-key names an array in a file, but --scores is {scores or 'not given'}")
    if quiet:
        warnings.simplefilter("ignore")
    taken = {os.path.realpath(path) for path in (chosen, embeddings, file, rows, stability) if path is not None}
    check_file(out, (".html", ".htm"), taken, force, "an output")
    selection = Selection.load(chosen)
    F = open_matrix(embeddings, key, dimensions=(2,))
    G = None if scores is None else signals.self_compression(F) if file is None else open_matrix(file, scores_key)
    records = None if rows is None else _records(rows, len(F))
    own = shlex.join(["gip-gpu", *(context.find_root().obj or ())])
    path = write(
        selection,
        out,
        F,
        G,
        texts=None if records is None else _reader(records, text_fields),
        groups=None if records is None or group_field is None else _field(records, group_field),
        score_names=_score_names(scores, scores_key),
        title=title,
        command=own if command is None else f"{command}\n{own}",
        stability=None if stability is None else _findings(stability),
        near=near,
        points=points,
    )
    if not quiet:
        say(f"written: {path}, {memory.readable(path.stat().st_size)}", "the summary", note=f"{path} is written")


def _records(rows: Path, m: int) -> Records:
    records = open_records(rows)
    if len(records) != m:
        raise ValueError(f"{rows} has {len(records):,} rows and the embeddings {m:,}; row i belongs to item i")
    return records


def _reader(records: Records, fields: str | None) -> Callable[[NDArray[np.int64]], Sequence[Any]]:
    """Returns a function from item numbers to their rows, or to the given fields of them."""
    names = None if fields is None else fields.split(",")

    def read(indices: NDArray[np.int64]) -> Sequence[Any]:
        numbered = zip(indices.tolist(), records.take(indices.tolist()), strict=True)
        return [
            row if names is None else {name: _value(records, row, name, i, "--text") for name in names}
            for i, row in numbered
        ]

    return read


def _field(records: Records, name: str) -> Callable[[NDArray[np.int64]], Sequence[Any]]:
    def read(indices: NDArray[np.int64]) -> Sequence[Any]:
        numbered = zip(indices.tolist(), records.take(indices.tolist()), strict=True)
        return [_value(records, row, name, i, "--groups") for i, row in numbered]

    return read


def _value(records: Records, row: Mapping[str, Any], name: str, i: int, option: str) -> Any:
    if name not in row:
        raise ValueError(
            f"{records.place(i)} has no field {name!r}, which {option} names; it has {', '.join(map(repr, row))}"
        )
    return row[name]


def _score_names(scores: Path | None, key: str | None) -> list[str] | None:
    if scores == Path(SELF_COMPRESSION):
        return [SELF_COMPRESSION]
    if key is None and scores is not None and suffix_of(scores) == ".npz":
        # A file of `gip-gpu score`.
        with np.load(scores) as archive:
            return archive["names"].tolist() if {"scores", "names"} == set(archive.files) else None
    return None if key is None or "," not in key else key.split(",")


def _findings(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f'{path} holds a {type(found).__name__}; it must be a mapping such as {{"bf16": "5 change"}}')
    return found
