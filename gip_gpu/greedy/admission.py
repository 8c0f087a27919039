"""Admission: the items that constraints still allow, as a selection makes its picks."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.problem.constraints import Constraints

Indices = NDArray[np.int64]
# More picks than any selection has.
EVER = 1 << 62


class PicksSoFar(Protocol):
    """The part of a selection's state that admission reads and changes; `gip_gpu.greedy.state.State` documents it."""

    k: int
    t: int
    blocked: int
    left: NDArray[np.bool_]
    pool: NDArray[np.bool_]
    indices: Indices
    rounds: list[int]
    initial: Indices

    @property
    def m(self) -> int: ...


class Admission:
    """Items that may be picked, by the constraints and the picks so far.

    Constraints only take items out: an item that is not admitted never is again.

    Args:
        constraints: the constraints.
        rows: the exact rows.
        state: the selection, before its first pick.
    """

    def __init__(self, constraints: Constraints, rows: Rows, state: PicksSoFar) -> None:
        self.constraints, self.rows, self.state = constraints, rows, state
        # Picks looked at so far: for near-duplicates, where those of `initial` count; and for groups and the budget,
        # where those to include count from the start.
        self.looked, self.counted = 0, len(state.initial)
        # Initial items, those to include among them, are taken whatever the constraints.
        self.given = np.zeros(state.m, bool)
        self.given[state.initial] = True
        if constraints.groups is not None:
            self.counts = constraints.groups.counts(constraints.include)
        if constraints.costs is not None:
            self.spent = sum(constraints.costs.of[constraints.include].tolist())

    def horizon(self) -> int:
        """Returns the number of picks, at least 1, during which no further item can lose admission."""
        if self.constraints.dedup is not None:
            return 1
        most = self.state.k
        if self.constraints.groups is not None:
            groups, owed = self.constraints.groups, self._owed()
            spare = self._to_come() - int(owed.sum())
            # Until a group may be full, or only owed picks may be left.
            room = (groups.most if spare > 0 else self.counts + owed) - self.counts
            room = room[self._sizes() > 0]
            most = min(int(room[room > 0].min(initial=most)), spare if spare > 0 else most)
        if self.constraints.costs is not None:
            costs, (spare, _) = self.constraints.costs.of, self._purse()
            dearest = int(costs.max(where=self.state.left, initial=1))
            # Each pick leaves at least so much.
            most = min(most, (spare - dearest) // dearest)
        return max(1, most)

    def update(self) -> Indices:
        """Takes out the items that the picks since the last call exclude; returns them, ascending.

        The first call takes out what the constraints exclude from the start.
        """
        state, constraints = self.state, self.constraints
        out = np.zeros(state.m, bool)
        out[constraints.exclude] = True
        if constraints.dedup is not None:
            for index in state.indices[self.looked : state.t].tolist():
                out |= near(self.rows, index, constraints.dedup, state.left & ~out)
            self.looked = state.t
        if state.t > self.counted:
            made = state.indices[self.counted : state.t]
            if constraints.groups is not None:
                self.counts += constraints.groups.counts(made)
            if constraints.costs is not None:
                self.spent += sum(constraints.costs.of[made].tolist())
            self.counted = state.t
        out &= state.left & ~self.given
        state.left[out] = False
        if constraints.groups is not None:
            # After near-duplicates are out: their groups may have no item left that is owed.
            self._close(self._closed()[constraints.groups.codes + 1], out)
        if constraints.costs is not None:
            spare, reserved = self._purse()
            within = reserved[constraints.groups.codes + 1] + spare if constraints.groups is not None else spare
            self._close(constraints.costs.of > within, out)
        found = np.flatnonzero(out)
        state.blocked += len(found)
        return found

    def _close(self, closed: NDArray[np.bool_], out: NDArray[np.bool_]) -> None:
        """Takes out the items left that are flagged in `closed`, and flags them in `out`."""
        closed &= self.state.left & ~self.given
        self.state.left[closed] = False
        out |= closed

    def resume(self) -> None:
        """Takes out what the picks of a checkpoint exclude, as the run did; the stepper has not begun.

        What is set aside for groups depends on the items that were left, so the picks are taken again.
        """
        state, made = self.state, self.state.t
        begun = state.rounds[-1] if state.rounds else 0
        state.left[:], state.t = True, 0
        self.update()
        while True:
            if state.t == begun:
                # Those were not left when the last round began.
                state.pool[~state.left] = False
            if state.t == made:
                return
            stop = state.t + self.horizon() if state.t >= len(state.initial) else len(state.initial)
            stop = min(stop, made if state.t >= begun else begun)
            state.left[state.indices[state.t : stop]] = False
            state.t = stop
            self.update()

    def _to_come(self) -> int:
        """Returns the number of picks to come by choice."""
        return self.state.k - max(self.state.t, len(self.state.initial))

    def _sizes(self) -> Indices:
        """Returns the items left of each group, (g,), initial ones aside."""
        groups = self.constraints.groups
        assert groups is not None
        return groups.counts(np.flatnonzero(self.state.left & ~self.given))

    def _owed(self) -> Indices:
        """Returns the picks that each group lacks, (g,), as far as it has items."""
        groups = self.constraints.groups
        assert groups is not None
        owed: Indices = np.minimum(np.maximum(groups.least - self.counts, 0), self._sizes())
        return owed

    def _purse(self) -> tuple[int, Indices]:
        """Returns what a pick may cost beside the cheapest owed ones; and what an owed one may cost more, (1 + g,).

        Nothing is set aside any more once near-duplicates have left owed items that the budget does not pay for.
        """
        costs, groups = self.constraints.costs, self.constraints.groups
        assert costs is not None
        spare = costs.budget - self.spent
        if groups is None:
            return spare, np.zeros(1, np.int64)
        sums, dearest = groups.cheapest(self._owed(), costs.of, self.state.left & ~self.given)
        if sum(sums) > spare:
            return spare, np.zeros(1 + len(sums), np.int64)
        return spare - sum(sums), np.array([0, *dearest], np.int64)

    def _closed(self) -> NDArray[np.bool_]:
        """Flags "no group" and each group from which nothing may be picked now, (1 + g,)."""
        groups = self.constraints.groups
        assert groups is not None
        owed = self._owed()
        only_owed = self._to_come() <= int(owed.sum())
        full = (self.counts >= groups.most) | (only_owed & (owed == 0))
        return np.concatenate([[only_owed], full])


@dataclass
class Replayed:
    """`PicksSoFar` of a finished selection, whose picks are taken again one by one."""

    indices: Indices
    k: int
    m: int
    initial: Indices
    t: int = 0
    blocked: int = 0
    rounds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left, self.pool = np.ones(self.m, bool), np.ones(self.m, bool)


def admitted_until(constraints: Constraints, rows: Rows, initial: Indices, picks: Indices, k: int) -> Indices:
    """Returns for each item, (m,), the number of picks after which it may not be picked any more.

    `EVER` stands for items that always may, -1 for those that were out before the initial ones.

    Args:
        constraints: the constraints.
        rows: the exact rows.
        initial: items chosen before the first pick.
        picks: the picks made, k of them or fewer.
        k: picks wanted.
    """
    m, first = rows.shape[0], len(initial)
    state = Replayed(np.concatenate([initial, picks]), k + first, m, initial)
    admission, until = Admission(constraints, rows, state), np.full(m, EVER)
    until[admission.update()] = -1
    for made in range(len(picks) + 1):
        taken = slice(0, first) if not made else slice(first + made - 1, first + made)
        state.left[state.indices[taken]] = False
        state.t = first + made
        until[admission.update()] = made
    return until


def near(rows: Rows, index: int, cosine: float, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flags the items (m,) whose cosine with this one is at least `cosine`; a zero row has none.

    The cosine is that of the rows as float64 holds them, compared exactly.

    Args:
        rows: the exact rows.
        index: the item, which is not flagged.
        cosine: the threshold, in (0, 1].
        among: (m,) the items that are asked about.
    """
    found = np.zeros(len(among), bool)
    row = rows.take([index])[0]
    length = float(np.linalg.norm(row))
    if not length:
        return found
    # Rounding of a product of rows and of their lengths, with room.
    off = 4 * (len(row) + 4) * U64
    for start, stop in rows.bounds():
        block = rows.block(start, stop)
        lengths = np.linalg.norm(block, axis=1)
        ahead = (block @ row) - cosine * length * lengths
        sure = off * length * lengths
        own = among[start:stop] & (lengths > 0)
        found[start:stop] = own & (ahead > sure)
        for place in np.flatnonzero(own & (np.abs(ahead) <= sure)).tolist():
            alike = np.array_equal(block[place], row)
            found[start + place] = alike or _reaches(block[place], row, cosine)
    found[index] = False
    return found


def _reaches(a: NDArray[np.float64], b: NDArray[np.float64], cosine: float) -> bool:
    """Compares a . b with cosine ||a|| ||b|| in exact arithmetic, for a . b > 0."""
    x, y = [Fraction(value) for value in a.tolist()], [Fraction(value) for value in b.tolist()]
    product = sum((p * q for p, q in zip(x, y, strict=True)), Fraction(0))
    lengths = sum((p * p for p in x), Fraction(0)) * sum((q * q for q in y), Fraction(0))
    return product > 0 and product * product >= Fraction(cosine) ** 2 * lengths
