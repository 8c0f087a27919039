"""Cost of checkpoints: a run with one against a run without, the size of the file, and the time to resume."""

from pathlib import Path

from bench.runner.report import Section, table
from bench.runner.runs import Runs, in_turn, parted, ratio
from bench.scale import inputs
from bench.scale.inputs import Done, Sizes
from gip_gpu.system import memory

TITLE = "Checkpoints"
WITHOUT, WITH = "without a checkpoint", "with one"
HALF, REST, AGAIN = "the first half of the picks, with one", "resumed from there to all", "resumed from the whole"
HEADER = ("run", "seconds, median (min to max)", "against a run without", "checkpoint", "peak memory")
NOTES = """\
The checkpoint is written every {every:g} s and at the end. "Resumed from there" is another process that gets the file
of the first half and computes all picks. "Resumed from the whole" finds all picks in its file: it reads and checks the
file, and compares fingerprints of F and G. A ratio is shown only if the picks are equal."""


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """Measures the section of checkpoints."""
    pool, k = inputs.alpaca(folder, sizes.quick), sizes.kept_k
    kept, half = folder / "whole.checkpoint", folder / "half.checkpoint"
    written = {WITH: (k, kept), HALF: (k // 2, half), REST: (k, half), AGAIN: (k, kept)}
    jobs = {WITHOUT: pool.job(k, "float16")}
    for name, (count, path) in written.items():
        jobs[name] = pool.job(count, "float16", checkpoint=str(path), checkpoint_every=sizes.every)
    found = {name: Runs() for name in jobs}
    for _ in range(sizes.runs):
        for path in (kept, half):
            path.unlink(missing_ok=True)
        for name, job in jobs.items():
            in_turn({name: job}, 1, done, found, strict=True)
            if name in written:
                found[name].notes["file"] = written[name][1].stat().st_size
    return section(f"{pool}, self-compression, k = {k:,}.", found, sizes.every)


def section(basis: str, found: dict[str, Runs], every: float) -> Section:
    """Returns the section with the measured figures."""
    whole = found[WITHOUT]
    reasons = {name: "" if name == HALF else parted(whole, of_name) for name, of_name in found.items()}
    rows = []
    for name, of_name in found.items():
        size = memory.readable(of_name.notes["file"]) if "file" in of_name.notes else "none"
        against = "" if name == WITHOUT else f"{ratio(of_name, whole):.3f}"
        right = [name, of_name.spread(), against, size, of_name.size]
        rows.append([name, f"withheld: {reasons[name]}", "", size] if reasons[name] else right)
    differ = [reason for reason in reasons.values() if reason]
    overhead = ratio(found[WITH], whole) - 1
    verdict = f"A checkpoint adds {overhead:.1%} of the time; to resume takes {found[AGAIN].median():.3g} s."
    return Section(
        title=TITLE,
        verdict=f"Withheld: {differ[0]}." if differ else verdict,
        basis=basis,
        body=(table(rows, HEADER), NOTES.format(every=every)),
        failures=[f"{name}: {reason}" for name, reason in reasons.items() if reason],
    )
