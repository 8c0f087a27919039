"""Theorem 5: for mutually orthogonal rows and one score, the best k rows are those with the k largest |scores|."""

import numpy as np

import gip_gpu
from bench.paper.data import top
from bench.paper.optimum import Float, optima, reached
from bench.runner.report import PAPER, Section, plot, table
from bench.runner.runs import first_difference

# (m, d) of F.
SIZES, QUICK_SIZES = ((16, 16), (64, 128), (256, 256), (512, 512)), ((8, 8), (16, 32))
# (m, d) small enough to try all subsets.
TRIED = (10, 12)
TRIALS, QUICK_TRIALS = 10, 2
OBJECTIVES = ("mp", "omp", "lr", "mi")
TOLERANCE = 1e-9


def orthogonal_rows(m: int, d: int, rng: np.random.Generator) -> Float:
    """Draws (m, d) mutually orthogonal unit rows, m <= d."""
    return np.asarray(np.linalg.qr(rng.standard_normal((d, m)))[0].T)


def difference(F: Float, g: Float, objective: str) -> int | None:
    """Returns the first pick of `gip_gpu.select`, from 0, that is not the largest remaining |score|, or None."""
    picks = gip_gpu.select(F, g, len(F), objective=objective, sign="any", device="cpu").indices
    return first_difference(picks.tolist(), top(g))


def shortfall(F: Float, q: Float) -> float:
    """Computes the relative shortfall of the k largest |scores| from the optimum over all subsets, for the worst k."""
    return float(np.max(1 - reached(F, q, top(F @ q)) / optima(F, q)))


def measure(quick: bool) -> Section:
    """Compares picks with the largest |scores|, and these with the optimum."""
    trials = QUICK_TRIALS if quick else TRIALS
    rows, failures = [], []
    for m, d in QUICK_SIZES if quick else SIZES:
        for objective in OBJECTIVES:
            equal = trials
            for seed in range(trials):
                rng = np.random.default_rng([m, seed])
                first = difference(orthogonal_rows(m, d, rng), rng.standard_normal(m), objective)
                if first is not None:
                    equal, what = equal - 1, f"{m} x {d}, {objective}, seed {seed}"
                    failures.append(f"{what}: pick {first} is not the largest |score| left")
            rows.append([f"{m:,} x {d:,}", objective, "top k by \\|score\\|", f"{equal} of {trials} trials"])
    misses = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        misses.append(shortfall(orthogonal_rows(*TRIED, rng), rng.standard_normal(TRIED[1])))
    if max(misses) > TOLERANCE:
        failures.append(f"a subset of {TRIED[0]} orthogonal rows beats the top k by {max(misses):.2g}")
    title = "Top k by |score| against the best of all subsets"
    lines = [(range(trials), misses, {"marker": "o", "linestyle": ""})]
    return Section(
        f"With orthogonal rows and one score the top k by |score| are best (theorem 5 of {PAPER})",
        "Does not hold: see the failures." if failures else "Reproduces: in every trial, at every k.",
        f"{trials} trials of each size.",
        [
            table(rows, ("m x d", "objective", "paper", "measured: equal to that at every k")),
            "F: rows of the Q of a QR decomposition of a normal matrix; scores standard normal. All m picks are "
            f"compared, in order, so every k. Whether the top k are best is tried on {TRIED[0]} x {TRIED[1]}: of all "
            f"subsets of each size none is better by more than {max(0.0, *misses):.1g} of its objective (float64 "
            "rounding).",
        ],
        {"orthogonal.png": plot(title, "trial", "shortfall, relative", lines)},
        failures,
    )
