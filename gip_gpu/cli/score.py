"""The command `score`."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu.cli.bars import hide_bars_of_transformers
from gip_gpu.cli.data_options import DATA, local_files, text_options, text_settings
from gip_gpu.cli.options import FILE
from gip_gpu.cli.output import check_file
from gip_gpu.cli.progress_log import LOG_JSON, ProgressLog
from gip_gpu.cli.score_output import SUFFIXES, encoded, estimated, summary
from gip_gpu.cli.signal_options import signal_options, signals_of
from gip_gpu.cli.streams import say
from gip_gpu.pipeline.signals import signal_scores
from gip_gpu.records import Texts, open_records
from gip_gpu.records.opening import holds_records
from gip_gpu.sources import open_matrix
from gip_gpu.sources.columns import load
from gip_gpu.system.atomic_write import atomic_write
from gip_gpu.system.files import suffix_of


@click.command()
@DATA
@click.option("-o", "--output", type=FILE, help=f"File for the scores: {', '.join(SUFFIXES)}.")
@text_options
@click.option("--columns", help="Columns of DATA with numbers: a,b,c.")
@signal_options(short=True)
@click.option("--device", default="auto", show_default=True, help="Of the language model: auto, cpu, cuda or cuda:1.")
@click.option("--resume/--no-resume", default=True, show_default=True,
              help="Keep replies and losses beside the output, and use those that are there.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the estimated cost of the judge, and do nothing.")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@LOG_JSON
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def score(
    data: tuple[str, ...], output: Path | None, split: str | None, columns: str | None, missing: str, device: str,
    resume: bool, dry_run: bool, force: bool, log_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Score each row of DATA: by a judge, a language model, a target or columns, or by several of them side by side.

    DATA is as in `gip-gpu embed`; several are one data set. The answer of a chat is its last turn by the assistant, and
    the prompt all turns before it; --text-column and --text-template give texts without prompts. For --columns alone
    DATA may be any file that select takes for --scores.

    \b
    gip-gpu score data.jsonl -o scores.npz --judge http://localhost:8000/v1 --model NAME
    gip-gpu score data.jsonl -o scores.npz --ifd NAME --columns quality
    gip-gpu score data.jsonl -o scores.npz --dsir target.jsonl
    gip-gpu select embeddings.npy --scores scores.npz -k 5% -o chosen.npy

    Replies of a judge are kept in OUTPUT.answers.jsonl and losses of a language model in OUTPUT.losses.jsonl: the same
    command resumes from them. `gip-gpu run` takes the same options and selects by the scores at once.
    """
    if not any((options["judge"], options["perplexity"], options["ifd"], options["dsir"], columns)):
        raise click.UsageError("nothing to score by; give --judge, --perplexity, --ifd, --dsir or --columns")
    if output is None and not dry_run:
        raise click.UsageError("-o is missing, the file for the scores")
    if quiet:
        warnings.simplefilter("ignore")
    log = ProgressLog(shown=not quiet, as_json=log_json)
    read = (*data, options["dsir"]) if options["dsir"] else data
    text = text_settings(options)
    signals = signals_of(options, device, text)
    if output is not None and not dry_run:
        check_file(output, SUFFIXES, {os.path.realpath(path) for path in local_files(read)}, force, "the output")
        if suffix_of(output) == ".parquet":
            load()
    kept = output if resume else None
    answers, losses = (
        None if kept is None else kept.with_name(f"{kept.name}.{what}.jsonl") for what in ("answers", "losses")
    )
    names = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
    signals.check_names(names)
    numbers = {names: _numbers(data, names, split)} if names and not dry_run else {}
    texts = Texts(open_records(data, split=split), **text) if signals else None
    if dry_run:
        found = None if texts is None else signals.estimate(texts, answers)
        said = "only a judge has a cost; --judge is not given" if found is None else estimated(found)
        say(said, "the estimate")
        return
    assert output is not None
    with log:
        if signals.by_language_model and not log.bars:
            hide_bars_of_transformers()
        with _keeping(kept, log):
            made = signal_scores(texts, signals, numbers, answers=answers, losses=losses, notify=log.begin)
        scores = made.filled(missing)
        with atomic_write(output) as file:
            file.write(encoded(scores, suffix_of(output)))
        log.summary(summary(made, missing, str(output)), note=f"{output} is written")


def _numbers(data: tuple[str, ...], names: tuple[str, ...], split: str | None) -> NDArray[np.float64]:
    """Returns columns of numbers."""
    if len(data) == 1 and not holds_records(data[0]):
        return open_matrix(data[0], ",".join(names)).as_float64()
    return open_records(data, split=split).numbers(names)


@contextlib.contextmanager
def _keeping(kept: Path | None, log: ProgressLog) -> Iterator[None]:
    """Says how to resume after an interrupt."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if kept is not None:
            log.note(f"what is done is kept beside {kept}; the same command resumes from it")
        raise
