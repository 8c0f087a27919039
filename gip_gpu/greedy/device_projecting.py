"""Stepper for lr, omp, entropy and sign="positive" on a GPU: the device makes the picks that are beyond doubt."""

import math
from typing import ClassVar

import numpy as np

from gip_gpu.backends.gpu.backend import GpuBackend
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import Code, PickF64, PickI64, Record
from gip_gpu.backends.gpu.picks import DevicePicks
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.greedy.projecting_round import Floats
from gip_gpu.greedy.state import Reason, State
from gip_gpu.numerics import error_bounds
from gip_gpu.numerics.error_bounds import TINY32, U32, U64
from gip_gpu.planning.gpu_costs import STEPS

# Most picks that the host makes before the device tries again.
PATIENCE = 16
# Relative rounding of a reciprocal of a reciprocal.
TWICE = 4 * U64


class DeviceProjecting(Projecting):
    """Projecting stepper that leaves a pick to the device if exactly one candidate is close to the best.

    Rule and bounds are those of `Projecting`. The device returns at a tie, a dependent item, a refresh, the end of a
    round and whatever else it has no rule for, with all arrays as they were before that pick; the host then makes it.

    Arguments as of `Projecting`; with a metric or weights of items, or if rows stream from the host, the host makes all
    picks.
    """

    # A run of the device costs the host a few copies, whether it makes one pick or some.
    stride: ClassVar[int] = 16

    def __init__(self, backend: GpuBackend, state: State, epsilon: float, sign: str, Q: Floats | None = None) -> None:
        super().__init__(backend, state, epsilon, sign, Q)
        self.device: DevicePicks | None = None
        if self.metric is None and backend.resident and state.item_weights is None:
            assert isinstance(self.items, GpuItems)
            squares = np.ones(1) if self.rows_of.normalize else self.judge.squares(np.arange(state.m))
            self.device = DevicePicks(backend, self.items, squares)
        # Picks that the host makes before the device tries again.
        self.alone = 1

    def advance(self, state: State, until: int) -> Reason:
        while state.t < until:
            if self.device is not None and self.best > 0 and self.first > 0:
                made = self._run(self.device, state, until)
                if self.device.code() is Code.RUNNING:
                    continue
                self.alone = 1 if made else min(2 * self.alone, PATIENCE)
            reason = super().advance(state, min(until, state.t + self.alone))
            if reason is not Reason.DONE:
                return reason
        return Reason.DONE

    def _run(self, device: DevicePicks, state: State, until: int) -> int:
        """Lets the device make picks; returns how many it has made."""
        self._load(device, state)
        made = device.run(min(until - state.t, STEPS))
        if made:
            self._report(device, state, made)
        return made

    def _load(self, device: DevicePicks, state: State) -> None:
        """Writes the state into the header."""
        rules, n, d = self.rules, state.scores.shape[1], state.d
        places, head = device.places, device.head
        places[PickI64.REASON] = Code.RUNNING
        places[[PickI64.PICKS, PickI64.BASE]] = state.t
        places[PickI64.ROUND], places[PickI64.UNSETTLED] = self.picks, self.unsettled
        places[PickI64.EXCESS], places[PickI64.ALWAYS] = state.excess, self.always
        places[PickI64.BLOCKED] = state.blocked
        head[PickF64.ERROR], head[PickF64.DISTANCE_ERROR] = state.error, self.distance_error
        head[PickF64.DRIFT], head[PickF64.PROJECTED] = state.drift, self.projected
        head[PickF64.LARGEST_RESIDUAL], head[PickF64.LARGEST_ROOT] = self.largest_residual, self.largest_root
        head[PickF64.INVERSE_LEAST] = (1 + TWICE) / self.least
        head[PickF64.FIRST], head[PickF64.INVERSE_FIRST] = self.first, (1 + TWICE) / self.first
        head[PickF64.FARTHEST], head[PickF64.SCALE] = self.largest, state.scale
        head[PickF64.RIDGE], head[PickF64.PLAIN_Q] = rules.ridge, 1 / self.square
        head[PickF64.GAMMA], head[PickF64.DOT_ERROR] = self.items.gamma, error_bounds.dot_error(d, U64)
        head[PickF64.ROOT_UNIT] = 4 * U64 * math.sqrt(d)
        head[PickF64.NORM_ERROR], head[PickF64.FLUSHED_NORM] = (2 * n + 8) * U32, math.sqrt(n * TINY32)
        head[PickF64.OWN_SQUARE] = min(1.0, self.largest) if self.rows_of.normalize else 0.0
        head[PickF64.SHARE] = rules.share[1]
        head[PickF64.SHARE_ROOT] = math.sqrt(rules.share[1]) * (1 + TWICE)

    def _report(self, device: DevicePicks, state: State, made: int) -> None:
        """Records the device's picks, and takes over its bounds."""
        places, head = device.places, device.head
        record = device.records(made)
        # The device records the energy after a pick when it decides the next one.
        self.best, record[-1, Record.ENERGY] = device.rated()
        counted = record[:, [Record.INDEX, Record.CANDIDATES, Record.TIES]].astype(np.int64)
        gains = record[:, Record.GAIN]
        state.record_all(
            counted[:, 0],
            gains * self.gain_unit,
            record[:, Record.WEIGHTS :][:, : state.scores.shape[1]],
            record[:, Record.ENERGY],
            np.maximum(0.0, 1 - record[:, Record.RIVAL] / gains),
            counted[:, 1],
            counted[:, 2],
        )
        self.picks, self.unsettled = int(places[PickI64.ROUND]), True
        state.excess, self.always = int(places[PickI64.EXCESS]), int(places[PickI64.ALWAYS])
        state.error, self.distance_error = float(head[PickF64.ERROR]), float(head[PickF64.DISTANCE_ERROR])
        state.drift, self.projected = float(head[PickF64.DRIFT]), float(head[PickF64.PROJECTED])
        self.largest_residual = float(head[PickF64.LARGEST_RESIDUAL])
        self.largest_root = float(head[PickF64.LARGEST_ROOT])
        self.least = min(self.least, (1 - TWICE) / float(head[PickF64.INVERSE_LEAST]))
