"""`python -m bench.ratings`: how good and how diverse the rows are that rated pools give, by how scores are given."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import gip_gpu
from bench import cases
from gip_gpu.system.atomic_write import atomic_write

TARGET = cases.ROOT / "bench" / "results" / "ratings.md"
POOLS = {
    "Alpaca": (cases.ALPACA, cases.ALPACA_JUDGES),
    "WildBench": ("wildbench_minilm_f16.npy", "wildbench_judges.npy"),
}
PICKS = 200
# Rows of a quick run.
QUICK_ROWS = 2000

Float = NDArray[np.float64]
Choice = Callable[["Rated"], Any]

NOTES = """\
"Rating" is the mean of the judges' ratings of the picks; "below" the share of picks with a rating below the pool's
median; "apart" the mean cosine distance of a pick to the nearest other pick; "near" that of the items of the pool to
their nearest pick; "length" the mean length of the picks over that of the pool. The data has no text, so lengths are
made up: log-normal, as lengths of texts are, independent of ratings and embeddings, one draw. All choices are by
`gip_gpu.select` on float64-exact scores, so that a second run gives the same table; random rows are one draw."""


@dataclass(frozen=True, eq=False)
class Rated:
    """A pool with the ratings of its judges.

    Attributes:
        name: of the pool.
        X: (m, d) unit rows, float32.
        ratings: (m, judges) as given.
        lengths: (m,) made up.
    """

    name: str
    X: NDArray[np.float32]
    ratings: Float
    lengths: Float

    @property
    def rating(self) -> Float:
        """(m,) mean of the judges."""
        mean: Float = self.ratings.mean(axis=1)
        return mean


def load(name: str, quick: bool) -> Rated | None:
    """A pool of the real data, or the beginning of one; None without its files."""
    paths = [cases.DATA / file for file in POOLS[name]]
    if not all(path.is_file() for path in paths):
        return None
    F, judges = (np.load(path)[: QUICK_ROWS if quick else None] for path in paths)
    X = F.astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    lengths = np.random.default_rng(0).lognormal(5.5, 1.0, len(F)).round()
    return Rated(name, X.astype(np.float32), judges.astype(np.float64), lengths)


def by(*, length: bool = False, **options: Any) -> Choice:
    """A choice by the judges' ratings, a column each, and the length as one more."""

    def choose(pool: Rated) -> Any:
        G = np.column_stack([pool.ratings, pool.lengths]) if length else pool.ratings
        # The sign that is ignored is what is measured.
        return gip_gpu.select(pool.X, G, PICKS, device="cpu", **{"sign": "any", **options}).indices

    return choose


CHOICES: dict[str, Choice] = {
    "random rows": lambda pool: np.random.default_rng(1).choice(len(pool.X), PICKS, replace=False),
    "highest ratings": lambda pool: np.argsort(-pool.rating, kind="stable")[:PICKS],
    "raw ratings": by(),
    'standardize="zscore"': by(standardize="zscore"),
    'standardize="zscore", sign="positive"': by(standardize="zscore", sign="positive"),
    'standardize="rank"': by(standardize="rank"),
    'objective="lr", epsilon=1, "zscore", "positive"': by(
        objective="lr", epsilon=1.0, standardize="zscore", sign="positive"
    ),
    'objective="mi", query="ridge"': by(objective="mi", query="ridge"),
    "raw ratings and length": by(length=True),
    'ratings and length, "zscore", "positive"': by(length=True, standardize="zscore", sign="positive"),
    'ratings and length, "rank"': by(length=True, standardize="rank"),
    'ratings and length, "rank", "positive"': by(length=True, standardize="rank", sign="positive"),
}


def measures(pool: Rated, picks: Any) -> dict[str, str]:
    """The figures of a choice, as they are shown."""
    chosen = pool.X[picks]
    among = chosen @ chosen.T
    np.fill_diagonal(among, -1)
    nearest = [(block @ chosen.T).max(axis=1) for block in np.array_split(pool.X, -(-len(pool.X) // 4096))]
    rating = pool.rating
    return {
        "rating": f"{rating[picks].mean():.2f}",
        "below": f"{(rating[picks] < np.median(rating)).mean():.0%}",
        "apart": f"{1 - float(among.max(axis=1).mean()):.2f}",
        "near": f"{1 - float(np.concatenate(nearest).mean()):.2f}",
        "length": f"{pool.lengths[picks].mean() / pool.lengths.mean():.1f}",
    }


def sections(quick: bool) -> Iterator[str]:
    """A table for each pool that is there."""
    for name in POOLS:
        pool = load(name, quick)
        if pool is None:
            click.echo(f"{name}: skipped: {' or '.join(POOLS[name])} is not in {cases.DATA}", err=True)
            continue
        rows = [{"scores": title, **measures(pool, choose(pool))} for title, choose in CHOICES.items()]
        m, judges = pool.ratings.shape
        below = (pool.rating < np.median(pool.rating)).mean()
        yield (
            f"## {name}: {m:,} items, {judges} judges, k = {PICKS}\n\n"
            f"The pool: mean rating {pool.rating.mean():.2f}, {below:.0%} below the median "
            f"{np.median(pool.rating):.2f}.\n\n"
            f"{tabulate(rows, headers='keys', tablefmt='pipe', disable_numparse=True)}"
        )


@click.command("ratings")
@click.option("--quick", is_flag=True, help="The beginning of each pool: does it work, not what comes out.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file.  [default: bench/results/ratings.md; with --quick: none]",
)
def main(quick: bool, out: Path | None) -> None:
    """Measure choices from rated pools and print a Markdown report; pools that are not there are skipped."""
    found = list(sections(quick))
    if not found:
        sys.exit(0)
    text = "\n\n".join(["# Good and diverse rows of rated pools", NOTES, *found]) + "\n"
    click.echo(text, nl=False)
    # A part of the report, or figures of quick sizes, must not replace a measured whole.
    target = out or (None if quick or len(found) < len(POOLS) else TARGET)
    if target is not None:
        with atomic_write(target) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
