"""Plain float64 greedy choice under constraints, and random problems with them."""

import numpy as np


def admitted(X, picks, left, k, exclude, codes, least, most, dedup):
    """Flags the items that the constraints allow as the next pick, from their definition."""
    allowed = left.copy()
    allowed[list(exclude)] = False
    if dedup is not None:
        for s in picks:
            allowed &= ~(X @ X[s] >= dedup)
    if codes is not None:
        counts = np.bincount(codes[picks], minlength=len(least)) if picks else np.zeros(len(least), int)
        sizes = np.bincount(codes[allowed], minlength=len(least))
        owed = np.minimum(np.maximum(least - counts, 0), sizes)
        for group in range(len(least)):
            if counts[group] >= most[group] or (owed.sum() >= k - len(picks) and not owed[group]):
                allowed[codes == group] = False
    return allowed


def plain(F, G, k, objective, epsilon=0.0, sign="any", **constraints):
    """Greedy choice by scores that are computed anew for each pick; no two scores may tie."""
    X = np.asarray(F, float) / np.linalg.norm(F, axis=1, keepdims=True)
    m = len(X)
    W0 = None if G is None else np.asarray(G, float).reshape(m, -1)
    picks, left = [], np.ones(m, bool)
    W = None if W0 is None else W0.copy()
    while len(picks) < k:
        chosen = X[picks]
        if objective != "mp":
            inner = np.linalg.inv(chosen @ chosen.T + epsilon * np.eye(len(picks)))
            d2 = 1 - np.einsum("js,st,jt->j", X @ chosen.T, inner, X @ chosen.T)
            if W0 is not None:
                W = W0 - X @ chosen.T @ inner @ W0[picks]
        seen = None if W is None else np.maximum(W, 0) if sign == "positive" else W
        score = d2 if objective == "entropy" else (seen**2).sum(axis=1)
        if objective == "lr":
            score = score / (epsilon + d2)
        allowed = admitted(X, picks, left, k, **constraints)
        if not allowed.any():
            break
        s = int(np.where(allowed, score, -1).argmax())
        picks.append(s)
        left[s] = False
        if objective == "mp":
            W = W - np.outer(X @ X[s], W[s])
    return picks


def problem(rng, m=90, d=12, n=2):
    """Returns rows with near-duplicates, scores, and group labels; no two scores tie."""
    F = rng.standard_normal((m, d)) + 0.3
    half = m // 3
    F[:half] = F[half : 2 * half] + 0.05 * rng.standard_normal((half, d))
    return F, rng.standard_normal((m, n)) + 0.5, rng.integers(0, 4, m)
