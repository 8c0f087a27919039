"""The command `run`."""

import contextlib
import os
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.bars import hide_bars_of_transformers
from gip_gpu.cli.config import CONFIG, write_config
from gip_gpu.cli.constraints import check_costs, check_k, constraint_options, constraints_of
from gip_gpu.cli.data_options import DATA, encoder_options, encoder_settings, local_files, text_options, text_settings
from gip_gpu.cli.options import FILE, center_options, choice_options, run_options
from gip_gpu.cli.output import cost_of, summary
from gip_gpu.cli.progress_log import LOG_JSON, ProgressLog
from gip_gpu.cli.score_output import entries_of
from gip_gpu.cli.signal_options import signal_options, signals_of
from gip_gpu.cli.summary import Summary
from gip_gpu.cli.values import count
from gip_gpu.pipeline.limits import LimitColumns
from gip_gpu.pipeline.run import LOCK, RunResult, Stages, write_chosen
from gip_gpu.pipeline.saved import save_selection
from gip_gpu.pipeline.scores import SIGNALS
from gip_gpu.records import check_output
from gip_gpu.records.writing import ADDED, check_added
from gip_gpu.report.html.installed import check_installed
from gip_gpu.system.atomic_write import check_target
from gip_gpu.system.launched import launched


@click.command()
@CONFIG
@DATA
@click.option("-k", "--k", "k", type=count, help="How many: 500; or a share of the rows: 0.05 or 5%.")
@click.option(
    "-o", "--out", "--output", "out", type=FILE, required=True,
    help="The chosen rows: .jsonl, .json (also .gz, .zst), .parquet; without a suffix a folder of datasets.",
)  # fmt: skip
@click.option("--work", type=FILE, help="Folder of vectors, replies, losses and checkpoints.  [default: OUT.work]")
@text_options
@encoder_options
@click.option("--embeddings", type=FILE, help="Vectors made before, instead of an encoder: row i for row i of DATA.")
@click.option("--key", help="Name of the vectors in their file.")
@click.option("--scores", help=f"A file with scores, row i for row i of DATA; or: {', '.join(SIGNALS)}.")
@click.option("--scores-key", help="Name of the scores in their file, or of columns: a,b,c.")
@click.option("--score-column", "score_column", multiple=True, help="A column of DATA that is a score; repeatable.")
@signal_options(short=False)
@click.option("--add", multiple=True, help=f"Column to add to the chosen rows; repeatable: {', '.join(ADDED)}.")
@run_options
@choice_options
@click.option("--no-normalize", is_flag=True, help="Keep the lengths of given vectors.")
@center_options
@click.option("--group-by", help="A column of DATA whose values are the groups.")
@click.option("--cost-by", help="A column of DATA with what each row costs; or: characters, the length of its text.")
@click.option("--weight-by", help="A column of DATA with a factor for the score of each row.")
@click.option(
    "--id-by", help="A column of DATA with the ids by which a .txt of --exclude or --must-include names rows."
)
@constraint_options
@click.option(
    "--report/--no-report", default=None, help="A page about the choice, OUT.html.  [default: if it can be made]"
)
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@LOG_JSON
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
@click.pass_context
def run(
    context: click.Context, /, config: Path | None, data: tuple[str, ...], k: int | float | str | None, out: Path,
    work: Path | None, split: str | None, encoder: str, embeddings: Path | None, key: str | None, scores: str | None,
    scores_key: str | None, score_column: tuple[str, ...], missing: str, add: tuple[str, ...], no_normalize: bool,
    group_by: str | None, cost_by: str | None, weight_by: str | None, id_by: str | None, report: bool | None,
    force: bool, log_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Choose the k most informative rows of the data set DATA: read, embed, score, select, write, report.

    DATA is as in `gip-gpu embed`. Scores are of columns, of a target, of a judge and of a language model, side by
    side, as in `gip-gpu score`; or of --scores alone. Vectors, checkpoints, replies and losses stay in the folder
    --work, so that the same command goes on after a kill, and another choice from the same texts embeds and asks
    nothing. Beside the output, OUT.toml holds all options: `gip-gpu run --config OUT.toml` repeats the run. OUT.npz is
    the selection with its certificate, for `gip-gpu verify` and `gip-gpu report`; the summary ends with the command
    that verifies it.
    """
    if launched():
        raise click.UsageError("run is for one process; torchrun goes with gip-gpu embed and gip-gpu select")
    if quiet:
        warnings.simplefilter("ignore")
    log = ProgressLog(shown=not quiet, as_json=log_json)
    # In the order of the help, whatever the order on the command line.
    recorded = {name: context.params[name] for each in context.command.params if (name := each.name) in context.params}
    written, saved = Path(f"{out}.toml"), Path(f"{out}.npz")
    read = (*data, options["dsir"]) if options["dsir"] else data
    if any(os.path.realpath(path) == os.path.realpath(out) for path in local_files(read)):
        raise click.UsageError(f"{out} is named twice, as data and as the output")
    page = None if report is False else Path(f"{out}.html")
    check_output(out, overwrite=force)
    for path in (written, saved, page):
        if path is not None:
            check_target(path, (path.suffix,), overwrite=force)
    if report:
        # Before the work, not after it.
        check_installed()
    check_added(add)
    limits = constraints_of(options, group_by, "--group-by", by_id=id_by is not None)
    check_k(k, limits)
    check_costs(cost_by, limits, "--cost-by")
    text, encoding = text_settings(options), encoder_settings(options)
    signals = signals_of(options, options["device"], text)
    encoding["device"] = options["device"]
    folder = Path(f"{out}.work") if work is None else work
    stages = Stages(
        data=data, k=k, work=folder, split=split, text=text, encoder=encoder, encoding=encoding,
        embeddings=embeddings, key=key, scores=scores, score_columns=score_column, scores_key=scores_key,
        signals=signals, missing=missing, limits=LimitColumns(group_by, cost_by, weight_by, id_by),
        select={**options, **limits, "normalize": not no_normalize},
    )  # fmt: skip
    with log:
        if signals.by_language_model and not log.bars:
            hide_bars_of_transformers()
        stages.notify = log.begin
        with _going_on_from(folder, log):
            result = stages.run()
        log.begin("write")
        write_chosen(result, out, add)
        files = save_selection(stages, result, saved)
        write_config(written, recorded)
        outputs = [str(out), str(saved), str(written)]
        if page is not None and _report(result, page, context, asked=report is True):
            outputs.append(str(page))
        to_verify = [] if files is None else [("verify", _verify(files, context.params))]
        cost = cost_of(result.selection, {**limits, **result.limits})
        log.summary(_summary(result, missing, outputs, to_verify, cost), note=f"{out} is written")


def _report(result: RunResult, path: Path, context: click.Context, *, asked: bool) -> Path | None:
    """Writes the page about a run; returns None if its libraries are missing and nobody asked for it."""
    from gip_gpu.report import write

    command = shlex.join(["gip-gpu", *(context.find_root().obj or ())])
    records = result.records
    try:
        return write(
            result.selection, path, result.vectors.F, result.scores,
            texts=lambda rows: list(records.take(rows.tolist())), score_names=result.score_names, command=command,
            groups=result.limits.get("groups"),
        )  # fmt: skip
    except ImportError:
        if asked:
            raise
        return None


@contextlib.contextmanager
def _going_on_from(work: Path, log: ProgressLog) -> Iterator[None]:
    """Prints how to resume after an interrupt."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if work.is_dir() and set(os.listdir(work)) - {LOCK}:
            log.note(f"the same command goes on from what is in {work}")
        raise


def _verify(files: list[str], given: dict[str, Any]) -> str:
    """Returns the command line that verifies the selection."""
    limits = ("group_min", "group_max", "dedup", "budget")
    named = [(f"--{name.replace('_', '-')}", given[name]) for name in limits if given[name] is not None]
    return shlex.join(["gip-gpu", "verify", *files, *(str(part) for each in named for part in each)])


def _summary(result: RunResult, missing: str, written: list[str], after: list[tuple[str, str]], cost: str) -> Summary:
    scored = [] if result.signals is None else entries_of(result.signals, missing)
    seconds = ", ".join(f"{stage} {took:.3g} s" for stage, took in result.seconds.items())
    before = [*result.vectors.said, *scored, ("stages", seconds)]
    return summary(result.selection, written, before=before, after=after, cost=cost)
