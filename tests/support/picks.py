"""Arrays of a pick that the device decides and projects out, and NumPy's results for them."""

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gip_gpu.backends.gpu.layout import PICK_NUMBERS, PICK_PLACES, Code, PickF64, PickI64, Record
from gip_gpu.backends.items import Projector, Rules
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import TINY32, U32, U64
from gip_gpu.problem.objectives import energies, seen

# Names, measures, whether rows are projected, whether only positive residuals count.
SCORES = [
    ("norm", True, False),
    ("norm", False, True),
    ("ratio", True, False),
    ("ratio", True, True),
    ("distance", True, False),
]
PICKS, BASE, ROUND = 17, 15, 4


@dataclass
class Decision:
    """Listed candidates in the middle of a round, of which item `best` leads; the arguments of `decide`.

    `row_squares` has one value for each item.
    """

    measure: str
    projects: bool
    positive: bool
    listed: int = 40
    n: int = 3
    m: int = 500
    d: int = 24
    ridge: float = 0.03
    lead: float = 1e-3
    arrays: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        m, n = self.m, 1 if self.measure == "distance" else self.n
        rng = np.random.default_rng([self.listed, n])
        self.n, self.rules = n, Rules(self.measure, self.projects, self.positive, self.ridge)
        index = np.full(m, -9)
        index[: self.listed] = rng.permutation(m)[: self.listed]
        value = np.full((m, 1 + n), np.nan)
        value[: self.listed, 0] = rng.uniform(0.2, 0.5, self.listed)
        residuals = rng.standard_normal((self.listed, n))
        value[: self.listed, 1:] = 0.3 * residuals / np.linalg.norm(residuals, axis=1)[:, None]
        if self.measure == "distance":
            value[:, 1:] = 0
        parts = np.column_stack([rng.uniform(0, 0.2, 5), rng.uniform(1, 2, 5)])
        squares = rng.uniform(0.6, 1, m)
        self.arrays = {
            "parts": parts,
            "candidate_index": index,
            "candidate_value": value,
            "count": np.array([self.listed]),
            "row_squares": squares,
            "weight": np.ones(m, np.float32),
            "weights": np.full(n, np.nan, np.float32),
            "picks_f64": np.full(PICK_NUMBERS, np.nan),
            "picks_i64": np.zeros(PICK_PLACES, np.int64),
            "record": np.full((9, Record.WEIGHTS + n), np.nan),
        }
        places, head = self.arrays["picks_i64"], self.arrays["picks_f64"]
        places[[PickI64.PICKS, PickI64.BASE, PickI64.ROUND, PickI64.ALWAYS]] = PICKS, BASE, ROUND, self.listed
        places[PickI64.UNSETTLED] = 1
        for place, number in {
            PickF64.ERROR: 1e-5,
            PickF64.DISTANCE_ERROR: 2e-6,
            PickF64.DRIFT: 1e-15,
            PickF64.PROJECTED: 3.0,
            PickF64.LARGEST_RESIDUAL: 0.7,
            PickF64.INVERSE_LEAST: 3.0,
            PickF64.LARGEST_ROOT: 0.9,
            PickF64.FIRST: 0.8,
            PickF64.INVERSE_FIRST: 1.25,
            PickF64.FARTHEST: 0.9,
            PickF64.SCALE: 0.8,
            PickF64.RIDGE: self.ridge,
            PickF64.PLAIN_Q: 1.7,
            PickF64.GAMMA: 2e-6,
            PickF64.DOT_ERROR: error_bounds.dot_error(self.d, U64),
            PickF64.ROOT_UNIT: 4 * U64 * math.sqrt(self.d),
            PickF64.NORM_ERROR: (2 * n + 8) * U32,
            PickF64.FLUSHED_NORM: math.sqrt(n * TINY32),
            PickF64.OWN_SQUARE: 0.0,
            PickF64.SHARE: self.rules.share[1],
            PickF64.SHARE_ROOT: math.sqrt(self.rules.share[1]),
        }.items():
            head[place] = number
        self.lead_by(self.lead)

    def lead_by(self, lead: float) -> None:
        """Makes the item in the middle the best one, by this share of its value."""
        self.best = self.listed // 2
        value = self.arrays["candidate_value"]
        wanted = np.delete(self.values(), self.best).max(initial=0.1) * (1 + lead)
        if self.measure == "distance":
            value[self.best, 0] = wanted**2
        else:
            if self.positive:
                value[self.best, 1:] = np.abs(value[self.best, 1:])
            value[self.best, 1:] *= wanted / self.values()[self.best]

    def values(self) -> Any:
        """Returns the roots of the candidates' scores."""
        value = self.arrays["candidate_value"][: self.listed]
        if self.measure == "distance":
            return np.sqrt(value[:, 0])
        norms = np.sqrt(energies(seen(value[:, 1:], "positive" if self.positive else "any")))
        return norms / np.sqrt(self.ridge + value[:, 0]) if self.measure == "ratio" else norms

    def copy(self) -> "Decision":
        return deepcopy(self)


