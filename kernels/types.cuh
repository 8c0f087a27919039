// The types of a build, chosen by macros, and their conversions.
#ifndef GIP_TYPES_CUH
#define GIP_TYPES_CUH

#include "ptx.cuh"

struct half_bits {
    unsigned short bits;
};
struct bf16_bits {
    unsigned short bits;
};

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(half_bits value) { return fp16_to_float(value.bits); }
__device__ __forceinline__ float to_float(bf16_bits value) { return __uint_as_float((unsigned)value.bits << 16); }

__device__ __forceinline__ double to_double(double value) { return value; }
__device__ __forceinline__ double to_double(float value) { return widened(value); }
__device__ __forceinline__ double to_double(half_bits value) { return widened(to_float(value)); }
__device__ __forceinline__ double to_double(bf16_bits value) { return widened(to_float(value)); }

template <class T>
__device__ __forceinline__ T from_float(float value);

template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}

template <>
__device__ __forceinline__ half_bits from_float<half_bits>(float value) {
    return half_bits{float_to_fp16(value)};
}

// Rounds to nearest, ties to even: adding half of the last kept place less one, plus one if that place is odd, carries
// exactly when the value must round up. A NaN could carry into infinity or the sign.
template <>
__device__ __forceinline__ bf16_bits from_float<bf16_bits>(float value) {
    const unsigned bits = __float_as_uint(value);
    if (value != value) return bf16_bits{0x7fff};
    return bf16_bits{(unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

#if defined(ROWS_FP16)
typedef half_bits ROWS;
#elif defined(ROWS_BF16)
typedef bf16_bits ROWS;
#elif defined(ROWS_FP32)
typedef float ROWS;
#elif defined(ROWS_FP64)
typedef double ROWS;
#endif

#if defined(COLUMN_FP32)
typedef float COLUMN;
#elif defined(COLUMN_FP16)
typedef half_bits COLUMN;
#elif defined(COLUMN_BF16)
typedef bf16_bits COLUMN;
#endif

#if defined(INPUT_FP32) || defined(INPUT_TF32)
typedef float INPUT;
#elif defined(INPUT_FP16)
typedef half_bits INPUT;
#elif defined(INPUT_BF16)
typedef bf16_bits INPUT;
#endif
#if defined(INPUT_FP32) || defined(INPUT_TF32) || defined(INPUT_FP16) || defined(INPUT_BF16)
constexpr int CHUNK = 16 / sizeof(INPUT);  // values of a 16-byte load
#endif

#if defined(OUTPUT_FP32)
typedef float OUTPUT;
#elif defined(OUTPUT_FP16)
typedef half_bits OUTPUT;
#elif defined(OUTPUT_BF16)
typedef bf16_bits OUTPUT;
#endif

#endif
