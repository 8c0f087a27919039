"""The command `score`."""

import contextlib
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu.cli.data_options import DATA, local_files, text_options, text_settings
from gip_gpu.cli.options import FILE
from gip_gpu.cli.output import check_file
from gip_gpu.cli.score_output import SUFFIXES, encoded, estimated, summary
from gip_gpu.cli.streams import say
from gip_gpu.cli.values import number, whole
from gip_gpu.records import Texts, open_records
from gip_gpu.records.opening import holds_records
from gip_gpu.signals import combine, fill_missing
from gip_gpu.signals.examples import Pair
from gip_gpu.signals.judge import JudgeReport, Limits, Rubric, Server, judge_estimate, judge_ratings
from gip_gpu.signals.missing import MISSING
from gip_gpu.signals.named import NamedScores
from gip_gpu.sources import open_matrix
from gip_gpu.sources.columns import load
from gip_gpu.system.atomic_write import atomic_write
from gip_gpu.system.files import suffix_of


def pair(text: str) -> tuple[float, float]:
    """Parses two numbers: 0,5."""
    parts = text.split(",")
    if len(parts) != 2:
        raise click.BadParameter(f"{text!r} must be two numbers with a comma between them")
    low, high = (number(part.strip()) for part in parts)
    return low, high


def fields(text: str) -> dict[str, Any]:
    """Parses a JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{text!r} must be a JSON object")
    return found


def degree(text: str) -> float | None:
    """Parses a float, or none."""
    return None if text.lower() == "none" else float(number(text))


@click.command()
@DATA
@click.option("-o", "--output", type=FILE, help=f"File for the scores: {', '.join(SUFFIXES)}.")
@text_options
@click.option("--columns", help="Columns of DATA with numbers: a,b,c.")
@click.option("--judge", help="Base URL of an OpenAI-compatible server: http://localhost:8000/v1.")
@click.option("--model", help="Name of the judge's model.")
@click.option("--api-key-env", help="Name of the environment variable with the API key.")
@click.option("--attributes", help="What the judge rates: a,b,c.  [default: coherence, correctness, helpfulness, "
              "difficulty]")  # fmt: skip
@click.option("--scale", type=pair, default="0,5", show_default=True, help="Lowest and highest rating.")
@click.option("--rubric", type=FILE, help="The judge's prompt, a text file with $example.")
@click.option("--temperature", type=degree, default="0", show_default=True, help="Of the judge; none: not sent.")
@click.option("--max-tokens", type=whole, default="256", show_default=True, help="Most tokens of a reply.")
@click.option("--extra", type=fields, default="{}", help="JSON of further fields of a request.")
@click.option("--concurrency", type=whole, default="8", show_default=True, help="Most requests at a time.")
@click.option("--requests-per-minute", type=number, help="Rate limit of requests.")
@click.option("--tokens-per-minute", type=number, help="Rate limit of tokens.")
@click.option("--timeout", type=float, default=120.0, show_default=True, help="Seconds that a reply may take.")
@click.option("--tries", type=whole, default="6", show_default=True, help="Most tries of a request that fails.")
@click.option("--asks", type=whole, default="3", show_default=True, help="Most questions about a row, if replies are "
              "not usable.")  # fmt: skip
@click.option("--token-budget", type=whole, help="Most tokens of the judge, earlier runs included.")
@click.option("--price", type=pair, help="Of a million tokens of prompts, and of replies: 0.15,0.60.")
@click.option("--perplexity", help="Name, folder or .gguf file of a causal language model.")
@click.option("--ifd", help="The same, for the instruction-following difficulty.")
@click.option("--chat", is_flag=True, help="Put prompts into the model's chat template.")
@click.option("--max-length", type=whole, help="Most tokens of a row.  [default: 2048, or the model's window]")
@click.option("--batch-tokens", type=whole, default="4096", show_default=True, help="Most tokens of a batch.")
@click.option("--device", default="auto", show_default=True, help="Of the language model: auto, cpu, cuda or cuda:1.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
@click.option("--missing", type=click.Choice(MISSING), default="error", show_default=True, help="Rows without a score: "
              "error; drop: NaN, for select --on-nan drop; mean: that of the column.")  # fmt: skip
@click.option("--resume/--no-resume", default=True, show_default=True,
              help="Keep replies and losses beside the output, and use those that are there.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the estimated cost of the judge, and do nothing.")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def score(
    data: tuple[str, ...], output: Path | None, missing: str, dry_run: bool, force: bool, quiet: bool, **options: Any
) -> None:
    """Score each row of DATA: by a judge, by a language model, by columns, or by several of them side by side.

    DATA is as in `gip-gpu embed`; several are one data set. The answer of a chat is its last turn by the assistant, and
    the prompt all turns before it; --text-column and --text-template give texts without prompts. For --columns alone
    DATA may be any file that select takes for --scores.

    \b
    gip-gpu score data.jsonl -o scores.npz --judge http://localhost:8000/v1 --model NAME
    gip-gpu score data.jsonl -o scores.npz --ifd NAME --columns quality
    gip-gpu select embeddings.npy --scores scores.npz -k 5% -o chosen.npy

    Replies of a judge are kept in OUTPUT.answers.jsonl and losses of a language model in OUTPUT.losses.jsonl: the same
    command resumes from them.
    """
    if not any(options[name] for name in ("judge", "perplexity", "ifd", "columns")):
        raise click.UsageError("nothing to score by; give --judge, --perplexity, --ifd or --columns")
    if output is None and not dry_run:
        raise click.UsageError("-o is missing, the file for the scores")
    if (options["judge"] is None) != (options["model"] is None):
        raise click.UsageError("--judge and --model belong together: the server's URL and the name of its model")
    if quiet:
        warnings.simplefilter("ignore")
    if output is not None and not dry_run:
        check_file(output, SUFFIXES, {os.path.realpath(path) for path in local_files(data)}, force, "the output")
        if suffix_of(output) == ".parquet":
            load()
    kept = None if output is None or not options["resume"] else output
    run = _Signals(data, options, kept, not quiet and sys.stderr is not None and sys.stderr.isatty())
    if dry_run:
        say(run.estimate(), "the estimate")
        return
    assert output is not None
    with _keeping(kept):
        found = run.all()
    try:
        scores = NamedScores(fill_missing(found.scores, missing, names=found.names), found.names)
    except ValueError as error:
        raise ValueError(f"{error}{run.reason()}") from error
    with atomic_write(output) as file:
        file.write(encoded(scores, suffix_of(output)))
    if not quiet:
        say(summary(found, missing, run.report, str(output)), "the summary", note=f"{output} is written")


class _Signals:
    """Signals that the options ask for.

    Attributes:
        report: of the judge, after it was asked.
        missing: reasons of rows that the judge has not rated.
    """

    def __init__(self, data: tuple[str, ...], options: Mapping[str, Any], kept: Path | None, shown: bool) -> None:
        self.data, self.options, self.shown = data, dict(options), shown
        self._text = text_settings(self.options)
        self.report: JudgeReport | None = None
        self.missing: dict[int, str] = {}
        self._answers, self._losses = (
            None if kept is None else kept.with_name(f"{kept.name}.{what}.jsonl") for what in ("answers", "losses")
        )
        self._columns = tuple(name.strip() for name in (options["columns"] or "").split(",") if name.strip())
        self._asked = None if options["judge"] is None else self._judge()

    @cached_property
    def texts(self) -> Texts:
        """The texts of the rows."""
        return Texts(open_records(self.data, split=self.options["split"]), **self._text)

    @cached_property
    def examples(self) -> list[Pair]:
        """The rows as (prompt, answer) pairs."""
        return list(self.texts.pairs())

    def all(self) -> NamedScores:
        """Computes all signals, the quickest first, so that their errors come before the others' work."""
        signals: dict[str | tuple[str, ...], NDArray[np.float64]] = {}
        if self._columns:
            signals[self._columns] = self._numbers()
        signals |= self._by_language_model()
        if self._asked is not None:
            names = self._asked["rubric"].names
            if twice := [name for name in names if name in self._columns]:
                raise click.UsageError(f"--columns and the judge's attributes both have {twice[0]!r}")
            found = judge_ratings(self.examples, progress=self.shown, **self._asked)
            self.report, self.missing = found.report, found.missing
            signals[names] = found.scores
        return combine(signals)

    def _numbers(self) -> NDArray[np.float64]:
        """Returns the columns of numbers."""
        if len(self.data) == 1 and not holds_records(self.data[0]):
            return open_matrix(self.data[0], ",".join(self._columns)).as_float64()
        return open_records(self.data, split=self.options["split"]).numbers(self._columns)

    def reason(self) -> str:
        """Returns the most frequent reason of missing ratings, for a message."""
        if not self.missing:
            return ""
        reason, count = Counter(self.missing.values()).most_common(1)[0]
        return f"; judge, {count:,} rows: {reason}"

    def estimate(self) -> str:
        """Returns the estimated cost."""
        if self._asked is None:
            return "only a judge has a cost; --judge is not given"
        return estimated(judge_estimate(self.examples, **self._asked))

    def _by_language_model(self) -> dict[str | tuple[str, ...], NDArray[np.float64]]:
        names = [name for name in ("perplexity", "ifd") if self.options[name]]
        if not names:
            return {}
        from gip_gpu.signals import language_model

        examples = self.examples
        if "ifd" in names and not self.texts.prompted:
            raise ValueError(
                f"{', '.join(self.data)}, read as {self.texts}, has no prompts; --ifd needs prompts and answers"
            )
        if not self.shown:
            with contextlib.suppress(ImportError):
                from transformers.utils import logging

                logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        models: dict[str, Any] = {}
        found: dict[str | tuple[str, ...], NDArray[np.float64]] = {}
        for name in names:
            place = self.options[name]
            if place not in models:
                models[place] = language_model.load_model(
                    place, device=self.options["device"], dtype=self.options["dtype"]
                )
            found[name] = getattr(language_model, name)(
                examples, models[place], progress=self.shown, resume=self._losses,
                **{option: self.options[option] for option in ("chat", "max_length", "batch_tokens")},
            )  # fmt: skip
        return found

    def _judge(self) -> dict[str, Any]:
        """Returns the arguments of the judge."""
        given = self.options
        key = None
        if given["api_key_env"] is not None:
            key = os.environ.get(given["api_key_env"])
            if not key:
                raise click.UsageError(f"--api-key-env: the environment has no variable {given['api_key_env']}")
        low, high = given["scale"]
        settings: dict[str, Any] = {"low": low, "high": high}
        if given["attributes"] is not None:
            settings["attributes"] = [name.strip() for name in given["attributes"].split(",")]
        limits = ("concurrency", "tries", "asks", "requests_per_minute", "tokens_per_minute", "token_budget")
        asked = ("timeout", "temperature", "max_tokens", "extra")
        return {
            "server": Server(given["judge"], given["model"], key, **{name: given[name] for name in asked}),
            "rubric": Rubric.from_file(given["rubric"], **settings) if given["rubric"] else Rubric(**settings),
            "limits": Limits(**{name: given[name] for name in limits}),
            "answers": self._answers,
            "price": given["price"],
        }


@contextlib.contextmanager
def _keeping(kept: Path | None) -> Iterator[None]:
    """Says how to resume after an interrupt."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if kept is not None:
            print(f"gip-gpu: what is done is kept beside {kept}; the same command resumes from it", file=sys.stderr)
        raise
