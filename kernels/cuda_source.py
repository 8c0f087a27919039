"""CUDA sources as one string each, with the macros they are compiled with, and their compilation by CuPy."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from gip_gpu.backends.gpu.layout import macros

INCLUDE = re.compile(r'^#include "(?:\.\./)?(?:kernels/)?((?:\w+/)?[\w.]+)"$', re.MULTILINE)
# Operations whose blocks wait for one another: their launches are cooperative.
COOPERATIVE = ("loop",)


@cache
def expanded(op: str) -> str:
    """The source of `kernels/<op>/<op>.cu` with our own headers in it."""
    return with_headers((files("gip_gpu.kernels") / op / f"{op}.cu").read_text())


def with_headers(text: str) -> str:
    """A source with the headers of kernels/ in place of its includes.

    A compiler that caches by the source it is given then sees when a header changed, and needs no path to look in.
    """
    kernels = files("gip_gpu.kernels")
    return INCLUDE.sub(lambda found: with_headers((kernels / found.group(1)).read_text()), text)


def options(defines: Mapping[str, object]) -> tuple[str, ...]:
    """Compiler options: C++17, the shared layout, and the types and sizes of one build."""
    every = {**macros(), **{name: str(value) for name, value in defines.items()}}
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in sorted(every.items())))


@cache
def module(op: str, defines: tuple[tuple[str, object], ...]) -> Any:
    """The module of CuPy for an operation and its macros, compiled when a kernel of it is first asked for."""
    import cupy

    return cupy.RawModule(
        code=expanded(op), options=options(dict(defines)), enable_cooperative_groups=op in COOPERATIVE
    )


def kernel(op: str, name: str, defines: Mapping[str, object]) -> Any:
    """A kernel of an operation, to be called as (grid, block, arguments)."""
    return module(op, tuple(sorted(defines.items()))).get_function(name)
