"""Each selector against its definition."""

from __future__ import annotations

import numpy as np
import pytest

import gip_gpu
from gip_gpu.exceptions import ConstraintWarning
from gip_gpu.selectors import GIP, FacilityLocation, KCenter, Random, Selector, Threshold, TopK
from gip_gpu.selectors.facility_location import gain_error
from gip_gpu.selectors.k_center import cosine_error

RNG = np.random.default_rng(3)
F = RNG.standard_normal((300, 12))
G = RNG.permutation(300) / 10


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def plain_facility_location(rows: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Greedy by definition: all gains in each step."""
    cosines = np.maximum(unit(rows) @ unit(rows).T, 0)
    picks, values = list[int](), list[float]()
    nearest = np.zeros(len(rows))
    tie = 2 * gain_error(*rows.shape)
    for _ in range(k):
        gains = np.maximum(cosines - nearest, 0).sum(axis=1)
        gains[picks] = -1
        best = gains.max()
        picks.append(int(np.flatnonzero(gains >= best - tie)[0]))
        values.append(float(best))
        nearest = np.maximum(nearest, cosines[picks[-1]])
    return picks, values


@pytest.mark.parametrize(("m", "d", "k"), [(300, 12, 60), (700, 3, 120), (90, 40, 90)])
def test_facility_location_is_plain_greedy(m: int, d: int, k: int) -> None:
    rows = np.random.default_rng(m).standard_normal((m, d))
    picks, gains = plain_facility_location(rows, k)
    chosen = FacilityLocation().select(rows, None, k)
    # Beyond the first pick of gain 0 both go on in the order of rows.
    assert chosen.tolist() == picks
    assert chosen.gains == pytest.approx(gains, abs=2 * gain_error(m, d))


def test_facility_location_with_duplicates_is_plain_greedy() -> None:
    rows = np.repeat(F[:40], 3, axis=0)[RNG.permutation(120)] * RNG.integers(1, 5, (120, 1))
    assert FacilityLocation().select(rows, None, 60).tolist() == plain_facility_location(rows, 60)[0]


def test_facility_location_leaves_out_excluded_rows() -> None:
    """They are no picks, and nothing is gained by being near to them."""
    left = np.setdiff1d(np.arange(300), np.arange(0, 300, 3))
    chosen = FacilityLocation().select(F, None, 20, exclude=np.arange(0, 300, 3))
    assert chosen.tolist() == left[plain_facility_location(F[left], 20)[0]].tolist()


def test_k_center_is_the_farthest_row() -> None:
    cosines = unit(F) @ unit(F).T
    picks = [7]
    distances = [2.0]
    for _ in range(40):
        nearest = (1 - cosines[:, picks]).min(axis=1)
        picks.append(int(nearest.argmax()))
        distances.append(float(nearest.max()))
    chosen = KCenter(first=7).select(F, None, 41)
    assert chosen.tolist() == picks
    assert chosen.gains == pytest.approx(distances, abs=2 * cosine_error(12))


def test_k_center_covers_as_well_as_the_bound_says() -> None:
    """The largest angle is at most twice the best one, here of all pairs of 60 rows."""
    angles = np.arccos(np.clip(unit(F[:60]) @ unit(F[:60]).T, -1, 1))
    best = min(np.minimum(angles[i], angles[j]).max() for i in range(60) for j in range(i))
    for first in range(60):
        chosen = KCenter(first=first).select(F[:60], None, 2)
        assert angles[chosen.indices].min(axis=0).max() <= 2 * best + 1e-12


def test_k_center_takes_copies_of_a_row_in_order() -> None:
    """Multiples of a row differ by rounding only, which decides nothing."""
    rows = F[0] * np.array([[3.0], [1.0], [7.0], [0.1], [5.0]])
    assert KCenter(first=2).select(rows, None, 5).tolist() == [2, 0, 1, 3, 4]


def test_k_center_draws_its_first_pick() -> None:
    firsts = {KCenter(seed=seed).select(F, None, 1)[0] for seed in range(20)}
    assert len(firsts) > 10
    assert KCenter(seed=4).select(F, None, 1, exclude=sorted(set(range(300)) - {9})).tolist() == [9]
    for first, wanted in ((300, "first has 300"), (-1, "first is -1"), (3, "first is 3, and exclude has it")):
        with pytest.raises(ValueError, match=wanted):
            KCenter(first=first).select(F, None, 2, exclude=[3])


def test_random_is_uniform_and_nested() -> None:
    counts = np.zeros(6)
    for seed in range(3000):
        counts[Random(seed).select(None, np.ones(6), 2).indices] += 1
    # 1000 expected each, with a standard deviation of 26.
    assert np.abs(counts - 1000).max() < 130
    chosen = Random(5).select(F, None, 100)
    assert chosen[:30] == Random(5).select(F, None, 30)
    assert np.isnan(chosen.gains).all()


@pytest.mark.parametrize(("seed", "error"), [(None, TypeError), (-1, ValueError), (True, TypeError), (0.5, TypeError)])
def test_seeds_are_checked(seed: object, error: type[Exception]) -> None:
    for make in (Random, KCenter):
        with pytest.raises(error, match="seed"):
            make(seed=seed)  # type: ignore[arg-type]


def test_top_k_is_a_stable_sort() -> None:
    scores = RNG.integers(0, 9, 300).astype(float)
    scores[::7] = np.nan
    scores[::31] = np.inf
    usable = np.flatnonzero(np.isfinite(scores))
    wanted = sorted(usable.tolist(), key=lambda row: (-scores[row], row))
    for embeddings in (None, F):
        chosen = TopK().select(embeddings, scores, len(wanted))
        assert chosen.tolist() == wanted
        assert chosen.gains.tolist() == scores[wanted].tolist()
    with pytest.raises(
        ValueError, match=f"^k is {len(wanted) + 1}; {len(wanted)} of 300 rows of G have a finite score"
    ):
        TopK().select(None, scores, len(wanted) + 1)


def test_threshold_keeps_what_reaches_it() -> None:
    scores = np.array([4.5, np.nan, 4.499999, 5.0, -np.inf, 4.5])
    assert Threshold().select(None, scores, None).tolist() == [3, 0, 5]
    assert Threshold(at_least=4).select(None, scores, 2, exclude=[3]).tolist() == [0, 5]
    with pytest.warns(ConstraintWarning, match="k is 4; 3 rows have a score of at least 4.5"):
        assert Threshold().select(None, scores, 4).tolist() == [3, 0, 5]
    with pytest.raises(ValueError, match="at_least is 6, which no row of G reaches; the largest score is 5"):
        Threshold(at_least=6).select(None, scores, None)
    for value, error in ((np.nan, ValueError), ("4", TypeError), (True, TypeError)):
        with pytest.raises(error, match="at_least is"):
            Threshold(at_least=value)  # type: ignore[arg-type]


def test_gip_is_select() -> None:
    chosen = GIP(objective="lr", epsilon=0.1, device="cpu").select(F, G, "10%", exclude=[3, 4])
    assert chosen == gip_gpu.select(F, G, "10%", objective="lr", epsilon=0.1, device="cpu", exclude=[3, 4])
    assert chosen.certificate.certifies
    with pytest.raises(TypeError, match="GIP has no option 'objectives'"):
        GIP(objectives="lr")
    with pytest.raises(TypeError, match="GIP has no option 'exclude'"):
        GIP(exclude=[1])
    with pytest.raises(ValueError, match="objective is 'best'"):
        GIP(objective="best")
    with pytest.raises(TypeError, match="F is None; GIP needs embeddings"):
        GIP().select(None, G, 3)


def test_all_are_selectors() -> None:
    for each in (Random(), TopK(), Threshold(), KCenter(), FacilityLocation(), GIP()):
        assert isinstance(each, Selector)


def test_arguments_are_named() -> None:
    for method, embeddings, scores, wanted in (
        (TopK(), F, None, "G is None; TopK needs scores"),
        (KCenter(), None, G, "F is None; KCenter needs embeddings"),
        (Random(), None, None, "F and G are None; Random needs one of them"),
    ):
        with pytest.raises(TypeError, match=wanted):
            method.select(embeddings, scores, 3)
    with pytest.raises(ValueError, match="G has 2 columns; TopK needs a single one"):
        TopK().select(F, np.ones((300, 2)), 3)
    with pytest.raises(ValueError, match="G has 299 rows and F has 300"):
        TopK().select(F, G[1:], 3)
    with pytest.raises(ValueError, match="k is 299; exclude leaves 298 of 300 rows"):
        Random().select(F, None, 299, exclude=[1, 2])
    with pytest.raises(TypeError, match="k is None"):
        TopK().select(F, G, None)


def test_files_and_large_pools_are_read_in_blocks(tmp_path: object) -> None:
    rows = np.random.default_rng(0).standard_normal((70_000, 64)).astype(np.float32)  # more than are kept in float64
    np.save(f"{tmp_path}/F.npy", rows)
    chosen = KCenter(first=0).select(f"{tmp_path}/F.npy", None, 4)
    assert chosen == KCenter(first=0).select(rows, None, 4)
    nearest = (1 - unit(rows.astype(float)) @ unit(rows[chosen[:3]].astype(float)).T).min(axis=1)
    assert chosen[3] == nearest.argmax()


@pytest.mark.parametrize("first", [1.5, True, "a", [1], -1])
def test_another_first_is_refused_at_once(first):
    with pytest.raises((TypeError, ValueError), match="first must be an int of at least 0"):
        KCenter(first=first)
