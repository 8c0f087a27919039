"""The command `select`."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray

import gip_gpu
from gip_gpu import files
from gip_gpu.arrays import as_matrix, check_rows_of_scores
from gip_gpu.cli.launched import launched, leading
from gip_gpu.cli.options import FILE, OBJECTIVE, QUERY, SIGN, run_options
from gip_gpu.cli.output import CHOICE_SUFFIXES, summary, write_choice, writing
from gip_gpu.cli.values import interval, number
from gip_gpu.selection import Selection
from gip_gpu.sources import Source, open_matrix
from gip_gpu.sources.file import state_of
from gip_gpu.validate import as_count
from gip_gpu.writing import atomic_write, check_target

SELF_COMPRESSION = "self-compression"


@click.command()
@click.argument("embeddings", type=FILE)
@click.option("--scores", type=FILE, help=f"A file as EMBEDDINGS, .csv, .tsv or .jsonl; or: {SELF_COMPRESSION}.")
@click.option("-k", "--k", "k", type=number, required=True, help="How many: 500; or a share of all: 0.05.")
@click.option("-o", "--output", type=FILE, help="Indices: .npy, .csv, .txt; all of the result: .npz, .json.")
@click.option("--rows", type=FILE, help="The pool's .jsonl, one line an item.")
@click.option("--rows-out", type=FILE, help="Where the chosen lines of --rows go, most informative first.")
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@click.option("--scores-key", help="Name of the scores in their file, or of columns: a,b,c.")
@run_options
@OBJECTIVE
@click.option("--epsilon", type=float, default=0.0, show_default=True, help="Ridge of the projector and of the query.")
@QUERY
@SIGN
@click.option("--on-exhausted", default="restart", show_default=True, help="restart, stop or continue.")
@click.option("--no-normalize", is_flag=True, help="Take rows of the embeddings at the length they have.")
@click.option("--checkpoint", type=FILE, help="Written from time to time; if it exists, the run goes on from it.")
@click.option("--checkpoint-every", type=interval, help="Picks (an int), or seconds (60.0 or 60s).  [default: 60.0]")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def select(
    embeddings: Path, scores: Path | None, k: int | float, output: Path | None, rows: Path | None,
    rows_out: Path | None, key: str | None, scores_key: str | None, no_normalize: bool, checkpoint: Path | None,
    force: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Choose k rows of EMBEDDINGS, most informative first.

    EMBEDDINGS is a file, .npy, .npz, .safetensors, .parquet, .arrow or .feather, or a folder of such files as shards.
    All but compressed arrays of a .npz are read in blocks.

    Without -o, the indices go to standard output, one a line, and the summary to standard error.

    With torchrun --nproc-per-node 4 -m gip_gpu select ..., each of four processes takes its share of the rows.
    """
    if scores is None and options["objective"] != "entropy":
        raise click.UsageError("give --scores, or --objective entropy to choose by the embeddings alone")
    if scores is not None and options["objective"] == "entropy":
        raise click.UsageError("--objective entropy chooses by the embeddings alone; leave --scores out")
    if output is None and sys.stdout is None:
        raise click.UsageError("standard output is closed; say by -o where the indices go")
    compressed = scores == Path(SELF_COMPRESSION)
    source = None if compressed else scores
    if source is None and scores_key is not None:
        raise click.UsageError(f"--scores-key names an array in a file, but --scores is {scores or 'not given'}")
    if (rows is None) != (rows_out is None):
        raise click.UsageError("--rows and --rows-out belong together: what to copy from, and to")
    if checkpoint is None and options["checkpoint_every"] is not None:
        raise click.UsageError("--checkpoint-every goes with --checkpoint, the file to write")
    if quiet:
        warnings.simplefilter("ignore")
    shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
    options.update(normalize=not no_normalize, progress=shown or None)
    pool_rows: files.JsonlRows | None = None

    def read(leading: bool) -> tuple[NDArray[Any] | Source, NDArray[Any] | Source | None]:
        nonlocal pool_rows
        limit = options["memory_limit"]
        F = as_matrix(open_matrix(embeddings, key, dimensions=(2,), memory_limit=limit), "F")
        as_count(k, len(F))
        G: NDArray[Any] | Source | None = None
        if source is not None:
            G = open_matrix(source, scores_key, memory_limit=limit)
            check_rows_of_scores(G.shape, F.shape)
        if leading:
            pool_rows = None if rows is None else files.read_jsonl_rows(rows, len(F))
            sources = [path for path in (embeddings, source, rows) if path is not None]
            taken = {os.path.realpath(path) for path in sources}
            if checkpoint is not None:
                _check_target(checkpoint, (checkpoint.suffix,), taken, True, "the checkpoint")
            for path, suffixes in ((output, CHOICE_SUFFIXES), (rows_out, (".jsonl", ".ndjson"))):
                if path is not None:
                    _check_target(path, suffixes, taken, force, "an output")
        if compressed:
            G = gip_gpu.signals.self_compression(F, normalize=not no_normalize)
        return F, G

    def finish(selection: Selection) -> None:
        if output is not None:
            with writing(output):
                write_choice(selection, output)
        if pool_rows is not None and rows_out is not None:
            with writing(rows_out), atomic_write(rows_out) as target:
                pool_rows.copy(selection, target)
        if output is None:
            click.echo("".join(f"{index}\n" for index in selection), nl=False)
        if not quiet:
            written = [str(path) for path in (output, rows_out) if path is not None]
            click.echo(summary(selection, written), err=output is None)

    if launched():
        from gip_gpu.distributed.launch import select_launched

        with _going_on_from(checkpoint if leading() else None):
            select_launched(k, {**options, "checkpoint": checkpoint}, read, finish)
    else:
        F, G = read(True)
        with _going_on_from(checkpoint):
            chosen = gip_gpu.select(F, G, as_count(k, len(F)), checkpoint=checkpoint, **options)
        finish(chosen)


def _check_target(path: Path, suffixes: Sequence[str], taken: set[str], force: bool, what: str) -> None:
    """Adds a file that this run will write to those it has to do with, where it may be written."""
    if os.path.realpath(path) in taken:
        raise click.UsageError(f"{path} is named twice, as {what} and as another file of this run")
    if os.path.dirname(os.path.realpath(path)) in taken:
        raise click.UsageError(f"{path} lies in a folder of shards that this run reads")
    check_target(path, suffixes, overwrite=force)
    taken.add(os.path.realpath(path))


@contextlib.contextmanager
def _going_on_from(checkpoint: Path | None) -> Iterator[None]:
    """Says how to go on after an interrupt, where this run has written the file."""
    before = _state(checkpoint)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _state(checkpoint) not in (None, before):
            print(
                f"gip-gpu: the checkpoint {checkpoint} was written; the same command goes on from it", file=sys.stderr
            )
        raise


def _state(path: Path | None) -> tuple[int, ...] | None:
    with contextlib.suppress(OSError):
        return None if path is None else state_of(os.stat(path))
    return None
