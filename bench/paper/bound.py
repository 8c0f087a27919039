"""Theorem 2 along a path of picks: does the lower bound of the projection hold, and how tight is it?"""

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.paper import data
from bench.paper.data import Float
from bench.runner.report import PAPER, Section, plot, table
from gip_gpu import metrics
from gip_gpu.signals import from_query, ridge_query

PICKS, QUICK_PICKS = 200, 20
# Relative float64 rounding error of either side.
ROUNDING = 1e-9


def held(left: Float, right: Float) -> NDArray[np.bool_]:
    """Returns where the left side is at least the right one, up to rounding."""
    return left >= right * (1 - ROUNDING)


def measure(quick: bool) -> Section:
    """Measures both sides of theorem 2 on GSM8K with four scores."""
    pool, k = data.gsm8k(quick), QUICK_PICKS if quick else PICKS
    F, Q = pool.F, ridge_query(pool.F, pool.G, 0.0)
    # The theorem holds for any set of rows.
    chosen = {
        "matching pursuit": gip_gpu.select(F, pool.G, k, query="ridge", device="cpu").indices,
        "random": np.random.default_rng(0).permutation(len(F))[:k],
        "top k by norm of the scores": data.top(from_query(F, Q))[:k],
    }
    return section({name: metrics.projection_bounds(F, Q, picks) for name, picks in chosen.items()}, pool)


def section(found: dict[str, tuple[Float, Float]], pool: data.Scored) -> Section:
    """Returns the section for both sides of each path, each (k,)."""
    rows, failures, lines = [], [], []
    for i, (name, (left, right)) in enumerate(found.items()):
        holds, tight = held(left, right), right / left
        picks, shown = np.arange(1, len(left) + 1), right > 0
        lines.append((picks, left, {"label": name, "color": f"C{i}"}))
        lines.append((picks[shown], right[shown], {"linestyle": "--", "color": f"C{i}"}))
        told = (name, "holds at every step", f"holds at {int(holds.sum()):,} of {len(holds):,} steps")
        rows.append([*told, *(f"{x:.3g}" for x in (tight[0], np.median(tight), tight[-1], tight.max()))])
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
        {"bound.png": plot("Both sides of theorem 2", "picks", "left (solid) and right (dashed)", lines, yscale="log")},
        failures,
    )
