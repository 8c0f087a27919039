"""Options that commands share."""

from collections.abc import Callable
from pathlib import Path

import click

from gip_gpu.cli.values import size

FILE = click.Path(path_type=Path)

Command = Callable[..., None]


def run_options(command: Command) -> Command:
    """The options that say how to run, shared by `select` and `plan`."""
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
SIGN = click.option("--sign", default="any", show_default=True, help="any; positive: negative residuals do not count.")
