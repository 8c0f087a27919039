"""The CUDA backend: CuPy arrays and kernels in CUDA C++, compiled by NVRTC."""
