"""Pools for the tests of the projecting objectives, and selections with a check of their certificates."""

import numpy as np
from hypothesis import strategies as st

from gip_gpu import select

SCORED = ("lr", "mi", "omp")


def normalized(F):
    X = np.asarray(F, float)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def choose(F, G, k, **options):
    """Returns the indices of a selection, after checks of its certificate."""
    chosen = select(F, G, k, device="cpu", **options)
    proof = chosen.certificate
    assert (proof.candidates >= proof.ties).all()
    assert ((proof.margins >= 0) & (proof.margins <= 1)).all()
    assert (proof.margins[proof.ties > 1] == 0).all()
    return chosen.indices


@st.composite
def pools(draw):
    """Draws rows F of any scale, the scores of a query, and `normalize`."""
    m, d = draw(st.integers(2, 60)), draw(st.integers(1, 12))
    n = draw(st.integers(1, min(3, d, m)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    F = rng.standard_normal((m, d)) * rng.uniform(0.1, 8, (m, 1))
    normalize = draw(st.booleans())
    G = (normalized(F) if normalize else F) @ rng.standard_normal((d, n))
    return F, G, normalize
