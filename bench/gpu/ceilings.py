"""Ceilings of the device: measured best rates and latencies, from which floors are computed."""

import numpy as np

from bench.gpu.budget import LeftOut
from bench.gpu.library import Library
from bench.gpu.results import Entry
from bench.gpu.session import Session
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.loop import tuning
from gip_gpu.planning.gpu_costs import A100

FORMATS = ("fp32", "tf32", "fp16", "bf16")
# Launches of a captured graph.
CAPTURED = 100


def ceilings(session: Session) -> None:
    """Measures every ceiling; those that most floors need come first."""
    session.do("ceiling: copy", copy, session)
    for backend, library in session.libraries.items():
        session.do(f"ceiling: launches by {library.name}", launches, session, library)
        if backend == "cupy":
            session.do("ceiling: grid barrier", barrier, session, library)
    for kind in FORMATS:
        session.do(f"ceiling: GEMM {kind}", gemm, session, kind)
    if "cupy" not in session.libraries:
        session.results.left_out.append("ceiling: grid barrier: a cooperative launch needs backend 'cupy'")


def copy(session: Session) -> None:
    """Measures the bytes a second, read and written, of a copy of a large array."""
    sizes, library = session.sizes, session.library
    source, target = (library.arrays.empty((sizes.copied // 4,), "fp32") for _ in range(2))
    source[...] = 1.0
    seconds = library.timer.seconds(lambda: library.copy(target, source), sizes.repeats, lambda: library.poison(target))
    _note(session, "copy bandwidth", 2 * sizes.copied / seconds, seconds, 2 * sizes.copied / A100.memory)


def gemm(session: Session, kind: str) -> None:
    """Measures the flops a second of a large square product by the vendor's library."""
    library, side = session.library, session.sizes.gemm
    values = np.random.default_rng(side).standard_normal((side, side), np.float32)
    left, right, out = library.put(values, kind), library.put(values, kind), library.arrays.empty((side, side), kind)

    def multiply() -> None:
        library.matmul(left, right, out, kind)

    seconds = library.timer.seconds(multiply, session.sizes.repeats, lambda: library.poison(out))
    flops = 2 * side**3
    _note(session, f"GEMM {kind}", flops / seconds, seconds, flops / (A100.share * A100.flops[kind]))


def launches(session: Session, library: Library) -> None:
    """Measures the seconds from one empty kernel to the next, launched back to back and in a graph."""
    sizes = session.sizes
    launch = library.empty_launch()

    def burst(count: int) -> None:
        for _ in range(count):
            launch()

    seconds = library.timer.seconds(lambda: burst(sizes.launches), sizes.repeats) / sizes.launches
    _note(session, f"launch by {library.name}, back to back", seconds, seconds)
    replay, replays = library.graph(lambda: burst(CAPTURED)), max(1, sizes.launches // CAPTURED)
    if replay is None:
        raise LeftOut("in a graph: there are none on this device")

    def replayed() -> None:
        for _ in range(replays):
            replay()

    seconds = library.timer.seconds(replayed, sizes.repeats) / (CAPTURED * replays)
    _note(session, f"launch by {library.name}, in a graph", seconds, seconds, A100.launch)
    # The kernels are equal and the library of the graph matters little: the floor uses the best.
    known = session.results.ceilings.get("launch in a graph", seconds)
    session.results.ceilings["launch in a graph"] = min(known, seconds)


def barrier(session: Session, library: Library) -> None:
    """Measures the seconds of a barrier over all blocks of a launch of the loop's size, without the launch itself."""
    sizes = session.sizes
    values = tuned(tuning.CUDA, library.arrays.capability)
    make = library.barriers(values.blocks_per_multiprocessor * library.arrays.multiprocessors, values.threads)
    none = library.timer.seconds(lambda: make(0), sizes.repeats)
    seconds = max(0.0, library.timer.seconds(lambda: make(sizes.barriers), sizes.repeats) - none) / sizes.barriers
    _note(session, "grid barrier", seconds, seconds, A100.barrier)


def _note(session: Session, name: str, value: float, seconds: float, model: float | None = None) -> None:
    session.results.ceilings[name] = value
    session.results.entries.append(Entry("ceilings", name, "", "", seconds, model=model, notes={"value": value}))
