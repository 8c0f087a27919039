"""Pools with many ties."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def problems(draw):
    """Draws small pools with many ties: repeated, opposite and rescaled rows, integer and zero scores."""
    m, d, n = draw(st.integers(1, 40)), draw(st.integers(1, 64)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = draw(st.sampled_from([1, 2, 1000]))
    F = rng.integers(-grid, grid + 1, (m, d)).astype(float)
    F[~F.any(axis=1), 0] = 1
    G = rng.integers(-grid, grid + 1, (m, n)).astype(float)
    for _ in range(draw(st.integers(0, m))):
        a, b = rng.integers(0, m, 2)
        F[a] = F[b] * draw(st.sampled_from([1.0, -1.0, 3.0]))
        if draw(st.booleans()):
            G[a] = G[b]
    G[rng.random(m) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
    return F, G * draw(st.sampled_from([1.0, 1e-30, 1e30]))
