"""`python -m bench resources`: registers, shared memory, spills and the resulting occupancy of every kernel."""

import hashlib
import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.resources.kernels import Build, Resources, measure
from bench.runner.command import Request, suite
from bench.runner.report import Report, paragraphs, table
from gip_gpu.kernels.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
# Modules whose `builds` yields all kernels of a language; each needs its compiler.
LANGUAGES = {"Triton": "bench.resources.triton_builds", "CUDA C++": "bench.resources.cuda_builds"}
HEADER = (
    *("", "kernel", "variants", "chip", "threads", "registers", "shared memory", "spilled", "blocks", "occupancy"),
)
NOTE = """\
`python -m bench resources` compiles the kernels ahead of time for each chip and makes this table; it needs no GPU.
Registers are counted a thread; shared memory is that of a block, in bytes, dynamic included; spilled: bytes of stack
and local memory a thread, 0 everywhere; blocks: number that fits on a multiprocessor; occupancy: their share of its
threads. Blocks and occupancy are computed, not measured on a GPU. Triton kernels are those for rows whose length is a
multiple of 16, except "ragged"; the loop has 52,002 items on 108 multiprocessors."""


@suite("resources", "resources.md", names=list(LANGUAGES), quick=None)
def main(request: Request) -> Report:
    """Compile every kernel for every chip and report its resources; failure: a kernel spills."""
    found = {language: measured(language) for language in request.names}
    spilled = [
        f"{each.build.kernel} ({each.build.variant}) for sm_{each.chip} spills {each.spilled} bytes"
        for resources in found.values()
        for each in resources
        if each.spilled
    ]
    made = versions(), f"Sources: {sources()}."
    text = paragraphs("# Resources of the kernels", NOTE, table(rows(found), HEADER), *made)
    return Report(text, spilled)


def builds(language: str, chip: int) -> list[Build]:
    """Returns all builds of a language with a chip's tuning values; every chip has the same kernels and variants."""
    return list(importlib.import_module(LANGUAGES[language]).builds(chip))


def assembly(language: str, kernels: tuple[str, ...], chip: int = 80, form: str = "ptx") -> dict[str, str]:
    """Returns the PTX of some kernels, or Triton's "ttgir" (code with layouts), by kernel and variant."""
    made = [build for build in builds(language, chip) if build.kernel in kernels]
    return {f"{build.kernel}, {build.variant}": build.make(chip, form) for build in made}


def versions() -> str:
    """Returns the versions of the compilers, as the table tells them."""
    from cupy_backends.cuda.libs import nvrtc

    return "Triton {}, NVRTC {}.{}.".format(version("triton"), *nvrtc.getVersion())


def sources() -> str:
    """Returns the SHA-256 of all that decides the kernels: their sources and tuning, the layout, bounds, and builds."""
    parts = [path for path in (ROOT / "kernels").rglob("*") if path.suffix in (".py", ".cu", ".cuh")]
    package = ("backends/gpu/layout.py", "numerics/error_bounds.py", "numerics/ties.py")
    parts += [ROOT / "gip_gpu" / name for name in package]
    parts += [ROOT / "bench" / "resources" / name for name in ("kernels.py", "triton_builds.py", "cuda_builds.py")]
    found = hashlib.sha256()
    for path in sorted(parts):
        found.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def measured(language: str, share: int = 0, shares: int = 1) -> list[Resources]:
    """Measures the resources of every kernel of a language, or of every `shares`-th from `share` on."""
    by_chip = zip(*(builds(language, chip) for chip in ARCHITECTURES), strict=True)
    return [
        found
        for same in list(by_chip)[share::shares]
        for build, chip in zip(same, ARCHITECTURES, strict=True)
        for found in measure(build, chip)
    ]


def rows(found: dict[str, list[Resources]]) -> list[tuple[Any, ...]]:
    """Returns the rows of the table; variants with equal resources share a row."""
    lines: list[tuple[Any, ...]] = []
    for language, resources in found.items():
        groups: dict[tuple[Any, ...], list[str]] = {}
        for each in resources:
            blocks, share = each.occupancy
            chip, threads = f"sm_{each.chip}", each.build.threads
            taken = (each.registers, each.shared, each.spilled, blocks, f"{share:.0%}")
            groups.setdefault((each.build.kernel, chip, threads, *taken), []).append(each.build.variant)
        lines += [(language, shown[0], "; ".join(variants), *shown[1:]) for shown, variants in groups.items()]
    return lines
