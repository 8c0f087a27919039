"""Parts shared by the Triton kernels: launch options, and the conversion of rows to float64."""

import triton
import triton.language as tl

# Set explicitly, because Triton's default changes between versions. The bounds hold with and without fusion.
FUSED = {"enable_fp_fusion": True}


@triton.jit
def double(x):
    """Converts rows as given to float64; bfloat16 through float32, which Triton's interpreter needs."""
    if x.dtype == tl.bfloat16:
        x = x.to(tl.float32)
    return x.to(tl.float64)
