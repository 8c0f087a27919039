"""One run of one variant, in a process of its own: `python -m bench.child CASE VARIANT`, JSON on standard output."""

import json
import time

import click

from bench import cases
from bench.variants import VARIANTS
from gip_gpu.system import memory


@click.command()
@click.argument("case", type=click.Choice([case.name for case in cases.CASES]))
@click.argument("variant", type=click.Choice(list(VARIANTS)))
@click.option("--quick", is_flag=True)
def main(case: str, variant: str, quick: bool) -> None:
    """Prints seconds, peak bytes and indices of one run; loading the data is not timed."""
    chosen = cases.find(case, quick)
    F, G = cases.load(chosen)
    began = time.perf_counter()
    indices, notes = VARIANTS[variant](F, G, chosen.k)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak": memory.peak(), "indices": indices.tolist(), **notes}))


if __name__ == "__main__":
    main()
