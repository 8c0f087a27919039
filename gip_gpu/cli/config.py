"""Options from a TOML file, and a TOML file of the options of a run."""

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.options import FILE
from gip_gpu.system.atomic_write import atomic_write

# Options of one call, which no file holds.
CALL = ("config", "force", "log_json", "quiet")


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Makes the values of a TOML file the defaults of a command's options.

    Raises:
        click.UsageError: it is no TOML, or names an unknown option.
    """
    if path is None:
        return None
    try:
        content = _toml().loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"--config: cannot read {path}: {error.strerror}", context) from None
    except ValueError as error:
        raise click.UsageError(f"--config: {path} is no TOML: {error}", context) from None
    known = {each.name: each for each in context.command.params if each.name is not None and each.name not in CALL}
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            names = ", ".join(sorted(each.replace("_", "-") for each in known))
            raise click.UsageError(f"--config: {path} holds {key!r}; it may hold {names}", context)
        if isinstance(value, dict):
            raise click.UsageError(f"--config: {path} holds a table {key!r}; it must hold a value", context)
        option = known[name]
        several = option.nargs == -1 or getattr(option, "multiple", False)
        if isinstance(value, list) and not several:
            raise click.UsageError(f"--config: {path} holds a list for {key!r}; it must hold one value", context)
        if isinstance(value, bool) and not getattr(option, "is_flag", False):
            raise click.UsageError(f"--config: {path} holds {value} for {key!r}; it must be a number or text", context)
        values[name] = value if isinstance(value, (bool, list)) else [str(value)] if several else str(value)
    context.default_map = {**(context.default_map or {}), **values}
    return path


def write_config(path: Path, values: dict[str, Any]) -> None:
    """Writes the options of a run as TOML, without those that are not set.

    Raises:
        OSError: the file cannot be written.
    """
    kept = {
        name.replace("_", "-"): _plain(value)
        for name, value in values.items()
        if name not in CALL and value is not None and value != ()
    }
    import tomli_w

    with atomic_write(path) as file:
        file.write(b"# gip-gpu run --config of this file, in the same folder, repeats the run.\n")
        tomli_w.dump(kept, file)


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _toml() -> Any:
    """Returns the standard library's reader of TOML, or before Python 3.11 the package it was made from."""
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


CONFIG = click.option(
    "--config", type=FILE, is_eager=True, callback=read_config, help="A TOML file of these options; a flag goes first."
)
