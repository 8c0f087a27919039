"""CUDA sources as one string each, the macros of a build, and the compilation by CuPy."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from gip_gpu.backends.gpu.layout import macros

INCLUDE = re.compile(r'^#include "(?:\.\./)?(?:kernels/)?((?:\w+/)?[\w.]+)"$', re.MULTILINE)
# Operations with barriers between blocks: their launches are cooperative.
COOPERATIVE = ("loop",)


@cache
def expanded(op: str) -> str:
    """Returns the source of `kernels/<op>/<op>.cu` with our own headers inserted."""
    return with_headers((files("gip_gpu.kernels") / op / f"{op}.cu").read_text())


def with_headers(text: str) -> str:
    """Replaces the includes of a source by the headers of kernels/.

    A compiler that caches by source text then notices a changed header, and needs no include path.
    """
    kernels = files("gip_gpu.kernels")
    return INCLUDE.sub(lambda found: with_headers((kernels / found.group(1)).read_text()), text)


def options(defines: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the compiler options: C++17, the shared layout, and the types and sizes of one build."""
    every = {**macros(), **{name: str(value) for name, value in defines.items()}}
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in sorted(every.items())))


@cache
def module(op: str, defines: tuple[tuple[str, object], ...]) -> Any:
    """Returns the CuPy module for an operation and its macros, compiled when one of its kernels is first requested."""
    import cupy

    return cupy.RawModule(
        code=expanded(op), options=options(dict(defines)), enable_cooperative_groups=op in COOPERATIVE
    )


def kernel(op: str, name: str, defines: Mapping[str, object]) -> Any:
    """Returns a kernel of an operation; call it as (grid, block, arguments)."""
    return module(op, tuple(sorted(defines.items()))).get_function(name)
