"""Calls of a selector under test."""

import copy
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.testing.pools import CheckPool, general_pool

Ints = NDArray[np.int64]


def maker(selector: Any) -> Callable[[], Any]:
    """Returns a function that makes fresh selectors.

    Args:
        selector: a selector, which is copied, or a class or function without arguments that makes one.

    Raises:
        TypeError: neither has a method `select`.
    """
    made = selector if isinstance(selector, type) or not hasattr(selector, "select") else None
    if made is not None and not callable(made):
        raise TypeError(f"selector is a {type(selector).__name__}; it must have a method select(F, G, k)")
    untouched = None if made is not None else copy.deepcopy(selector)

    def make() -> Any:
        fresh = copy.deepcopy(untouched) if made is None else made()
        if not hasattr(fresh, "select"):
            raise TypeError(f"selector makes a {type(fresh).__name__}; it must have a method select(F, G, k)")
        return fresh

    make()
    return make


def rows_of(result: Any) -> NDArray[Any]:
    """Returns the rows of a result: its attribute `indices`, or itself, as of a tensor, where that is a method."""
    indices = getattr(result, "indices", None)
    return np.asarray(result if indices is None or callable(indices) else indices)


class Trial:
    """A selector under test.

    Args:
        make: function that makes fresh selectors.
        scored: whether it is given scores.
        seconds: longest time that a call may take before it counts as endless.
    """

    def __init__(self, make: Callable[[], Any], scored: bool, seconds: float) -> None:
        self.make, self.scored, self.seconds = make, scored, seconds

    def pool(self, m: int = 40, d: int = 8, seed: int = 0) -> CheckPool:
        """Returns a pool without ties."""
        return general_pool(m, d, self.scored, seed)

    def call(self, pool: CheckPool, k: Any, *, by: Any = None, as_given: bool = False, **options: Any) -> Any:
        """Returns the result of a fresh selector, or of the one given.

        It gets copies of F and G unless `as_given`, so that a selector that modifies them fails one check only.
        """
        given = pool if as_given else pool.copied()
        with warnings.catch_warnings():
            # Pools of a check may have ties; methods may say so.
            warnings.simplefilter("ignore")
            return (self.make() if by is None else by).select(given.F, given.G, k, **options)

    def choose(self, pool: CheckPool, k: int, **options: Any) -> Ints:
        """As `call`, and checks that the result is k different rows; returns them.

        Raises:
            AssertionError: it is not.
        """
        result = self.call(pool, k, **options)
        indices = rows_of(result)
        assert indices.ndim == 1, f"the indices have shape {indices.shape}, not ({k},)"
        assert indices.dtype == np.int64, f"the indices are {indices.dtype}, not int64"
        assert len(indices) == k, f"{len(indices)} rows were chosen with k = {k} of m = {pool.m}"
        outside = indices[(indices < 0) | (indices >= pool.m)]
        assert not len(outside), f"index {outside[0]} was chosen of m = {pool.m} rows"
        values, counts = np.unique(indices, return_counts=True)
        assert len(values) == k, f"index {values[counts > 1][0]} was chosen more than once with k = {k}, m = {pool.m}"
        return indices

    def choose_in_time(self, pool: CheckPool, k: int) -> Ints:
        """As `choose`, and raises AssertionError if the call does not end in time; it then goes on in its thread."""
        found = list[Ints]()
        failed = list[BaseException]()

        def run() -> None:
            try:
                found.append(self.choose(pool, k))
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.seconds)
        assert not thread.is_alive(), f"the call did not end within {self.seconds:g} s"
        if failed:
            raise failed[0]
        return found[0]

    def indices(self, pool: CheckPool, k: Any) -> Ints:
        """As `call`, and returns the indices unchecked."""
        result = self.call(pool, k)
        return rows_of(result)

    def refusal(self, pool: CheckPool, k: Any) -> Exception | None:
        """Returns the TypeError or ValueError of a call, or None if it raises none."""
        try:
            self.call(pool, k)
        except (TypeError, ValueError) as error:
            return error
        return None

    def peak(self, pool: CheckPool, k: int) -> int:
        """Returns the largest number of bytes that a call allocates, as tracemalloc counts them."""
        started = not tracemalloc.is_tracing()
        if started:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            self.choose(pool, k)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            if started:
                tracemalloc.stop()
