"""The error bounds and the tie rule of the Triton kernels, the twin of bounds.cuh.

The formulas are derived in `gip_gpu/numerics/error_bounds.py` and `gip_gpu/numerics/ties.py`. Float64 roots and
divisions are calls in Triton, and values that live across calls are spilled. So bounds use float32 roots, rounded up.
"""

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import CONSTANTS

U32, U64, FLUSHED = (tl.constexpr(CONSTANTS[name]) for name in ("U32", "U64", "FLUSHED"))
TIE, OFF = tl.constexpr(CONSTANTS["TIE"]), tl.constexpr(CONSTANTS["OFF"])
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


# Bounds of the projecting objectives, `gip_gpu/greedy/projecting_round.py`. Float32 does not do for the values that are
# compared with a tie of 1e-12, and a float64 root or quotient is a call: an inverse root in float32 is refined.

SMALLEST, LARGEST = tl.constexpr(2.0**-100), tl.constexpr(2.0**100)


@triton.jit
def inverse_root(x):
    """Returns 1 / sqrt(x) of a float64 from 2^-100 to 2^100, up to 4 units in the last place.

    The float32 inverse root has a relative error of at most 2^-21, cast included. Newton's step squares it, times 1.5.
    """
    y = tl.rsqrt(x.to(tl.float32)).to(tl.float64)
    y = y * (1.5 - 0.5 * x * y * y)
    return y * (1.5 - 0.5 * x * y * y)


@triton.jit
def root(x):
    """Returns the square root of a float64 up to 2^100 with 5 units in the last place; 2^-50 for x from 0 to 2^-100."""
    held = tl.maximum(x, SMALLEST)
    return tl.where(x > 0, held * inverse_root(held), 0.0)


@triton.jit
def above(x):
    """Returns a float64 that covers the rounding of a few operations in a bound x, those of the host included."""
    return x * (1 + 2.0**-44)


@triton.jit
def float32_above(x):
    """Returns a float64 that float32 holds and that is not below x, as `error_bounds.float32_above`."""
    return (x * (1 + 2.0**-22) + FLUSHED).to(tl.float32).to(tl.float64)


@triton.jit
def distance_error(error, gamma, unit, inverse_q, pick, farthest):
    """Computes `error_bounds.distance_error`; `inverse_q` is 1 / q."""
    moved = (2 * root(farthest * pick) * unit * gamma + unit * unit * gamma * gamma) * inverse_q
    return error * (1 + 2 * U32) + moved * (1 + 6 * U32) + 6 * U32 * farthest + 4 * FLUSHED


@triton.jit
def spread_of(picks, inverse_least):
    """Computes 1 + sqrt(picks) / least, by which the rounding of a pick's phi moves the phi of another item."""
    return 1 + root(picks) * inverse_least


@triton.jit
def root_error(unit, picks, spread):
    """Computes `error_bounds.root_error`; `unit` is 4 U64 sqrt(d)."""
    return unit * root(1 + picks) * spread


@triton.jit
def residual_bound(error, largest, noise, scale, norm_error, flushed):
    """Computes `ProjectingRound._doubt` for residuals without a metric.

    Args:
        largest: of the residuals.
        noise: estimate of the float64 rounding of an exact residual.
        norm_error: (2 n + 8) U32.
        flushed: sqrt(n TINY32).
    """
    reach = largest + error
    bound = error + norm_error * reach + 2 * noise + 2 * TIE * (reach + scale) + flushed
    return float32_above(above(bound))


@triton.jit
def distance_bound(error, root_noise, farthest):
    """Computes `ProjectingRound._doubt` for distances."""
    return float32_above(above(error + 4 * root_noise * (root(farthest) + root_noise) + 4 * TIE))


@triton.jit
def lowest_bound(parts, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr):
    """Returns the largest lower bound of a score from `parts` of family_triton.py."""
    at = tl.arange(0, PARTS_BLOCK)
    return tl.max(tl.load(parts + 2 * at, mask=at < PARTS, other=-1.0))


@triton.jit
def projecting_floor(best, farthest, MEASURE: tl.constexpr):
    """Returns the floor of the window, at least 0, as `Projecting._choose` computes it."""
    floor = best * (1 - 2 * OFF)
    if MEASURE == "distance":
        floor -= 2 * OFF * farthest
    return tl.maximum(floor, 0.0)
