"""check_selector: the selectors of the package pass, and each fault is found by the check that is named for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from gip_gpu.selectors import GIP, FacilityLocation, KCenter, Random, Threshold, TopK
from gip_gpu.testing import CHECKS, check_selector

DRAWN = {"row order": "a seed draws row numbers"}
SAME_FIRST = {"row order": "all rows have the same norm, so that the lowest is the first pick"}


@pytest.mark.parametrize(
    ("selector", "scores", "expected"),
    [
        (Random(), False, DRAWN),
        (Random, True, {**DRAWN, "missing scores": "scores are not used"}),
        (TopK(), True, {}),
        (Threshold(at_least=1), True, {}),
        (KCenter(seed=1), False, DRAWN),
        (KCenter(first=0), False, {"row order": "first is a row number", "exclude": "it is the first pick"}),
        (FacilityLocation(), False, {}),
        (GIP(device="cpu"), True, {}),
        (GIP(device="cpu", objective="omp"), True, {}),
        (GIP(device="cpu", objective="lr", epsilon=0.1), True, {}),
        (GIP(device="cpu", objective="mi", epsilon=0.1), True, {}),
        (GIP(device="cpu"), False, SAME_FIRST),
        (GIP(device="cpu", on_nan="drop"), True, {}),
    ],
    ids=str,
)
def test_selectors_conform(selector: Any, scores: bool, expected: Mapping[str, str]) -> None:
    passed = check_selector(selector, scores=scores, expected_failures=expected)
    assert set(passed) == set(CHECKS) - set(expected)


class Plain:
    """Right selector of a few lines, which the faults below change: the largest scores."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        chosen = TopK().select(F, G, k, exclude=exclude)
        return self.change(F, G, chosen.indices.copy())

    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices


