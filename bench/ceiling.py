"""What the machine can do at best, in a process of its own: `python -m bench.ceiling M D`, JSON on standard output."""

import json
import statistics
import time
from collections.abc import Callable

import click
import numpy as np

REPEATS = 7


@click.command()
@click.argument("m", type=int)
@click.argument("d", type=int)
@click.option("--size", default=4096, help="Rows and columns of the matrices of the large product.")
def main(m: int, d: int, size: int) -> None:
    """Prints flops per second of a large float32 product, and seconds of a product of (m, d) with a vector."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    product = np.empty_like(left)
    flops = 2 * size**3 / median_seconds(lambda: np.matmul(left, right, out=product))
    F = rng.standard_normal((m, d), dtype=np.float32)
    column = np.empty(m, np.float32)
    print(json.dumps({"flops": flops, "gemv": median_seconds(lambda: np.matmul(F, F[0], out=column))}))


def median_seconds(action: Callable[[], object]) -> float:
    """The median of some runs after one that is not counted."""
    action()
    spans = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


if __name__ == "__main__":
    main()
