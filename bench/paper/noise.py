"""Appendix A.1.1: overlap of selections with and without noise on the embeddings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from bench.paper.data import Float, calculations, load
from bench.runner import pools
from bench.runner.report import PAPER, Line, Section, plot, table
from gip_gpu.metrics import iou
from gip_gpu.signals import self_compression

# arXiv 2603.13790, appendix A.1.1: IoU by share of the pool (747 and 1494 of 7473 picks), then by level of the noise.
PUBLISHED = {0.1: (0.959, 0.942, 0.663), 0.2: (0.917, 0.879, 0.617)}
LEVELS = (1e-4, 1e-3, 1e-2)
TRIALS, QUICK_TRIALS = 3, 1
# Largest difference from the paper's figures at which a reading reproduces them.
CLOSE = 0.05


@dataclass(frozen=True)
class Reading:
    """An interpretation of "noise of this level"."""

    name: str
    # The level is the norm of the noise of a row; otherwise its standard deviation in each entry.
    per_row: bool = False
    # Noisy rows are normalised again.
    normalize: bool = True
    # Scores are fixed and independent of the embeddings; otherwise self-compression of the noisy rows.
    held: bool = False

    def disturbed(self, X: Float, level: float, seed: int) -> Float:
        """Adds noise to unit rows, (m, d)."""
        std = level / np.sqrt(X.shape[1]) if self.per_row else level
        return np.asarray(X + std * np.random.default_rng(seed).standard_normal(X.shape))

    def chosen(self, X: Float, given: Float, k: int) -> NDArray[np.int64]:
        """Returns the picks from these rows."""
        scores = given if self.held else self_compression(X, normalize=self.normalize)
        return gip_gpu.select(X, scores, k, normalize=self.normalize, sign="any", device="cpu").indices


READINGS = (
    Reading("std of an entry"),
    Reading("std of an entry, rows not renormalised", normalize=False),
    Reading("length of a row's noise", per_row=True),
    Reading("std of an entry, scores held", held=True),
)


def overlaps(F: NDArray[Any], given: Float, trials: int) -> dict[str, Float]:
    """Computes the IoU with the selection without noise, (shares, levels, trials) for each reading; `given` are the
    fixed scores."""
    X = pools.unit_rows(F)
    budgets = [int(share * len(X)) for share in PUBLISHED]
    found = {each.name: np.zeros((len(budgets), len(LEVELS), trials)) for each in READINGS}
    for reading in READINGS:
        clean = reading.chosen(X, given, max(budgets))
        for column, trial in np.ndindex(len(LEVELS), trials):
            noisy = reading.chosen(reading.disturbed(X, LEVELS[column], trial), given, max(budgets))
            # The greedy picks of a smaller budget are the first picks of a larger one.
            found[reading.name][:, column, trial] = [iou(clean[:k], noisy[:k]) for k in budgets]
    return found


def measure(quick: bool) -> Section:
    """Measures the overlap under noise for every reading of "noise"."""
    F = load(pools.GSM8K, quick)
    return section(overlaps(F, calculations(len(F)), QUICK_TRIALS if quick else TRIALS), *F.shape)


def section(found: dict[str, Float], m: int, d: int) -> Section:
    """Returns the section for the result of `overlaps` on an (m, d) pool."""
    published = np.array(list(PUBLISHED.values()))
    off = {name: float(np.abs(values.mean(axis=-1) - published).max()) for name, values in found.items()}
    rows = [
        [f"{int(share * m):,}", f"{level:g}", f"{published[i, j]:.1%}", *(_cell(v[i, j]) for v in found.values())]
        for i, share in enumerate(PUBLISHED)
        for j, level in enumerate(LEVELS)
    ]
    rows.append(["largest difference", "", "", *(f"{100 * value:.1f} points" for value in off.values())])
    trials = next(iter(found.values())).shape[-1]
    lines: list[Line] = [(LEVELS, published[0], {"color": "k", "linestyle": "--", "marker": "o", "label": "paper"})]
    lines += [(LEVELS, v[0].mean(axis=-1), {"marker": "o", "label": name}) for name, v in found.items()]
    title = f"Choices of {int(next(iter(PUBLISHED)) * m):,} rows"
    return Section(
        f"How much of a choice survives noise on the embeddings (appendix A.1.1 of {PAPER})",
        _verdict(off, found),
        f"Means of {trials} trials (least to most).",
        [
            table(rows, ("picks", "noise", "paper", *found)),
            f"GSM8K, {m:,} unit rows of length {d}; Gaussian noise. The paper does not specify the scale of its level, "
            "whether rows are renormalised, or the source of the scores, so all plausible readings are measured: the "
            "level is the standard deviation of every entry, or the norm of the noise of a unit row; rows are "
            "renormalised unless the name says otherwise; scores are the self-compression of the noisy rows, or are "
            "held: then they are small integers from outside, like a judge's ratings, here the number of calculations "
            "in each answer. The paper's embeddings are ModernBERT's, these are of all-MiniLM-L6-v2. Every selection, "
            "with and without noise, is that of the float64 algorithm: no difference is due to rounding.",
        ],
        {"noise.png": plot(title, "noise", "IoU with the undisturbed choice", lines, xscale="log")},
    )


def _verdict(off: dict[str, float], found: dict[str, Float]) -> str:
    name = min(off, key=lambda reading: off[reading])
    falling = all((np.diff(values.mean(axis=-1), axis=1) <= 0).all() for values in found.values())
    trend = "More noise leaves less, as in the paper" if falling else "More noise does not always leave less"
    if off[name] <= CLOSE:
        return f"Reproduces within {100 * CLOSE:g} points, with noise as '{name}'. {trend}."
    return (
        f"The figures do not reproduce: the closest reading, '{name}', is off by up to {100 * off[name]:.0f} points. "
        f"{trend}. The likely reasons: another encoder, other scores, and a level of noise that is not specified."
    )


def _cell(values: Float) -> str:
    return f"{values.mean():.1%} ({values.min():.1%} to {values.max():.1%})"
