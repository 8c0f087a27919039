"""Mutual information of each objective's selection with the same number of picks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.paper import data
from bench.paper.data import Float, Scored
from bench.runner import pools
from bench.runner.pools import Missing
from bench.runner.report import PAPER, Section, plot, table
from gip_gpu import metrics
from gip_gpu.signals import from_query, ridge_query

BUDGETS, QUICK_BUDGETS = (10, 50, 200), (5, 10, 20)
SEEDS, QUICK_SEEDS = 10, 2
MI = "mi"
OBJECTIVES = ("mp", "lr", MI, "omp")
RANDOM, TOP = "random", "top k"
# Largest relative difference of values that count as equal.
SAME = 1e-9

POOLS: tuple[Callable[[bool], Scored], ...] = (
    data.gsm8k,
    lambda quick: data.judged("WildBench", pools.WILDBENCH, pools.WILDBENCH_JUDGES, quick),
    lambda quick: data.judged("Alpaca", pools.ALPACA, pools.ALPACA_JUDGES, quick),
)


def reached(F: NDArray[Any], G: Float, k: int, seeds: int) -> dict[str, Float]:
    """Computes the mutual information in nats after 1, 2, ... k picks, (k,) for each selector; `RANDOM` is a mean over
    seeds."""
    Q = ridge_query(F, G, 0.0)

    def path(indices: NDArray[np.int64]) -> Float:
        return metrics.information_path(F, Q, indices).mutual_information

    options = {"query": "ridge", "device": "cpu"}
    found = {each: path(gip_gpu.select(F, G, k, objective=each, **options).indices) for each in OBJECTIVES}
    drawn = [path(np.random.default_rng(seed).permutation(len(F))[:k]) for seed in range(seeds)]
    found[RANDOM] = np.mean(drawn, axis=0)
    found[TOP] = path(data.top(from_query(F, Q))[:k])
    return found


def losses(found: dict[str, Float], budgets: Sequence[int]) -> list[str]:
    """Lists the cases in which another selector reaches more than the mutual-information greedy."""
    return [
        f"{name} reaches {values[k - 1]:.4g} with {k} picks, mi {found[MI][k - 1]:.4g}"
        for k in budgets
        for name, values in found.items()
        if values[k - 1] > found[MI][k - 1] * (1 + SAME)
    ]


def measure(quick: bool) -> Section:
    """Measures every selector on every available pool."""
    budgets, seeds = (QUICK_BUDGETS, QUICK_SEEDS) if quick else (BUDGETS, SEEDS)
    found, missing = [], []
    for make in POOLS:
        try:
            pool = make(quick)
        except Missing as reason:
            missing.append(str(reason))
            continue
        found.append((pool, reached(pool.F, pool.G, max(budgets), seeds)))
    if not found:
        raise Missing("; ".join(missing))
    return section(found, budgets, seeds, missing)


def section(
    found: list[tuple[Scored, dict[str, Float]]], budgets: Sequence[int], seeds: int, missing: Sequence[str] = ()
) -> Section:
    """Returns the section for the result of `reached` on each pool."""
    rows = []
    for pool, values in found:
        for k in budgets:
            reach = [float(curve[k - 1]) for curve in values.values()]
            most = max(reach) * (1 - SAME)
            rows.append([pool.name, f"{k:,}", *(f"**{x:.4g}**" if x >= most else f"{x:.4g}" for x in reach)])
    lost = [f"{pool.name}: {loss}" for pool, values in found for loss in losses(values, budgets)]
    compared = len(found) * len(budgets)
    beaten = len({(pool.name, k) for pool, values in found for k in budgets if losses(values, [k])})
    pool, curves = found[0]
    title = f"{pool.name}, {pool.G.shape[1]} scores"
    lines = [(range(1, len(curve) + 1), curve, {"label": name}) for name, curve in curves.items()]
    shares = [values["mp"][k - 1] / values[MI][k - 1] for _, values in found for k in budgets]
    return Section(
        f"Mutual information reached by each objective (equation 3.3 of {PAPER})",
        f"The exact greedy mi reaches the most in {compared - beaten} of {compared} comparisons. The paper's matching "
        f"pursuit reaches {min(shares):.0%} to {max(shares):.0%} of what mi does.",
        f"One run of each; random: means of {seeds} seeds.",
        [
            table(rows, ("pool", "picks", *curves)),
            "Nats; the most in bold. 'mp' is the paper's matching pursuit on the trace bound, 'lr' its Greedy LR, "
            "'mi' the greedy on mutual information itself, 'omp' orthogonal matching pursuit, 'top k' the rows with "
            "the largest norm of the fitted scores. Scores have mean 0 and standard deviation 1 in each column and "
            'are replaced by their least-squares fit on F (`query="ridge"`, epsilon 0). The paper has no such table.',
            *(f"{pool.name}: {pool.F.shape[0]:,} x {pool.F.shape[1]}; {pool.columns}." for pool, _ in found),
            "mi is greedy: it gains the most at each pick, not over all picks. "
            + (f"It is not the best here: {'; '.join(lost)}." if lost else "It loses nowhere in this table."),
            *(f"Left out: {reason}." for reason in missing),
        ],
        {"information.png": plot(title, "picks", "mutual information, nats", lines)},
    )
