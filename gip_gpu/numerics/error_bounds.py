"""Rounding error bounds of the certified step (float32 residual against the exact one), each with its derivation.

Notation: u is the unit roundoff (2^-24 for float32, 2^-53 for float64), phi = f_j . f_s a Gram entry, w the exact
residual row of the pick, rows scaled by a power of two so that no norm exceeds 1. A tilde marks stored values.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

U32 = 2.0**-24
U64 = 2.0**-53
U16 = 2.0**-11
# Absolute rounding of a value in the subnormal range. Half of the smallest spacing would be 2^-150 in float32, but
# compilers for GPUs may flush values below the normal range to zero.
TINY32 = 2.0**-126
TINY16 = 2.0**-25
# Norm of a residual that grows without end: rows of norm above sqrt(2) are amplified, not projected out.
DIVERGED = 2.0**60
# Bounds of scores are computed in float32. On a GPU, roots and divisions have errors of 2 units in the last place: a
# lower and an upper bound together are off by less than this share of themselves, or of the largest distance.
OFF = 32 * U32
LARGEST32 = float(np.finfo(np.float32).max)


def float32_above(x: float) -> float:
    """Returns the smallest float32 that is not below x, so that a bound stays a bound in a kernel.

    Other numbers may be rounded to nearest. The floor of a window is compared with float32 scores: a score that is not
    below the floor is not below the nearest float32 either. The bounds include the roundoff U32 of factors (`weights`
    and `shrink` of a `RankOneUpdate`, `Rules.share`, rows, a metric).
    """
    if x > LARGEST32:
        return math.inf
    nearest = np.float32(x)
    # Compared in float64: with a float32 operand, NumPy rounds a Python float to float32 first.
    return float(np.nextafter(nearest, np.float32(np.inf)) if float(nearest) < x else nearest)


def dot_error(d: int, u: float) -> float:
    """Bounds |fl(x . y) - x . y| / (|x| . |y|) for any order of summation, with or without fused multiply-add.

    The classic gamma_d = d u / (1 - d u); by Cauchy-Schwarz |x| . |y| <= ||x|| ||y||.
    """
    if d * u >= 1:
        raise ValueError(f"F has d = {d} columns; the float32 error bound holds for fewer than {int(1 / u)}")
    return d * u / (1 - d * u)


@dataclass(frozen=True)
class Format:
    """Floating-point format.

    Attributes:
        roundoff: relative error of rounding to nearest.
        tiny: absolute error of rounding below the normal range.
        bytes: size of a value in memory.
    """

    roundoff: float
    tiny: float
    bytes: int


FORMATS = {
    "fp32": Format(U32, TINY32, 4),
    # Stored as a float32 with its last 13 bits zero, so that a tensor core has nothing left to round or truncate.
    "tf32": Format(2.0**-11, TINY32, 4),
    "fp16": Format(U16, TINY16, 2),
    "bf16": Format(2.0**-8, TINY32, 2),
}

# Tensor cores add products in float32, in blocks of 4 or more aligned to the largest of them, and truncate instead of
# rounding (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021): each of the K products of a block, and the
# sum before it, loses at most 2^-23 of the largest, so d products lose less than 2^-23 (K + 1) / K <= 2^-22 each.
TENSOR_CORE = 2.0**-22


def gram_entry_error(
    d: int,
    storage: str = "fp32",
    multiply: str = "fp32",
    *,
    given: bool = False,
    adding: float = U32,
    terms: int | None = None,
    roundings: int = 1,
) -> float:
    """Returns gamma, a bound on |phi~ - phi| for rows of norm at most 1.

    Rounding a row to `multiply` (by way of float32) moves it by at most c = u ||f|| + sqrt(d) tiny, so two rows
    contribute 2c + c^2, and the product of the rounded rows dot_error(d) (1 + c)^2. Products in the subnormal range add
    at most TINY32 each. `given` rows are multiplied without a cast: the product is multiplied by two inverse norms,
    each rounded to float32 as is each product, 4u in all; norms from 2^-40 to 2^40 keep flushed values below d 2^-46.
    Rounding the entry (|phi~| <= 1 + gamma) to `storage` adds u of it, or tiny below the normal range.

    Args:
        d: length of a row.
        storage: format in which the entry is stored.
        multiply: format to which the rows are rounded before they are multiplied.
        given: whether the rows are multiplied without a cast, exactly, and normalised afterwards.
        adding: unit roundoff of the sum: U32, or TENSOR_CORE.
        terms: largest number of roundings of a product on its way into the sum; None: d, the upper limit.
        roundings: number of roundings of a row value to float32, such as that of its norm's reciprocal and its own.
    """
    kind = FORMATS[multiply]
    terms = d if terms is None else terms
    if given:
        gamma = dot_error(terms, adding) * (1 + 5 * U32) + 5 * U32 + d * 2.0**-46
    else:
        twice = 0.0 if multiply == "fp32" else U32
        once = (1 + kind.roundoff) ** roundings - 1
        cast = once + twice * (1 + kind.roundoff) + math.sqrt(d) * kind.tiny
        gamma = 2 * cast + cast**2 + dot_error(terms, adding) * (1 + cast) ** 2 + 4 * d * TINY32
    if storage != "fp32":
        gamma += FORMATS[storage].roundoff * (1 + gamma) + FORMATS[storage].tiny
    return gamma


def step_error(error: float, gamma: float, pick: float, moved: float) -> float:
    """Returns the bound e after one step W~ -= phi~ w, from the bound before it.

    Args:
        error: e before the step.
        gamma: of `gram_entry_error`.
        pick: ||w||, the largest exact norm of an eligible item (except for ties: a relative 1e-12).
        moved: ||w|| times the square of the power of two that the rows were scaled by; the length by which W can move.

    The exact step moves W_j by phi w. Stored are w in float32 (relative u), its product with phi~ (again u, and TINY32)
    and the difference (u of the result). The result is no longer than ||W~_j|| + |phi~| ||w||, where
    ||W~_j|| <= pick + e. To first order: moved (gamma + 3u) + u (pick + e); second order terms are covered by taking
    4u, and 2u of e.
    """
    return error * (1 + 2 * U32) + moved * (gamma + 4 * U32) + 2 * U32 * pick + 4 * TINY32


def cast_error(largest: float) -> float:
    """Returns the error of casting an exact residual of norm at most `largest` to float32."""
    return U32 * largest + TINY32


def float64_error(d: int, projected: float, scores: float) -> float:
    """Bounds the rounding of one row of G - F A in float64.

    Args:
        d: length of a row.
        projected: ||A||, Frobenius, scaled as the rows.
        scores: largest ||G_j||.
    """
    return dot_error(d, U64) * projected * (1 + 2 * U64) + 2 * U64 * (scores + projected)


def window_floor(best: float, error: float, tie: float, n: int) -> float:
    """Returns the squared float32 norm from which an item is a candidate.

    Every item within `tie` of the exact best has a norm of at least best - 2e - tie, with best the largest ||W~_j||.
    The squared norms are n-term float32 sums, each with a relative error of (n + 1) u; the floor allows for it twice,
    for the best and for the item.
    """
    norm = max(best * (1 - (n + 2) * U32) - 2 * error - tie, 0.0)
    return norm * norm * (1 - 2 * (n + 2) * U32)


def distance_error(error: float, gamma: float, unit: float, q: float, pick: float, largest: float) -> float:
    """Returns the bound e2 on |d2~ - d2| after one step d2~ -= (x_j . h)~^2 unit^2 / q, from the bound before it.

    Args:
        error: e2 before the step.
        gamma: bound on the error of x_j . h, ||h|| <= 1.
        unit: g = h unit, for the pick's g = P x_s.
        q: the pick's eta + d2_s.
        pick: d2_s.
        largest: upper bound on the eligible d2_j.

    The exact step is (x_j . g)^2 / q = (phi_j . phi_s)^2 / q <= d2_j d2_s / q <= d2_j. An error of gamma in x_j . h
    changes the square by 2 |x_j . h| gamma + gamma^2, where |x_j . h| <= sqrt(d2_j d2_s) / unit. The square, its
    product with the factor, that factor and the difference are each rounded by u of at most d2_j plus its error: 4u,
    taken as 6u of `largest`, and 2u of e2. Flushing adds TINY32 four times.
    """
    moved = (2 * math.sqrt(largest * pick) * unit * gamma + unit * unit * gamma * gamma) / q
    return error * (1 + 2 * U32) + moved * (1 + 6 * U32) + 6 * U32 * largest + 4 * TINY32


def root_error(d: int, picks: int, least: float) -> float:
    """Estimates the rounding of phi_j = S'x_j in float64, relative to ||x_j||, after some picks.

    S' is a product of contractions, so the rounding of each update, about u sqrt(d), adds up like the root of their
    number. But the phi of a pick, the direction in which S' contracts, has that error over ||phi||; `least` is the
    smallest root of q of the picks. This is an estimate, not a bound: the tests compare it with long double.
    """
    spread = 1 + math.sqrt(picks) / least
    return 4 * U64 * math.sqrt(d) * math.sqrt(1 + picks) * spread


def factor_errors(
    d: int, t: Floats, reach: Floats, scores: float, coefficients: tuple[Floats, Floats], given: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Bounds |W~_j - W_j| and |d2~_j - d2_j| of a float64 Cholesky factor C of the Gram columns of t picks.

    Args:
        d: length of a row, of norm at most 1.
        t: picks; as `reach` and the coefficients, an array over several points of a round.
        reach: bounds on the norms of z = (K_SS + eta I)^-1 k_j, K the Gram matrix.
        scores: largest ||G_j||.
        coefficients: bounds on the Frobenius norms of y, y_i = w_i / sqrt(q_i) in W~ = G - C'y, and of
            a = (K_SS + eta I)^-1 G_S.
        given: bounds on the initial errors of Gram entries, and of scores.

    The computed values are exact for a Gram matrix with errors D, each entry at most delta = dot_error(d) + (2t + 8) u,
    and scores with errors D_G, each at most (2t + 8) u (scores + ||y||) (Higham, Accuracy and Stability of Numerical
    Algorithms, theorem 10.3, with sums of |C_is| |C_ij|, at most 1 by Cauchy-Schwarz, instead of the entry; the same
    for C'y, at most ||y||). A vector of t errors moves d2 and W to first order by

        D_jj - 2 D_Sj'z + z' D_SS z          at most delta (1 + sqrt(t) ||z||)^2
        D_Gj - D_Sj'a - z' D_GS + z' D_SS a  at most (1 + sqrt(t) ||z||) (delta_G + sqrt(t) delta ||a||)

    and twice that covers the higher orders, while t delta ||(K_SS + eta I)^-1|| is far below 1.
    """
    rounding, (y, a) = (2 * t + 8) * U64, coefficients
    delta, spread = dot_error(d, U64) + rounding + given[0], 1 + np.sqrt(t) * reach
    residual = 2 * spread * (rounding * (scores + y) + given[1] + np.sqrt(t) * delta * a)
    return residual, 2 * delta * spread**2