def in_doubt(decision: Decision, doubt: str) -> None:
    """Changes a decision so that the host has to make it."""
    arrays, best = decision.arrays, decision.best
    value, head, places = arrays["candidate_value"], arrays["picks_f64"], arrays["picks_i64"]
    other = best + 1
    if doubt == "tie":
        value[other] = value[best]
        arrays["row_squares"][arrays["candidate_index"][other]] = arrays["row_squares"][arrays["candidate_index"][best]]
    elif doubt == "nearly a tie":
        decision.lead_by(5e-13)
    elif doubt == "rounding":
        # Less than the lead for each of two items, more for both.
        values = decision.values()
        gap = 0.62 * (values[best] - np.delete(values, best).max())
        spread = 1 + math.sqrt(ROUND) * head[PickF64.INVERSE_LEAST] if decision.projects else 1.0
        arrays["row_squares"][:] = 1
        if decision.measure == "distance":
            head[PickF64.ROOT_UNIT] = gap / math.sqrt(1 + ROUND) / spread
        elif decision.measure == "ratio":
            head[PickF64.DRIFT] = gap * math.sqrt(decision.ridge + value[best, 0]) / spread
        else:
            head[PickF64.DRIFT] = gap / spread
    elif doubt == "dependent":
        value[other, 0] = ties.DEPENDENT * 0.5 - decision.ridge
    elif doubt == "used up":
        head[PickF64.LARGEST_ROOT] = 1e7 * decision.values().max()
    elif doubt == "refresh":
        places[PickI64.EXCESS], head[PickF64.DISTANCE_ERROR] = decision.m, 1e-3
    elif doubt == "no number":
        value[other] = np.nan
    elif doubt == "too large":
        value[other] = 1e60
    elif doubt == "no candidate":
        arrays["count"][0] = 0
    elif doubt == "nothing rated":
        arrays["parts"][:, 0] = -1
    elif doubt == "all bounds are 0":
        arrays["parts"][:, 0] = 0
    elif doubt == "diverged":
        arrays["parts"][3, 0] = error_bounds.DIVERGED
    else:
        raise AssertionError(doubt)


# A score that projects no rows out has no dependent items.
DOUBTS = [
    *("tie", "nearly a tie", "rounding", "dependent", "used up", "refresh", "no number", "too large"),
    *("no candidate", "nothing rated", "all bounds are 0", "diverged"),
]


def check_left_to_the_host(before: Decision, after: Decision) -> None:
    """Checks that only the reason, the count and the last pick's energy were written."""
    for name, array in before.arrays.items():
        expected = array.copy()
        if name == "picks_i64":
            expected[PickI64.REASON] = Code.NEED_HOST
        elif name == "count":
            expected[0] = 0
        elif name == "record":
            expected[PICKS - 1 - BASE, Record.ENERGY] = after.arrays["record"][PICKS - 1 - BASE, Record.ENERGY]
        np.testing.assert_array_equal(after.arrays[name], expected, err_msg=name)
    energy = after.arrays["record"][PICKS - 1 - BASE, Record.ENERGY]
    np.testing.assert_allclose(energy, before.arrays["parts"][:, 1].sum(), rtol=1e-12)


