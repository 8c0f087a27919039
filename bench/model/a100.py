"""The cost model's predictions for an A100, as a table. None of the times is measured.

`python -m bench gpu` measures the same quantities on a machine with a GPU.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import replace

from bench.runner.report import paragraphs, table
from gip_gpu.planning.cluster import duration
from gip_gpu.planning.cpu_costs import entry_bytes
from gip_gpu.planning.gpu_costs import A100, PICKS_A_MISS, GpuCosts, multiplied_as

SIZES, LENGTHS = (7473, 52_002, 131_072), (384, 768)
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
# The paper's seconds on a CPU: the Gram matrix of 52k items, and the selection of 10 and 50 % of them, by picks.
PAPER_GRAM, PAPER_SELECTION = 214.11, {5200: 25.12, 26_001: 123.62}
LOOPS = {"cupy": "CuPy, persistent loop", "triton": "Triton, CUDA graph"}
HEADER = ("quantity", "bytes", "flops", "barriers or launches", "predicted, A100", "paper, CPU, measured")
NOTES = textwrap.fill(
    f"""\
All times except those of the last column are predictions of `gip_gpu/planning/gpu_costs.py` for the {A100.name}; none
is measured. They follow from the datasheet ({A100.memory / 1e12:.3g} TB/s of memory, {A100.flops["fp16"] / 1e12:.0f}
Tflop/s in 16 bits, of which a product reaches {A100.share:.0%}), from published microbenchmarks of loads, and from
assumptions: {A100.barrier * 1e6:.2g} us a grid barrier, {A100.launch * 1e6:.2g} us from kernel to kernel of a graph.
The host's share was measured on a machine with an H200 (`gpu.md`): {A100.visit * 1e3:.2g} ms a visit. A column is
missing in one of {PICKS_A_MISS:.2g} picks; the device lists its batch. Input rows are in the host's memory: float32 for
the Gram kernel, bfloat16 for the selections from a million items, float16 for the others. The paper's figures are those
of arXiv 2603.13790 for 52k items on a CPU. `model_h200.md` compares the model with measurements; `python -m bench gpu`
measures the same quantities on a machine with a GPU.""",
    120,
)


def step_seconds(costs: GpuCosts, backend: str, precision: str) -> float:
    """Predicts the seconds of one step of a backend's loop."""
    return replace(costs, graph=backend == "triton").step_seconds(precision)


def selection_seconds(costs: GpuCosts, backend: str, columns: str, precision: str, k: int) -> float:
    """Predicts the seconds of k picks, preparation included."""
    own = replace(costs, graph=backend == "triton")
    return own.gram_seconds(k, precision) if columns == "gram" else own.lazy_seconds(k, precision, own.layouts()[0])


def rows() -> Iterator[tuple[str, ...]]:
    """Yields the rows of the table."""
    for m in SIZES:
        for d in LENGTHS:
            for precision in PRECISIONS:
                costs = GpuCosts(m, d, 1, "fp32")
                multiply, size = multiplied_as(precision, "fp32")[0], entry_bytes(precision)
                name = f"Gram kernel {m:,} x {d}, factors {multiply}, entries of {size} bytes"
                paper = f"{PAPER_GRAM:.0f} s" if m == 52_002 else ""
                seconds = costs.gram_kernel_seconds(precision)
                yield name, _count(m * m * size), _count(m * m * d), "", _prediction(seconds), paper
    for n in (1, 4):
        costs = GpuCosts(52_002, 768, n, "fp16")
        for backend, loop in LOOPS.items():
            moved, flops = costs.step_bytes("tf32", in_shared=backend == "cupy"), 4 * costs.m * n
            name, seconds = f"step, m = 52,002, n = {n}: {loop}", step_seconds(costs, backend, "tf32")
            yield name, _count(moved), _count(flops), _waits(1, backend), _prediction(seconds), ""
    costs = GpuCosts(52_002, 768, 1, "fp16")
    for k in (520, 5200, 26_001):
        picking = PAPER_SELECTION.get(k)
        paper = f"{PAPER_GRAM:.0f} s Gram + {picking:.2f} s selection" if picking else ""
        for columns in ("gram", "lazy"):
            yield from _selections(costs, k, columns, "tf32", f", {columns} columns", paper)
    costs = GpuCosts(1_000_000, 768, 1, "bf16")
    moved, flops = 2 * costs.m * costs.d + 128 * costs.column("bf16"), 2 * 128 * costs.m * costs.d
    name, seconds = "a batch of 128 lazy columns, 1,000,000 x 768, bf16", costs.columns_seconds(128, "bf16")
    yield name, _count(moved), _count(flops), "", _prediction(seconds), ""
    yield from _selections(costs, 1000, "lazy", "bf16", ", lazy columns, bf16", "")


def _selections(
    costs: GpuCosts, k: int, columns: str, precision: str, what: str, paper: str
) -> Iterator[tuple[str, ...]]:
    for backend, loop in LOOPS.items():
        name = f"whole selection {costs.m:,} x {costs.d}, k = {k:,}{what}: {loop}"
        seconds = selection_seconds(costs, backend, columns, precision, k)
        yield name, "", "", _waits(k, backend), _prediction(seconds), paper


def text() -> str:
    """Returns the text of the whole file."""
    return paragraphs("# Predictions for an A100, not measurements", table(list(rows()), HEADER), NOTES)


def _waits(k: int, backend: str) -> str:
    return f"{2 * k:,} {'barriers' if backend == 'cupy' else 'launches'}"


def _prediction(seconds: float) -> str:
    return f"{duration(seconds)} (prediction)"


def _count(value: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"
