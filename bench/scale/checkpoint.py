"""What a checkpoint costs: a run with one against a run without, its file, and what it takes to go on from it."""

import inspect
from dataclasses import replace
from pathlib import Path

import gip_gpu
from bench.paper.section import Section, table
from bench.runs import Run
from bench.scale import inputs, runs
from bench.scale.child import Job
from bench.scale.runs import Done
from bench.scale.sizes import Sizes
from gip_gpu.system import memory

TITLE = "Checkpoints"
WITHOUT, WITH = "without a checkpoint", "with one"
HALF, REST, AGAIN = "the first half of the picks, with one", "gone on from there to all", "again, from the whole"
HEADER = ("run", "seconds, median (min to max)", "against a run without", "checkpoint", "peak memory")
NOTES = """\
The run is written every {every:g} s and when it ends. "Gone on" is another process that is given the file of the first
half and asked for all picks; "again" one that finds all of them there: reading the file, checking it, and checking by
fingerprints of F and G that it is of this selection. A ratio is given only where the picks are equal."""


def missing() -> str | None:
    """Why checkpoints cannot be measured here."""
    found = "checkpoint" in inspect.signature(gip_gpu.select).parameters
    return None if found else "select has no checkpoint"


def measure(sizes: Sizes, folder: Path, done: Done) -> Section:
    """The section of checkpoints."""
    if reason := missing():
        return Section(TITLE, f"Not measured: {reason}.", "", ())
    pool, k = inputs.alpaca(folder, sizes.quick), sizes.kept_k
    kept, half = folder / "whole.checkpoint", folder / "half.checkpoint"
    plain = Job(str(pool.F), str(pool.G), k, loaded="float16")
    saved = replace(plain, checkpoint=str(kept), every=sizes.every)
    jobs = {
        WITHOUT: plain,
        WITH: saved,
        HALF: replace(saved, k=k // 2, checkpoint=str(half)),
        REST: replace(saved, checkpoint=str(half)),
        AGAIN: saved,
    }
    found: dict[str, list[Run]] = {name: [] for name in jobs}
    for _ in range(sizes.runs):
        for path in (kept, half):
            path.unlink(missing_ok=True)
        for name, job in jobs.items():
            run = runs.once(job)
            if job.checkpoint:
                run.notes["file"] = Path(job.checkpoint).stat().st_size
            found[name].append(run)
            done(f"checkpoint: {name}")
    return section(f"{pool}, self-compression, k = {k:,}.", found, sizes.every)


def section(basis: str, found: dict[str, list[Run]], every: float) -> Section:
    """What was measured, told."""
    whole = found[WITHOUT]
    reasons = {name: None if name == HALF else runs.wrong(of_name, whole) for name, of_name in found.items()}
    rows = []
    for name, of_name in found.items():
        size = memory.readable(of_name[-1].notes["file"]) if "file" in of_name[-1].notes else "none"
        if reason := reasons[name]:
            rows.append([name, f"withheld: {reason}", "", size, ""])
            continue
        ratio = "" if name == WITHOUT else f"{runs.seconds(of_name) / runs.seconds(whole):.3f}"
        rows.append([name, runs.spread(of_name), ratio, size, runs.size(of_name)])
    return Section(
        title=TITLE,
        verdict=verdict(found, [reason for reason in reasons.values() if reason]),
        basis=basis,
        body=(table(rows, HEADER), NOTES.format(every=every)),
        failures=[f"{name}: {reason}" for name, reason in reasons.items() if reason],
    )


def verdict(found: dict[str, list[Run]], reasons: list[str]) -> str:
    """The costs in a sentence."""
    if reasons:
        return f"Withheld: {reasons[0]}."
    overhead = runs.seconds(found[WITH]) / runs.seconds(found[WITHOUT]) - 1
    return f"A checkpoint adds {overhead:.1%} of the time; to resume takes {runs.seconds(found[AGAIN]):.3g} s."