def check_made(before: Decision, after: Decision) -> None:
    """Checks the record of a pick, its weights, and the item; the bounds are compared with the host's elsewhere."""
    arrays, place = after.arrays, before.best
    item, value = before.arrays["candidate_index"][place], before.arrays["candidate_value"][place]
    head, places = arrays["picks_f64"], arrays["picks_i64"]
    assert places[PickI64.REASON] == Code.RUNNING
    assert places[[PickI64.PICKS, PickI64.ROUND, PickI64.ITEM]].tolist() == [PICKS + 1, ROUND + 1, item]
    assert arrays["count"][0] == 0
    row = arrays["record"][PICKS - BASE]
    found = before.values()
    assert row[Record.INDEX] == item
    np.testing.assert_allclose(row[Record.GAIN], found[place] ** 2, rtol=1e-14)
    others = np.delete(found, place).max(initial=0.0)
    assert others**2 <= row[Record.RIVAL] <= (others * (1 + 1e-6)) ** 2 + 1e-12 or before.listed == 1
    assert (row[Record.CANDIDATES], row[Record.TIES]) == (before.listed, 1)
    np.testing.assert_array_equal(row[Record.WEIGHTS :], value[1:])
    q = before.ridge + value[0] if before.projects else before.arrays["picks_f64"][PickF64.PLAIN_Q]
    length = math.sqrt(value[0]) * (1 + 1e-9) if before.projects else 1.0
    unit = 2.0 ** math.frexp(length)[1]
    assert head[PickF64.UNIT] == unit
    np.testing.assert_allclose(head[PickF64.Q], q, rtol=1e-15)
    np.testing.assert_allclose(head[PickF64.SHRINK], unit * unit / q, rtol=1e-14)
    np.testing.assert_allclose(arrays["weights"], value[1:] * unit / q, rtol=2 * U32)
    weight = np.ones(before.m, np.float32)
    weight[item] = 0
    np.testing.assert_array_equal(arrays["weight"], weight)


@dataclass
class Projected:
    """The arguments of the kernels that project a pick out of S and A, and NumPy's results."""

    projects: bool
    ridge: float = 0.0
    m: int = 30
    d: int = 40
    n: int = 3
    factor: float = 0.5

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.d, self.n])
        m, d, n = self.m, self.d, self.n
        self.rows = rng.standard_normal((m, d)).astype(np.float32)
        self.norms = np.linalg.norm(self.rows.astype(float), axis=1)
        self.item, self.w = 7 % m, rng.standard_normal(n)
        self.S = np.eye(d)
        if self.projects:
            basis = np.linalg.qr(rng.standard_normal((d, min(d - 1, 5))))[0] if d > 1 else np.zeros((1, 0))
            # Not symmetric with a ridge.
            turned = np.linalg.qr(rng.standard_normal((d, d)))[0] if self.ridge else np.eye(d)
            self.S = (np.eye(d) - basis @ basis.T) @ turned
        self.A = rng.standard_normal((n, d))
        x = self.rows[self.item].astype(float) / self.norms[self.item] * self.factor
        projector = Projector(Rules("ratio", self.projects, False, self.ridge), n, d)
        projector.A, projector.S = self.A.copy(), self.S.copy()
        phi = x @ self.S
        self.q = self.ridge + float(phi @ phi) if self.projects else 1.7
        self.unit = 2.0
        _, g = projector.project(x, self.w, self.q)
        self.expected = {"S": projector.S, "A": projector.A, "h": g / self.unit}
        self.record = np.full((4, Record.WEIGHTS + n), np.nan)
        self.record[2, Record.WEIGHTS :] = self.w
        self.picks_i64, self.picks_f64 = np.zeros(PICK_PLACES, np.int64), np.full(PICK_NUMBERS, np.nan)
        self.picks_i64[[PickI64.PICKS, PickI64.BASE, PickI64.ITEM]] = 9, 6, self.item
        self.picks_f64[[PickF64.Q, PickF64.UNIT, PickF64.RIDGE]] = self.q, self.unit, self.ridge

    def check(self, S: Any, A: Any, h: Any) -> None:
        """Compares with NumPy, up to the rounding of sums of d terms."""
        rounding = 8 * self.d * U64
        if self.projects:
            np.testing.assert_allclose(S, self.expected["S"], rtol=0, atol=rounding)
        else:
            np.testing.assert_array_equal(S, np.eye(self.d))
        np.testing.assert_allclose(A, self.expected["A"], rtol=0, atol=rounding * 10)
        np.testing.assert_allclose(h, self.expected["h"], rtol=2 * U32, atol=rounding)
