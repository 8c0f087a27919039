"""Options of constraints on the picks."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.cli.options import FILE, Command
from gip_gpu.cli.values import count, whole
from gip_gpu.pipeline.limits import as_costs_of
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
            click.option("--must-include", type=FILE, help="Rows to pick first, in this order, as for --exclude."),
            click.option("--budget", type=whole, help="What the rows may cost together: 1000000."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def constraints_of(options: dict[str, Any], grouped: str | None, by: str, *, by_id: bool = False) -> dict[str, Any]:
    """Takes the options of `constraint_options` out of `options`; returns arguments of `gip_gpu.select`.

    Args:
        options: values by name.
        grouped: value of the option that says what the groups are, None without.
        by: name of that option, for messages.
        by_id: whether lines of a .txt that names rows are ids; they are returned as a list.
    """
    least, most = options.pop("group_min"), options.pop("group_max")
    named = {name: options.pop(name) for name in ("exclude", "must_include")}
    limited = least is not None or most is not None
    if limited and grouped is None:
        raise click.UsageError(f"--group-min and --group-max need {by}, which says what the groups are")
    if grouped is not None and not limited:
        raise click.UsageError(f"{by} needs --group-min or --group-max")
    made = {
        "group_limits": (least, most) if limited else None,
        **{name: options.pop(name) for name in ("dedup", "budget")},
    }
    rows = {
        name: None if path is None else _rows(path, f"--{name.replace('_', '-')}", by_id)
        for name, path in named.items()
    }
    return {**made, **rows}


def check_k(k: Any, limits: dict[str, Any]) -> None:
    """Raises a usage error if neither the number of picks is given nor a budget."""
    if k is None and limits["budget"] is None:
        raise click.UsageError("Missing option '-k', how many; or --budget, for as many as it pays for")


def check_costs(costs: Any, limits: dict[str, Any], option: str) -> None:
    """Raises a usage error if the costs are given without a budget, or a budget without costs."""
    if (costs is None) != (limits["budget"] is None):
        raise click.UsageError(f"{option} and --budget belong together: what each row costs, and all of them")


def _rows(path: Path, option: str, by_id: bool) -> Any:
    """Reads the rows that the file of an option names: indices, those of a selection, or ids."""
    suffix = suffix_of(path)
    if suffix in SELECTIONS:
        return Selection.load(path).indices
    with reading(path):
        if suffix == ".txt" and by_id:
            return [line.removesuffix("\r") for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
        if suffix == ".txt":
            lines = path.read_text("utf-8-sig").split()
            if not all(line.isascii() and line.isdigit() for line in lines):
                raise ValueError(f"{path} must hold indices of rows, one a line")
            return np.array([int(line) for line in lines], np.int64)
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
    raise ValueError(f"{option} is {path}; it must be a selection, .npz or .json, or indices, .npy or .txt")


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


def numbers_of(path: Path, m: int, what: str) -> NDArray[Any]:
    """Reads a number for each row, a cost or a weight, from a file with one column of numbers.

    Raises:
        ValueError: there are not m of them.
    """
    if suffix_of(path) == ".txt":
        with reading(path):
            lines = path.read_text("utf-8-sig").split()
            try:
                numbers = np.array([float(line) for line in lines])
            except ValueError:
                raise ValueError(f"{path} must hold numbers, one a line") from None
    else:
        found = open_matrix(path)
        numbers = np.asarray(found[:] if hasattr(found, "read") else found)
        if numbers.ndim == 2 and numbers.shape[1] == 1:
            numbers = numbers[:, 0]
    if numbers.shape != (m,):
        raise ValueError(f"{path} has shape {numbers.shape}; it must have one of the {what} for each of {m} rows")
    return numbers


def numbers_in(costs: Path | None, weights: Path | None, m: int) -> dict[str, Any]:
    """Reads costs and weights from files; returns arguments of `gip_gpu.select`."""
    found: dict[str, Any] = {}
    if costs is not None:
        found["costs"] = as_costs_of(numbers_of(costs, m, "costs"), lambda row: f"row {row} of {costs}")
    if weights is not None:
        found["weights"] = numbers_of(weights, m, "weights")
    return found
