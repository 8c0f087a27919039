"""What the Triton kernels share."""

import triton
import triton.language as tl

# Said, for Triton's default changes with its versions. The bounds hold with and without.
FUSED = {"enable_fp_fusion": True}


@triton.jit
def double(x):
    """Rows as given in float64; bfloat16 by way of float32, which Triton's interpreter needs."""
    if x.dtype == tl.bfloat16:
        x = x.to(tl.float32)
    return x.to(tl.float64)
