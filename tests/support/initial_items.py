"""Selections with initial items: objectives, a pool, the reference, and a comparison with an uninterrupted run."""

import numpy as np

from gip_gpu.reference import greedy, matching_pursuit

# objective, options
KINDS = [
    ("mp", {}),
    ("mp", {"sign": "positive"}),
    ("omp", {}),
    ("omp", {"epsilon": 0.05}),
    ("lr", {}),
    ("lr", {"epsilon": 0.05, "sign": "positive"}),
    ("mi", {"query": "ridge", "epsilon": 0.05}),
    ("mi", {"query": "ridge"}),
    ("entropy", {}),
    ("entropy", {"epsilon": 0.1}),
]


def problem(objective, m=300, d=24, seed=5):
    """Returns rows in a narrow cone, some of them twice, and three signals."""
    rng = np.random.default_rng(seed)
    scales = 1 / np.arange(1, d + 1)
    F = (rng.standard_normal((m, d)) * scales + 1.5 * scales).astype(np.float32)
    F[m // 2 : m // 2 + 10] = F[:10]
    G = rng.integers(0, 6, (m, 3)) - 1.0
    G[m // 2 : m // 2 + 10] = G[:10]
    return F, None if objective == "entropy" else G


def expect(F, G, k, objective, options, initial):
    """Returns the indices of the reference."""
    if objective == "mp" and "sign" not in options:
        return matching_pursuit(F, G, k, **{"on_exhausted": "restart", **options}, initial=initial)
    return greedy(F, G, k, objective=objective, **options, initial=initial)


def assert_rest(whole, part, first=0, gains=1e-9, explained=1e-5):
    """Asserts that `part` equals the picks from `first` on of an uninterrupted selection, with its certificate.

    Margins are lower bounds that depend on the error of the arrays at the time, so only their being zero is compared.
    """
    np.testing.assert_array_equal(part.indices, whole.indices[first:])
    np.testing.assert_allclose(part.gains, whole.gains[first:], rtol=gains)
    np.testing.assert_allclose(part.weights, whole.weights[first:], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(part.explained, whole.explained[first:], rtol=1e-5, atol=explained)
    np.testing.assert_array_equal(part.certificate.ties, whole.certificate.ties[first:])
    np.testing.assert_array_equal(part.certificate.margins > 0, whole.certificate.margins[first:] > 0)
