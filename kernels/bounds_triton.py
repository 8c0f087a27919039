"""The error bounds and the tie rule of the Triton kernels, the twin of bounds.cuh.

The formulas are derived in `gip_gpu/numerics/error_bounds.py` and `gip_gpu/numerics/ties.py`. Float64 roots and
divisions are calls in Triton, and values that live across calls are spilled. So bounds use float32 roots, rounded up.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import CONSTANTS

U32, U64, FLUSHED = (tl.constexpr(CONSTANTS[name]) for name in ("U32", "U64", "FLUSHED"))
TIE_RELATIVE, TIE_ABSOLUTE = (tl.constexpr(CONSTANTS[name]) for name in ("TIE_RELATIVE", "TIE_ABSOLUTE"))


@triton.jit
def root_above(square):
    """Returns a little more than the square root of a float64.

    The float32 root has a relative error of at most 2^-22, cast included, except for values that float32 flushes.
    """
    return tl.sqrt(square.to(tl.float32)).to(tl.float64) * (1 + 2.0**-20) + 2.0**-62


@triton.jit
def positive(x):
    """Returns max(x, 0); NaN stays NaN, which fmax would hide."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def noise_of(drift, rounding, projected, scale):
    """Computes `State.noise`, the rounding of an exact residual (drift, `float64_error`); `rounding` is `dot_error`."""
    return drift + rounding * projected * (1 + 2 * U64) + 2 * U64 * (scale + projected)


@triton.jit
def cast_error(largest):
    """Computes `error_bounds.cast_error`."""
    return U32 * largest + FLUSHED


@triton.jit
def step_error(error, gamma, pick, moved):
    """Computes `error_bounds.step_error`."""
    return error * (1 + 2 * U32) + moved * (gamma + 4 * U32) + 2 * U32 * pick + 4 * FLUSHED


@triton.jit
def drift_after(drift, projected, moved):
    """Computes the drift as `decision.add_to_projection`, with twice the rounding of a row times its inverse norm."""
    return drift + U64 * (projected + 4 * moved)


@triton.jit
def energy_after(energy, d, scores, w, gain, norm, square, scale, noise, SIGNALS: tl.constexpr):
    """Bounds ||A + w f'||^2 from a bound on ||A||^2; bounds.cuh derives it.

    ||A + w f'||^2 = ||A||^2 + 2 w . (A f) + ||w||^2 ||f||^2, where ||f||^2 is at most `square`, and A f is the score
    less the residual, up to the residual's own rounding, `noise`. `norm` is a little more than the root of `gain`.
    """
    cross = tl.sum(w * (scores - w))
    added = energy + 4 * norm * (scale + norm) + gain * square
    slack = 2 * norm * noise + (d + SIGNALS + 18) * U64 * added
    return energy + 2 * cross + gain * square + slack


@triton.jit
def window_floor(best, error, scale, noise, SIGNALS: tl.constexpr):
    """Computes `error_bounds.window_floor` for items that tie by `ties.lowest_tied` within the noise.

    Returns the norm from which an item is a candidate, and its square, the floor of float32 scores.
    """
    tie = TIE_RELATIVE * (best + error) + TIE_ABSOLUTE * scale + 2 * noise
    # The float32 root has a relative error of at most 4 U32.
    norm = tl.maximum(best * (1 - (SIGNALS + 6) * U32) - 2 * error - tie, 0.0)
    return norm, norm * norm * (1 - 2 * (SIGNALS + 2) * U32)


@triton.jit
def gain_outside(norm, error, SIGNALS: tl.constexpr):
    """Returns the gain that no item outside the window exceeds; `norm` of `window_floor`."""
    outside = norm * (1 + (SIGNALS + 2) * U32) + error
    return outside * outside


@triton.jit
def rival_above(runner_up, noise):
    """Returns an upper bound on the exact gain of an item with the computed gain `runner_up`."""
    return runner_up + 4 * noise * (root_above(runner_up) + noise)


@triton.jit
def lowest_tied(best, scale):
    """Computes `ties.lowest_tied` with its square expanded: the root remains in a term small enough for float32."""
    absolute, relative = TIE_ABSOLUTE * scale, 1 - TIE_RELATIVE / 2
    tied = best * (relative * relative) - 2 * absolute * relative * root_above(best) + absolute * absolute
    return tl.where(best > absolute * absolute, tied, 0.0)


@triton.jit
def interval(value, error):
    """Returns the lower and upper bound of a quantity that is at least 0 and within `error` of `value`."""
    return positive(value - error), value + error


@triton.jit
def ratio_interval(lower, upper, distance, error, a, b):
    """Bounds ||W|| / sqrt(a + b d2) from the bounds of ||W||, with d2 within `error` of `distance`."""
    farthest = tl.sqrt(a + b * positive(distance + error))
    nearest = tl.sqrt(a + b * positive(distance - error))
    # With a zero denominator nothing is known: the lower bound is 0, the upper bound infinite.
    lower /= tl.where(farthest == 0, float("inf"), farthest)
    return lower, tl.where(nearest == 0, float("inf"), upper / tl.where(nearest == 0, 1.0, nearest))
