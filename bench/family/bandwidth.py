"""How fast this machine reads: `python -m bench.family.bandwidth M D`, JSON on standard output."""

import json

import click
import numpy as np

from bench.ceiling import median_seconds


@click.command()
@click.argument("m", type=int)
@click.argument("d", type=int)
def main(m: int, d: int) -> None:
    """Prints the seconds in which BLAS reads as many bytes as m x d float32 values have, for a sum of products.

    The same bytes as a pool's, so that a cache that holds all of the pool, or a part, helps both alike.
    """
    left, right = np.ones((2, m * d // 2), np.float32)
    print(json.dumps({"read": median_seconds(lambda: np.dot(left, right))}))


if __name__ == "__main__":
    main()
