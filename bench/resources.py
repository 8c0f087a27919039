"""What each kernel takes of a chip: registers, shared memory, spills, and the occupancy that follows.

Compiles every Triton kernel and every .cu ahead of time, for each tuning value and type, with no GPU present, and reads
the result with cuobjdump. `python -m bench.resources` writes `bench/results/resources.md`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gip_gpu.kernels.architectures import ARCHITECTURES as CHIPS
from gip_gpu.kernels.architectures import tuned

POINTERS = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32", "fp64": "*fp64", "tf32": "*fp32"}


@dataclass(frozen=True)
class Chip:
    """Limits of a multiprocessor, from NVIDIA's table of compute capabilities."""

    registers: int = 65536
    threads: int = 2048
    blocks: int = 32
    shared: int = 164 << 10
    shared_of_block: int = 163 << 10


LIMITS = {80: Chip(), 90: Chip(shared=228 << 10, shared_of_block=227 << 10),
          100: Chip(shared=228 << 10, shared_of_block=227 << 10)}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """One kernel with one set of compile-time values."""

    kernel: str
    variant: str
    threads: int
    make: Any = field(repr=False, compare=False)

    def cubin(self, chip: int) -> tuple[bytes, int]:
        """The compiled kernel and the dynamic shared memory that a launch asks for."""
        made: tuple[bytes, int] = self.make(chip)
        return made


