"""Comparison of two runs of the suite: ratios of old times to new ones."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.runner.report import paragraphs, table
from gip_gpu.planning.cluster import duration

HEADER = ("part", "case", "variant", "old", "new", "old / new")
NAMES = ("part", "case", "variant")


def load(path: Path) -> dict[str, Any]:
    """Reads the JSON file of a run of the suite; raises click.UsageError, with the reason, if it is none."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise click.UsageError(f"--compare {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--compare {path}: it is no JSON: {error}") from error
    if why := _trouble(content):
        raise click.UsageError(f"--compare {path}: {why}, so the suite gpu did not write it")
    return dict(content)


def _trouble(content: Any) -> str:
    """Returns the reason why this is not the content of a run; "" if it is."""
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}, not an object"
    for name, kind in (("sizes", str), ("machine", dict), ("entries", list)):
        if not isinstance(content.get(name), kind):
            return f"it has no {name!r}"
    for place, entry in enumerate(content["entries"]):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in NAMES):
            return f"entry {place} has no part, case and variant"
        seconds = entry.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            return f"entry {place} has {seconds!r} seconds"
    return ""


def comparison(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Returns a table of the measurements common to two runs, as `load` returns them, and the number only one has."""
    before, after = ({tuple(e[name] for name in NAMES): e for e in content["entries"]} for content in (old, new))
    rows = [
        (*key, duration(before[key]["seconds"]), duration(after[key]["seconds"]), _ratio(before[key], after[key]))
        for key in after
        if key in before
    ]
    machines = f"Old: {_machine(old)}.\nNew: {_machine(new)}."
    shown = table(rows, HEADER) if rows else "no measurement in common"
    return paragraphs("## Comparison", machines, shown, _only("old", before, after), _only("new", after, before))


def _ratio(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Returns old seconds over new ones; withheld if the picks of either are not the right ones."""
    for name, entry in (("old", before), ("new", after)):
        if entry.get("backend") and entry.get("difference") is not None:
            return f"withheld: pick {entry['difference']} of the {name} differs"
    return f"{before['seconds'] / after['seconds']:.3g}" if after["seconds"] else ""


def _machine(content: dict[str, Any]) -> str:
    device, date = (content["machine"].get(name, "unknown") for name in ("device", "date"))
    return f"{device}, {date}, sizes: {content['sizes']}"


def _only(name: str, these: Mapping[Any, Any], others: Mapping[Any, Any]) -> str:
    """Counts the measurements that only one run has, by part."""
    counts = Counter(key[0] for key in these if key not in others)
    parts = ", ".join(f"{part} {count}" for part, count in counts.items())
    return f"Only in the {name}: {counts.total()} ({parts})." if counts else ""
