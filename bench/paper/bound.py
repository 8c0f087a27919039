"""Theorem 2 along a path of picks: does the lower bound of the projection hold, and how tight is it?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.paper import data
from bench.paper.data import Float
from bench.runner.report import PAPER, Section, chart, legend, table
from gip_gpu import metrics
from gip_gpu.signals import ridge_query

PICKS, QUICK_PICKS = 200, 20
# Relative float64 rounding error of either side.
ROUNDING = 1e-9
MATCHING_PURSUIT, RANDOM, TOP = "matching pursuit", "random", "top k by norm of the scores"

Indices = NDArray[np.int64]


def paths(F: NDArray[Any], G: Float, Q: Float, k: int) -> dict[str, Indices]:
    """Returns selections of k rows to test the theorem on; it holds for any set."""
    fitted = gip_gpu.signals.from_query(F, Q)
    return {
        MATCHING_PURSUIT: gip_gpu.select(F, G, k, query="ridge", device="cpu").indices,
        RANDOM: np.random.default_rng(0).permutation(len(F))[:k],
        TOP: np.argsort(-np.linalg.norm(fitted, axis=1), kind="stable")[:k],
    }


def held(left: Float, right: Float) -> NDArray[np.bool_]:
    """Returns where the left side is at least the right one, up to rounding."""
    return left >= right * (1 - ROUNDING)


def measure(quick: bool) -> Section:
    """Measures both sides of theorem 2 on GSM8K with four scores."""
    pool = data.gsm8k(quick)
    Q = ridge_query(pool.F, pool.G, 0.0)
    chosen = paths(pool.F, pool.G, Q, QUICK_PICKS if quick else PICKS)
    return section({name: metrics.projection_bounds(pool.F, Q, picks) for name, picks in chosen.items()}, pool)


def section(found: dict[str, tuple[Float, Float]], pool: data.Scored) -> Section:
    """Returns the section for both sides of each path, each (k,)."""
    rows, failures = [], []
    for name, (left, right) in found.items():
        holds = held(left, right)
        tight = right / left
        rows.append(
            [
                *(name, "holds at every step", f"holds at {int(holds.sum()):,} of {len(holds):,} steps"),
                *(f"{tight[0]:.3g}", f"{np.median(tight):.3g}", f"{tight[-1]:.3g}", f"{tight.max():.3g}"),
            ]
        )
        failures += [f"{name}: the bound is violated after {t + 1} picks" for t in np.flatnonzero(~holds)[:1]]
    best = max(float((right / left).max()) for left, right in found.values())
    steps = len(next(iter(found.values()))[0])
    header = ("choice", "paper", "measured", "right / left after 1 pick", "median", f"after {steps}", "largest")
    return Section(
        f"The lower bound of the projection (theorem 2 of {PAPER})",
        f"Holds at every step, at up to {best:.2g} of the bounded norm."
        if not failures
        else "Does not hold: see below.",
        "One run of each: only the random choice is drawn, with a fixed seed.",
        [
            table(rows, header),
            "`||F_S Q||_2 >= sigma_min(F_S) sigma_min(Q) sqrt(1 - (eta / det(Q'Q))^(1/r))`, with `eta = det(Q'(I - "
            f"P_S)Q)`. {pool.name}, {pool.F.shape[0]:,} x {pool.F.shape[1]}; scores: {pool.columns}, each with mean "
            "0 and standard deviation 1; Q is their least-squares query. The right side multiplies a smallest "
            "singular value, which falls as rows are added, by a root that grows.",
        ],
        {"bound.png": _plot(found)},
        failures,
    )


def _plot(found: dict[str, tuple[Float, Float]]) -> Any:
    figure, axes = chart("Both sides of theorem 2", "picks", "left (solid) and right (dashed)", yscale="log")
    for name, (left, right) in found.items():
        picks = np.arange(1, len(left) + 1)
        (line,) = axes.plot(picks, left, label=name)
        shown = right > 0
        axes.plot(picks[shown], right[shown], "--", color=line.get_color())
    return legend(figure)
