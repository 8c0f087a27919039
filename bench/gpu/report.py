"""The report of the suite, with speed-ups if all indices were right, and its comparison with an older run."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from bench.gpu.results import Entry, Results
from bench.runner.report import paragraphs, table
from gip_gpu.planning.cluster import duration
from gip_gpu.system import memory

PARTS = {
    "ceilings": "Ceilings",
    "steps": "Steps, by device events around the launches",
    "selections": "Whole selections",
    "gram": "Gram matrices",
    "lazy": "Columns on demand",
    "family": "Other objectives",
}
HEADER = ("case", "variant", "time", "floor", "time / floor", "peak memory", "model, A100", "indices", "speed-up")
COMPARED = ("part", "case", "variant", "old", "new", "old / new")
NAMES = COMPARED[:3]
NOTES = """\
Floor: bytes over the measured bandwidth of a copy, or flops over the measured rate of the vendor's GEMM if that takes
longer, plus each barrier or launch at its measured latency; empty if a ceiling that it needs was not measured. It
counts only unavoidable work: half the flops of a symmetric matrix, the columns that are picked. It excludes the upload
of host arrays. Peak: device memory beyond that held before. "model, A100" is the cost model's prediction for that chip,
not a measurement of this one. A speed-up is that of gip_gpu over the plain loop on device arrays; it is shown only if
every index that the backend chose anywhere in this run was the right one. The column "indices" shows a plain loop's
first wrong pick."""


def report(results: Results) -> str:
    """Returns the whole report."""
    machine = tabulate(list(results.machine.items()), tablefmt="plain", disable_numparse=True)
    parts = [f"# gip_gpu on a GPU, sizes: {results.sizes}", machine]
    for part, title in PARTS.items():
        entries = [entry for entry in results.entries if entry.part == part]
        if entries:
            shown = _ceilings(entries) if part == "ceilings" else table([_row(results, e) for e in entries], HEADER)
            parts += [f"## {title}", shown]
    if results.checks:
        parts += ["## Equivalence, a sample", checks(results)]
    parts.append(NOTES)
    if results.spent:
        parts.append("Seconds: " + ", ".join(f"{part} {seconds:.1f}" for part, seconds in results.spent.items()) + ".")
    if results.left_out:
        parts += ["## Left out", "\n".join(f"- {line}" for line in results.left_out)]
    if results.failures:
        parts += ["## Failed", "\n".join(f"- {each.what}: {each.message}" for each in results.failures)]
    return paragraphs(*parts)


def checks(results: Results) -> str:
    """Returns the table of checks: for each pool and backend, which precisions and columns gave the right indices."""
    rows = []
    for case, backend in dict.fromkeys((check.case, check.backend) for check in results.checks):
        found = [check for check in results.checks if (check.case, check.backend) == (case, backend)]
        wrong = [check for check in found if check.difference is not None]
        told = "; ".join(f"{each.precision} {each.columns}: pick {each.difference}" for each in wrong)
        equal = f"{len(found) - len(wrong)} of {len(found)}"
        rows.append((case, f"{found[0].k:,}", backend, found[0].against, equal, told))
    return table(rows, ("pool", "k", "backend", "compared with", "equal", "first differing pick"))


def _ceilings(entries: list[Entry]) -> str:
    rows = []
    for entry in entries:
        value = entry.notes["value"]
        rate = f"{value / 1e9:.4g} GB/s" if "copy" in entry.case else f"{value / 1e12:.4g} Tflop/s"
        shown = rate if "copy" in entry.case or "GEMM" in entry.case else duration(value)
        rows.append((entry.case, shown, duration(entry.seconds), "" if entry.model is None else duration(entry.model)))
    return table(rows, ("ceiling", "measured", "time of one", "model, A100"))


def _row(results: Results, entry: Entry) -> tuple[str, ...]:
    floor = results.floor(entry.phases)
    least, model = ("" if seconds is None else duration(seconds) for seconds in (floor, entry.model))
    beyond = f"{entry.seconds / floor:.3g}" if floor else ""
    peak = "" if entry.peak is None else memory.readable(entry.peak)
    indices = "equal" if entry.difference is None else f"pick {entry.difference} differs"
    if entry.unchecked or not entry.picks:
        indices = f"not compared: {entry.unchecked}" if entry.picks else ""
    times = (duration(entry.seconds), least, beyond, peak, model)
    return (entry.case, entry.variant, *times, indices, speed_up(results, entry))


def speed_up(results: Results, entry: Entry) -> str:
    """Returns the speed-up over the plain loops for the same picks; withheld if anything of the backend was wrong."""
    if not entry.group or not entry.backend:
        return ""
    if troubles := results.troubles(entry.backend):
        return f"withheld: {troubles[0]}"
    if entry.unchecked:
        return "withheld: the indices were not compared"
    plain = [other for other in results.entries if other.group == entry.group and not other.backend]
    return ", ".join(f"{other.seconds / entry.seconds:.3g} x ({other.variant})" for other in plain)


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
    shown = table(rows, COMPARED) if rows else "no measurement in common"
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
