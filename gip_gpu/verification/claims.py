"""Recorded gains, weights, explained shares and margins of a selection, compared with replayed ones."""

import math

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.verification.path import PickStep, RoundPath

Floats = NDArray[np.float64]

# Two float64 evaluations of a gain in different orders agree to this share of it, beyond the bounds on rounding.
GAIN = 1e-9
# Float32 residuals give the explained share: its absolute error, and the share of the largest energy so far where
# residuals have grown beyond the scores.
SHARE, GROWN, BEYOND = 1e-3, 0.01, 1e30


class Claims:
    """Claims of a selection about its picks.

    Args:
        selection: to verify.
        factor: (n, n) factor from residuals to the recorded weights; None for the identity.

    Attributes:
        largest_gain_error: largest relative difference of a gain so far.
    """

    def __init__(self, selection: Selection, factor: Floats | None) -> None:
        self.selection, self.factor = selection, factor
        self.largest_gain_error = self.grown = 0.0

    def compare(self, t: int, path: RoundPath, pick: int, step: PickStep, rival: float, share: float) -> str:
        """Returns the difference between the recorded and the replayed values of pick t, in words; "" for none.

        Args:
            t: position of the pick.
            path: before the pick.
            pick, step: the item and its step.
            rival: lower bound on the compared value of the best other item; negative if there is none.
            share: explained share after the pick.
        """
        selection, of = self.selection, path.of
        noise = self.noise(path, step)
        gain, recorded = step.value**2 * of.gain_unit, float(selection.gains[t])
        rounding = (2 * step.value * noise + noise**2) * of.gain_unit
        share_lost = GAIN + self._factor_error(path, step)
        error = abs(recorded - gain)
        if gain:
            self.largest_gain_error = max(self.largest_gain_error, error / gain)
        if not error <= share_lost * gain + rounding:
            return f"its gain is recorded as {recorded!r}, and is {gain!r}"
        weights = step.residual * of.unit
        weights = weights if self.factor is None else weights @ self.factor
        size = float(np.linalg.norm(weights))
        slack = share_lost * size + 2 * path.residual_noise * of.unit * self._reach()
        if not np.linalg.norm(weights - selection.weights[t]) <= slack:
            return f"its weights are recorded as {selection.weights[t].tolist()}, and are {weights.tolist()}"
        lead = 1.0
        if rival > 0 and step.value > 0:
            (value,), (doubt,) = of.compared(np.array([step.value]), np.array([noise]), np.array([pick]))
            behind = min(1.0, max(0.0, rival - doubt) / (value + doubt))
            lead = 1 - behind if of.item_weights is not None and of.informs else 1 - behind**2
            if path.metric is not None and of.item_weights is None:
                lead = 1 - _nats(behind * (step.value + noise)) / _nats(step.value + noise)
        margin = float(selection.certificate.margins[t])
        if margin > lead + GAIN:
            return f"its margin is recorded as {margin:.6g}, and is at most {lead:.6g}"
        told = float(selection.explained[t])
        self.grown = max(self.grown, -share)
        # A residual beyond float32 leaves a share of -inf.
        if abs(told - share) > SHARE + GROWN * self.grown and (math.isfinite(told) or self.grown < BEYOND):
            return f"the share explained after it is recorded as {told:.6g}, and is {share:.6g}"
        return ""

    def _factor_error(self, path: RoundPath, step: PickStep) -> float:
        """Bounds the relative error of a gain from the float64 loop of small pools.

        It updates a factor of the chosen Gram columns, whose errors in distances are at most 2 (d + 2 t + 8) u spread^2
        (`gip_gpu.numerics.error_bounds.factor_errors`); the gain divides by the distance.
        """
        if not self.selection.plan.direct or not path.of.rules.projects:
            return 0.0
        return min(1.0, 4 * (path.d + 2 * path.picks + 8) * U64 * path.spread**2 / step.q)

    def noise(self, path: RoundPath, step: PickStep) -> float:
        """Returns a bound on the rounding of the root of the pick's score."""
        rules = path.of.rules
        if rules.measure == "distance":
            return 4 * path.root_noise
        residual = 2 * (path.residual_noise + path.grown_noise)
        if path.metric is not None:
            residual *= path.metric.norm
        if rules.measure == "norm":
            return residual
        root = math.sqrt(step.q)
        return (residual + 2 * step.value * path.root_noise) / root

    def _reach(self) -> float:
        return 1.0 if self.factor is None else float(np.linalg.norm(self.factor))


def _nats(root: float) -> float:
    """Returns the information of a score with this root; a root of 1 is infinite information."""
    return -math.log1p(-(min(root, 1 - 1e-16) ** 2)) / 2
