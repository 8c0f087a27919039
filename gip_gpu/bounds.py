"""Rounding error bounds of the certified step (float32 residual against the exact one), each with its derivation.

Notation: u is the unit roundoff (2^-24 for float32, 2^-53 for float64), phi = f_j . f_s a Gram entry, w the exact
residual row of the pick, rows scaled by a power of two so that no norm exceeds 1. A tilde marks what is stored.
"""

U32 = 2.0**-24
U64 = 2.0**-53
U16 = 2.0**-11
# Absolute rounding of a value in the subnormal range: half of its smallest spacing.
TINY32 = 2.0**-150
TINY16 = 2.0**-25


def dot_error(d: int, u: float) -> float:
    """Bound on |fl(x . y) - x . y| / (|x| . |y|) for any order of summation, with or without fused multiply-add.

    The classic gamma_d = d u / (1 - d u); by Cauchy-Schwarz |x| . |y| <= ||x|| ||y||.
    """
    if d * u >= 1:
        raise ValueError(f"F has d = {d} columns; the float32 error bound holds for fewer than {int(1 / u)}")
    return d * u / (1 - d * u)


def gram_entry_error(d: int, storage: str = "fp32") -> float:
    """gamma: bound on |phi~ - phi| for rows of norm at most 1, multiplied in float32 and kept in `storage`.

    Casting a row to float32 moves it by at most u ||f|| (relative rounding of each component), so two rows contribute
    2u + u^2, and the product of the cast rows dot_error(d) (1 + u)^2. Components and products in the subnormal range
    add at most TINY32 each. Casting the entry (|phi~| <= 1 + gamma) to float16 adds 2^-11 of it, or TINY16 below the
    normal range.
    """
    gamma = 2 * U32 + U32**2 + dot_error(d, U32) * (1 + U32) ** 2 + 4 * d * TINY32
    if storage == "fp16":
        gamma += U16 * (1 + gamma) + TINY16
    return gamma


def step_error(error: float, gamma: float, pick: float, moved: float) -> float:
    """The bound e after one step W~ -= phi~ w, from the bound before it.

    Args:
        error: e before the step.
        gamma: of `gram_entry_error`.
        pick: ||w||, which no eligible exact norm exceeds (but for ties: a relative 1e-12).
        moved: ||w|| times the square of the power of two that the rows were scaled by; the length by which W can move.

    The exact step moves W_j by phi w. Stored are w in float32 (relative u), its product with phi~ (again u, and TINY32)
    and the difference (u of the result). The result is no longer than ||W~_j|| + |phi~| ||w||, where
    ||W~_j|| <= pick + e. To first order: moved (gamma + 3u) + u (pick + e); second order terms are covered by taking
    4u, and 2u of e.
    """
    return error * (1 + 2 * U32) + moved * (gamma + 4 * U32) + 2 * U32 * pick + 4 * TINY32


def cast_error(largest: float) -> float:
    """The part of e that casting an exact residual of norm at most `largest` to float32 leaves."""
    return U32 * largest + TINY32


def float64_error(d: int, projected: float, scores: float) -> float:
    """Bound on the rounding of one row of G - F A in float64.

    Args:
        d: length of a row.
        projected: ||A||, Frobenius, scaled as the rows are.
        scores: largest ||G_j||.
    """
    return dot_error(d, U64) * projected * (1 + 2 * U64) + 2 * U64 * (scores + projected)


def window_floor(best: float, error: float, tie: float, n: int) -> float:
    """The squared float32 norm from which an item is a candidate.

    Every item within `tie` of the exact best lies within best - 2e - tie, best being the largest ||W~_j||. The squared
    norms are n-term float32 sums, so each is off by (n + 1) u relative to itself; taken twice, for the best and for
    the item.
    """
    norm = max(best * (1 - (n + 2) * U32) - 2 * error - tie, 0.0)
    return norm * norm * (1 - 2 * (n + 2) * U32)
