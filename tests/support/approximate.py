"""Random selections for inexact arithmetic, and float32 operations with errors of a few units in the last place."""

import numpy as np

from gip_gpu import select
from gip_gpu.numerics.error_bounds import TINY32
from gip_gpu.reference import greedy, matching_pursuit

OBJECTIVES = ("lr", "omp", "mi", "entropy", "positive", "mp")


def problem(objective, seed):
    """Returns rows, scores, picks and options: duplicates, ties, short rows, a ridge, more picks than dimensions."""
    rng = np.random.default_rng([OBJECTIVES.index(objective), seed])
    m, d = int(rng.integers(8, 50)), int(rng.integers(2, 9))
    # Always three signals where possible, because each number of signals needs its own build of the kernels.
    n = min(d, 3) if objective == "mi" else 3
    F = (rng.standard_normal((m, d)) + rng.choice([0.0, 1.5])).astype(np.float32)
    G = F @ rng.standard_normal((d, n)) + rng.choice([0.0, 0.3]) * rng.standard_normal((m, n))
    if seed % 3 == 0:
        G = np.round(2 * G)
    if seed % 4 == 0:
        F[m // 2 :], G[m // 2 :] = F[: m - m // 2], G[: m - m // 2]
    options = {"objective": "mp" if objective == "positive" else objective}
    if objective == "positive":
        options["sign"] = "positive"
    elif objective == "mi":
        options.update(query="ridge", epsilon=0.1)
    elif objective != "mp":
        options["epsilon"] = float(rng.choice([0.0, 0.05]))
    return F, None if objective == "entropy" else G, int(rng.integers(2, min(m, 12))), options


def check(objective, seed, **device):
    F, G, k, options = problem(objective, seed)
    plain = objective == "mp"
    expected = matching_pursuit(F, G, k, on_exhausted="restart") if plain else greedy(F, G, k, **options)
    np.testing.assert_array_equal(select(F, G, k, **options, **device).indices, expected)


class Approximate:
    """Float32 operation whose result is off by up to `most` units in the last place; subnormals become zero."""

    def __init__(self, exact, most=2, seed=0):
        self.exact, self.most, self.random, self.moved = exact, most, np.random.default_rng(seed), 0

    def __call__(self, *values):
        found = self.exact(*values)
        if found.dtype != np.float32:
            return found
        steps = self.random.integers(-self.most, self.most + 1, found.shape)
        for away in range(1, self.most + 1):
            for sign in (-1, 1):
                toward = np.float32(sign * np.inf)
                found = np.where((steps * sign >= away) & np.isfinite(found), np.nextafter(found, toward), found)
        self.moved += int(np.count_nonzero(steps))
        return np.where(np.abs(found) < TINY32, np.float32(0), found)
