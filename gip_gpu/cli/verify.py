"""The command `verify`."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.cli.constraints import check_costs, constraint_options, constraints_of, labels_of, numbers_in
from gip_gpu.cli.ids import read_ids
from gip_gpu.cli.options import FILE
from gip_gpu.cli.streams import say
from gip_gpu.cli.summary import table
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.pipeline.limits import by_id as named
from gip_gpu.pipeline.scores import SELF_COMPRESSION, compressed_scores
from gip_gpu.sources import Source, open_matrix
from gip_gpu.verification import stability as stable
from gip_gpu.verification import verify as check
from gip_gpu.verification.inputs import settings_of
from gip_gpu.verification.rounded import FORMATS


@click.command()
@click.argument("selection", type=FILE)
@click.argument("embeddings", type=FILE)
@click.option("--scores", type=FILE, help=f"The scores that it was made from; or: {SELF_COMPRESSION}.")
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@click.option("--scores-key", help="Name of the scores in their file, or of columns: a,b,c.")
@click.option("--prior", type=FILE, help="The selection that SELECTION extends.")
@click.option("--groups", type=FILE, help="The group of each row, if the selection was made by groups.")
@click.option("--costs", type=FILE, help="What each row costs, for --budget: .npy, .csv, or .txt with one a line.")
@click.option("--weights", type=FILE, help="A factor for the score of each row, in such a file.")
@click.option("--ids", help="Ids of the items, by which a .txt of --exclude or --must-include names rows: a file, or a "
              "column of EMBEDDINGS.")  # fmt: skip
@constraint_options
@click.option("--stability", is_flag=True, help="Show which picks a change of the input may change: --rounded bf16.")
@click.option("--rounded", type=click.Choice(FORMATS), help="With embeddings rounded to this format.")
@click.option("--score-noise", type=float, default=0.0, help="With scores that move by up to this much.")
@click.option("--runs", type=click.IntRange(min=0), default=3, show_default=True, help="Second runs with noise.")
@click.option("--device", default="auto", show_default=True, help="Device of second runs: auto, cpu, cuda or cuda:1.")
@click.pass_context
def verify(
    context: click.Context, /, selection: Path, embeddings: Path, scores: Path | None, key: str | None,
    scores_key: str | None, prior: Path | None, groups: Path | None, costs: Path | None, weights: Path | None,
    ids: str | None, stability: bool, rounded: str | None,
    score_noise: float, runs: int, device: str, **constraints: Any,
) -> None:  # fmt: skip
    """Check SELECTION, a .npz or .json of select -o, against its EMBEDDINGS and scores, on any machine.

    Compares the stored fingerprints, replays each pick in float64, and shows which picks hold, which hang on float64
    rounding and which differ.

    Exit status: 0 if nothing differs, 1 if something does, 2 for input of another shape or kind.
    """
    if not selection.exists():
        # Exit status 1 is for a selection that differs.
        raise click.UsageError(f"{selection}: No such file or directory")
    chosen = Selection.load(selection)
    options, normalize, _ = settings_of(chosen)
    done = chosen.preparation
    F = as_matrix(open_matrix(embeddings, key, dimensions=(2,)), "F")
    G: NDArray[np.float64] | Source | None = None
    if scores == Path(SELF_COMPRESSION):
        on_nan = "drop" if done is not None and done.dropped else "error"
        center = done is not None and done.center is not None
        G = compressed_scores(F, normalize=normalize, center=center, on_nan=on_nan)
    elif scores is not None:
        G = open_matrix(scores, scores_key)
    elif scores_key is not None:
        raise click.UsageError("--scores-key names an array in a file, but --scores is not given")
    limits = constraints_of(constraints, None if groups is None else str(groups), "--groups", by_id=ids is not None)
    check_costs(costs, limits, "--costs")
    if groups is not None:
        limits["groups"] = labels_of(groups, len(F))
    limits.update(numbers_in(costs, weights, len(F)))
    if ids is not None:
        held = read_ids(ids, len(F), embeddings)
        if held is None:
            raise click.UsageError(f"--ids is {ids!r}, no file and no column of {embeddings}")
        limits.update(named(limits, [str(each) for each in held.take(range(len(F)))]))
    found = check(chosen, F, G, prior=None if prior is None else Selection.load(prior), **limits)
    entries: list[tuple[str, str]] = [
        ("objective", f"{chosen.plan.objective}, sign {options.sign}, query {options.query}"),
        *found.table(),
    ]
    say(table(entries), "the verdict")
    for line in found.findings:
        say(line, "the findings")
    say("verified" if found.ok else "not verified", "the verdict")
    if stability or rounded is not None or score_noise:
        _show_stability(chosen, F, G, found.ok, rounded or (None if score_noise else "bf16"), score_noise, runs, device)
    if not found.ok:
        context.exit(1)


def _show_stability(
    chosen: Selection, F: Any, G: Any, ok: bool, rounded: str | None, noise: float, runs: int, device: str
) -> None:
    """Prints the stability of a selection that was verified."""
    if not ok:
        say("the stability is not computed: the selection does not belong to this input", "the stability")
        return
    found = stable(chosen, F, G, score_noise=noise, embeddings=rounded, runs=runs, device=device)
    say("\n" + table(found.table()), "the stability")
