"""The command `select`."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray

import gip_gpu
from gip_gpu.api.selection import Selection
from gip_gpu.cli import jsonl
from gip_gpu.cli.constraints import check_costs, check_k, constraint_options, constraints_of, labels_of, numbers_in
from gip_gpu.cli.id_checks import Ids
from gip_gpu.cli.ids import names_a_file, read_ids
from gip_gpu.cli.options import FILE, center_options, choice_options, run_options
from gip_gpu.cli.output import WITH_IDS, Outputs, check_file, cost_of
from gip_gpu.cli.progress_log import LOG_JSON, ProgressLog
from gip_gpu.cli.values import count, interval
from gip_gpu.data.user_arrays import as_matrix, check_rows_of_scores
from gip_gpu.pipeline.limits import by_id as named
from gip_gpu.pipeline.scores import SELF_COMPRESSION, compressed_scores
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.records.lines import Lines
from gip_gpu.sources import Source, open_matrix
from gip_gpu.system.files import state_of, suffix_of
from gip_gpu.system.launched import launched, leading
from gip_gpu.validation.settings import as_count


@click.command()
@click.argument("embeddings", type=FILE)
@click.option("--scores", type=FILE, help=f"A file as EMBEDDINGS, .csv, .tsv or .jsonl; or: {SELF_COMPRESSION}.")
@click.option("-k", "--k", "k", type=count, help="How many: 500; or a share of the rows: 0.05 or 5%.")
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="Indices: .npy, .txt; a table of the picks: .csv, .parquet; all of the result: .npz, .json; "
    "-: indices on standard output.",
)
@click.option("--rows", type=FILE, help="The pool's .jsonl, one line an item; also .jsonl.gz and .jsonl.zst.")
@click.option("--rows-out", type=FILE, help="File for the chosen lines of --rows, most informative first.")
@click.option("--no-check-rows", is_flag=True, help="Do not check that each line of --rows is JSON.")
@click.option(
    "--ids",
    help="Ids of the items, for -o: a .txt, .npy or .csv with one an item, or the name of a column of EMBEDDINGS "
    "or of a field of --rows.",
)
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@click.option("--scores-key", help="Name of the scores in their file, or of columns: a,b,c.")
@run_options
@choice_options
@click.option("--no-normalize", is_flag=True, help="Keep the lengths of the embeddings' rows.")
@center_options
@click.option("--groups", type=FILE, help="The group of each row: .npy, or .txt with one a line.")
@click.option("--costs", type=FILE, help="What each row costs, for --budget: .npy, .csv, or .txt with one a line.")
@click.option("--weights", type=FILE, help="A factor for the score of each row, in such a file.")
@constraint_options
@click.option("--checkpoint", type=FILE, help="Written from time to time; if it exists, the run resumes from it.")
@click.option("--checkpoint-every", type=interval, help="Picks (an int), or seconds (60.0 or 60s).  [default: 60.0]")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@LOG_JSON
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def select(
    embeddings: Path, scores: Path | None, k: int | float | str | None, output: Path | None, rows: Path | None,
    rows_out: Path | None, no_check_rows: bool, ids: str | None, key: str | None, scores_key: str | None,
    no_normalize: bool, center: bool | str, groups: Path | None, costs: Path | None, weights: Path | None,
    checkpoint: Path | None, force: bool, log_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Choose k rows of EMBEDDINGS, most informative first.

    EMBEDDINGS is a file, .npy, .npz, .safetensors, .parquet, .arrow or .feather, or a folder of such files as shards.
    All but compressed arrays of a .npz are read in blocks.

    Without --scores the choice is by the embeddings alone, --objective entropy.

    Without -o and --rows-out, the indices go to standard output, one a line, and the summary to standard error. With
    --ids, .csv and .parquet have a column of them, and .txt and standard output have them instead of indices.

    With torchrun --nproc-per-node 4 -m -- gip_gpu select ..., each of four processes takes its share of the rows. The
    -- is for torchrun: without it, torchrun reads --sign as an option of its own; --score-sign is the same option.
    """
    objective = options["objective"]
    kind = OBJECTIVES.get(objective)
    if scores is None and kind is not None and kind.scored:
        raise click.UsageError(
            f"--objective {objective} needs scores; give --scores, or --objective entropy to choose by the embeddings "
            "alone"
        )
    if scores is not None and kind is not None and not kind.scored:
        raise click.UsageError(f"--objective {objective} chooses by the embeddings alone; leave --scores out")
    log = ProgressLog(shown=not quiet and leading(), as_json=log_json)
    outputs = Outputs(output, rows_out, force, log)
    if outputs.printed and sys.stdout is None:
        raise click.UsageError("standard output is closed; name a file for the indices by -o")
    compressed = scores == Path(SELF_COMPRESSION)
    source = None if compressed else scores
    if source is None and scores_key is not None:
        raise click.UsageError(f"--scores-key names an array in a file, but --scores is {scores or 'not given'}")
    id_field = rows is not None and ids is not None and not names_a_file(ids)
    if (rows is None and rows_out is not None) or (rows is not None and rows_out is None and not id_field):
        raise click.UsageError("--rows and --rows-out belong together: the file to copy from, and the file to write")
    if rows is None and no_check_rows:
        raise click.UsageError("--no-check-rows applies to --rows, which is not given")
    by_id = ids is not None and any(
        path is not None and suffix_of(path) == ".txt" for path in (options["exclude"], options["must_include"])
    )
    if ids is not None and not by_id and not outputs.printed and (output is None or suffix_of(output) not in WITH_IDS):
        raise click.UsageError(f"--ids needs an output with ids: -o with {', '.join(WITH_IDS)}, or standard output")
    if checkpoint is None and options["checkpoint_every"] is not None:
        raise click.UsageError("--checkpoint-every goes with --checkpoint, the file to write")
    if quiet:
        warnings.simplefilter("ignore")
    limits = constraints_of(options, None if groups is None else str(groups), "--groups", by_id=ids is not None)
    check_k(k, limits)
    check_costs(costs, limits, "--costs")
    if launched() and (weights is not None or any(value is not None for value in limits.values())):
        raise click.UsageError("a selection among processes takes no constraints; run it in one process")
    options.update(normalize=not no_normalize, center=center)
    pool_rows: Lines | None = None
    pool_ids: Ids | None = None

    def read(leading: bool) -> tuple[NDArray[Any] | Source, NDArray[Any] | Source | None]:
        nonlocal pool_rows, pool_ids
        limit = options["memory_limit"]
        F = as_matrix(open_matrix(embeddings, key, dimensions=(2,), memory_limit=limit), "F")
        if k is not None:
            as_count(k, len(F))
        G: NDArray[Any] | Source | None = None
        if source is not None:
            G = open_matrix(source, scores_key, memory_limit=limit)
            check_rows_of_scores(G.shape, F.shape)
        if leading:
            id_file = Path(ids) if ids is not None and names_a_file(ids) else None
            sources = [path for path in (embeddings, source, rows, id_file) if path is not None]
            taken = {os.path.realpath(path) for path in sources}
            if checkpoint is not None:
                check_file(checkpoint, (suffix_of(checkpoint),), taken, True, "the checkpoint")
            outputs.check(taken)
            pool_rows, pool_ids = _rows_and_ids(rows, ids, len(F), embeddings, check=not no_check_rows)
            if pool_ids is not None:
                outputs.check_ids(pool_ids)
        if compressed:
            G = compressed_scores(F, normalize=not no_normalize, center=center, on_nan=options["on_nan"])
        return F, G

    def finish(selection: Selection) -> None:
        log.begin("write")
        outputs.write(selection, pool_rows, pool_ids, cost_of(selection, limits))

    with log, _going_on_from(checkpoint if leading() else None, log):
        log.begin("read")
        if launched():
            from gip_gpu.distributed.launch import select_launched

            options["progress"] = log.begin("select") if log_json else log.bars or None
            # Without it there would be a budget.
            assert k is not None
            select_launched(k, {**options, "checkpoint": checkpoint}, read, finish)
            return
        F, G = read(True)
        if groups is not None:
            limits["groups"] = labels_of(groups, len(F))
        limits.update(numbers_in(costs, weights, len(F)))
        if by_id and pool_ids is not None:
            limits.update(named(limits, [str(each) for each in pool_ids.take(range(len(F)))]))
        # The bar of select itself leaves picks of a checkpoint out of its rate.
        options["progress"] = log.begin("select") if log_json else log.bars or None
        finish(gip_gpu.select(F, G, k, checkpoint=checkpoint, **limits, **options))


