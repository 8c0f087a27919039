"""The cost model's predictions beside the measured times of an H200, as a table.

The measured times are those of `results/gpu.md`: one H200, one run each, host arrays. The predictions are for the same
chip, so a change of the model shows in the ratios.
"""

from dataclasses import replace
from typing import NamedTuple

from bench.model.a100 import selection_seconds
from bench.runner.report import paragraphs, table
from gip_gpu.planning.cluster import duration
from gip_gpu.planning.cpu_costs import Layout, Steps
from gip_gpu.planning.gpu_costs import GpuCosts
from gip_gpu.planning.hardware import DEVICE_KINDS

H200 = DEVICE_KINDS["H200-141GB"].chip
HEADER = ("pool", "selection", "backend", "measured", "predicted, H200", "measured / predicted")
NOTES = """\
Measured: one NVIDIA H200, 2026-11-27, as [gpu.md](gpu.md) describes. Predicted: `gip_gpu/planning/gpu_costs.py` with
the datasheet of an H200. The model's host costs (a visit, a missing column, a pick that the host decides) are fitted to
these same runs: ratios near 1 in the lower rows show that one number fits all of them, not that the model predicted it.
The rows with a whole Gram matrix are not part of that fit. In these runs the host decided every pick of lr, omp,
entropy and mp with sign="positive"; since then the device makes those beyond doubt, and no GPU has run that. The model
ignores the host's work before the first step, and candidates that are rescored one after the other."""


class Measured(NamedTuple):
    """Measured seconds of one selection by backend; `columns` is "gram", "lazy", or "none" if the host decides each
    pick."""

    title: str
    shape: tuple[int, int, int]
    given: str
    k: int
    columns: str
    precision: str
    seconds: dict[str, float]


SMALL, LARGE = (7473, 256, 1), (52_002, 384, 1)
RUNS = (
    Measured("gram, tf32", SMALL, "fp32", 1494, "gram", "tf32", {"triton": 0.035, "cupy": 0.030}),
    Measured("gram, bf16", SMALL, "fp32", 1494, "gram", "bf16", {"triton": 0.240, "cupy": 0.101}),
    Measured("gram, tf32", (1319, 768, 4), "fp32", 264, "gram", "tf32", {"triton": 0.0206, "cupy": 0.0116}),
    Measured("gram, tf32", LARGE, "fp16", 520, "gram", "tf32", {"triton": 0.082, "cupy": 0.064}),
    Measured("lazy, tf32", SMALL, "fp32", 1494, "lazy", "tf32", {"triton": 0.811, "cupy": 0.792}),
    Measured("lazy, tf32", LARGE, "fp16", 520, "lazy", "tf32", {"triton": 0.306, "cupy": 0.338}),
    Measured("lr", LARGE, "fp16", 520, "none", "tf32", {"cupy": 0.657}),
    Measured("omp", LARGE, "fp16", 520, "none", "tf32", {"triton": 0.649, "cupy": 0.606}),
    Measured("entropy", LARGE, "fp16", 520, "none", "tf32", {"triton": 0.618, "cupy": 0.760}),
    Measured("mp, positive", LARGE, "fp16", 520, "none", "tf32", {"triton": 0.936, "cupy": 1.743}),
)


def predicted(run: Measured, backend: str) -> float:
    """Returns the model's seconds for an H200."""
    costs = GpuCosts(*run.shape, run.given, chip=H200)
    if run.columns == "none":
        # The host decided every pick, as it still does if there is a metric.
        steps = Steps(project=True, metric=True)
        return replace(costs, graph=backend == "triton").stepwise_seconds(run.k, run.precision, Layout(), None, steps)
    return selection_seconds(costs, backend, run.columns, run.precision, run.k)


def text() -> str:
    """Returns the text of the whole file."""
    rows = []
    for run in RUNS:
        (m, d, n), k = run.shape, run.k
        pool = f"{m:,} x {d}{f', {n} signals' if n > 1 else ''}, k = {k:,}"
        for backend, seconds in run.seconds.items():
            model = predicted(run, backend)
            shown = duration(seconds), duration(model), f"{seconds / model:.2g}"
            rows.append((pool, run.title, backend, *shown))
    return paragraphs("# The cost model beside one H200", table(rows, HEADER), NOTES)
