// The error bounds of gip_gpu/numerics/error_bounds.py and the tie rule of gip_gpu/numerics/ties.py, derived there.
#ifndef GIP_BOUNDS_CUH
#define GIP_BOUNDS_CUH

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

#endif
