"""One selection in a process of its own: `python -m bench.paper.child POOL PICKS COLUMNS`, JSON on standard output."""

import json

import click

import gip_gpu
from bench import cases
from bench.paper.data import load
from gip_gpu.signals import self_compression
from gip_gpu.strategies.choose import columns_options
from gip_gpu.system import memory


@click.command()
@click.argument("pool", type=click.Choice([cases.GSM8K, cases.ALPACA]))
@click.argument("picks", type=click.IntRange(min=1))
@click.argument("columns", type=click.Choice(columns_options()))
@click.option("--quick", is_flag=True)
def main(pool: str, picks: int, columns: str, quick: bool) -> None:
    """Prints seconds by part, peak bytes and indices of one selection with self-compression scores."""
    F = load(pool, quick)
    selection = gip_gpu.select(F, self_compression(F), picks, columns=columns, device="cpu")
    told = {
        "timings": selection.timings,
        "peak": memory.peak(),
        "columns": selection.plan.columns,
        "rounds": list(selection.rounds),
        "indices": selection.indices.tolist(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
