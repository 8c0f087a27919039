"""Options that commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.values import size

Command = Callable[..., None]


class FilePath(click.Path):
    """Path that must not be empty: an unset shell variable gives an empty path, which would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("an empty path names no file", param, ctx)
        return super().convert(value, param, ctx)


FILE = FilePath(path_type=Path)


def run_options(command: Command) -> Command:
    """Adds the options of where and how to run, shared by `select` and `plan`."""
    for option in reversed(
        (
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."),
            click.option("--backend", help="A registered backend; else the device's default."),
            click.option(
                "--precision", default="auto", show_default=True, help="auto, fp32, fp16; on a GPU also tf32, bf16."
            ),
            click.option("--columns", default="auto", show_default=True, help="auto, gram or lazy."),
            click.option("--memory-limit", type=size, help="2GB, '500 MiB', bytes, or a share of free: 0.5."),
        )
    ):
        command = option(command)
    return command


OBJECTIVE = click.option("--objective", help="mp (the default), omp, lr or mi; without scores: entropy.")
QUERY = click.option("--query", default="direct", show_default=True, help="direct: the scores; ridge: their fit F Q.")
STANDARDIZE = click.option(
    "--standardize", help="rank or zscore: columns of scores on one scale; else the largest spread decides."
)
ON_NAN = click.option(
    "--on-nan",
    default="error",
    show_default=True,
    help="error; drop: never choose rows that are not finite, and take -k 5% of the others.",
)


def center_options(command: Command) -> Command:
    """Adds the options of centring, shared by `select` and `plan`."""
    for name, value, text in reversed(
        (
            ("--center", True, "Subtract the mean row of the embeddings from each of them first."),
            ("--no-center", False, "Do not.  [default]"),
            ("--center-auto", "auto", "Subtract it if more than 25 % of the embeddings' energy is common to all."),
        )
    ):
        command = click.option(name, "center", type=click.UNPROCESSED, flag_value=value, default=False, help=text)(
            command
        )
    return command


SIGN = click.option(
    "--sign",
    # torchrun's parser also reads the options of the program, and finds --sign ambiguous between two of its own.
    "--score-sign",
    "sign",
    help="positive: negative residuals do not count; any: they do, without a warning where scores are negative.  "
    "[default: any]",
)


def choice_options(command: Command) -> Command:
    """Adds the options of the objective and of bad values, shared by `select` and `run`."""
    for option in reversed(
        (
            OBJECTIVE,
            click.option(
                "--epsilon", type=float, default=0.0, show_default=True, help="Ridge of the projector and of the query."
            ),
            QUERY,
            SIGN,
            STANDARDIZE,
            ON_NAN,
            click.option("--on-exhausted", default="restart", show_default=True, help="restart, stop or continue."),
        )
    ):
        command = option(command)
    return command
