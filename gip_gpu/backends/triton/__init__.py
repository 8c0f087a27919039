"""The Triton backend: torch tensors and Triton kernels."""
