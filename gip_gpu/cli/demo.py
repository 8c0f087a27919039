"""The command `demo`."""

import warnings
from pathlib import Path

import click

from gip_gpu.cli.options import FILE
from gip_gpu.cli.streams import say
from gip_gpu.cli.values import share as share_of


@click.command()
@click.option(
    "-o", "--out", "--output", "out", type=FILE, default="gip-gpu-demo", show_default=True, help="Folder to write to."
)
@click.option("--share", type=share_of, default="0.025", show_default=True, help="Share of the pool: 0.025 or 2.5%.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the pools.")
@click.option("--quiet", is_flag=True, help="Print nothing, only write the files.")
def demo(out: Path, share: float, seed: int, quiet: bool) -> None:
    """Choose handwritten digits to learn from; compare with random choices, k-means and top-k.

    Writes chosen.jsonl, demo.png and report.html, the report of the choice. Needs no network.
    """
    from gip_gpu.report.demo import run

    if quiet:
        warnings.simplefilter("ignore")
    report = run(out, share=share, seed=seed)
    if not quiet:
        say(report, "the report", note=f"the files are written to {out}")
