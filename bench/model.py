"""The cost model's predictions for an A100, as a table: `python -m bench.model` prints it and writes it.

None of the times is measured. `python -m bench.gpu` measures the same quantities where there is a GPU.
"""

from dataclasses import replace
from pathlib import Path

import click
from tabulate import tabulate

from gip_gpu.planning.cpu_costs import entry_bytes
from gip_gpu.planning.gpu_costs import A100, PICKS_A_MISS, GpuCosts, multiplied_as
from gip_gpu.system.atomic_write import atomic_write

TARGET = Path(__file__).parent / "results" / "model_a100.md"
SIZES, LENGTHS = (7473, 52_002, 131_072), (384, 768)
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
# Seconds of the paper's Gram matrix of 52k items and, by picks, of its selection of 10 and 50 % of them, on a CPU.
PAPER_GRAM, PAPER_SELECTION = 214.11, {5200: 25.12, 26_001: 123.62}
LOOPS = {"cupy": "CuPy, persistent loop", "triton": "Triton, CUDA graph"}
HEADER = ("quantity", "bytes", "flops", "barriers or launches", "predicted, A100", "paper, CPU, measured")
NOTES = f"""\
All times but the last column are predictions of `gip_gpu/planning/gpu_costs.py` for the {A100.name}, none of them
measured. They follow from the datasheet ({A100.memory / 1e12:.3g} TB/s of memory, {A100.flops["fp16"] / 1e12:.0f}
Tflop/s in 16 bits, of which a product reaches {A100.share:.0%}), from published microbenchmarks of loads, and from
assumptions: {A100.barrier * 1e6:.2g} us a grid barrier, {A100.launch * 1e6:.2g} us from kernel to kernel of a graph.
What the host takes was measured on the machine of an H200 (`gpu.md`): {A100.visit * 1e3:.2g} ms a visit, {
    A100.miss * 1e3:.2g} ms a missing column, of which there is one in {
    PICKS_A_MISS:.2g} picks. Rows are given in float32 to the Gram
kernel, in bfloat16 to the selections from a million, in float16 to the others, and lie in the host's memory. The
paper's figures are those of arXiv 2603.13790 for 52k items on a CPU. `model_h200.md` sets the model beside what was
measured; `python -m bench.gpu` measures the same quantities where there is a GPU.
"""


def step_seconds(costs: GpuCosts, backend: str, precision: str) -> float:
    """A step of a backend's loop."""
    return replace(costs, graph=backend == "triton").step_seconds(precision)


def selection_seconds(costs: GpuCosts, backend: str, columns: str, precision: str, k: int) -> float:
    """k picks with everything they need."""
    own = replace(costs, graph=backend == "triton")
    return own.gram_seconds(k, precision) if columns == "gram" else own.lazy_seconds(k, precision, own.layouts()[0])


def rows() -> list[tuple[str, ...]]:
    """The table's rows."""
    found = []
    for m in SIZES:
        for d in LENGTHS:
            for precision in PRECISIONS:
                costs = GpuCosts(m, d, 1, "fp32")
                multiply, _ = multiplied_as(precision, "fp32")
                moved = m * m * entry_bytes(precision)
                seconds = costs.gram_kernel_seconds(precision)
                paper = f"{PAPER_GRAM:.0f} s" if m == 52_002 else ""
                name = f"Gram kernel {m:,} x {d}, factors {multiply}, entries of {entry_bytes(precision)} bytes"
                found.append((name, _count(moved), _count(m * m * d), "", _duration(seconds), paper))
    for n in (1, 4):
        costs = GpuCosts(52_002, 768, n, "fp16")
        for backend, loop in LOOPS.items():
            moved = costs.step_bytes("tf32", in_shared=backend == "cupy")
            waits = "2 barriers" if backend == "cupy" else "2 launches"
            name = f"step, m = 52,002, n = {n}: {loop}"
            flops = 2 * costs.m * n + 2 * costs.m * n
            seconds = step_seconds(costs, backend, "tf32")
            found.append((name, _count(moved), _count(flops), waits, _duration(seconds), ""))
    costs = GpuCosts(52_002, 768, 1, "fp16")
    for k in (520, 5200, 26_001):
        for columns in ("gram", "lazy"):
            for backend, loop in LOOPS.items():
                seconds = selection_seconds(costs, backend, columns, "tf32", k)
                selecting = PAPER_SELECTION.get(k)
                paper = f"{PAPER_GRAM:.0f} s Gram + {selecting:.2f} s selection" if selecting else ""
                name = f"whole selection 52,002 x 768, k = {k:,}, {columns} columns: {loop}"
                waits = f"{2 * k:,} {'barriers' if backend == 'cupy' else 'launches'}"
                found.append((name, "", "", waits, _duration(seconds), paper))
    costs = GpuCosts(1_000_000, 768, 1, "bf16")
    moved = costs.m * costs.d * 2 + 128 * costs.column("bf16")
    seconds = costs.columns_seconds(128, "bf16")
    name = "a batch of 128 lazy columns, 1,000,000 x 768, bf16"
    found.append((name, _count(moved), _count(2 * 128 * costs.m * costs.d), "", _duration(seconds), ""))
    for backend, loop in LOOPS.items():
        seconds = selection_seconds(costs, backend, "lazy", "bf16", 1000)
        name = f"whole selection 1,000,000 x 768, k = 1,000, lazy columns, bf16: {loop}"
        found.append((name, "", "", f"{2 * 1000:,} {'barriers' if backend == 'cupy' else 'launches'}",
                      _duration(seconds), ""))  # fmt: skip
    return found


def text() -> str:
    """The whole file."""
    table = tabulate(rows(), HEADER, tablefmt="github", disable_numparse=True)
    return f"# Predictions for an A100, not measurements\n\n{table}\n\n{NOTES}"


def _duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit} (prediction)"
    return f"{seconds / 1e-9:.3g} ns (prediction)"


def _count(value: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"


def publish(report: str, target: Path) -> None:
    """Prints a report and writes it to a file."""
    click.echo(report, nl=False)
    with atomic_write(target) as file:
        file.write(report.encode())


@click.command("model")
def main() -> None:
    """Print the predictions and write them to bench/results/model_a100.md."""
    publish(text(), TARGET)


if __name__ == "__main__":
    main()
