"""Builds an unmodified kernels/<op>/<op>.cu for the CPU and launches its kernels on NumPy arrays."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock

from tests.support.paths import ROOT

HERE = Path(__file__).parent
KERNELS = ROOT / "kernels"
COMPILER = os.environ.get("CXX", "g++")
AVAILABLE = shutil.which(COMPILER) is not None
WHY_NOT = f"CUDA C++ runs on the CPU through {COMPILER}, which is not installed; set CXX"
# Contraction of a * b + c differs between machines; the kernels' bounds hold with and without it.
# Kernels read an array of one type as another, which CUDA compilers allow.
# longjmp between stacks is intended here, but the fortified version aborts on it. Symbols are hidden: otherwise the
# libraries of one process would share their variables, and a kernel could replace a C function of the same name.
FLAGS = (
    *("-std=c++17", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas"),
)
SCALARS = {
    "i": ctypes.c_int,
    "u": ctypes.c_uint,
    "l": ctypes.c_longlong,
    "L": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}
# The emulation holds the state of one launch.
ONE_LAUNCH = threading.Lock()


class Program:
    """The kernels of one source file, built for the CPU."""

    def __init__(self, library: Path):
        self._library = ctypes.CDLL(str(library))

    def parameters(self, name: str) -> list[str]:
        """Returns the kinds of a kernel's parameters: i, u, l, L, f, d, or p (P: not const) and the size of an item."""
        kinds = getattr(self._library, f"cuda_kinds_{name}")
        kinds.restype = ctypes.c_char_p
        return kinds().decode().split()

    def launch(
        self,
        name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[np.ndarray | int | float | None],
        shared_bytes: int = 0,
        seed: int = 0,
    ) -> None:
        """Runs one launch to its end.

        Args:
            name: name of the kernel.
            grid: number of blocks, one number or up to three.
            block: number of threads per block, likewise.
            args: an array (C-contiguous, item size as the kernel's) or None for a pointer, a number for a number.
            shared_bytes: size of dynamic shared memory.
            seed: seed of the order in which threads run.

        Raises:
            TypeError: an argument that does not fit the kernel's parameter.
            RuntimeError: a deadlock, a livelock or a warp operation that lanes disagree on.
        """
        kinds = self.parameters(name)
        if len(kinds) != len(args):
            raise TypeError(f"{name} has {len(kinds)} parameters, got {len(args)} arguments")
        values = [_argument(name, place, *pair) for place, pair in enumerate(zip(kinds, args, strict=True))]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        shape = (ctypes.c_uint * 6)(*_three(grid), *_three(block))
        error = ctypes.create_string_buffer(512)
        launch = getattr(self._library, f"cuda_launch_{name}")
        size, order = ctypes.c_size_t(shared_bytes), ctypes.c_uint64(seed)
        with ONE_LAUNCH:
            failed = launch(shape, size, order, pointers, error, ctypes.c_size_t(len(error)))
        if failed:
            raise RuntimeError(f"{name}: {error.value.decode()}")


def build(
    op: str,
    macros: Mapping[str, object] | None = None,
    *,
    sanitize: str | None = None,
    threads: bool = False,
    folder: Path = KERNELS,
) -> Program:
    """Builds folder/<op>/<op>.cu, once for the same sources and macros.

    Args:
        op: name of the operation.
        macros: passed with -D; True and "" define a macro without a value.
        sanitize: "thread" (needs `threads`) or "address"; the process must have been started with the environment of
            `sanitizer_environment`.
        threads: CUDA threads are threads of the system instead of fibres.
        folder: holds <op>/<op>.cu and the headers it includes.
    """
    flags = [f"-D{k}" if v is True or v == "" else f"-D{k}={v}" for k, v in sorted((macros or {}).items())]
    flags += ["-O2"] if sanitize is None else ["-O1", "-g", f"-fsanitize={sanitize}"]
    if threads:
        flags.append("-DCUDA_THREADS")
    content = hashlib.sha256(repr([COMPILER, FLAGS, flags, op]).encode())
    headers = [path for root in (HERE, folder) for path in sorted(root.rglob("*")) if path.suffix in (".cuh", ".hpp")]
    for path in [Path(__file__), *headers, folder / op / f"{op}.cu"]:
        content.update(repr((path.name, path.read_bytes())).encode())
    library = _cache() / f"{op}-{content.hexdigest()[:32]}.so"
    if not library.exists():
        # Of the workers of `pytest -n`, one compiles and the others wait for it.
        with FileLock(library.with_suffix(".lock")):
            if not library.exists():
                _compile(folder / op / f"{op}.cu", flags, library)
    return _load(library)


@cache
def _load(library: Path) -> Program:
    return Program(library)


def _compile(source: Path, flags: list[str], library: Path) -> None:
    text = re.sub(r"__launch_bounds__\s*\([^)]*\)", "", source.read_text())
    names = re.findall(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(', text)
    wrapped = [f'#include "{HERE / "cuda.hpp"}"', f'#include "{source.resolve()}"']
    wrapped += [f"CUDA_ON_CPU_KERNEL({name})" for name in names]
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        unit, built = Path(scratch) / "unit.cpp", Path(scratch) / "unit.so"
        unit.write_text("\n".join([*wrapped, ""]))
        command = [COMPILER, *FLAGS, *flags, str(unit), "-o", str(built)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
        built.replace(library)


def _cache() -> Path:
    """Returns a folder that only this user can write to, because libraries in it are loaded."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"gip_gpu-cuda_on_cpu-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != user:
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def sanitizer_environment(sanitize: str) -> dict[str, str]:
    """Returns an environment in which Python can load a library built with -fsanitize=address or =thread."""
    library = {"address": "libasan.so", "thread": "libtsan.so"}[sanitize]
    found = subprocess.run([COMPILER, f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "report_bugs=1 exitcode=66",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def _three(shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return (*sizes, 1, 1)[:3]


def _argument(name: str, place: int, kind: str, value: object) -> ctypes._SimpleCData:
    if kind[0] not in "pP":
        return SCALARS[kind](value)
    if value is None:
        return ctypes.c_void_p(None)
    if not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
        raise TypeError(f"{name}: argument {place} must be a C-contiguous array, got {type(value).__name__}")
    if value.itemsize != int(kind[1:]) or (kind[0] == "P" and not value.flags.writeable):
        raise TypeError(f"{name}: argument {place} must have items of {kind[1:]} bytes, got {value.dtype}")
    return ctypes.c_void_p(value.ctypes.data)
