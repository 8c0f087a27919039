"""Random selections over all options, small enough for 300-bit arithmetic."""

import numpy as np

OBJECTIVES = ("mp", "lr", "mi", "omp", "entropy")


def rows(rng, m, d):
    """Returns realistic embeddings of a random kind: Gaussian, a cone, ratings, duplicates, any lengths, 16 bits."""
    F = rng.standard_normal((m, d))
    kind = rng.choice(["plain", "cone", "whole", "copies", "scaled", "half", "near"])
    if kind == "cone":
        F = 0.3 * F + rng.standard_normal(d)
    elif kind == "whole":
        F = rng.integers(-2, 3, (m, d)).astype(float)
        F[~F.any(axis=1), 0] = 1
    elif kind == "copies":
        F = F[rng.integers(0, max(1, m // 2), m)] * rng.choice([1.0, 3.0, -1.0, 1 / 7], (m, 1))
    elif kind == "scaled":
        F *= 10.0 ** rng.uniform(-3, 3, (m, 1))
    elif kind == "half":
        F = F.astype(np.float16)
    elif kind == "near":
        F[m // 2 :] = F[: m - m // 2] + 1e-4 * F[m // 2 :]
    return F


def scores(rng, F, n):
    """Returns realistic scores of a random kind: of a query, Gaussian, ratings, nearly all equal, several scales."""
    m, d = F.shape
    kind = rng.choice(["query", "plain", "ratings", "close", "scales"])
    if kind == "query":
        return F.astype(float) @ rng.standard_normal((d, n))
    if kind == "ratings":
        return rng.integers(0, 6, (m, n)).astype(float)
    G = rng.standard_normal((m, n))
    if kind == "close":
        return 1 + 1e-9 * G
    return G * 10.0 ** rng.uniform(-4, 4, n) if kind == "scales" else G


def problem(seed):
    """Returns arguments of `gip_gpu.select`: F, G, k, options. Some are refused, such as "mi" of dependent columns."""
    rng = np.random.default_rng(seed)
    objective = str(rng.choice(OBJECTIVES))
    d, m = int(rng.integers(1, 17)), int(rng.integers(2, 41))
    n = int(rng.integers(1, min(d, 16) + 1)) if objective == "mi" else int(rng.integers(1, 5))
    F = rows(rng, m, d)
    G = None if objective == "entropy" else scores(rng, F, n)
    options = {"normalize": bool(rng.random() < 0.7)}
    epsilon = float(10.0 ** rng.uniform(-10, 0)) if rng.random() < 0.7 else 0.0
    if G is not None and epsilon and rng.random() < 0.4:
        options["query"] = "ridge"
    if objective != "mp" or options.get("query") == "ridge":
        options["epsilon"] = epsilon
    if objective in ("mp", "omp", "lr") and rng.random() < 0.3:
        options["sign"] = "positive"
    k = int(rng.integers(1, m + 1))
    if rng.random() < 0.25 and m > 2:
        options["initial"] = rng.permutation(m)[: rng.integers(1, m // 2 + 1)].tolist()
        k = min(k, m - len(options["initial"]))
    if rng.random() < 0.3:
        options["on_exhausted"] = "stop"
    if objective == "mp" and "sign" not in options:
        options["columns"] = str(rng.choice(["auto", "gram", "lazy"]))
    options["precision"] = str(rng.choice(["auto", "fp32", "fp16"]))
    return F, G, k, objective, options
