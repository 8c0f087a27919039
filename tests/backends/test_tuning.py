"""Tuning tables of the kernels: every architecture has its values, and looking at them loads no GPU library."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from gip_gpu.kernels.architectures import ARCHITECTURES, alike, tuned

TABLES = {
    "cast": ("CUDA",),
    "family": ("TRITON", "CUDA"),
    "gram": ("TRITON", "CUDA"),
    "loop": ("TRITON", "CUDA"),
    "refresh": ("TRITON", "CUDA"),
    "step": ("TRITON",),
}


@pytest.mark.parametrize("op", TABLES)
def test_every_architecture_is_in_every_table(op: str) -> None:
    module = importlib.import_module(f"gip_gpu.kernels.{op}.tuning")
    for name in TABLES[op]:
        assert tuple(getattr(module, name)) == ARCHITECTURES


@pytest.mark.parametrize(
    ("capability", "values"),
    [(0, "A"), (75, "A"), (80, "A"), (86, "A"), (89, "A"), (90, "H"), (100, "B"), (103, "B"), (120, "B")],
)
def test_a_chip_gets_the_values_of_the_newest_architecture_that_is_not_newer(capability: int, values: str) -> None:
    assert tuned({80: "A", 90: "H", 100: "B"}, capability) == values


def test_alike() -> None:
    assert alike("A") == {80: "A", 90: "A", 100: "A"}


def test_tables_need_no_gpu_library() -> None:
    modules = ", ".join(f"gip_gpu.kernels.{op}.tuning" for op in TABLES)
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "gip_gpu.kernels.gram.tuning" in loaded
    assert not {"torch", "triton", "cupy"} & set(loaded)
