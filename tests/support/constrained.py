"""Plain float64 greedy choice under constraints, and random problems with them."""

import numpy as np


def affordable(picks, allowed, costs, budget, codes, owed):
    """Flags the items whose cost the budget pays for beside the cheapest picks that the groups are owed.

    Nothing is set aside if the budget does not pay for those.
    """
    least = sum(
        int(np.sort(costs[allowed & (codes == group)])[: owed[group]].sum())
        for group in range(0 if codes is None else len(owed))
    )
    if int(costs[picks].sum()) + least > budget:
        return allowed & (costs <= budget - costs[picks].sum())
    found = np.zeros(len(allowed), bool)
    for j in np.flatnonzero(allowed):
        spent, others = int(costs[picks].sum()) + int(costs[j]), allowed.copy()
        others[j] = False
        for group in range(0 if codes is None else len(owed)):
            still = owed[group] - (codes[j] == group)
            if still > 0:
                spent += int(np.sort(costs[others & (codes == group)])[:still].sum())
        found[j] = spent <= budget
    return found


def admitted(X, picks, left, k, exclude, codes, least, most, dedup, costs=None, budget=None):
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
    if costs is not None:
        allowed = affordable(picks, allowed, costs, budget, codes, None if codes is None else owed)
    return allowed


def plain(F, G, k, objective, epsilon=0.0, sign="any", include=(), weights=None, **constraints):
    """Greedy choice by scores that are computed anew for each pick; no two scores may tie.

    `include` are the first picks; scores are multiplied by `weights` and divided by the costs.
    """
    factors = np.ones(len(F)) if weights is None else np.asarray(weights, float)
    if constraints.get("costs") is not None:
        factors = factors / constraints["costs"]
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
        if len(picks) < len(include):
            s = include[len(picks)]
        else:
            allowed = admitted(X, picks, left, k, **constraints)
            # What the budget has once shut out stays out.
            left[~allowed] &= constraints.get("costs") is None
            if not allowed.any():
                break
            s = int(np.where(allowed, score * factors, -1).argmax())
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
