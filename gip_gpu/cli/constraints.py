"""Options of constraints on the picks."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from gip_gpu.api.selection import Selection
from gip_gpu.cli.options import FILE, Command
from gip_gpu.cli.values import count
from gip_gpu.sources import open_matrix
from gip_gpu.system.files import reading, suffix_of
from gip_gpu.validation.settings import is_percentage, percentage

SELECTIONS = (".npz", ".json")


def limit(text: str) -> int | float:
    """Parses a count of picks, or a share of them as a float: 0.1 or 10%.

    >>> limit("12"), limit("0.1"), limit("10%")
    (12, 0.1, 0.1)
    """
    if is_percentage(text):
        return percentage(text)
    value = count(text)
    assert not isinstance(value, str)
    return value


def constraint_options(command: Command) -> Command:
    """Adds the options that all commands with picks share."""
    for option in reversed(
        (
            click.option("--group-min", type=limit, help="Fewest picks from each group: 10, or a share of them: 5%."),
            click.option("--group-max", type=limit, help="Most picks from each group: 100, or a share of them: 20%."),
            click.option("--dedup", type=float, help="Cosine, such as 0.95, from which a row repeats a pick."),
            click.option("--exclude", type=FILE, help="Rows never to pick: a selection; indices, .npy or .txt."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def constraints_of(options: dict[str, Any], grouped: str | None, by: str) -> dict[str, Any]:
    """Takes the options of `constraint_options` out of `options`; returns arguments of `gip_gpu.select`.

    Args:
        options: values by name.
        grouped: value of the option that says what the groups are, None without.
        by: name of that option, for messages.
    """
    least, most, excluded = options.pop("group_min"), options.pop("group_max"), options.pop("exclude")
    limited = least is not None or most is not None
    if limited and grouped is None:
        raise click.UsageError(f"--group-min and --group-max need {by}, which says what the groups are")
    if grouped is not None and not limited:
        raise click.UsageError(f"{by} needs --group-min or --group-max")
    made = {"dedup": options.pop("dedup"), "group_limits": (least, most) if limited else None}
    return {**made, "exclude": None if excluded is None else _rows(excluded)}


def _rows(path: Path) -> Any:
    """Reads the rows that a file names: indices, or those of a selection."""
    suffix = suffix_of(path)
    if suffix in SELECTIONS:
        return Selection.load(path).indices
    with reading(path):
        if suffix == ".txt":
            lines = path.read_text("utf-8").split()
            if not all(line.isascii() and line.isdigit() for line in lines):
                raise ValueError(f"{path} must hold indices of rows, one a line")
            return np.array([int(line) for line in lines], np.int64)
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
    raise ValueError(f"--exclude is {path}; it must be a selection, .npz or .json, or indices, .npy or .txt")


def labels_of(path: Path, m: int) -> Any:
    """Reads the group of each row from a file, .npy or .txt with one a line.

    Raises:
        ValueError: there are not m of them.
    """
    with reading(path):
        if suffix_of(path) == ".txt":
            labels = np.array(path.read_text("utf-8").split("\n"))
            labels = labels[:-1] if len(labels) and not labels[-1] else labels
        else:
            found = open_matrix(path)
            labels = np.asarray(found[:] if hasattr(found, "read") else found).reshape(-1)
    if len(labels) != m:
        raise ValueError(f"{path} has {len(labels)} groups for {m} rows; it must have one for each row")
    return labels
