"""Builds of every kernel of every .cu file, compiled ahead of time by NVRTC with CuPy's options."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from cupy_backends.cuda.libs import nvrtc

from bench.resources.kernels import GIVEN, LIMITS, SCORES, SIGNALS, STORED, Build
from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.batch import tuning as batch_tuning
from gip_gpu.kernels.cast import tuning as cast_tuning
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.gram import tuning as gram_tuning
from gip_gpu.kernels.loop import tuning as loop_tuning
from gip_gpu.kernels.pick import tuning as pick_tuning
from gip_gpu.kernels.refresh import tuning as refresh_tuning


def compiled(source: str, target: str, defines: dict[str, Any], *, cooperative: bool, read: str = "getCUBIN") -> bytes:
    """Compiles a source to machine code for targets such as "sm_80", or to PTX for "compute_80" with read="getPTX"."""
    # CuPy's own options; it compiles a cooperative kernel for linking.
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
    # CuPy drops the last byte of a CUBIN, as if it ended a string; this restores it.
    return found + b"\0" if read == "getCUBIN" else found


def maker(op: str, defines: dict[str, Any], dynamic: int = 0) -> Any:
    """Returns `Build.make` for the kernels of a source, which share one compilation."""

    # The next kernel of the source reuses the machine code.
    @cache
    def make(chip: int, form: str) -> Any:
        cooperative, source = op in cuda_source.COOPERATIVE, cuda_source.expanded(op)
        if form == "ptx":
            return compiled(source, f"compute_{chip}", defines, cooperative=cooperative, read="getPTX").decode()
        return compiled(source, f"sm_{chip}", defines, cooperative=cooperative), dynamic

    return make


def builds(chip: int) -> Iterator[Build]:
    """Yields every kernel with a chip's tuning values: each type with each range of signals, not each pair of types."""
    cast, loop, refresh = (tuned(each.CUDA, chip) for each in (cast_tuning, loop_tuning, refresh_tuning))
    family, pick = tuned(family_tuning.CUDA, chip), tuned(pick_tuning.CUDA, chip)
    for kind, tile in tuned(gram_tuning.CUDA, chip).items():
        for stored in STORED:
            make = maker("gram", tile.macros(kind, stored))
            for kernel in ("gram", "products", "listed"):
                yield Build(kernel, f"{kind} to {stored}", tile.threads, make)
    batch = tuned(batch_tuning.CUDA, chip)
    for kernel in ("nominate", "choose"):
        yield Build(kernel, "any sizes", batch.threads, maker("batch", batch.macros()))
    for given in GIVEN:
        for kind in ("fp32", "tf32", "fp16", "bf16"):
            make = maker("cast", cast.macros(given, kind))
            yield Build("cast", f"rows in {given} to {kind}", cast.threads, make)
    for turn, signals in enumerate(SIGNALS):
        # 52,002 items on 108 multiprocessors, W in shared memory.
        dynamic = loop.shared_bytes(52002, signals, loop.blocks(52002, 108), LIMITS[80].shared_of_block)
        for other, given in enumerate(GIVEN):
            stored, what = STORED[(turn + other) % 3], f"{signals} signals, rows in {given}"
            make = maker("loop", loop.macros(signals, given, stored), dynamic)
            yield Build("loop", f"{what}, columns in {stored}", loop.threads, make)
            make = maker("refresh", refresh.macros(signals, given))
            yield Build("refresh", what, refresh.threads, make)
    # A metric is a run-time argument, not a separate build.
    scores = [score for score in SCORES if "metric" not in score]
    for turn, signals in enumerate(SIGNALS):
        for other, given in enumerate((("fp16", "fp64"), ("bf16", "fp32"))[turn % 2]):
            score, multiply = scores[(2 * turn + other) % 5], ("fp16", "bf16", "fp32", "tf32")[(turn + 2 * other) % 4]
            measure, positive, _, _ = SCORES[score]
            make = maker("family", family.macros(signals, given, multiply, measure, positive))
            for kernel in ("step", "gated_step"):
                yield Build(kernel, f"{score}, {signals} signals, rows in {multiply}", family.threads, make)
            for kernel in ("candidates", "distances", "gated_candidates", "gated_distances"):
                yield Build(kernel, f"{signals} signals, rows in {given}", family.threads, make)
            # Matching pursuit projects nothing out of the rows.
            make = maker("pick", pick.macros(signals, given, measure, score != "norm, positive", positive))
            for kernel in ("decide", "remaining", "lifted", "project"):
                yield Build(kernel, f"{score}, {signals} signals, rows in {given}", pick.threads, make)
