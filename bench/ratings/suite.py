"""`python -m bench ratings`: quality and diversity of selections from rated pools, for several ways to pass scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import gip_gpu
from bench.runner import pools
from bench.runner.command import Request, suite
from bench.runner.pools import Missing
from bench.runner.report import Report, paragraphs

POOLS = {
    "Alpaca": (pools.ALPACA, pools.ALPACA_JUDGES),
    "WildBench": (pools.WILDBENCH, pools.WILDBENCH_JUDGES),
}
PICKS = 200
# Rows of a quick run.
QUICK_ROWS = 2000

Float = NDArray[np.float64]
Choice = Callable[["Rated"], Any]

NOTES = """\
"Rating" is the mean of the judges' ratings of the picks; "below" the share of picks with a rating below the pool's
median; "apart" the mean cosine distance of a pick to the nearest other pick; "near" the mean cosine distance of the
pool's items to their nearest pick; "length" the mean length of the picks over that of the pool. The data has no text,
so lengths are made up: one log-normal draw, as lengths of texts are, independent of ratings and embeddings. All other
choices are exact selections by `gip_gpu.select`, so a second run gives the same table; random rows are one draw."""


@dataclass(frozen=True, eq=False)
class Rated:
    """A pool with the ratings of its judges."""

    name: str  # name of the pool
    X: NDArray[np.float32]  # (m, d) unit rows, float32
    ratings: Float  # (m, judges) ratings of the data
    lengths: Float  # (m,) made-up lengths

    @property
    def rating(self) -> Float:
        """Mean rating of the judges, (m,)."""
        return np.asarray(self.ratings.mean(axis=1))


def load(name: str, quick: bool) -> Rated:
    """Loads a pool of the real data, or its first rows; raises Missing if one of its files is missing."""
    F, judges = (pools.real(file, QUICK_ROWS if quick else None) for file in POOLS[name])
    lengths = np.random.default_rng(0).lognormal(5.5, 1.0, len(F)).round()
    return Rated(name, pools.unit_rows(F).astype(np.float32), judges.astype(np.float64), lengths)


def by(*, length: bool = False, **options: Any) -> Choice:
    """Returns a selection by the judges' ratings, one column each, and optionally the length as another column."""

    def choose(pool: Rated) -> Any:
        G = np.column_stack([pool.ratings, pool.lengths]) if length else pool.ratings
        # Explicit, as the suite measures the effect of ignoring the sign.
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
    """Returns the formatted figures of a choice."""
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


@suite("ratings", "ratings.md", quick="The beginning of each pool: does it work, not what comes out.")
def main(request: Request) -> Report:
    """Measure selections from rated pools; missing pools are skipped."""
    found = [text for name in POOLS if (text := section(name, request.quick))]
    text = paragraphs("# Good and diverse rows of rated pools", NOTES, *found) if found else ""
    return Report(text, whole=len(found) == len(POOLS))


def section(name: str, quick: bool) -> str:
    """Returns the table of a pool; "" if its files are missing."""
    try:
        pool = load(name, quick)
    except Missing as reason:
        click.echo(f"{name}: skipped: {reason}", err=True)
        return ""
    rows = [{"scores": title, **measures(pool, choose(pool))} for title, choose in CHOICES.items()]
    (m, judges), median = pool.ratings.shape, np.median(pool.rating)
    return (
        f"## {name}: {m:,} items, {judges} judges, k = {PICKS}\n\n"
        f"The pool: mean rating {pool.rating.mean():.2f}, {(pool.rating < median).mean():.0%} below the median "
        f"{median:.2f}.\n\n{tabulate(rows, headers='keys', tablefmt='pipe', disable_numparse=True)}"
    )