@dataclass(frozen=True)
class Resources:
    """What cuobjdump tells of a kernel on a chip."""

    build: Build
    chip: int
    registers: int
    shared: int
    stack: int
    local: int

    @property
    def occupancy(self) -> tuple[int, float]:
        """Blocks on a multiprocessor, and the share of its threads that they are."""
        limits = LIMITS[self.chip]
        # Registers are handed out to warps, 8 for each of 32 threads at a time; a block reserves 1 kB of shared memory.
        each = -(-self.registers // 8) * 8 * 32 * (self.build.threads // 32)
        blocks = min(
            limits.registers // each,
            limits.threads // self.build.threads,
            limits.shared // (self.shared + 1024),
            limits.blocks,
        )
        return blocks, blocks * self.build.threads / limits.threads


def measure(build: Build, chip: int) -> list[Resources]:
    """Compiles a kernel and reads its resources."""
    binary, dynamic = build.cubin(chip)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [cuobjdump(), "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pattern = re.compile(r"Function (\S+?):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
    return [
        Resources(build, chip, int(registers), int(shared) + dynamic, int(stack), int(local))
        for name, registers, stack, shared, local in pattern.findall(text)
        if name == build.kernel
    ]


def cuobjdump() -> str:
    """The tool that Triton's wheel ships."""
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


def _compile_triton(
    fn: Any,
    arguments: dict[str, str],
    constants: dict[str, Any],
    options: dict[str, int],
    aligned: bool = True,
    tiny: bool = False,
) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gip_gpu.kernels.exact_triton import FUSED

    # An integer that is 1 is a constant to Triton.
    ones = {name: 1 for name, kind in arguments.items() if tiny and kind in ("i32", "i64") and name in fn.arg_names}
    constants = {**constants, **ones}
    signature = {name: "constexpr" if name in ones else arguments.get(name, "constexpr") for name in fn.arg_names}
    # What Triton finds out at a launch: arrays start at multiples of 16 bytes, and d is a multiple of 16 or not.
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(fn.arg_names)
        if signature[name].startswith("*") or (aligned and name == "d")
    }

    @cache
    def compiled(chip: int) -> Any:
        source = ASTSource(fn, signature, constants, attributes)
        return triton.compile(source, target=GPUTarget("cuda", chip, 32), options={**options, **FUSED})

    def make(chip: int) -> tuple[bytes, int]:
        return compiled(chip).asm["cubin"], compiled(chip).metadata.shared

    make.ptx = lambda chip: compiled(chip).asm["ptx"]  # type: ignore[attr-defined]
    make.ttgir = lambda chip: compiled(chip).asm["ttgir"]  # type: ignore[attr-defined]
    return make


SIGNALS = (1, 3, 8, 64)


def triton_builds(chip: int) -> Iterator[Build]:
    """Every Triton kernel with each tuning value, type and a range of signals."""
    from gip_gpu.kernels.gram import gram_triton
    from gip_gpu.kernels.gram import tuning as gram
    from gip_gpu.kernels.refresh import refresh_triton
    from gip_gpu.kernels.refresh import tuning as refresh
    from gip_gpu.kernels.step import step_triton
    from gip_gpu.kernels.step import tuning as step

    cut, taken = tuned(refresh.TRITON, chip), tuned(step.TRITON, chip)
    integers = {"m": "i64", "d": "i32"}
    for kind in tuned(gram.TRITON, chip).tiles:
        for length in (768, 767):
            tile = tuned(gram.TRITON, chip).tile(kind, length)
            aligned = length % 16 == 0
            options = {"num_warps": tile.warps, "num_stages": tile.stages}
            fixed = {"DEPTH": tile.depth, "PRECISION": "tf32" if kind == "tf32" else "ieee", "WIDEN": False}
            for stored in ("fp32", "fp16", "bf16"):
                variant = f"{kind} to {stored}{'' if aligned else ', ragged'}"
                arrays = {"rows": POINTERS[kind], "inverse": "*fp32", "out": POINTERS[stored], **integers}
                whole = {**fixed, "TILE": tile.tile, "WIDE": tile.wide}
                make = _compile_triton(gram_triton.gram, arrays, whole, options, aligned)
                yield Build("gram", variant, 32 * tile.warps, make)
                batch = {**arrays, "left": POINTERS[kind], "left_inverse": "*fp32", "count": "i32", "stride": "i64"}
                shape = {**fixed, "TILE": tile.batch_tile, "WIDE": tile.tile}
                make = _compile_triton(gram_triton.products, batch, shape, options, aligned)
                yield Build("products", variant, 32 * tile.warps, make)
    floats = dict.fromkeys(("W", "weight", "score", "best"), "*fp32")
    names = ("norms", "inverses", "scores", "A", "candidate_value", "header_f64", "record", "energy", "largest")
    doubles = dict.fromkeys(names, "*fp64")
    longs = {**dict.fromkeys(("header_i64", "candidate_index"), "*i64"), **dict.fromkeys(("stride", "first"), "i64")}
    others = {**floats, **longs, "slots": "*i32", "blocks": "i32", "count": "i32"}
    common = {**integers, **doubles, **others}
    warps = {"num_warps": taken.warps}
    for signals in SIGNALS:
        for stored in ("fp32", "fp16", "bf16"):
            fixed = {"SIGNALS": signals, "BLOCK": taken.block}
            types = {**common, "columns": POINTERS[stored]}
            make = _compile_triton(step_triton.update, types, fixed, warps)
            yield Build("update", f"{signals} signals, columns in {stored}", 32 * taken.warps, make)
        for given in ("fp16", "bf16", "fp32", "fp64"):
            wide = 1 << (signals - 1).bit_length()
            fixed = {"SIGNALS": signals, "WIDE": wide, "BLOCK": taken.block, "DEPTH": taken.rescore_depth(wide),
                     "PARTS": 102, "PARTS_BLOCK": 128, "CHUNK": taken.choose_chunk(wide)}  # fmt: skip
            types = {**common, "rows": POINTERS[given]}
            make = _compile_triton(step_triton.pick, types, fixed, warps)
            yield Build("pick", f"{signals} signals, rows in {given}", 32 * taken.warps, make)
            fixed = {"SIGNALS": signals, "ITEMS": cut.items, "DEPTH": cut.depth}
            make = _compile_triton(refresh_triton.refresh, types, fixed, {"num_warps": cut.warps})
            yield Build("refresh", f"{signals} signals, rows in {given}", 32 * cut.warps, make)
    yield from _family(common, chip)
    yield from _of_size_one({**common, **FAMILY_ARGUMENTS}, chip)


FAMILY_ARGUMENTS = {
    **dict.fromkeys(("h", "weights", "metric", "distance", "upper"), "*fp32"),
    **dict.fromkeys(("parts", "scales", "S", "partial"), "*fp64"),
    **dict.fromkeys(("dr", "dd", "a", "b", "shrink", "floor"), "fp32"),
    "arrived": "*i64",
    "moves": "i32",
}
# Measure, whether only positive residuals count, whether there is a metric; and the signals to build it for.
SCORES = {
    "norm": ("norm", False, False, SIGNALS),
    "norm, positive": ("norm", True, False, (3,)),
    "ratio": ("ratio", False, False, SIGNALS),
    "ratio, positive": ("ratio", True, False, (3,)),
    "ratio, metric": ("ratio", False, True, SIGNALS[1:]),
    "distance": ("distance", False, False, (1,)),
}


def _family(common: dict[str, str], chip: int) -> Iterator[Build]:
    """The kernels of the family: each type with each score and range of signals, though not each pair with each."""
    from gip_gpu.kernels.family import family_triton, tuning

    values = tuned(tuning.TRITON, chip)
    types = {**common, **FAMILY_ARGUMENTS, "inverse": "*fp32"}
    listing = {**types, "count": "*i64"}
    warps = {"num_warps": values.warps}
    kinds = ("fp16", "bf16", "fp32")
    for turn, signals in enumerate(SIGNALS):
        built = [score for score, (*_, used) in SCORES.items() if signals in used]
        steps = [(score, kinds[(turn + other) % 3], 768) for other, score in enumerate(built)]
        if signals == 3:
            steps += [(score, kind, 767) for score, kind, _ in steps]
            # In place of rows that are not read.
            steps.append(("ratio", "fp64", 768))
        for score, kind, length in steps:
            measure, positive, metric, _ = SCORES[score]
            depth, wide = values.depth(length, int(kind[2:]) // 8), values.wide(signals)
            fixed = {"SIGNALS": signals, "MEASURE": measure, "POSITIVE": positive, "METRIC": metric,
                     "ITEMS": values.items, "DEPTH": depth, "WIDE": wide}  # fmt: skip
            aligned = length % 16 == 0
            make = _compile_triton(family_triton.step, {**types, "rows": POINTERS[kind]}, fixed, warps, aligned)
            variant = f"{score}, {signals} signals, rows in {kind}{'' if aligned else ', ragged'}"
            yield Build("step", variant, 32 * values.warps, make)
        for given in (("fp16", "fp64"), ("bf16", "fp32"))[turn % 2]:
            wide, depth = values.window_tile(signals)
            fixed = {"SIGNALS": signals, "WIDE": wide, "BLOCK": values.window_block, "DEPTH": depth}
            make = _compile_triton(family_triton.candidates, {**listing, "rows": POINTERS[given]}, fixed, warps)
            yield Build("candidates", f"{signals} signals, rows in {given}", 32 * values.warps, make)
    for given in ("fp16", "bf16", "fp32", "fp64"):
        fixed = {"SIGNALS": 3, **_distance_tile(values)}
        make = _compile_triton(family_triton.distances, {**listing, "rows": POINTERS[given]}, fixed, warps)
        yield Build("distances", f"rows in {given}", 32 * values.warps, make)


def _distance_tile(values: Any) -> dict[str, int]:
    places, shares = values.distance_tile
    return {"PARTIAL": values.distance_partial, "WIDE": values.distance_wide, "DEPTH": values.distance_depth,
            "PLACES": places, "SHARES": shares}  # fmt: skip


def _of_size_one(common: dict[str, str], chip: int) -> Iterator[Build]:
    """Every Triton kernel where all sizes are 1: one item of length 1 in one block of one batch."""
    from gip_gpu.kernels.family import family_triton
    from gip_gpu.kernels.family import tuning as family_tuning
    from gip_gpu.kernels.gram import gram_triton
    from gip_gpu.kernels.gram import tuning as gram
    from gip_gpu.kernels.refresh import refresh_triton
    from gip_gpu.kernels.refresh import tuning as refresh
    from gip_gpu.kernels.step import step_triton
    from gip_gpu.kernels.step import tuning as step

    taken, cut, values = tuned(step.TRITON, chip), tuned(refresh.TRITON, chip), tuned(family_tuning.TRITON, chip)
    pointers = dict.fromkeys(("rows", "columns", "left", "left_inverse", "inverse", "out"), "*fp32")
    one = {"SIGNALS": 1, "WIDE": 1, "BLOCK": taken.block, "DEPTH": taken.rescore_depth(1), "PARTS": 1,
           "PARTS_BLOCK": 1, "CHUNK": taken.choose_chunk(1)}  # fmt: skip
    tile = tuned(gram.TRITON, chip).ragged
    tiled = {"TILE": tile.tile, "WIDE": tile.wide, "DEPTH": tile.depth, "PRECISION": "ieee", "WIDEN": False}
    family = {**one, "MEASURE": "ratio", "POSITIVE": False, "METRIC": True, "ITEMS": values.items,
              "DEPTH": values.ragged}  # fmt: skip
    listing = {**one, "BLOCK": values.window_block, "DEPTH": values.window_values}
    kernels = (
        (gram_triton.gram, tiled, tile.warps),
        (gram_triton.products, tiled, tile.warps),
        (step_triton.update, one, taken.warps),
        (step_triton.pick, one, taken.warps),
        (refresh_triton.refresh, {**one, "ITEMS": cut.items}, cut.warps),
        (family_triton.step, family, values.warps),
        (family_triton.candidates, listing, values.warps),
        (family_triton.distances, {**one, **_distance_tile(values)}, values.warps),
    )
    lists = {family_triton.candidates, family_triton.distances}
    for fn, constants, warps in kernels:
        used = {name: value for name, value in constants.items() if name in fn.arg_names}
        types = {**common, **pointers, "count": "*i64" if fn in lists else "i32"}
        make = _compile_triton(fn, types, used, {"num_warps": warps}, aligned=False, tiny=True)
        yield Build(fn.__name__, "all sizes 1", 32 * warps, make)


def _compile_cuda(op: str, defines: dict[str, Any], dynamic: int = 0) -> Any:
    from gip_gpu.kernels import cuda_source

    def compiled(target: str, read: str) -> bytes:
        cooperative = op in cuda_source.COOPERATIVE
        return compile_cuda_source(cuda_source.expanded(op), target, defines, cooperative=cooperative, read=read)

    # The kernels of one source come from one compilation.
    @cache
    def make(chip: int) -> tuple[bytes, int]:
        return compiled(f"sm_{chip}", "getCUBIN"), dynamic

    make.ptx = lambda chip: compiled(f"compute_{chip}", "getPTX").decode()  # type: ignore[attr-defined]
    return make


def compile_cuda_source(
    source: str, target: str, defines: dict[str, Any], *, cooperative: bool, read: str = "getCUBIN"
) -> bytes:
    """A source compiled by NVRTC as CuPy does it: machine code for "sm_80", or PTX for "compute_80" by "getPTX"."""
    from cupy_backends.cuda.libs import nvrtc

    from gip_gpu.kernels import cuda_source

    # What CuPy adds of its own; a cooperative kernel is compiled to be linked.
    linked = ("--device-c",) if cooperative else ()
    added = (f"--gpu-architecture={target}", "-ftz=true", "--device-as-default-execution-space", *linked)
    program = nvrtc.createProgram(source, "source.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*cuda_source.options(defines), *added))
        found: bytes = getattr(nvrtc, read)(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(nvrtc.getProgramLog(program)) from error
    finally:
        nvrtc.destroyProgram(program)
    # CuPy takes the last byte for the end of a string.
    return found + b"\0" if read == "getCUBIN" else found


def cuda_builds(chip: int) -> Iterator[Build]:
    """Every kernel of every .cu: each type with each range of signals, though not each pair of types with each."""
    from gip_gpu.kernels.cast import tuning as cast
    from gip_gpu.kernels.family import tuning as family
    from gip_gpu.kernels.gram import tuning as gram
    from gip_gpu.kernels.loop import tuning as loop
    from gip_gpu.kernels.refresh import tuning as refresh

    casting, looping, refreshing = tuned(cast.CUDA, chip), tuned(loop.CUDA, chip), tuned(refresh.CUDA, chip)
    stepping = tuned(family.CUDA, chip)
    for kind, tile in tuned(gram.CUDA, chip).items():
        for stored in ("fp32", "fp16", "bf16"):
            make = _compile_cuda("gram", tile.macros(kind, stored))
            for kernel in ("gram", "products"):
                yield Build(kernel, f"{kind} to {stored}", tile.threads, make)
    for given in ("fp16", "bf16", "fp32", "fp64"):
        for kind in ("fp32", "tf32", "fp16", "bf16"):
            make = _compile_cuda("cast", casting.macros(given, kind))
            yield Build("cast", f"rows in {given} to {kind}", casting.threads, make)
    for turn, signals in enumerate(SIGNALS):
        # 52,002 items on 108 multiprocessors, W in shared memory.
        dynamic = looping.shared_bytes(52002, signals, looping.blocks(52002, 108), LIMITS[80].shared_of_block)
        for other, given in enumerate(("fp16", "bf16", "fp32", "fp64")):
            stored = ("fp32", "fp16", "bf16")[(turn + other) % 3]
            what = f"{signals} signals, rows in {given}, columns in {stored}"
            make = _compile_cuda("loop", looping.macros(signals, given, stored), dynamic)
            yield Build("loop", what, looping.threads, make)
            what = f"{signals} signals, rows in {given}"
            make = _compile_cuda("refresh", refreshing.macros(signals, given))
            yield Build("refresh", what, refreshing.threads, make)
    # A metric is there or not at run time.
    scores = [score for score in SCORES if "metric" not in score]
    for turn, signals in enumerate(SIGNALS):
        for other, given in enumerate((("fp16", "fp64"), ("bf16", "fp32"))[turn % 2]):
            score, multiply = scores[(2 * turn + other) % 5], ("fp16", "bf16", "fp32", "tf32")[(turn + 2 * other) % 4]
            measure, positive, _, _ = SCORES[score]
            make = _compile_cuda("family", stepping.macros(signals, given, multiply, measure, positive))
            yield Build("step", f"{score}, {signals} signals, rows in {multiply}", stepping.threads, make)
            for kernel in ("candidates", "distances"):
                yield Build(kernel, f"{signals} signals, rows in {given}", stepping.threads, make)


LANGUAGES = {"Triton": triton_builds, "CUDA C++": cuda_builds}


def assembly(language: str, kernels: tuple[str, ...], chip: int = 80, form: str = "ptx") -> dict[str, str]:
    """PTX of some kernels, or for Triton "ttgir", its code with layouts, by kernel and variant."""
    builds = [build for build in LANGUAGES[language](chip) if build.kernel in kernels]
    return {f"{build.kernel}, {build.variant}": getattr(build.make, form)(chip) for build in builds}


def measured(language: str, share: int = 0, shares: int = 1) -> list[Resources]:
    """Resources of every kernel of a language, or of every `shares`-th from `share` on."""
    builds = list(zip(*(LANGUAGES[language](chip) for chip in CHIPS), strict=True))[share::shares]
    return [found for same in builds for build, chip in zip(same, CHIPS, strict=True) for found in measure(build, chip)]


def report(found: dict[str, list[Resources]]) -> str:
    """The table, one line for what is equal but for types."""
    from tabulate import tabulate

    lines = []
    for language, resources in found.items():
        groups: dict[tuple[Any, ...], list[str]] = {}
        for each in resources:
            blocks, share = each.occupancy
            shown = (language, each.build.kernel, f"sm_{each.chip}", each.build.threads, each.registers, each.shared,
                     each.stack + each.local, blocks, f"{share:.0%}")  # fmt: skip
            groups.setdefault(shown, []).append(each.build.variant)
        lines += [(*shown[:2], "; ".join(variants), *shown[2:]) for shown, variants in groups.items()]
    header = (
        "",
        "kernel",
        "variants",
        "chip",
        "threads",
        "registers",
        "shared memory",
        "spilled",
        "blocks",
        "occupancy",
    )
    return tabulate(lines, header, tablefmt="github", disable_numparse=True)


NOTE = """# Resources of the kernels

Compiled ahead of time for each chip, no GPU needed: `python -m bench.resources` makes this table. Registers are a
thread's; shared memory is a block's, in bytes, dynamic included; spilled: bytes of stack and local memory a thread, 0
everywhere; blocks: that fit on a multiprocessor; occupancy: their share of its threads. Neither blocks nor occupancy
were seen on a GPU. Triton kernels are those of rows whose length is a multiple of 16, except "ragged"; the loop has
52,002 items on 108 multiprocessors.

"""


def main() -> int:
    """Writes the table; the exit status is 1 where a kernel spills."""
    found = {language: measured(language) for language in LANGUAGES}
    versions = "Triton {}, NVRTC {}.{}".format(_version("triton"), *_nvrtc())
    target = Path(__file__).parent / "results" / "resources.md"
    target.write_text(f"{NOTE}{report(found)}\n\n{versions}.\n", encoding="utf-8")
    spilled = [each for resources in found.values() for each in resources if each.stack + each.local]
    for each in spilled:
        print(f"{each.build.kernel} ({each.build.variant}) for sm_{each.chip} spills {each.stack + each.local} bytes")
    print(f"{sum(map(len, found.values()))} kernels compiled, {len(spilled)} spill; {target.name} written")
    return int(bool(spilled))


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _nvrtc() -> tuple[int, int]:
    from cupy_backends.cuda.libs import nvrtc

    return nvrtc.getVersion()


if __name__ == "__main__":
    sys.exit(main())
