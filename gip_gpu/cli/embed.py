"""The command `embed`."""

import os
import time
import warnings
from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.data_options import DATA, encoder_options, encoder_settings, local_files, text_options, text_settings
from gip_gpu.cli.options import FILE
from gip_gpu.cli.progress_log import LOG_JSON, ProgressLog
from gip_gpu.cli.summary import Summary
from gip_gpu.embedding import fingerprint_of, joined_ranks
from gip_gpu.embedding.vector_file import VectorFile
from gip_gpu.pipeline.vectors import embedded_file, encoder_of
from gip_gpu.records import Texts, open_records
from gip_gpu.system.atomic_write import check_suffix, check_target
from gip_gpu.system.launched import leading


@click.command()
@DATA
@click.option("-o", "--output", type=FILE, required=True, help="File of the vectors: .npy, float16, unit rows.")
@text_options
@encoder_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--force", is_flag=True, help="Overwrite an output of other texts or another encoder.")
@LOG_JSON
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def embed(
    data: tuple[str, ...], output: Path, split: str | None, encoder: str, device: str, force: bool,
    log_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Embed the texts of DATA: a vector for each row, of length 1.

    DATA are files, .jsonl or .json (also .gz, .zst) or .parquet, folders of them, folders that datasets saved, or names
    on the Hugging Face hub. Several are read as one data set. Rows may be Alpaca, chats of OpenAI or ShareGPT, GSM8K,
    prompts with completions, or a column of text; else --text-column or --text-template say what the text is.

    The same command resumes a run that was killed: it embeds only the rows that are missing. A complete output of the
    same texts and encoder is not written again.

    With torchrun --nproc-per-node 4 -m -- gip_gpu embed ..., each of four processes takes its share of the texts.
    """
    if quiet:
        warnings.simplefilter("ignore")
    if any(os.path.realpath(path) == os.path.realpath(output) for path in local_files(data)):
        raise click.UsageError(f"{output} is named twice, as data and as the output")
    check_suffix(output, (".npy",))
    log = ProgressLog(shown=not quiet and leading(), as_json=log_json)
    began = time.perf_counter()
    texts = Texts(open_records(data, split=split), **text_settings(options))
    made = encoder_of(encoder, device=device, **encoder_settings(options))
    if output.exists() and not force and not _ours(output, texts, made):
        raise ValueError(f"cannot write {output}: it has other texts or another encoder; --force overwrites it")
    check_target(output, (".npy",), overwrite=True)
    with joined_ranks() as ranks, log:
        done, said = embedded_file(texts, made, output, ranks, log.begin("embed"))
        seconds = ("time", f"{time.perf_counter() - began:.3g} s")
        log.summary(Summary([*said, ("encoder", encoder), seconds, ("written", str(done.path))]))


def _ours(output: Path, texts: Texts, encoder: Any) -> bool:
    survey = texts.survey()
    shape = (survey.count, encoder.width)
    return VectorFile(output, shape, fingerprint_of(survey.fingerprint, encoder)).complete()
