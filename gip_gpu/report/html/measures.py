"""Measures of a choice that a report shows: a map, nearest picks, near-duplicates, groups."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.report.html.inputs import Shown

# Cosine from which two rows count as near-duplicates.
NEAR = 0.95
# Rows whose nearest row in the pool is sought; more are sampled.
SOUGHT = 4_000
# Rows that the clusters and the map are fitted on; more are sampled.
FITTED = 20_000
# Products computed at a time.
PRODUCTS = 1 << 24
CLUSTERS, GROUPS = 12, 40

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """Near-duplicates: shares of rows that have another row of the same set at a cosine of `limit` or more.

    Attributes:
        limit: cosine from which two rows count as near-duplicates.
        pool: share in the pool; of a sample of it if `estimated`.
        chosen: share among the picks.
        random: share in one random choice of as many rows.
        covered: number of shown rows that were not chosen and have a pick at a cosine of `limit` or more.
        estimated: whether `pool` is of a sample.
    """

    limit: float
    pool: float
    chosen: float
    random: float
    covered: int
    estimated: bool


@dataclass(frozen=True)
class Reach:
    """Cosines of rows that were not chosen with their nearest pick, and with the nearest of as many random rows.

    Attributes:
        chosen, random: (r,) cosines, of at most `FITTED` rows.
    """

    chosen: Floats
    random: Floats


@dataclass(frozen=True)
class Groups:
    """Groups of the shown rows.

    Attributes:
        of: (p,) int64, number of the group of each row.
        names: one a group, by size from the largest; the last may be "other" for all smaller ones.
        made: whether they are clusters, made for the report.
        folded: number of groups within "other".
    """

    of: Ints
    names: list[str]
    made: bool
    folded: int = 0


def plane(rows: Floats) -> tuple[NDArray[np.float64], float]:
    """Returns (p, 2) coordinates on the two main directions of the rows, and their share of the variance."""
    p, d = rows.shape
    if p < 3 or d < 2:
        padded = np.zeros((p, 2))
        padded[:, : min(2, d)] = rows[:, : min(2, d)]
        return padded, 1.0
    from sklearn.decomposition import PCA

    fitted = rows if p <= FITTED else rows[np.sort(np.random.default_rng(0).choice(p, FITTED, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows that are all equal have no variance to share
        main = PCA(2, random_state=0).fit(fitted)
    share = float(np.nansum(main.explained_variance_ratio_))
    centre = np.asarray(main.mean_, np.float32)
    made = (rows - centre) @ np.asarray(main.components_, np.float32).T if p <= FITTED else _projected(rows, main)
    # Each direction points to the side of its longest row, whatever the sign that the solver found.
    signs = np.sign(made[np.abs(made).argmax(axis=0), [0, 1]])
    return np.asarray(made * np.where(signs == 0, 1, signs), np.float64), share


def nearest_picks(rows: Floats, picks: Ints) -> tuple[Ints, Floats]:
    """Returns for each row the rank of its nearest pick, and their cosine; a pick is nearest to itself.

    Args:
        rows: (p, d) unit rows.
        picks: (k,) places of the picks, k >= 1.
    """
    found, cosines = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    chosen = rows[picks]
    for start, stop in _bounds(len(rows), len(picks)):
        products = rows[start:stop] @ chosen.T
        found[start:stop] = products.argmax(axis=1)
        cosines[start:stop] = products.max(axis=1)
    found[picks], cosines[picks] = np.arange(len(picks)), 1.0
    return found, np.clip(cosines, -1, 1)


def nearest_other(rows: Floats, picks: Ints) -> Floats:
    """Returns for each pick the largest cosine with another pick; -1 for a single pick."""
    chosen = rows[picks]
    return _nearest(chosen, np.arange(len(picks)), chosen)


def reach(pool: Shown, cosines: Floats) -> Reach:
    """Compares the nearest picks of the rows that were not chosen with the nearest of as many random rows.

    Args:
        pool: the shown rows.
        cosines: (p,) cosine of each row with its nearest pick.
    """
    generator = np.random.default_rng(1)
    drawn = generator.choice(len(pool.rows), len(pool.picks), replace=False)
    outside = np.setdiff1d(np.arange(len(pool.rows)), drawn)
    most = min(FITTED, len(pool.others))
    outside = np.sort(generator.permutation(outside)[:most])
    others = np.sort(generator.permutation(pool.others)[:most])
    random = nearest_picks(pool.rows[np.concatenate([drawn, outside])], np.arange(len(drawn)))[1][len(drawn) :]
    return Reach(cosines[others], random)


def near_duplicates(pool: Shown, others: Floats, cosines: Floats, limit: float = NEAR) -> Near:
    """Counts near-duplicates.

    Args:
        pool: the shown rows.
        others: (k,) largest cosine of each pick with another pick.
        cosines: (p,) cosine of each row with its nearest pick.
        limit: cosine from which two rows count as near-duplicates.
    """
    generator = np.random.default_rng(0)
    p, k = len(pool.rows), len(pool.picks)
    sought = np.arange(p) if p <= SOUGHT else np.sort(generator.choice(p, SOUGHT, replace=False))
    around = _nearest(pool.rows[sought], sought, pool.rows)
    drawn = pool.rows[generator.choice(p, k, replace=False)]
    random = _nearest(drawn, np.arange(k), drawn)
    covered = int((cosines[pool.others] >= limit).sum())
    everywhere, chosen, by_chance = (float((values >= limit).mean()) for values in (around, others, random))
    return Near(limit, everywhere, chosen, by_chance, covered, p > SOUGHT or pool.sampled)


def clusters(rows: Floats) -> Groups:
    """Groups rows by k-means into 2 to 12 clusters, the largest first; they have no names yet."""
    p = len(rows)
    different = len(np.unique(rows[: 50 * CLUSTERS], axis=0))
    count = min(CLUSTERS, different, max(1, p // 8))
    if count < 2:
        return Groups(np.zeros(p, np.int64), [""], True)
    from sklearn.cluster import MiniBatchKMeans

    fitted = rows if p <= FITTED else rows[np.sort(np.random.default_rng(0).choice(p, FITTED, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different rows than clusters
        model = MiniBatchKMeans(count, random_state=0, n_init=1, batch_size=2048, max_iter=30).fit(fitted)
    return _by_size(np.asarray(model.predict(rows), np.int64), [""] * count, True)


def given_groups(labels: Sequence[Any]) -> Groups:
    """Groups rows by their labels, the largest group first; beyond 40 groups the smallest are "other"."""
    names, of = np.unique(np.array(["none" if label is None else str(label) for label in labels]), return_inverse=True)
    made = _by_size(of.astype(np.int64), names.tolist(), False)
    if len(made.names) <= GROUPS:
        return made
    folded = len(made.names) - GROUPS + 1
    kept = [*made.names[: GROUPS - 1], f"other, {folded:,} groups"]
    return Groups(np.minimum(made.of, GROUPS - 1), kept, False, folded)


def _by_size(of: Ints, names: list[str], made: bool) -> Groups:
    sizes = np.bincount(of, minlength=len(names))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(order))
    return Groups(place[of], [names[i] for i in order.tolist()], made)


def _projected(rows: Floats, main: Any) -> Floats:
    made = np.empty((len(rows), 2), np.float32)
    for start, stop in _bounds(len(rows), rows.shape[1]):
        made[start:stop] = main.transform(rows[start:stop])
    return made


def _nearest(rows: Floats, own: Ints, others: Floats) -> Floats:
    """Returns for each row the largest cosine with one of the others, but not with itself, at place `own`."""
    best = np.full(len(rows), -1, np.float32)
    for start, stop in _bounds(len(rows), len(others)):
        products = rows[start:stop] @ others.T
        products[np.arange(stop - start), own[start:stop]] = -1
        best[start:stop] = products.max(axis=1)
    return np.clip(best, -1, 1)


def _bounds(count: int, width: int) -> list[tuple[int, int]]:
    step = max(1, PRODUCTS // max(1, width))
    return [(start, min(start + step, count)) for start in range(0, count, step)]