def _rows_and_ids(
    rows: Path | None, ids: str | None, m: int, embeddings: Path, *, check: bool
) -> tuple[Lines | None, Ids | None]:
    """Returns the rows of the pool and the ids of its items, each None if not requested."""
    found = None if ids is None else read_ids(ids, m, embeddings)
    field = ids if found is None else None
    if field is not None and (rows is None or not check):
        how = "with --rows, the .jsonl that has it" if rows is None else "without --no-check-rows"
        raise click.UsageError(f"--ids is {field!r}, no column of {embeddings}; a field of the rows goes {how}")
    if rows is None:
        return None, found
    if field is None:
        return jsonl.read_jsonl_rows(rows, m, check=check), found
    found = Ids(lambda i: f"line {i + 1}")
    lines = jsonl.read_jsonl_rows(rows, m, field=field, ids=found)
    found.take = jsonl.ids_in(lines, field)
    return lines, found


@contextlib.contextmanager
def _going_on_from(checkpoint: Path | None, log: ProgressLog) -> Iterator[None]:
    """Prints how to resume after an interrupt, if this run has written the checkpoint."""
    before = _state(checkpoint)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _state(checkpoint) not in (None, before):
            log.note(f"the checkpoint {checkpoint} was written; the same command resumes from it")
        raise


def _state(path: Path | None) -> tuple[int, ...] | None:
    with contextlib.suppress(OSError):
        return None if path is None else state_of(os.stat(path))
    return None
