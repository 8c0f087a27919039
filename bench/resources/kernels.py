"""Resources of a kernel on a chip, read with cuobjdump from its machine code; no GPU is needed."""

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Numbers of signals to build kernels for, one in each range.
SIGNALS = (1, 3, 8, 64)
STORED, GIVEN = ("fp32", "fp16", "bf16"), ("fp16", "bf16", "fp32", "fp64")
# Scores of the projecting step kernel: measure, whether only positive residuals count, whether there is a metric, and
# the numbers of signals to build it for.
SCORES = {
    "norm": ("norm", False, False, SIGNALS),
    "norm, positive": ("norm", True, False, (3,)),
    "ratio": ("ratio", False, False, SIGNALS),
    "ratio, positive": ("ratio", True, False, (3,)),
    "ratio, metric": ("ratio", False, True, SIGNALS[1:]),
    "distance": ("distance", False, False, (1,)),
}
FUNCTION = re.compile(r"Function (\S+?):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Chip:
    """Limits of a multiprocessor, from NVIDIA's table of compute capabilities."""

    registers: int = 65536
    threads: int = 2048
    blocks: int = 32
    shared: int = 228 << 10
    shared_of_block: int = 227 << 10


LIMITS = {80: Chip(shared=164 << 10, shared_of_block=163 << 10), 90: Chip(), 100: Chip()}


@dataclass(frozen=True)
class Build:
    """One kernel with one set of compile-time values."""

    # Name of the kernel, and its compile-time values in words.
    kernel: str
    variant: str
    threads: int  # threads of a block
    # Compiles the kernel for a chip: "ptx", Triton's "ttgir", or "cubin" with its bytes of dynamic shared memory.
    make: Callable[[int, str], Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Resources:
    """Resources of a kernel on a chip, as reported by cuobjdump."""

    build: Build
    chip: int
    registers: int
    shared: int
    spilled: int

    @property
    def occupancy(self) -> tuple[int, float]:
        """Blocks that fit on a multiprocessor, and their share of its threads."""
        limits, threads = LIMITS[self.chip], self.build.threads
        # Registers are allocated to warps in units of 8 a thread; each block reserves 1 kB of shared memory.
        each = -(-self.registers // 8) * 8 * 32 * (threads // 32)
        by_shared = limits.shared // (self.shared + 1024)
        blocks = min(limits.registers // each, limits.threads // threads, by_shared, limits.blocks)
        return blocks, blocks * threads / limits.threads


def measure(build: Build, chip: int) -> list[Resources]:
    """Compiles a kernel and reads its resources."""
    binary, dynamic = build.make(chip, "cubin")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [cuobjdump(), "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [(name, *map(int, numbers)) for name, *numbers in FUNCTION.findall(text) if name == build.kernel]
    return [
        Resources(build, chip, registers, shared + dynamic, stack + local)
        for _, registers, stack, shared, local in found
    ]


def cuobjdump() -> str:
    """Returns the path of the cuobjdump in Triton's wheel."""
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
