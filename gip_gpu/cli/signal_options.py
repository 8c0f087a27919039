"""Options of signals by a judge, by a language model and by a target, shared by `score` and `run`."""

import json
import os
from collections.abc import Callable
from typing import Any

import click

from gip_gpu.cli.options import FILE, Command
from gip_gpu.cli.values import number, whole
from gip_gpu.pipeline.signals import DsirSettings, JudgeSettings, TextSignals
from gip_gpu.records import Texts, open_records
from gip_gpu.signals.judge import Limits, Rubric, Server
from gip_gpu.signals.missing import MISSING


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


def _text_of(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Returns the type of an option that stays text, so that a file of options holds it as it was given."""

    def checked(text: str) -> str:
        parse(text)
        return text

    checked.__name__ = parse.__name__
    return checked


def signal_options(*, short: bool) -> Callable[[Command], Command]:
    """Returns a decorator that adds the options of signals.

    Args:
        short: whether --max-tokens and --dtype are names of options of the signals too, not of an encoder.
    """
    max_tokens, dtype = ["--judge-max-tokens"], ["--lm-dtype"]
    if short:
        max_tokens.append("--max-tokens")
        dtype.append("--dtype")
    options = (
        click.option("--judge", help="Base URL of an OpenAI-compatible server: http://localhost:8000/v1."),
        click.option("--model", help="Name of the judge's model."),
        click.option("--api-key-env", help="Name of the environment variable with the judge's API key."),
        click.option("--attributes", help="What the judge rates: a,b,c.  [default: coherence, correctness, "
                     "helpfulness, difficulty]"),
        click.option("--scale", type=_text_of(pair), default="0,5", show_default=True, help="Lowest and highest "
                     "rating."),
        click.option("--rubric", type=FILE, help="The judge's prompt, a text file with $example."),
        click.option("--temperature", type=_text_of(degree), default="0", show_default=True, help="Of the judge; "
                     "none: not sent."),
        click.option(*max_tokens, "judge_max_tokens", type=whole, default="256", show_default=True,
                     help="Most tokens of the judge's reply."),
        click.option("--extra", type=_text_of(fields), default="{}", help="JSON of further fields of a request."),
        click.option("--concurrency", type=whole, default="8", show_default=True, help="Most requests at a time."),
        click.option("--requests-per-minute", type=number, help="Rate limit of requests."),
        click.option("--tokens-per-minute", type=number, help="Rate limit of tokens."),
        click.option("--timeout", type=float, default=120.0, show_default=True, help="Seconds that a reply may take."),
        click.option("--tries", type=whole, default="6", show_default=True, help="Most tries of a request that fails."),
        click.option("--asks", type=whole, default="3", show_default=True, help="Most questions about a row, if "
                     "replies are not usable."),
        click.option("--token-budget", type=whole, help="Most tokens of the judge, earlier runs included."),
        click.option("--price", type=_text_of(pair), help="Of a million tokens of prompts, and of replies: "
                     "0.15,0.60."),
        click.option("--perplexity", help="Name, folder or .gguf file of a causal language model."),
        click.option("--ifd", help="The same, for the instruction-following difficulty."),
        click.option("--chat", is_flag=True, help="Put prompts into the language model's chat template."),
        click.option("--max-length", type=whole, help="Most tokens of a row, for the language model.  [default: 2048, "
                     "or its window]"),
        click.option("--batch-tokens", type=whole, default="4096", show_default=True, help="Most tokens of a batch of "
                     "the language model."),
        click.option(*dtype, "lm_dtype", default="auto", show_default=True, help="Of the language model: auto, "
                     "float32, bfloat16 or float16."),
        click.option("--dsir", help="Data set of a target: rows that resemble it score high; read as DATA is."),
        click.option("--dsir-min-tokens", type=whole, help="Shorter rows have no DSIR weight: they are missing."),
        click.option("--missing", type=click.Choice(MISSING), default="error", show_default=True, help="Rows without "
                     "a score: error; drop: never chosen (select: --on-nan drop); mean: that of the column."),
    )  # fmt: skip

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def signals_of(options: dict[str, Any], device: str, text: dict[str, Any]) -> TextSignals:
    """Takes the options of `signal_options`, but --missing, out of `options`.

    Args:
        options: values of the options by name.
        device: device of the language model.
        text: how a row of DATA, and of the target, makes a text, as arguments of `gip_gpu.records.Texts`.

    Raises:
        click.UsageError: options that do not belong together, or a missing environment variable.
        TypeError, ValueError: a setting out of range; the rubric or the target cannot be read.
    """
    model = {name: options.pop(name) for name in ("chat", "max_length", "batch_tokens")}
    model |= {"device": device, "dtype": options.pop("lm_dtype")}
    judge, target = _judge_of(options), _target_of(options, text)
    return TextSignals(judge, options.pop("perplexity"), options.pop("ifd"), model, target)


def _target_of(options: dict[str, Any], text: dict[str, Any]) -> DsirSettings | None:
    path, least = options.pop("dsir"), options.pop("dsir_min_tokens")
    if path is None:
        if least is not None:
            raise click.UsageError("--dsir-min-tokens needs --dsir, the target")
        return None
    return DsirSettings(Texts(open_records(path), **text), min_tokens=1 if least is None else least)


def _judge_of(options: dict[str, Any]) -> JudgeSettings | None:
    url, model, variable = options.pop("judge"), options.pop("model"), options.pop("api_key_env")
    asked = {name: options.pop(name) for name in ("timeout", "temperature", "extra")}
    limits = ("concurrency", "tries", "asks", "requests_per_minute", "tokens_per_minute", "token_budget")
    limited = {name: options.pop(name) for name in limits}
    attributes, scale, rubric, price = (options.pop(name) for name in ("attributes", "scale", "rubric", "price"))
    max_tokens = options.pop("judge_max_tokens")
    if (url is None) != (model is None):
        raise click.UsageError("--judge and --model belong together: the server's URL and the name of its model")
    if url is None:
        return None
    key = None
    if variable is not None:
        key = os.environ.get(variable)
        if not key:
            raise click.UsageError(f"--api-key-env: the environment has no variable {variable}")
    low, high = pair(scale)
    settings: dict[str, Any] = {"low": low, "high": high}
    if attributes is not None:
        settings["attributes"] = [name.strip() for name in attributes.split(",")]
    asked |= {"temperature": degree(asked["temperature"]), "extra": fields(asked["extra"])}
    return JudgeSettings(
        Server(url, model, key, max_tokens=max_tokens, **asked),
        Rubric.from_file(rubric, **settings) if rubric else Rubric(**settings),
        Limits(**limited),
        None if price is None else pair(price),
    )
