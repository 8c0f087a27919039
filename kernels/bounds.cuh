// The error bounds of gip_gpu/numerics/error_bounds.py and the tie rule of gip_gpu/numerics/ties.py, derived there.
#ifndef GIP_BOUNDS_CUH
#define GIP_BOUNDS_CUH

#include "types.cuh"

__device__ __forceinline__ double float64_error(int d, double projected, double scores) {
    return d * U64 / (1 - d * U64) * projected * (1 + 2 * U64) + 2 * U64 * (scores + projected);
}

__device__ __forceinline__ double cast_error(double largest) { return U32 * largest + FLUSHED; }

__device__ __forceinline__ double step_error(double error, double gamma, double pick, double moved) {
    return error * (1 + 2 * U32) + moved * (gamma + 4 * U32) + 2 * U32 * pick + 4 * FLUSHED;
}

__device__ __forceinline__ double window_floor(double best, double error, double tie) {
    const double norm = fmax(best * (1 - (SIGNALS + 2) * U32) - 2 * error - tie, 0.0);
    return norm * norm * (1 - 2 * (SIGNALS + 2) * U32);
}

__device__ __forceinline__ double lowest_tied(double best, double scale) {
    const double norm = fmax(sqrt(best) * (1 - TIE_RELATIVE / 2) - TIE_ABSOLUTE * scale, 0.0);
    return norm * norm;
}

// A bound on ||A + w f'||^2 from a bound on ||A||^2, for an item of the given scores and exact residual
// w, f'f <= square.
//
// It is ||A||^2 + 2 w'(A f) + ||w||^2 ||f||^2, and A f = scores - w. Errors: the difference has the rounding of w, at
// most `noise`, and its own, u (||scores|| + ||w||); the sum over the signals (n + 1) u of ||w|| (||scores|| + ||w||);
// the squared norm of a row that was divided in float64 (d + 4) u; the sum of the terms 4 u, and the rounding of the
// new A 2 u, of the sum of their absolute values. `scale` bounds ||scores||.
__device__ __forceinline__ double energy_after(double energy, int d, const double* scores, const double* w,
                                               double gain, double square, double scale, double noise) {
    const double norm = sqrt(gain);
    double cross = 0;
#pragma unroll 4
    for (int i = 0; i < SIGNALS; ++i) cross = __fma_rn(w[i], scores[i] - w[i], cross);
    const double added = energy + 4 * norm * (scale + norm) + gain * square;
    return energy + 2 * cross + gain * square + 2 * norm * noise + (d + SIGNALS + 16) * U64 * added;
}

// Bounds of the projecting objectives, gip_gpu/greedy/projecting_round.py.

// Covers the rounding of a few operations in a bound x, those of the host included.
__device__ __forceinline__ double above(double x) { return x * (1 + 0x1p-44); }

// A value that float32 holds and that is not below x, as error_bounds.float32_above.
__device__ __forceinline__ double float32_above(double x) { return to_double((float)(x * (1 + 0x1p-22) + FLUSHED)); }

__device__ __forceinline__ double distance_error(double error, double gamma, double unit, double q, double pick,
                                                 double farthest) {
    const double moved = (2 * sqrt(farthest * pick) * unit * gamma + unit * unit * gamma * gamma) / q;
    return error * (1 + 2 * U32) + moved * (1 + 6 * U32) + 6 * U32 * farthest + 4 * FLUSHED;
}

// 1 + sqrt(picks) / least, by which the rounding of a pick's phi moves the phi of another item.
__device__ __forceinline__ double spread_of(double picks, double inverse_least) {
    return 1 + sqrt(picks) * inverse_least;
}

// error_bounds.root_error; `unit` is 4 U64 sqrt(d).
__device__ __forceinline__ double root_error(double unit, double picks, double spread) {
    return unit * sqrt(1 + picks) * spread;
}

// ProjectingRound._doubt for residuals without a metric: `largest` of them, the rounding `noise` of an exact one,
// norm_error = (2 n + 8) U32, flushed = sqrt(n TINY32).
__device__ __forceinline__ double residual_bound(double error, double largest, double noise, double scale,
                                                 double norm_error, double flushed) {
    const double reach = largest + error;
    return float32_above(above(error + norm_error * reach + 2 * noise + 2 * TIE * (reach + scale) + flushed));
}

// ProjectingRound._doubt for distances.
__device__ __forceinline__ double distance_bound(double error, double root_noise, double farthest) {
    return float32_above(above(error + 4 * root_noise * (sqrt(farthest) + root_noise) + 4 * TIE));
}

#endif
