"""Options of a GPU backend: on a GPU, or else in its emulation."""

import pytest

from gip_gpu import backends


def device_options(backend, request):
    """Returns the options of `select` for "triton" or "cupy"; skips if it can run nowhere."""
    if not backends.missing(backend, "cuda"):
        return {"device": "cuda", "backend": backend}
    if backend == "cupy":
        request.getfixturevalue("cupy_on_cpu")
        return {"device": "cuda", "backend": backend}
    if why := backends.missing(backend, "cpu"):
        pytest.skip(why)
    return {"device": "cpu", "backend": backend}