class RepeatsFirst(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        if len(indices) == len(F):
            indices[-1] = indices[0]
        return indices


class Unseeded(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return np.random.default_rng().permutation(indices)


class UnseededObject(Plain):
    """A copy of the object copies the state of its generator."""

    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return self.rng.permutation(indices)


class Reused(Plain):
    calls = 0

    def change(self, F: Any, G: Any, indices: Any) -> Any:
        self.calls += 1
        return indices[::-1].copy() if self.calls > 1 else indices


class RemembersOtherPool(Plain):
    """Answers as a fresh one until it has seen another pool."""

    shape: Any = None
    spoilt = False

    def change(self, F: Any, G: Any, indices: Any) -> Any:
        self.spoilt |= self.shape not in (None, F.shape)
        self.shape = F.shape
        return indices[::-1].copy() if self.spoilt and F.shape == (40, 8) else indices


class Modifies(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        if F.flags.writeable:
            F /= np.linalg.norm(F, axis=1, keepdims=True)
        return indices


class ModifiesScores(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        G[0] += 0.25
        return indices


class Int32(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices.astype(np.int32)


class Short(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices[:-1] if len(indices) == 23 else indices


class OutOfRange(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices + (len(indices) == 23) * len(F)


class ByLayout(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices if F.flags.c_contiguous else indices[::-1].copy()


class ByDtype(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices if F.dtype == np.float64 else indices[::-1].copy()


class ByRow(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return np.sort(indices)[np.argsort(np.sort(indices) % 7, kind="stable")]


class FirstRows(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        return np.arange(TopK().select(F, G, k, exclude=exclude).plan.k)


class AllPairs(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        np.ones((len(F), len(F)), bool)
        return indices


class RandomAmongDuplicates(Plain):
    def change(self, F: Any, G: Any, indices: Any) -> Any:
        return indices if len(np.unique(F, axis=0)) == len(F) else np.random.default_rng().permutation(indices)


class ClipsK(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        return super().select(F, G, min(k, len(F)) if type(k) is int else k, exclude=exclude)


class NamesNoK(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        try:
            return super().select(F, G, k, exclude=exclude)
        except (TypeError, ValueError):
            raise ValueError("bad number of rows") from None


class IntsOnly(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        if isinstance(k, str):
            raise TypeError("k must be an int")
        return super().select(F, G, k, exclude=exclude)


class ReplacesNaN(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        return super().select(np.nan_to_num(F, posinf=1) + 1e-9, np.nan_to_num(G, nan=9), k, exclude=exclude)


class NamesNoRow(Plain):
    def select(self, F: Any, G: Any, k: Any, *, exclude: Any = None) -> Any:
        if not (np.isfinite(F).all() and np.isfinite(G).all() and F.any(axis=1).all()):
            raise ValueError("bad input")
        return super().select(F, G, k, exclude=exclude)


class NoExclude:
    def select(self, F: Any, G: Any, k: Any) -> Any:
        return TopK().select(F, G, k)


BAD_ROWS = {"rows not finite", "zero rows", "missing scores"}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        (Plain, set()),
        (RepeatsFirst, {"all rows", "duplicates", "all duplicates", "dtypes", "layouts"}),
        (Unseeded, {"forms of k", "repeatable", "reused", "duplicates", "dtypes", "layouts", "row order"}),
        (UnseededObject, {"forms of k", "repeatable", "reused", "duplicates", "dtypes", "layouts", "row order"}),
        (Reused, {"reused"}),
        (RemembersOtherPool, {"reused"}),
        (Modifies, {"inputs unchanged"}),
        (ModifiesScores, {"inputs unchanged"}),
        (Int32, set(CHECKS) - BAD_ROWS - {"k out of range"}),
        (Short, {"different rows", "repeatable"}),
        (OutOfRange, {"different rows", "repeatable"}),
        (ByLayout, {"layouts"}),
        (ByDtype, {"dtypes"}),
        (ByRow, {"row order"}),
        (FirstRows, {"row order", "exclude", "missing scores"}),
        (AllPairs, {"memory"}),
        (RandomAmongDuplicates, {"duplicates"}),
        (ClipsK, {"k out of range"}),
        (NamesNoK, {"k out of range", "rows not finite", "zero rows"}),
        (IntsOnly, {"forms of k"}),
        (ReplacesNaN, BAD_ROWS),
        (NamesNoRow, BAD_ROWS),
        (NoExclude, {"exclude"}),
    ],
)
def test_each_fault_is_found_by_name(fault: type[Any], checks: set[str]) -> None:
    if not checks:
        assert check_selector(fault) == tuple(CHECKS)
        return
    with pytest.raises(AssertionError) as caught:
        check_selector(fault)
    first, *lines = str(caught.value).split("\n  ")
    assert {line.partition(":")[0] for line in lines} == checks
    assert first == f"{len(checks)} of {len(CHECKS)} checks failed"
    # They are excused by name, and only those that fail.
    expected = dict.fromkeys(checks, "known")
    assert set(check_selector(fault, expected_failures=expected)) == set(CHECKS) - checks


def test_the_message_says_what_is_wrong() -> None:
    with pytest.raises(AssertionError, match=r"\n  all rows: index \d+ was chosen more than once with k = 2, m = 2\n"):
        check_selector(RepeatsFirst)


def test_an_endless_choice_is_reported() -> None:
    over = threading.Event()

    class Endless(Plain):
        def change(self, F: Any, G: Any, indices: Any) -> Any:
            if len(F) > 1 and (F[0] == F).all():
                over.wait(30)
            return indices

    try:
        with pytest.raises(AssertionError, match=r"all duplicates: the call did not end within 0\.2 s"):
            check_selector(Endless, seconds=0.2)
    finally:
        over.set()


def test_an_expected_failure_must_fail() -> None:
    with pytest.raises(AssertionError, match="memory: passes, and was expected to fail: too large"):
        check_selector(TopK(), expected_failures={"memory": "too large"})
    with pytest.raises(ValueError, match="expected_failures has 'speed'; the checks are 'different rows'"):
        check_selector(TopK(), expected_failures={"speed": "slow"})


def test_the_object_itself_is_not_used() -> None:
    selector = Reused()
    with pytest.raises(AssertionError, match="reused"):
        check_selector(selector)
    assert selector.calls == 0


@pytest.mark.parametrize("selector", ["top-k", 3, int, None])
def test_other_objects_are_refused(selector: Any) -> None:
    with pytest.raises(TypeError, match=r"^selector (is|makes) an? \w+; it must have a method select"):
        check_selector(selector)


def test_every_check_says_what_it_checks() -> None:
    assert all(check.__doc__ for check in CHECKS.values())
