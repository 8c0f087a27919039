"""The error bounds and the tie rule as the Triton kernels compute them, the twin of bounds.cuh.

The formulas are derived in `gip_gpu/numerics/error_bounds.py` and `gip_gpu/numerics/ties.py`. Float64 roots and
divisions are calls in Triton, and what lives across calls is spilled: so bounds use float32 roots, rounded up.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import CONSTANTS

U32, U64, FLUSHED = (tl.constexpr(CONSTANTS[name]) for name in ("U32", "U64", "FLUSHED"))
TIE_RELATIVE, TIE_ABSOLUTE = (tl.constexpr(CONSTANTS[name]) for name in ("TIE_RELATIVE", "TIE_ABSOLUTE"))


@triton.jit
def root_above(square):
    """A little more than the square root of a float64. The float32 root is off by 2^-22 at most, cast included, but for
    values that float32 flushes."""
    return tl.sqrt(square.to(tl.float32)).to(tl.float64) * (1 + 2.0**-20) + 2.0**-62


@triton.jit
def positive(x):
    """max(x, 0); NaN stays NaN, which fmax would hide."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def noise_of(drift, rounding, projected, scale):
    """`State.noise`, the rounding of an exact residual: drift and `float64_error`; `rounding` is `dot_error` of d."""
    return drift + rounding * projected * (1 + 2 * U64) + 2 * U64 * (scale + projected)


@triton.jit
def cast_error(largest):
    """`error_bounds.cast_error`."""
    return U32 * largest + FLUSHED


@triton.jit
def step_error(error, gamma, pick, moved):
    """`error_bounds.step_error`."""
    return error * (1 + 2 * U32) + moved * (gamma + 4 * U32) + 2 * U32 * pick + 4 * FLUSHED


@triton.jit
def drift_after(drift, projected, moved):
    """`matching_pursuit.add_to_projection`, and twice the rounding of a row multiplied by the inverse of its norm."""
    return drift + U64 * (projected + 4 * moved)


@triton.jit
def energy_after(energy, d, scores, w, gain, norm, square, scale, noise, SIGNALS: tl.constexpr):
    """A bound on ||A + w f'||^2 from a bound on ||A||^2; bounds.cuh derives it.

    ||A + w f'||^2 = ||A||^2 + 2 w . (A f) + ||w||^2 ||f||^2, where ||f||^2 is at most `square`, and A f is the score
    less the residual but for the residual's own rounding, `noise`. `norm` is a little more than the root of `gain`.
    """
    cross = tl.sum(w * (scores - w))
    added = energy + 4 * norm * (scale + norm) + gain * square
    slack = 2 * norm * noise + (d + SIGNALS + 18) * U64 * added
    return energy + 2 * cross + gain * square + slack


@triton.jit
def window_floor(best, error, scale, noise, SIGNALS: tl.constexpr):
    """`error_bounds.window_floor` for items that tie by `ties.lowest_tied` within the noise: the norm from which an
    item is a candidate, and the square of it that float32 scores are compared with."""
    tie = TIE_RELATIVE * (best + error) + TIE_ABSOLUTE * scale + 2 * noise
    # The float32 root is off by 4 U32 at most.
    norm = tl.maximum(best * (1 - (SIGNALS + 6) * U32) - 2 * error - tie, 0.0)
    return norm, norm * norm * (1 - 2 * (SIGNALS + 2) * U32)


@triton.jit
def gain_outside(norm, error, SIGNALS: tl.constexpr):
    """The gain that no item outside the window exceeds; `norm` of `window_floor`."""
    outside = norm * (1 + (SIGNALS + 2) * U32) + error
    return outside * outside


@triton.jit
def rival_above(runner_up, noise):
    """The exact gain that an item of the computed gain `runner_up` does not exceed."""
    return runner_up + 4 * noise * (root_above(runner_up) + noise)


@triton.jit
def lowest_tied(best, scale):
    """`ties.lowest_tied` with its square multiplied out: the root is left in a term so small that float32 will do."""
    absolute, relative = TIE_ABSOLUTE * scale, 1 - TIE_RELATIVE / 2
    tied = best * (relative * relative) - 2 * absolute * relative * root_above(best) + absolute * absolute
    return tl.where(best > absolute * absolute, tied, 0.0)


@triton.jit
def interval(value, error):
    """Lower and upper bound of what is at least 0 and `value` up to `error`."""
    return positive(value - error), value + error


@triton.jit
def ratio_interval(lower, upper, distance, error, a, b):
    """Bounds of ||W~|| / sqrt(a + b d2~) from those of ||W~||, `distance` being d2~ up to `error`."""
    farthest = tl.sqrt(a + b * positive(distance + error))
    nearest = tl.sqrt(a + b * positive(distance - error))
    # Over zero nothing is known: the lower bound is 0, the upper one infinite.
    lower /= tl.where(farthest == 0, float("inf"), farthest)
    return lower, tl.where(nearest == 0, float("inf"), upper / tl.where(nearest == 0, 1.0, nearest))
