"""Output of `score`: a table of scores, and a summary of what happened."""

import csv
import io

import numpy as np

from gip_gpu.cli.summary import Summary, table
from gip_gpu.pipeline.signals import SignalScores
from gip_gpu.signals.judge import Estimate
from gip_gpu.signals.named import NamedScores
from gip_gpu.sources.columns import load

SUFFIXES = (".npz", ".parquet", ".csv", ".npy")


def encoded(scores: NamedScores, suffix: str) -> bytes:
    """Returns the content of a file of one of `SUFFIXES`.

    .npz holds "scores" (m, n) float64 and "names" (n,); .parquet and .csv a column for each signal, missing scores null
    or empty; .npy the scores alone.
    """
    buffer = io.BytesIO()
    if suffix == ".npz":
        np.savez(buffer, scores=scores.scores, names=np.array(scores.names))
    elif suffix == ".npy":
        np.save(buffer, scores.scores)
    elif suffix == ".parquet":
        import pyarrow.parquet

        pa = load()
        columns = zip(scores.names, scores.scores.T, strict=True)
        pyarrow.parquet.write_table(
            pa.table({name: pa.array(column, from_pandas=True) for name, column in columns}), buffer
        )
    else:
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(scores.names)
        lines.writerows(["" if value != value else value for value in row] for row in scores.scores.tolist())
        buffer.write(text.getvalue().encode())
    return buffer.getvalue()


def summary(made: SignalScores, missing: str, written: str) -> Summary:
    """Returns the summary of a run.

    Args:
        made: the scores as computed, NaN where they are missing.
        missing: how missing scores are treated.
        written: the output.
    """
    return Summary([("rows", f"{len(made.scores):,}"), *entries_of(made, missing), ("written", written)])


def entries_of(made: SignalScores, missing: str) -> list[tuple[str, str]]:
    """Returns names and values for a summary: a line for each column, and those of the judge."""
    entries = []
    for name, column in zip(made.scores.names, made.scores.scores.T, strict=True):
        found = column[np.isfinite(column)]
        gaps = len(column) - len(found)
        spread = f"mean {found.mean():.4g}, {found.min():.4g} to {found.max():.4g}" if len(found) else "none"
        entries.append((name, spread + (f", {gaps:,} missing ({missing})" if gaps else "")))
    report = made.report
    if report is None:
        return entries
    again = f", {report.failures:,} failed" if report.failures else ""
    bad = f", {report.bad_replies:,} replies not usable" if report.bad_replies else ""
    return [
        *entries,
        ("judge: examples", f"{report.distinct:,} different, {report.reused:,} rated before"),
        ("judge: requests", f"{report.requests:,}{again}{bad}, {report.seconds:.3g} s"),
        ("judge: tokens", _tokens(report.prompt_tokens, report.completion_tokens, report.reported)),
        ("judge: tokens in all", f"{report.total_tokens:,}, earlier runs included"),
        *([] if report.cost is None else [("judge: cost", f"{report.cost:.4g}")]),
        *([("judge: stopped", report.stopped)] if report.stopped else []),
    ]


def estimated(estimate: Estimate) -> str:
    """Returns the estimate of a judge's run."""
    how = "the usage of earlier replies" if estimate.measured else "4 bytes a token; other languages take more"
    settled = f", {estimate.missing:,} without a usable reply" if estimate.missing else ""
    entries = [
        ("rows", f"{estimate.rows:,}, {estimate.distinct:,} different"),
        ("rated before", f"{estimate.answered:,}{settled}"),
        ("requests", f"{estimate.requests:,}, and one more for each reply that is asked again"),
        ("prompt tokens", f"{estimate.prompt_tokens:,}"),
        ("reply tokens", f"{estimate.completion_tokens:,}"),
        ("estimated from", how),
        ("cost", "unknown without --price" if estimate.cost is None else f"{estimate.cost:.4g}"),
    ]
    return table(entries)


def _tokens(prompt: int, completion: int, reported: bool) -> str:
    whence = "" if reported or not prompt else ", estimated, as the server does not report all"
    return f"{prompt:,} of prompts, {completion:,} of replies{whence}"
