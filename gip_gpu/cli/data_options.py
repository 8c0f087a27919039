"""Options of commands that read a data set: its texts and their encoder."""

from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.options import Command
from gip_gpu.cli.values import whole
from gip_gpu.embedding.sentence import DTYPES
from gip_gpu.records.layouts import NAMES

DATA = click.argument("data", nargs=-1, required=True)


def text_options(command: Command) -> Command:
    """Adds the options of how a row makes a text."""
    for option in reversed(
        (
            click.option("--text-column", help="The column that is the text."),
            click.option("--text-template", help="Text with columns in braces: '{title} {body}'."),
            click.option("--layout", help=f"{', '.join(NAMES)}.  [default: recognised by the keys of a row]"),
            click.option("--split", help="Split of a data set with several."),
        )
    ):
        command = option(command)
    return command


def encoder_options(command: Command) -> Command:
    """Adds the options of the encoder."""
    for option in reversed(
        (
            click.option(
                "--encoder", default="hashing", show_default=True,
                help="hashing (words, no model); or the folder or hub name of a model.",
            ),
            click.option(
                "--max-tokens", type=whole, default=2048, show_default=True, help="A longer text is cut off there."
            ),
            click.option("--batch-size", type=whole, help="Texts in a batch.  [default: the encoder's]"),
            click.option("--dtype", default="auto", show_default=True, help=f"Of the model: {', '.join(DTYPES)}."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def text_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of `text_options`, but --split, out of `options`; returns the arguments of `Texts`."""
    names = {"column": "text_column", "template": "text_template", "layout": "layout"}
    return {name: options.pop(option) for name, option in names.items()}


def encoder_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of `encoder_options`, but --encoder, out of `options`; returns those of `load_encoder`."""
    return {name: options.pop(name) for name in ("max_tokens", "batch_size", "dtype")}


def local_files(data: tuple[str, ...]) -> list[Path]:
    """Returns those of the data sets that are files or folders here, and not names on a hub."""
    return [path for path in map(Path, data) if path.exists()]
