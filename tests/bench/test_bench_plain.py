"""The plain loops of the suite plain make the picks of the reference."""

import doctest

import numpy as np
import pytest

from bench.plain import loops
from bench.plain.suite import OBJECTIVES, Point


def test_examples():
    assert doctest.testmod(loops).failed == 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_are_those_of_select(objective):
    F = np.random.default_rng(0).standard_normal((300, 24)).astype(np.float16)
    point = Point(objective, 300, 24, 12)
    np.testing.assert_array_equal(point.plain(F, point.scores()), point.ours(F, point.scores()))
